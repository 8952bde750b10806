"""Silences: until when nobody wants to be told of a job or a source, by whose word and why.

Alerts are on record meanwhile, and are told afterwards if they go on.
"""

from __future__ import annotations

from datetime import datetime

from django.db import models
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from hotdata.models.pauses import NOTE_LIMIT


class SilenceQuerySet(models.QuerySet["Silence"]):
    def active(self, now: datetime) -> SilenceQuerySet:
        return self.filter(until__gt=now, ended_at=None)

    def over(self, of: str, name: object) -> SilenceQuerySet:
        """Those of one job or source; `name` may be an expression."""
        return self.filter(of=of, name=name)

    def end(self, by: str, now: datetime) -> int:
        """End those that are active; return how many were."""
        return self.active(now).update(ended_at=now, ended_by=by)


class Silence(models.Model):
    """One silence. It ends by itself, or earlier when somebody ends it."""

    class Of(models.TextChoices):
        JOB = "job", _("Job")
        SOURCE = "source", _("Source")

    of = models.CharField(pgettext_lazy("silence", "of"), max_length=10, choices=Of)
    name = models.CharField(_("name"), max_length=100, help_text=_("The name of the job or the source."))
    until = models.DateTimeField(_("until"))
    note = models.CharField(_("note"), max_length=NOTE_LIMIT, blank=True)
    by = models.CharField(_("by"), max_length=150)
    created_at = models.DateTimeField(_("created at"))
    ended_at = models.DateTimeField(
        _("ended at"), null=True, blank=True, help_text=_("When somebody ended it before its time.")
    )
    ended_by = models.CharField(_("ended by"), max_length=150, blank=True)

    objects = SilenceQuerySet.as_manager()

    class Meta:
        verbose_name = _("silence")
        verbose_name_plural = _("silences")
        ordering = ["-id"]
        indexes = [models.Index(fields=["until"], name="silence_by_end")]
        constraints = [
            models.CheckConstraint(condition=models.Q(of__in=["job", "source"]), name="silence_of_known")
        ]

    def __str__(self) -> str:
        return f"{self.of} {self.name}"
