"""What a cron expression says about a wall clock: which minutes of which days match, with no time zone.

CronSim parses the expression and judges the days, as Debian's cron does. The matching times of a day are
never listed: they are numbered, hour by hour, so that counting a day costs no more than looking at it.
"""

from __future__ import annotations

import functools
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time
from typing import NoReturn

from cronsim import CronSim, CronSimError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext, pgettext_lazy

from hotdata.exceptions import BadTrigger

MAX_LENGTH = 200
NAMES = (
    gettext_lazy("minute"),
    gettext_lazy("hour"),
    pgettext_lazy("cron", "day"),
    pgettext_lazy("cron", "month"),
    gettext_lazy("weekday"),
)
ALLOWED = ("0-59", "0-23", "1-31", gettext_lazy("1-12 or JAN-DEC"), gettext_lazy("0-7 or SUN-SAT"))
MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
# A range of one value with a step. CronSim reads 5-5/2 as 5/2, which goes on to the end of the field.
SINGLE_VALUE = re.compile(r"\b0*(\w+)-0*\1/0*[1-9]\d*\b", re.IGNORECASE)
# From 2000 to 2099 dates and weekdays repeat every 28 years: what doesn't match in these never does.
ONE_CYCLE = (datetime(2000, 1, 1), datetime(2028, 1, 1))  # noqa: DTZ001 - wall times have no zone


class Crontab:
    """A parsed expression. Wall times are naive; ranges include their begin and exclude their end."""

    def __init__(self, expression: str) -> None:
        parsed = CronSim(SINGLE_VALUE.sub(r"\1", expression), datetime(2000, 1, 1, tzinfo=UTC))
        self._minutes = sorted(parsed.minutes)
        self._hours = sorted(parsed.hours)
        self._months = parsed.months
        self._match_day = parsed.match_day
        self._weekdays = parsed.weekdays
        self._times_per_day = len(self._hours) * len(self._minutes)
        minute, hour, *_rest = expression.split()
        # Debian's cron follows the clock when one of these begins with a star, and keeps appointments when not.
        self.has_fixed_times = not minute.startswith("*") and not hour.startswith("*")

    @property
    def weekdays(self) -> list[int] | None:
        """The weekdays that match, each once, and Sunday as 0; None where one counts in some weeks only."""
        plain = [day % 7 for day in self._weekdays if isinstance(day, int)]
        return sorted(set(plain)) if len(plain) == len(self._weekdays) else None

    def first(self, begin: datetime, end: datetime) -> datetime | None:
        """The earliest matching wall time in the range."""
        today, passed = begin.date(), self._rank(begin)
        for day in self._matching(range(begin.toordinal(), end.toordinal() + 1)):
            number = passed if day == today else 0
            if number < self._times_per_day:
                found = self._at(day, number)
                return found if found < end else None
        return None

    def last(self, begin: datetime, end: datetime) -> datetime | None:
        """The latest matching wall time in the range."""
        today, passed = end.date(), self._rank(end)
        for day in self._matching(range(end.toordinal(), begin.toordinal() - 1, -1)):
            number = (passed if day == today else self._times_per_day) - 1
            if number >= 0:
                found = self._at(day, number)
                return found if found >= begin else None
        return None

    def count(self, begin: datetime, end: datetime) -> int:
        """How many wall times in the range match."""
        if begin >= end:
            return 0
        days = sum(1 for _day in self._matching(range(begin.toordinal(), end.toordinal())))
        return days * self._times_per_day + self._passed(end) - self._passed(begin)

    def _matching(self, ordinals: Iterable[int]) -> Iterator[date]:
        for ordinal in ordinals:
            day = date.fromordinal(ordinal)
            if day.month in self._months and self._match_day(day):
                yield day

    def _passed(self, wall: datetime) -> int:
        """How many times match on `wall`'s own day before it."""
        return self._rank(wall) if any(self._matching([wall.toordinal()])) else 0

    def _rank(self, wall: datetime) -> int:
        """How many of the times of a matching day come before `wall`'s time of day."""
        hours = bisect_left(self._hours, wall.hour)
        if wall.hour not in self._hours[hours : hours + 1]:
            return hours * len(self._minutes)
        on_the_minute = not (wall.second or wall.microsecond)
        bisect = bisect_left if on_the_minute else bisect_right
        return hours * len(self._minutes) + bisect(self._minutes, wall.minute)

    def _at(self, day: date, number: int) -> datetime:
        hour, minute = divmod(number, len(self._minutes))
        return datetime.combine(day, time(self._hours[hour], self._minutes[minute]))


def normalise(expression: str) -> str:
    """The expression with single spaces, or `BadTrigger` when it is no five-field cron expression."""
    if len(expression) > MAX_LENGTH:
        _refuse(_("The expression is longer than %(most)d characters.") % {"most": MAX_LENGTH})
    fields = expression.split()
    if fields and fields[0].startswith("@"):
        _refuse_macro(fields[0])
    if len(fields) != len(NAMES):
        _refuse(_wrong_count(len(fields)))
    for position, text in enumerate(fields):
        _check_field(position, text)
    return " ".join(fields)


@functools.lru_cache(maxsize=4096)
def parse(expression: str) -> Crontab:
    """The parsed form of a normalised expression; raises `BadTrigger` for one that never matches.

    Kept, because thousands of jobs share a handful of expressions and each is asked at every fire.
    """
    try:
        crontab = Crontab(expression)
    except CronSimError:
        # Each field is fine by itself: CronSim has seen that the months have no such day.
        crontab = None
    if crontab is None or crontab.first(*ONE_CYCLE) is None:
        _refuse(_("“%(expression)s” never comes due: no date matches it.") % {"expression": expression})
    return crontab


def _check_field(position: int, text: str) -> None:
    alone = ["*"] * len(NAMES)
    alone[position] = text
    try:
        Crontab(" ".join(alone))
    except CronSimError:
        message = _("“%(text)s” is no valid %(field)s; allowed are %(allowed)s, lists, ranges and steps.")
        _refuse(message % {"text": text, "field": NAMES[position], "allowed": ALLOWED[position]})


def _wrong_count(count: int) -> str:
    return ngettext(
        "The expression has %(count)d field; exactly five are expected: minute hour day month weekday.",
        "The expression has %(count)d fields; exactly five are expected: minute hour day month weekday.",
        count,
    ) % {"count": count}


def _refuse_macro(macro: str) -> NoReturn:
    equivalent = MACROS.get(macro.lower())
    if equivalent is None:
        _refuse(_("“%(macro)s” can't be used; write the five fields out.") % {"macro": macro})
    message = _("“%(macro)s” can't be used; write it out as “%(equivalent)s”.")
    _refuse(message % {"macro": macro, "equivalent": equivalent})


def _refuse(message: str) -> NoReturn:
    raise BadTrigger("cron", message)
