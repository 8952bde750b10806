"""How the pages put times, durations and states: in words, with a sign and a colour beside them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone
from django.utils.dates import WEEKDAYS_ABBR
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from hotdata.figures import NONE, SECOND, share, took

__all__ = [
    "FAILED", "LOOKS", "MUTED", "NONE", "OK", "RESTING", "RUNNING", "WAITING", "WARN",
    "Clock", "Look", "absolute", "ago", "distance", "look", "pill", "share", "took", "wall",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Look:
    """How a state looks: the class that colours it, and a sign for those who can't tell colours."""

    css: str
    sign: str


OK = Look(css="hd-ok", sign="✓")
FAILED = Look(css="hd-failed", sign="✕")
WARN = Look(css="hd-warn", sign="!")
RUNNING = Look(css="hd-running", sign="▸")
WAITING = Look(css="hd-running", sign="…")
MUTED = Look(css="hd-muted", sign="–")
RESTING = Look(css="hd-muted", sign="‖")

LOOKS = {
    # Runs
    "queued": WAITING,
    "running": RUNNING,
    "retrying": WAITING,
    "succeeded": OK,
    "failed": FAILED,
    "timed_out": FAILED,
    "abandoned": FAILED,
    "cancelled": MUTED,
    "missed": WARN,
    "skipped": MUTED,
    # Jobs
    "healthy": OK,
    "done": OK,
    "failing": FAILED,
    "broken": FAILED,
    "late": WARN,
    "paused": RESTING,
    "new": MUTED,
    # Entries
    "fresh": OK,
    "stale": WARN,
    "expired": FAILED,
    "missing": FAILED,
    "last_known": WARN,
    # Calls and breakers
    "ok": OK,
    "not_modified": OK,
    "closed": OK,
    "half_open": WARN,
    "half-open": WARN,
    "open": FAILED,
    # Nodes
    "leading": OK,
    "standing_by": RUNNING,
    "dead": FAILED,
    # Deliveries
    "waiting": WAITING,
    "sending": RUNNING,
    "sent": OK,
    # Parts of the whole
    "degraded": WARN,
    "down": FAILED,
    "unknown": WARN,
}


def look(state: str) -> Look:
    """How `state`, of whatever has states, looks."""
    return LOOKS.get(state, MUTED)


def pill(state: str, label: object) -> SafeString:
    """`label` with the sign and the colour of `state`."""
    seen = look(state)
    return format_html(
        '<span class="hd-pill {}"><span aria-hidden="true">{}</span> {}</span>', seen.css, seen.sign, label
    )


def distance(moment: datetime, now: datetime) -> str:
    """How far `moment` is from `now`: 2 min ago, in 32 s."""
    if moment > now:
        return _("in %(span)s") % {"span": took(max(moment - now, SECOND))}
    if now - moment < SECOND:
        return _("just now")
    return _("%(span)s ago") % {"span": took(now - moment)}


def absolute(moment: datetime) -> str:
    """`moment` in the site's zone, to the second, with the zone's name."""
    return f"{timezone.localtime(moment):%Y-%m-%d %H:%M:%S %Z}"


class Clock:
    """Says times without what goes without saying: the zone, which is the site's; the date of `now`; no seconds."""

    def __init__(self, now: datetime) -> None:
        self._zone = timezone.get_current_timezone()
        self._today = now.astimezone(self._zone).date()

    def say(self, moment: datetime) -> str:
        """14:35, 14:35:07, 2026-11-26 02:30."""
        local = moment.astimezone(self._zone).replace(tzinfo=None)
        time = local.isoformat(" ", "seconds" if local.second else "minutes")
        return time[11:] if local.date() == self._today else time


def wall(moment: datetime) -> str:
    """`moment` in the zone that it comes with, with the weekday; to the second where it isn't on the minute."""
    time = f"{moment:%H:%M:%S}" if moment.second else f"{moment:%H:%M}"
    return f"{WEEKDAYS_ABBR[moment.weekday()]} {moment:%Y-%m-%d} {time} {moment:%Z}"


def ago(moment: datetime | None, now: datetime) -> SafeString:
    """`moment` as its distance, with the time itself for who points at it."""
    if moment is None:
        return format_html("{}", NONE)
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        moment.isoformat(),
        absolute(moment),
        distance(moment, now),
    )
