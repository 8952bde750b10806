"""Totals: how many runs there ever were, by job. They only grow, whatever becomes of single records.

What they count, and how it is made sure that each run counts once, is in `hotdata.observing.totals`.
"""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class RunTotal(models.Model):
    """What was counted of the runs of one job. Outlives the job."""

    job = models.CharField(_("job"), max_length=100, unique=True)
    counts = models.JSONField(_("counts"), default=dict)

    class Meta:
        verbose_name = _("total of runs")
        verbose_name_plural = _("totals of runs")
        ordering = ["id"]
        permissions = [("view_metrics", _("Can read metrics"))]

    def __str__(self) -> str:
        return self.job


class TotalsCursor(models.Model):
    """A single row (``id=1``): which runs are counted in the totals. Whoever changes either has it locked."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    turn = models.PositiveBigIntegerField(_("turn"), default=0, help_text=_("Grows with each change."))
    runs = models.BigIntegerField(_("runs"), help_text=_("All runs up to this id are counted, or pending."))
    pending = models.JSONField(_("pending"), default=list, help_text=_("Ids of those that had not ended."))
    accounts = models.BigIntegerField(
        _("accounts"), help_text=_("All that was missed or skipped is counted up to this id.")
    )
    moved_at = models.DateTimeField(_("moved at"))

    class Meta:
        verbose_name = _("cursor of the totals")
        verbose_name_plural = _("cursors of the totals")
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="totalscursor_single_row")]

    def __str__(self) -> str:
        return f"run {self.runs}"
