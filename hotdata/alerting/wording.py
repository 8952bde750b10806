"""Wording: notices as one message. The subject says how many there are, and the worst of them.

In English, as all that is on record. What jobs and upstreams say is quoted on one line, and is text, never HTML.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.urls import NoReverseMatch, reverse
from django.utils import timezone

from hotdata.conf import conf
from hotdata.models import Notice

PREFIX = "hotdata"
MOST_LINES = 100
Event = Notice.Event
SIGNS = {Event.OPENED: "ALERT", Event.GOES_ON: "STILL", Event.CLOSED: "OVER"}


@dataclass(frozen=True, kw_only=True)
class Message:
    subject: str
    text: str


def message(notices: Sequence[Notice]) -> Message:
    """`notices`, of which there is one at least, in the order of what came to pass."""
    lines = [_lines(notice) for notice in notices[-MOST_LINES:]]
    left_out = len(notices) - len(lines)
    if left_out:
        lines.insert(0, f"{left_out:,} earlier ones are left out here; the alerts have them.\n")
    return Message(subject=f"{PREFIX}: {_subject(notices)}", text="\n".join(lines))


def _subject(notices: Sequence[Notice]) -> str:
    worst = max(notices, key=lambda notice: (notice.event != Event.CLOSED, notice.alert.severity))
    if len(notices) == 1:
        return worst.text
    over = sum(notice.event == Event.CLOSED for notice in notices)
    troubles = len(notices) - over
    counts = [f"{troubles:,} alert{'s' if troubles > 1 else ''}"] if troubles else []
    counts += [f"{over:,} over"] if over else []
    return f"{', '.join(counts)}: {worst.text}"


def _lines(notice: Notice) -> str:
    at = f"{timezone.localtime(notice.at):%Y-%m-%d %H:%M:%S %Z}"
    line = f"{SIGNS[Event(notice.event)]}  {notice.text}\n       {at}"
    link = _link(notice.alert_id)
    return f"{line}  {link}\n" if link else f"{line}\n"


def _link(alert: int) -> str:
    """The page of the alert; empty where the site says nothing of its address, or has no admin."""
    if not conf().site_url:
        return ""
    try:
        return conf().site_url.rstrip("/") + reverse("admin:hotdata_alert_change", args=[alert])
    except NoReverseMatch:
        return ""
