"""Posting: puts a message on record. Nothing is sent here: whoever posts waits for no mail server."""

from __future__ import annotations

from datetime import datetime

from hotdata.conf import conf
from hotdata.models import Delivery

LONGEST_SUBJECT = 300


def post_mail(
    recipients: tuple[str, ...], *, about: str, subject: str, text: str, html: str = "", now: datetime
) -> list[Delivery]:
    """Post a mail to each of `recipients`, in the caller's transaction; each is on record by itself.

    `subject` is cut and put on one line: what it holds may come from an upstream.
    """
    return [
        _post(Delivery.Channel.MAIL, recipient, about=about, subject=subject, text=text, html=html, now=now)
        for recipient in recipients
    ]


def post_alert(*, subject: str, text: str, html: str = "", now: datetime) -> list[Delivery]:
    """Post an alert to all whom the settings name, by mail and otherwise; to nobody where they name nobody."""
    mails = post_mail(conf().alert_mail, about="alert", subject=subject, text=text, html=html, now=now)
    return mails + [
        # The URL holds secrets: on record is which of them it is.
        _post(
            Delivery.Channel.APPRISE, str(place), about="alert", subject=subject, text=text, html="", now=now
        )
        for place in range(len(conf().alert_urls))
    ]


def _post(
    channel: Delivery.Channel,
    recipient: str,
    *,
    about: str,
    subject: str,
    text: str,
    html: str,
    now: datetime,
) -> Delivery:
    line = " ".join(subject.split())[:LONGEST_SUBJECT]
    return Delivery.objects.create(
        channel=channel,
        recipient=recipient,
        about=about,
        subject=line,
        text=text,
        html=html,
        created_at=now,
        next_try_at=now,
    )
