"""Alerts: what somebody should know of, from when it began until it was over."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _


class AlertQuerySet(models.QuerySet["Alert"]):
    def open(self) -> AlertQuerySet:
        """Those that are not over."""
        return self.filter(closed_at=None)


class Alert(models.Model):
    """One trouble: of a kind, and of one job, source, key or component. Open until it is over; kept by age then.

    There is one open alert of a kind and subject at most.
    """

    class Kind(models.TextChoices):
        FAILING = "failing", _("A job fails")
        MISSED = "missed", _("Runs were missed")
        OVERDUE = "overdue", _("A job should have run and didn't")
        TOO_LONG = "too_long", _("A run takes too long")
        STALE = "stale", _("A hot key is older than its objective")
        BREAKER = "breaker", _("A breaker is open")
        COMPONENT = "component", _("A component is not well")

    kind = models.CharField(_("kind"), max_length=20, choices=Kind)
    subject = models.CharField(
        _("subject"),
        max_length=400,
        help_text=_("A job's or source's name, source/key, or a component's name."),
    )
    summary = models.TextField(_("summary"), help_text=_("One sentence, as it was sent last."))
    opened_at = models.DateTimeField(_("opened at"))
    seen_at = models.DateTimeField(_("seen at"), help_text=_("When it was seen last."))
    closed_at = models.DateTimeField(_("closed at"), null=True, blank=True)
    count = models.PositiveIntegerField(_("count"), default=1, help_text=_("Such as failures in a row."))

    objects = AlertQuerySet.as_manager()

    class Meta:
        verbose_name = _("alert")
        verbose_name_plural = _("alerts")
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["kind", "subject"], condition=Q(closed_at=None), name="alert_open_once"
            )
        ]
        indexes = [models.Index(fields=["closed_at"], name="alert_by_age")]

    def __str__(self) -> str:
        return f"{self.kind} {self.subject}"
