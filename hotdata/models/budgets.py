"""Budgets: how much a source's upstream may be asked, and when it is left alone.

Only the limits are here, as fields. The gate holds every process to them.
"""

from __future__ import annotations

from datetime import timedelta

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

MAX_CONCURRENCY = 64
MAX_CALLS_PER_MINUTE = 100_000


class Budget(models.Model):
    """The part of a source that bounds its calls; without a table of its own."""

    timeout = models.DurationField(
        _("timeout"),
        default=timedelta(seconds=10),
        help_text=_("For one call, to the answer's last byte."),
    )
    calls_per_minute = models.PositiveIntegerField(
        _("calls per minute"),
        default=600,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_CALLS_PER_MINUTE)],
        help_text=_("By all processes together, in any minute. One call for a batch of keys is one call."),
    )
    burst = models.PositiveIntegerField(
        _("burst"),
        default=60,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_CALLS_PER_MINUTE)],
        help_text=_(
            "Calls that may be made at once after a quiet time; then they come at the minute's pace."
        ),
    )
    concurrency = models.PositiveSmallIntegerField(
        _("concurrency"),
        default=8,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_CONCURRENCY)],
        help_text=_("Calls under way at a time, by all processes together."),
    )
    breaker_failures = models.PositiveSmallIntegerField(
        _("failures that open the breaker"),
        default=5,
        validators=[MinValueValidator(1), MaxValueValidator(1000)],
        help_text=_("After so many failed calls in a row the upstream is left alone for a while."),
    )
    breaker_pause = models.DurationField(
        _("pause of the breaker"),
        default=timedelta(seconds=30),
        help_text=_(
            "How long that is. Then one call is let through: a success ends it, a failure makes it longer."
        ),
    )

    class Meta:
        abstract = True
        constraints = [
            models.CheckConstraint(condition=Q(timeout__gt=timedelta(0)), name="source_timeout_positive"),
            models.CheckConstraint(
                condition=Q(calls_per_minute__gte=1, burst__gte=1, concurrency__gte=1),
                name="source_budget_positive",
            ),
            models.CheckConstraint(
                condition=Q(breaker_failures__gte=1, breaker_pause__gt=timedelta(0)),
                name="source_breaker_positive",
            ),
        ]
