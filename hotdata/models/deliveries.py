"""Deliveries: messages on their way to somebody, and how that went. They survive a restart, and are tried again.

Each change of state is one conditional update whose count is checked. Who sends has claimed the delivery first, by
counting a try: that number tells whose the claim is. A claim ends by itself, so what a sender that died has left
behind is sent by another one.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

CLAIM_LASTS = timedelta(minutes=5)
"""Several times as long as a try may take, so that the clocks of two nodes may differ by minutes."""

FARTHEST = timedelta(days=1)
"""More than a claim or a delay between two tries lasts."""


class DeliveryQuerySet(models.QuerySet["Delivery"]):
    def unsent(self) -> DeliveryQuerySet:
        """Those on their way."""
        return self.filter(state__in=[Delivery.State.WAITING, Delivery.State.SENDING])

    def due(self, now: datetime) -> DeliveryQuerySet:
        """Those that are to be tried now, in the order in which they were posted; also where a claim has ended.

        And those that no delay explains: somebody's clock was far ahead.
        """
        return self.unsent().exclude(next_try_at__gt=now, next_try_at__lt=now + FARTHEST).order_by("id")


class Delivery(models.Model):
    """One message by one channel. No secret is in it: an address that holds one is named by its place in a setting."""

    class Channel(models.TextChoices):
        MAIL = "mail", _("Mail")
        APPRISE = "apprise", _("Apprise")

    class State(models.TextChoices):
        WAITING = "waiting", _("Waiting")
        SENDING = "sending", _("Sending")
        SENT = "sent", _("Sent")
        FAILED = "failed", _("Failed")

    channel = models.CharField(_("channel"), max_length=20, choices=Channel)
    recipient = models.CharField(
        _("recipient"), max_length=320, help_text=_("An address, or which URL of the setting.")
    )
    about = models.CharField(_("about"), max_length=20, help_text=_("alert, report, statement or test"))
    subject = models.CharField(pgettext_lazy("delivery", "subject"), max_length=300)
    text = models.TextField(_("text"))
    html = models.TextField(_("HTML"), blank=True)
    state = models.CharField(_("state"), max_length=20, choices=State, default=State.WAITING)
    tries = models.PositiveSmallIntegerField(_("tries"), default=0)
    error = models.TextField(_("error"), blank=True, help_text=_("Of the last try."))
    created_at = models.DateTimeField(_("created at"))
    next_try_at = models.DateTimeField(
        _("next try at"),
        null=True,
        blank=True,
        help_text=_("While it is being sent: when it counts as lost."),
    )
    sent_at = models.DateTimeField(_("sent at"), null=True, blank=True)

    objects = DeliveryQuerySet.as_manager()

    class Meta:
        verbose_name = _("delivery")
        verbose_name_plural = _("deliveries")
        ordering = ["-id"]
        permissions = [("retry_delivery", _("Can try deliveries again"))]
        indexes = [
            models.Index(
                fields=["next_try_at"], name="delivery_unsent", condition=Q(state__in=["waiting", "sending"])
            ),
            models.Index(fields=["created_at"], name="delivery_by_age"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(state__in=["waiting", "sending", "sent", "failed"]), name="delivery_state_known"
            )
        ]

    def __str__(self) -> str:
        return f"{self.channel} to {self.recipient}: {self.subject}"

    def claim(self, now: datetime) -> bool:
        """Take it to be sent; False where somebody else has, or it is not due any more."""
        due = Delivery.objects.due(now).filter(id=self.id, tries=self.tries)
        taken = due.update(state=self.State.SENDING, tries=self.tries + 1, next_try_at=now + CLAIM_LASTS)
        if taken:
            self.state, self.tries = self.State.SENDING, self.tries + 1
        return bool(taken)

    def succeed(self, now: datetime) -> bool:
        """Record that it was sent; False where the claim was somebody else's by then."""
        return self._end(state=self.State.SENT, error="", next_try_at=None, sent_at=now)

    def fail(self, error: str, *, retry_at: datetime | None) -> bool:
        """Record why the try failed, and when the next one is; None gives up."""
        state = self.State.FAILED if retry_at is None else self.State.WAITING
        return self._end(state=state, error=error, next_try_at=retry_at)

    def retry(self, now: datetime) -> bool:
        """Begin anew with one that was given up; False where it wasn't."""
        failed = Delivery.objects.filter(id=self.id, state=self.State.FAILED)
        return bool(failed.update(state=self.State.WAITING, tries=0, next_try_at=now))

    def _end(self, **values: object) -> bool:
        mine = Delivery.objects.filter(id=self.id, state=self.State.SENDING, tries=self.tries)
        ended = bool(mine.update(**values))
        for name, value in values.items() if ended else ():
            setattr(self, name, value)
        return ended
