"""Posting: puts a message on record. Nothing is sent here: whoever posts waits for no mail server."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from hotdata.conf import conf
from hotdata.models import Delivery
from hotdata.text import storable

LONGEST_SUBJECT = 300


@dataclass(frozen=True, kw_only=True)
class Recipient:
    """Whom a message is for, and how it gets there."""

    channel: str
    name: str
    """An address; of a URL of apprise, which holds secrets, the place in the setting."""


def mail_to(addresses: tuple[str, ...]) -> tuple[Recipient, ...]:
    return tuple(Recipient(channel=Delivery.Channel.MAIL, name=address) for address in addresses)


def alert_recipients() -> tuple[Recipient, ...]:
    """All whom the settings name for alerts, by mail and otherwise."""
    pushed = (
        Recipient(channel=Delivery.Channel.APPRISE, name=str(place))
        for place in range(len(conf().alert_urls))
    )
    return (*mail_to(conf().alert_mail), *pushed)


def post_mail(
    recipients: tuple[str, ...], *, about: str, subject: str, text: str, html: str = "", now: datetime
) -> list[Delivery]:
    """Post a mail to each of `recipients`, in the caller's transaction; each is on record by itself."""
    return [
        post(recipient, about=about, subject=subject, text=text, html=html, now=now)
        for recipient in mail_to(recipients)
    ]


def post(
    recipient: Recipient, *, about: str, subject: str, text: str, html: str = "", now: datetime
) -> Delivery:
    """Post a message, in the caller's transaction.

    `subject` is cut and put on one line: what it holds may come from an upstream.
    """
    line = " ".join("".join(char if char.isprintable() else " " for char in subject).split())
    return Delivery.objects.create(
        channel=recipient.channel,
        recipient=recipient.name,
        about=about,
        subject=storable(line)[:LONGEST_SUBJECT],
        text=storable(text),
        html=storable(html),
        created_at=now,
        next_try_at=now,
    )
