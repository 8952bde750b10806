"""What readers of a source got, hour by hour: what Redis counts by the minute, for as long as records are kept."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class FreshnessHour(models.Model):
    """The reads and calls of a source in one hour of UTC. Outlives its source."""

    source = models.CharField(_("source"), max_length=100)
    hour = models.DateTimeField(_("hour"), help_text=_("When it began."))
    fresh = models.PositiveBigIntegerField(_("fresh"), default=0)
    stale = models.PositiveBigIntegerField(_("stale"), default=0)
    last_known = models.PositiveBigIntegerField(_("last known"), default=0)
    misses = models.PositiveBigIntegerField(_("misses"), default=0)
    errors = models.PositiveBigIntegerField(_("errors"), default=0)
    calls = models.PositiveBigIntegerField(_("calls"), default=0)
    failed_calls = models.PositiveBigIntegerField(_("failed calls"), default=0)
    ages = models.JSONField(
        _("ages"), default=list, help_text=_("How many reads got a value of which age: a histogram.")
    )

    class Meta:
        verbose_name = _("hour of freshness")
        verbose_name_plural = _("hours of freshness")
        ordering = ["-hour", "source"]
        indexes = [models.Index(fields=["hour"], name="freshness_by_hour")]
        constraints = [models.UniqueConstraint(fields=["source", "hour"], name="freshness_hour_once")]

    def __str__(self) -> str:
        return f"{self.source} {self.hour:%Y-%m-%d %H:%M}"
