"""Periods: the day, week and month of the site's time zone that a report is of.

A day is from midnight to midnight as the clocks there show it: 23 or 25 hours long, when they are changed.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from django.utils import timezone
from django.utils.translation import gettext as _

from hotdata.exceptions import NotOver
from hotdata.triggers.zones import is_in_range

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SETTLING = timedelta(minutes=1)
"""After the end of a period its last records may not be there yet."""
FORMS = {
    "day": (re.compile(r"\d{4}-\d{2}-\d{2}"), "2026-11-25"),
    "week": (re.compile(r"\d{4}-W\d{2}"), "2026-W47"),
    "month": (re.compile(r"\d{4}-\d{2}"), "2026-11"),
}


class Length(enum.StrEnum):
    """How long a period is. A week is one of ISO 8601: it begins on Monday."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


@dataclass(frozen=True, kw_only=True)
class Period:
    """The days from `first` on and before `after`."""

    length: Length
    first: date
    after: date

    @property
    def name(self) -> str:
        """``2026-11-25``, ``2026-W47`` or ``2026-11``."""
        if self.length == Length.WEEK:
            year, week, _weekday = self.first.isocalendar()
            return f"{year}-W{week:02}"
        return self.first.isoformat() if self.length == Length.DAY else f"{self.first:%Y-%m}"

    @property
    def start(self) -> datetime:
        return _midnight(self.first)

    @property
    def end(self) -> datetime:
        """The instant at which it is over, which belongs to the next one."""
        return _midnight(self.after)

    @property
    def settled(self) -> datetime:
        """The instant from which on all that happened in it is on record."""
        return self.end + SETTLING

    @property
    def hours(self) -> float:
        """How long it is: 24 of a day, and another number when clocks are changed."""
        return (self.end - self.start) / HOUR

    @property
    def before(self) -> Period:
        """The one before it."""
        return containing(self.first - DAY, self.length)


def containing(day: date, length: Length) -> Period:
    """The period of that length with `day` in it."""
    if length == Length.DAY:
        return Period(length=length, first=day, after=day + DAY)
    if length == Length.WEEK:
        monday = day - day.weekday() * DAY
        return Period(length=length, first=monday, after=monday + 7 * DAY)
    first = day.replace(day=1)
    return Period(length=length, first=first, after=(first + 31 * DAY).replace(day=1))


def last_complete(length: Length, now: datetime) -> Period:
    """The latest period that is over at `now`."""
    return containing(local(now).date(), length).before


def missing(length: Length, *, after: date | None, now: datetime, most: int) -> list[Period]:
    """The periods that are over and begin after the day `after`, oldest first, and of many the latest `most`.

    Without `after` there is nothing to go on from: then it is the last one alone.
    """
    period = last_complete(length, now)
    if after is None:
        return [period]
    periods: list[Period] = []
    while len(periods) < most and period.first > after:
        periods.append(period)
        period = period.before
    return periods[::-1]


def refuse_unfinished(period: Period, now: datetime) -> None:
    """Raise NotOver unless `period` is over, and all that happened in it is on record."""
    if now < period.settled:
        raise NotOver(
            _(
                "%(period)s is not over, or its last records may not be there yet: "
                "this can be made from %(time)s on."
            )
            % {"period": period.name, "time": f"{local(period.settled):%Y-%m-%d %H:%M %Z}"}
        )


def local(moment: datetime) -> datetime:
    """What the clocks of the site's zone show, whatever zone is active."""
    return timezone.localtime(moment, timezone.get_default_timezone())


def parse(text: str, length: Length) -> Period:
    """The period of that name. Raises ValueError, with a sentence."""
    form, example = FORMS[length]
    try:
        if not form.fullmatch(text):
            raise ValueError(text)
        if length == Length.WEEK:
            day = datetime.strptime(f"{text}-1", "%G-W%V-%u").date()  # noqa: DTZ007 - a date has no zone
        else:
            day = date.fromisoformat(text if length == Length.DAY else f"{text}-01")
        period = containing(day, length)
        if is_in_range(period.start):  # the one before it has a start, too
            return period
        raise ValueError(text)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text!r} is no {length}, such as {example}.") from error


def _midnight(day: date) -> datetime:
    """The first instant of `day`. Where clocks jump over midnight, that is when they do."""
    zone = timezone.get_default_timezone()
    assert isinstance(zone, ZoneInfo)
    # Fold 0: of two midnights the earlier one begins the day; of none, UTC gives the instant of the jump.
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(ZoneInfo("UTC"))
