"""Intervals, rates and times in words of the active language, and the reasons that a plan gives.

A plan has thousands of keys and is made every few seconds; its reasons are put into words when somebody reads them.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from django.utils.dateformat import format as formatted
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from hotdata.windows import Windows

SECOND, MINUTE, HOUR, DAY = (
    timedelta(seconds=1),
    timedelta(minutes=1),
    timedelta(hours=1),
    timedelta(days=1),
)
UNITS = (
    (2 * MINUTE, SECOND, gettext_lazy("%(n)s s")),
    (2 * HOUR, MINUTE, gettext_lazy("%(n)s min")),
    (2 * DAY, HOUR, gettext_lazy("%(n)s h")),
)
"""Below which span a unit is used, and how a number of it is written."""
PERIODS = (
    (
        MINUTE,
        gettext_lazy("once a minute"),
        gettext_lazy("twice a minute"),
        gettext_lazy("%(times)s times a minute"),
    ),
    (
        HOUR,
        gettext_lazy("once an hour"),
        gettext_lazy("twice an hour"),
        gettext_lazy("%(times)s times an hour"),
    ),
    (DAY, gettext_lazy("once a day"), gettext_lazy("twice a day"), gettext_lazy("%(times)s times a day")),
)
"""What once, twice and more often in a period is called."""


def span(interval: timedelta) -> str:
    """``45 s``, ``4.25 min``."""
    for below, unit, text in UNITS:
        if interval < below:
            return str(text) % {"n": f"{interval / unit:.3g}"}
    return _("%(n)s days") % {"n": f"{interval / DAY:,.0f}"}


def frequency(per_minute: float) -> str:
    """``12 times a minute``, ``twice an hour``: in the shortest period that has one."""
    for period, once, twice, often in PERIODS:
        times = per_minute * (period / MINUTE)
        if times >= 1:
            number = f"{round(times, 1):g}" if times < 10 else f"{times:,.0f}"
            return str({"1": once, "2": twice}.get(number, often)) % {"times": number}
    return _("less than once a day")


# Reasons for when a key is refreshed


def lost() -> str:
    return _("fetched by a task, and lost since")


def not_fetched() -> str:
    return _("not fetched yet")


def clock_ahead() -> str:
    return _("fetched by a node whose clock is ahead")


def before_stale() -> str:
    return _("before it is stale")


def resting(windows: Windows, until: datetime) -> str:
    """``Mon 09:30 America/New_York``: what the clock shows in the zone of the window that opens at `until`."""
    zone = next((window.time_zone for window in windows.windows if window.is_open(until)), "UTC")
    moment = formatted(until.astimezone(ZoneInfo(zone)), "D H:i")
    return _("rests until %(moment)s %(zone)s (refresh window)") % {"moment": moment, "zone": zone}


def short_of_budget(interval: timedelta, longest: timedelta) -> str:
    return _("the budget allows no more: every %(interval)s instead of %(longest)s") % {
        "interval": span(interval),
        "longest": span(longest),
    }


def unchanged(refreshes: int, interval: timedelta, instead_of: timedelta | None) -> str:
    facts = {"count": f"{refreshes:,}", "interval": span(interval)}
    if instead_of is None:
        text = ngettext(
            "unchanged for %(count)s refresh: every %(interval)s",
            "unchanged for %(count)s refreshes: every %(interval)s",
            refreshes,
        )
        return text % facts
    text = ngettext(
        "unchanged for %(count)s refresh: every %(interval)s instead of %(usual)s",
        "unchanged for %(count)s refreshes: every %(interval)s instead of %(usual)s",
        refreshes,
    )
    return text % (facts | {"usual": span(instead_of)})


def at_least(interval: timedelta, by_age: bool) -> str:
    text = (
        _("at least every %(interval)s (maximum age)")
        if by_age
        else _("at least every %(interval)s (before it is stale)")
    )
    return text % {"interval": span(interval)}


def in_demand(per_minute: float, interval: timedelta, by_budget: bool) -> str:
    text = (
        _("read %(frequency)s: every %(interval)s, as often as the budget allows")
        if by_budget
        else _("read %(frequency)s: every %(interval)s")
    )
    return text % {"frequency": frequency(per_minute), "interval": span(interval)}
