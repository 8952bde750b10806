"""API calls: what was asked of which upstream, and how it went. Never a secret, never a query string."""

from __future__ import annotations

from datetime import datetime

from django.db import models
from django.utils.translation import gettext_lazy as _


class ApiCallQuerySet(models.QuerySet["ApiCall"]):
    def last_success(self, source: str) -> datetime | None:
        """When the latest call of `source` that didn't fail began."""
        successes = self.filter(source=source).exclude(outcome=ApiCall.Outcome.FAILED)
        return successes.order_by("-started_at").values_list("started_at", flat=True).first()


class ApiCall(models.Model):
    """One HTTP request (or one call of a fetcher) to an upstream. Outlives its source and its run."""

    class Outcome(models.TextChoices):
        OK = "ok", _("OK")
        NOT_MODIFIED = "not_modified", _("Not modified")
        FAILED = "failed", _("Failed")

    source = models.CharField(_("source"), max_length=100)
    run_id = models.BigIntegerField(_("run"), null=True, blank=True)
    keys = models.TextField(_("keys"), help_text=_("The keys asked for, separated by commas."))
    url = models.TextField(_("URL"), help_text=_("Scheme, host and path."))
    outcome = models.CharField(_("outcome"), max_length=20, choices=Outcome)
    status = models.PositiveSmallIntegerField(_("status"), null=True, blank=True)
    error = models.TextField(_("error"), blank=True)
    started_at = models.DateTimeField(_("started at"))
    duration = models.DurationField(_("duration"))
    cooldown = models.DurationField(
        _("cooldown"),
        null=True,
        blank=True,
        help_text=_("How long the upstream wanted to be left alone from the end of the call on."),
    )
    size = models.PositiveIntegerField(_("size"), default=0, help_text=_("Bytes of the decoded answer."))

    objects = ApiCallQuerySet.as_manager()

    class Meta:
        verbose_name = _("API call")
        verbose_name_plural = _("API calls")
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["started_at"], name="call_by_age"),
            models.Index(fields=["source", "started_at"], name="call_of_source"),
            models.Index(
                fields=["started_at", "source"], name="call_failed", condition=models.Q(outcome="failed")
            ),
        ]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(outcome__in=["ok", "not_modified", "failed"]), name="call_outcome_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.source} {self.started_at:%Y-%m-%d %H:%M:%S} {self.outcome}"
