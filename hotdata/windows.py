"""Windows: the times of the week in which a source is refreshed ahead, such as a stock exchange's hours.

A window is what a clock on a wall in its time zone shows: open from its start to before its end. Where the
clocks are turned, that is taken at its word: a wall time that is skipped opens nothing, and one that is shown
twice is open twice. A window over midnight belongs to the day on which it starts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from django.utils.translation import gettext as _

from hotdata.exceptions import BadSource, BadTrigger
from hotdata.triggers.zones import LATEST, load_zone, stretches

MAX_TEXT = 500
DAY = timedelta(days=1)
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
EVERY_DAY = frozenset(range(7))
WINDOW = re.compile(
    r"(?P<start>[0-9]{1,2}:[0-9]{2}) ?[-–] ?(?P<end>[0-9]{1,2}:[0-9]{2}) (?P<zone>\S+)(?: (?P<days>.+))?"
)


@dataclass(frozen=True, kw_only=True)
class Window:
    """One window of the week. Times are since the midnight of its day, and the end is after the start."""

    start: timedelta
    end: timedelta
    time_zone: str
    days: frozenset[int] = EVERY_DAY
    """As ``date.weekday()`` counts them: Monday is 0."""

    def is_open(self, at: datetime) -> bool:
        wall = at.astimezone(ZoneInfo(self.time_zone)).replace(tzinfo=None)
        return self._next_open(wall) == wall

    def opens_at(self, at: datetime) -> datetime:
        """The first instant from `at` on, in UTC, at which it is open."""
        at = at.astimezone(UTC)
        for stretch in stretches(self.time_zone, at, LATEST):
            opening = stretch.instant(self._next_open(stretch.wall(max(at, stretch.start))))
            if opening < stretch.end:
                return opening
        return LATEST

    def _next_open(self, wall: datetime) -> datetime:
        """The first wall time from `wall` on at which it is open, for a clock that is never turned."""
        midnight = datetime.combine(wall.date(), time())
        # From the day before, whose window may not be over, to the same day of the next week.
        days = (midnight + number * DAY for number in range(-1, 8))
        return next(
            max(wall, day + self.start)
            for day in days
            if day.weekday() in self.days and wall < day + self.end
        )


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Several windows, open while any of them is; without any, always."""

    windows: tuple[Window, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Windows:
        """Read windows as operators write them: ``09:30-16:00 America/New_York mon-fri; 10:00-14:00 Asia/Shanghai``.

        Without days a window is one of every day; an empty text is always open. Raises BadSource.
        """
        if len(text) > MAX_TEXT:
            raise BadSource("windows", _("At most %(most)d characters.") % {"most": MAX_TEXT})
        if not text.strip():
            return cls()
        return cls(windows=tuple(_window(" ".join(part.split())) for part in text.split(";")))

    def is_open(self, at: datetime) -> bool:
        return not self.windows or any(window.is_open(at) for window in self.windows)

    def opens_at(self, at: datetime) -> datetime:
        """`at` itself while they are open, else when they open next, in UTC."""
        if self.is_open(at):
            return at
        return min(window.opens_at(at) for window in self.windows)


def _window(text: str) -> Window:
    found = WINDOW.fullmatch(text)
    if found is None:
        message = _("%(text)r is not a window; windows look like 09:30-16:00 America/New_York mon-fri.")
        raise BadSource("windows", message % {"text": text})
    start, end = _time(found["start"]), _time(found["end"])
    if start == DAY:
        message = _("%(text)r can't start at 24:00: that is 00:00 of the next day.")
        raise BadSource("windows", message % {"text": text})
    if start == end:
        message = _("%(text)r ends when it starts; a whole day is 00:00-24:00.")
        raise BadSource("windows", message % {"text": text})
    try:
        load_zone(found["zone"])
    except BadTrigger as error:
        raise BadSource("windows", str(error)) from error
    return Window(
        start=start,
        end=end if end > start else end + DAY,
        time_zone=found["zone"],
        days=_days(found["days"]) if found["days"] else EVERY_DAY,
    )


def _time(text: str) -> timedelta:
    hours, minutes = map(int, text.split(":"))
    since_midnight = timedelta(hours=hours, minutes=minutes)
    if minutes > 59 or since_midnight > DAY:
        raise BadSource("windows", _("%(text)s is not a time of day.") % {"text": text})
    return since_midnight


def _days(text: str) -> frozenset[int]:
    """The days of ``mon,wed-fri``; a range may run over the end of the week."""
    found: set[int] = set()
    for part in text.replace("–", "-").lower().split(","):
        first, dash, last = (name.strip() for name in part.partition("-"))
        if first not in DAYS or (dash and last not in DAYS):
            message = _("%(text)r are no days; days look like mon-fri or sat,sun.")
            raise BadSource("windows", message % {"text": part.strip()})
        since, until = DAYS.index(first), DAYS.index(last if dash else first)
        found |= {number % 7 for number in range(since, until + 1 if until >= since else until + 8)}
    return frozenset(found)
