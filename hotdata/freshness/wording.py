"""Intervals, rates and times in words, for the reasons that a plan gives."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from hotdata.windows import Windows

SECOND, MINUTE, HOUR, DAY = (
    timedelta(seconds=1),
    timedelta(minutes=1),
    timedelta(hours=1),
    timedelta(days=1),
)
UNITS = ((2 * MINUTE, SECOND, "s"), (2 * HOUR, MINUTE, "min"), (2 * DAY, HOUR, "h"))
"""Below which span a unit is used, and what it is called."""
PERIODS = ((MINUTE, "a minute"), (HOUR, "an hour"), (DAY, "a day"))


def span(interval: timedelta) -> str:
    """``45 s``, ``4.25 min``."""
    for below, unit, name in UNITS:
        if interval < below:
            return f"{interval / unit:.3g} {name}"
    return f"{interval / DAY:,.0f} days"


def frequency(per_minute: float) -> str:
    """``12 times a minute``, ``twice an hour``: in the shortest period that has one."""
    for period, name in PERIODS:
        times = per_minute * (period / MINUTE)
        if times >= 1:
            return f"{_times(times)} {name}"
    return "less than once a day"


def refreshes(count: int) -> str:
    return "1 refresh" if count == 1 else f"{count:,} refreshes"


def opening(windows: Windows, at: datetime) -> str:
    """``Mon 09:30 America/New_York``: what the clock shows in the zone of the window that opens at `at`."""
    zone = next((window.time_zone for window in windows.windows if window.is_open(at)), "UTC")
    return f"{at.astimezone(ZoneInfo(zone)):%a %H:%M} {zone}"


def _times(times: float) -> str:
    rounded = f"{round(times, 1):g}" if times < 10 else f"{times:,.0f}"
    return {"1": "once", "2": "twice"}.get(rounded, f"{rounded} times")
