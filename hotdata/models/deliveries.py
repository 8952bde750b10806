"""Deliveries: messages on their way to somebody, and how that went. They survive a restart, and are tried again."""

from __future__ import annotations

from datetime import datetime

from django.db import models
from django.utils.translation import gettext_lazy as _


class DeliveryQuerySet(models.QuerySet["Delivery"]):
    def due(self, now: datetime) -> DeliveryQuerySet:
        """Those that are to be tried now, in the order in which they were posted."""
        return self.filter(state=Delivery.State.WAITING, next_try_at__lte=now).order_by("id")


class Delivery(models.Model):
    """One message by one channel. No secret is in it: an address that holds one is named by its place in a setting."""

    class Channel(models.TextChoices):
        MAIL = "mail", _("Mail")
        APPRISE = "apprise", _("Apprise")

    class State(models.TextChoices):
        WAITING = "waiting", _("Waiting")
        SENT = "sent", _("Sent")
        FAILED = "failed", _("Failed")

    channel = models.CharField(_("channel"), max_length=20, choices=Channel)
    recipient = models.CharField(
        _("recipient"), max_length=320, help_text=_("An address, or which URL of the setting.")
    )
    about = models.CharField(_("about"), max_length=20, help_text=_("alert, report or statement"))
    subject = models.CharField(_("subject"), max_length=300)
    text = models.TextField(_("text"))
    html = models.TextField(_("HTML"), blank=True)
    state = models.CharField(_("state"), max_length=20, choices=State, default=State.WAITING)
    tries = models.PositiveSmallIntegerField(_("tries"), default=0)
    error = models.TextField(_("error"), blank=True, help_text=_("Of the last try."))
    created_at = models.DateTimeField(_("created at"))
    next_try_at = models.DateTimeField(_("next try at"), null=True, blank=True)
    sent_at = models.DateTimeField(_("sent at"), null=True, blank=True)

    objects = DeliveryQuerySet.as_manager()

    class Meta:
        verbose_name = _("delivery")
        verbose_name_plural = _("deliveries")
        ordering = ["-id"]
        indexes = [
            models.Index(
                fields=["next_try_at"], name="delivery_waiting", condition=models.Q(state="waiting")
            ),
            models.Index(fields=["created_at"], name="delivery_by_age"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(state__in=["waiting", "sent", "failed"]), name="delivery_state_known"
            )
        ]

    def __str__(self) -> str:
        return f"{self.channel} to {self.recipient}: {self.subject}"
