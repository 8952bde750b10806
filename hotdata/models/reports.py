"""Reports: what a day or a week came to, as it was worked out once. They outlive the records that they count."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _


class Report(models.Model):
    """One report: of its kind there is one of each period, however often it is made."""

    kind = models.CharField(_("kind"), max_length=40)
    first = models.DateField(_("first day"), help_text=_("In the time zone of the site."))
    after = models.DateField(_("day after"), help_text=_("The first day that is not in it any more."))
    period = models.CharField(_("period"), max_length=20)
    data = models.JSONField(_("data"), help_text=_("Figures, in a shape that says its version."))
    records = models.PositiveBigIntegerField(_("records"), help_text=_("So many it counts."))
    complete = models.BooleanField(
        _("complete"),
        default=True,
        help_text=_("When it was made, no record of its period was old enough to have been deleted."),
    )
    made_at = models.DateTimeField(_("made at"))
    made_by = models.CharField(_("made by"), max_length=150)
    remade_at = models.DateTimeField(_("made again at"), null=True, blank=True)
    remade_by = models.CharField(_("made again by"), max_length=150, blank=True)

    class Meta:
        verbose_name = _("report")
        verbose_name_plural = _("reports")
        ordering = ["-first", "kind"]
        permissions = [("remake_report", _("Can make reports again"))]
        constraints = [
            models.UniqueConstraint(fields=["kind", "first"], name="report_once"),
            models.CheckConstraint(condition=Q(after__gt=models.F("first")), name="report_days_in_order"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.period}"

    def replace(
        self, data: dict[str, Any], *, records: int, complete: bool, by: str, now: datetime, force: bool
    ) -> bool:
        """Put `data` in the place of what it holds; when it was made first stays.

        Data that count fewer `records` than those there, since clean-up has been there meanwhile, replace nothing
        unless `force` is given: then this returns False. One conditional update, whoever else does the same.
        """
        same = Report.objects.filter(pk=self.pk)
        if not force:
            same = same.filter(records__lte=records)
        return bool(
            same.update(data=data, records=records, complete=complete, remade_at=now, remade_by=by[:150])
        )
