"""Policies: what a job wants done with its due times and its runs, from the moment it is due to the last retry.

Only the wishes are here, as fields, and what the database holds them to. Firing, the executor, the recorder, the
recoveries and the clean-up each follow their own.
"""

from __future__ import annotations

from datetime import timedelta

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

MAX_INSTANCES = 1000
MAX_RETRIES = 100


class Overlap(models.TextChoices):
    """What happens to a due time while earlier runs of the job have not ended."""

    SKIP = "skip", _("Skip: start nothing while one is active")
    BUFFER_ONE = "buffer_one", _("Buffer one: start one more when the active one ends, skip the others")
    CANCEL_OTHER = "cancel_other", _("Cancel other: cancel the active one, and start when it has ended")
    ALLOW_ALL = "allow_all", _("Allow all: start it, up to the number of instances")


HOLDING = (Overlap.BUFFER_ONE, Overlap.CANCEL_OTHER)
"""Under these, a run may be held until the others of its job have ended."""


class Isolation(models.TextChoices):
    """Where a run's task is called."""

    THREAD = "thread", _("Thread: quick to start; told to stop, but can't be made to")
    PROCESS = "process", _("Process: killed at its timeout or when cancelled; takes longer to start")


class Policies(models.Model):
    """The part of a job that says how; without a table of its own."""

    # When it is late, or several are

    misfire_grace_time = models.DurationField(
        _("misfire grace time"),
        null=True,
        blank=True,
        help_text=_("A due time that is late by more is recorded as missed. Empty: however late, it runs."),
    )
    coalesce = models.BooleanField(
        _("coalesce"),
        default=True,
        help_text=_("Of several due times that have passed, run only the latest."),
    )
    max_instances = models.PositiveSmallIntegerField(
        _("instances"),
        default=1,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_INSTANCES)],
        help_text=_(
            "Runs of this job that may be active at a time under “allow all”. The other policies run one at a time."
        ),
    )
    overlap = models.CharField(_("overlap"), max_length=20, choices=Overlap, default=Overlap.SKIP)

    # While it runs

    isolation = models.CharField(_("isolation"), max_length=10, choices=Isolation, default=Isolation.THREAD)
    timeout = models.DurationField(
        _("timeout"),
        null=True,
        blank=True,
        default=timedelta(minutes=15),
        help_text=_("An attempt is told to stop after this. Empty: never."),
    )

    # When it has ended

    max_retries = models.PositiveSmallIntegerField(
        _("retries"),
        default=0,
        validators=[MaxValueValidator(MAX_RETRIES)],
        help_text=_("Further attempts after a failed one."),
    )
    retry_delay = models.DurationField(
        _("retry delay"),
        default=timedelta(seconds=10),
        help_text=_("Before the first retry; it doubles each time."),
    )
    retry_delay_max = models.DurationField(_("longest retry delay"), default=timedelta(minutes=10))
    recover = models.BooleanField(
        _("recover"), default=False, help_text=_("Run it again when the node that worked on it died.")
    )
    keep_runs = models.PositiveIntegerField(
        _("keep runs"),
        null=True,
        blank=True,
        help_text=_(
            "Keep only this many finished runs, and those marked notable. Empty: all, until clean-up."
        ),
    )

    class Meta:
        abstract = True
        constraints = [
            models.CheckConstraint(condition=Q(overlap__in=Overlap.values), name="job_overlap_known"),
            models.CheckConstraint(condition=Q(isolation__in=Isolation.values), name="job_isolation_known"),
            models.CheckConstraint(condition=Q(max_instances__gte=1), name="job_max_instances_positive"),
            models.CheckConstraint(
                condition=Q(retry_delay__gte=timedelta(0), retry_delay_max__gte=F("retry_delay")),
                name="job_retry_delays_in_order",
            ),
        ]
