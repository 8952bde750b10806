"""Notices: what somebody is to be told of an alert, each of the recipients by itself, and the delivery it goes with.

A notice without a delivery waits for the recipient's next message.
"""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from hotdata.models.alerts import Alert
from hotdata.models.deliveries import Delivery


class NoticeQuerySet(models.QuerySet["Notice"]):
    def waiting(self) -> NoticeQuerySet:
        """Those that go with no delivery yet."""
        return self.filter(delivery=None)


class Notice(models.Model):
    """One event of one alert, for one recipient.

    Clean-up by age may delete it, its alert and its delivery in any order.
    """

    class Event(models.TextChoices):
        OPENED = "opened", _("Opened")
        GOES_ON = "goes_on", _("Goes on")
        CLOSED = "closed", _("Closed")

    alert = models.ForeignKey(
        Alert,
        verbose_name=_("alert"),
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        related_name="notices",
    )
    event = models.CharField(_("event"), max_length=20, choices=Event)
    text = models.TextField(_("text"))
    at = models.DateTimeField(_("at"))
    channel = models.CharField(_("channel"), max_length=20, choices=Delivery.Channel)
    recipient = models.CharField(_("recipient"), max_length=320)
    delivery = models.ForeignKey(
        Delivery,
        verbose_name=_("delivery"),
        null=True,
        blank=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        related_name="notices",
    )

    objects = NoticeQuerySet.as_manager()

    class Meta:
        verbose_name = _("notice")
        verbose_name_plural = _("notices")
        ordering = ["id"]
        indexes = [
            models.Index(
                fields=["channel", "recipient"], name="notice_waiting", condition=Q(delivery__isnull=True)
            ),
            models.Index(fields=["at"], name="notice_by_age"),
        ]

    def __str__(self) -> str:
        return f"{self.event}: {self.text}"
