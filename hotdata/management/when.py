"""Reads points in time as people type them on a command line."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

RELATIVE = re.compile(r"in\s+(\d{1,6})\s*(s|sec(?:ond)?s?|m|min(?:ute)?s?|h|hours?|d|days?)", re.IGNORECASE)
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
CLOCK = re.compile(r"(\d{1,2}):(\d{2})")
HINT = "Say it like 'in 5 minutes', '09:30' or '2026-11-24 09:30'."


def parse_when(text: str, *, now: datetime, time_zone: str) -> datetime:
    """The instant in UTC that `text` means: ``in 5 minutes``, ``09:30`` (the next one) or an ISO date and time.

    Times without an offset are in `time_zone`. 02:30 in a night that has no 02:30 is 03:30; where it comes twice,
    it is the first one ahead. Raises ValueError with a sentence for anything else, and for what lies in the past.
    """
    zone = ZoneInfo(time_zone)
    text = text.strip()
    if match := RELATIVE.fullmatch(text):
        at = now + timedelta(**{UNITS[match[2][0].lower()]: int(match[1])})
    elif match := CLOCK.fullmatch(text):
        at = _clock(int(match[1]), int(match[2]), now, zone)
    else:
        at = _moment(text, now, zone)
    if at <= now:
        raise ValueError(f"{at.isoformat()} lies in the past.")
    return at.astimezone(UTC)


def _clock(hour: int, minute: int, now: datetime, zone: ZoneInfo) -> datetime:
    """The next time that the local clock shows hour and minute."""
    try:
        today = now.astimezone(zone).replace(hour=hour, minute=minute, second=0, microsecond=0)
    except ValueError as error:
        raise ValueError(f"{hour:02}:{minute:02} is no time of day.") from error
    ahead = (_first_ahead(today + timedelta(days=days), now) for days in (0, 1))
    return next(at for at in ahead if at is not None)


def _moment(text: str, now: datetime, zone: ZoneInfo) -> datetime:
    try:
        at = datetime.fromisoformat(text)
        at = at if at.tzinfo else at.replace(tzinfo=zone)
        at.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text!r} is no time that can be read. {HINT}") from error
    return _first_ahead(at, now) or at


def _first_ahead(local: datetime, now: datetime) -> datetime | None:
    """Of the one or two instants at which a clock shows `local`, the first after `now`."""
    both = (local.replace(fold=0).astimezone(UTC), local.replace(fold=1).astimezone(UTC))
    return next((at for at in both if at > now), None)
