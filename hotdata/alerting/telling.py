"""Telling: puts notices down for each recipient, and posts what may go now as one message to each.

All that waits for a recipient goes into one message, however much it is. A recipient gets so many messages in an
hour at most; those that a mail server which is away has not taken yet count, too. What is too much waits for the
next that may go. So a job that flaps fills no mailbox, and nothing is lost.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db.models import Q
from django.utils import timezone

from hotdata.alerting import wording
from hotdata.alerting.reconciling import Telling
from hotdata.conf import conf
from hotdata.models import Delivery, Notice
from hotdata.outbox import posting
from hotdata.outbox.posting import Recipient

ABOUT = "alert"
HOUR = timedelta(hours=1)


def put_down(tellings: Iterable[Telling], recipients: Iterable[Recipient], now: datetime) -> int:
    """Put `tellings` on record for each of `recipients`, in the caller's transaction; return how many there were."""
    recipients, count = list(recipients), 0
    for telling in tellings:
        count += 1
        Notice.objects.bulk_create(
            [
                Notice(
                    alert=telling.alert,
                    event=telling.event,
                    text=telling.text,
                    at=now,
                    channel=recipient.channel,
                    recipient=recipient.name,
                )
                for recipient in recipients
            ]
        )
    return count


def post(recipients: Iterable[Recipient], now: datetime) -> int:
    """Post what waits for each of `recipients`, where they may get a message now; return the number of messages."""
    return sum(_post(recipient, now) for recipient in recipients)


def _post(recipient: Recipient, now: datetime) -> bool:
    waiting = Notice.objects.waiting().filter(channel=recipient.channel, recipient=recipient.name)
    notices = list(waiting.select_related("alert").order_by("id"))
    if not notices or not _may_get_one(recipient, now):
        return False
    message = wording.message(notices)
    delivery = posting.post(recipient, about=ABOUT, subject=message.subject, text=message.text, now=now)
    waiting.filter(id__lte=notices[-1].id).update(delivery=delivery)
    return True


def _may_get_one(recipient: Recipient, now: datetime) -> bool:
    posted = Delivery.objects.filter(channel=recipient.channel, recipient=recipient.name, about=ABOUT)
    unsent = Q(state__in=[Delivery.State.WAITING, Delivery.State.SENDING])
    # Not what a clock that was far ahead has left behind.
    lately = Q(created_at__gt=now - HOUR, created_at__lt=now + HOUR)
    return posted.filter(unsent | lately).count() < conf().alerts_per_hour


def post_test(now: datetime) -> list[Delivery]:
    """Post a message to everybody who would be told of an alert, for who wants to see whether it arrives."""
    when = f"{timezone.localtime(now):%Y-%m-%d %H:%M:%S %Z}"
    text = f"This is a test, sent on {when}. Nothing is wrong.\n"
    return [
        posting.post(recipient, about="test", subject="hotdata: a test of alerts", text=text, now=now)
        for recipient in posting.alert_recipients()
    ]
