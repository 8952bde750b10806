"""Due times by cron expression, with Debian's rules for the days on which a time zone changes its offset.

An expression whose minute and hour both begin without a star names appointments: each is kept once. One that
the clock skips is kept right after the gap; one that the clock shows twice is kept the first time. Any other
expression follows the clock: what it skips doesn't happen, what it repeats happens again.

CronSim's own iterator has the same rules but advances by whole hours, and so loses its place where a zone
changes by 30 minutes; in Australia/Lord_Howe, ``*/15 2 * * *`` misses half of its due times that day.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from hotdata.triggers.base import MOMENT, Trigger
from hotdata.triggers.crontab import Crontab, normalise, parse
from hotdata.triggers.wording import words
from hotdata.triggers.zones import Stretch, stretches


@dataclass(frozen=True, kw_only=True)
class CronTrigger(Trigger):
    """Due whenever the clock of `time_zone` matches a cron expression of five fields."""

    expression: str

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "expression", normalise(self.expression))
        parse(self.expression)

    def describe(self) -> str:
        return words(self.expression)

    def _first(self, lo: datetime, hi: datetime) -> datetime | None:
        for part in self._parts(lo, hi):
            if part.makes_up:
                return part.stretch.start
            if wall := part.crontab.first(part.begin, part.end):
                return part.stretch.instant(wall)
        return None

    def _last(self, lo: datetime, hi: datetime) -> datetime | None:
        for part in reversed(list(self._parts(lo, hi))):
            if wall := part.crontab.last(part.begin, part.end):
                return part.stretch.instant(wall)
            if part.makes_up:
                return part.stretch.start
        return None

    def _count(self, lo: datetime, hi: datetime) -> int:
        return sum(part.crontab.count(part.begin, part.end) + part.makes_up for part in self._parts(lo, hi))

    def _parts(self, lo: datetime, hi: datetime) -> Iterable[_Part]:
        crontab = parse(self.expression)
        for stretch in stretches(self.time_zone, lo, hi):
            yield _part(crontab, stretch, lo, hi)


@dataclass(frozen=True, slots=True)
class _Part:
    """The wall times from `begin` to before `end` of one stretch, in which each match is due.

    `makes_up` says that besides these the very start of the stretch is due, for an appointment in the gap.
    """

    crontab: Crontab
    stretch: Stretch
    begin: datetime
    end: datetime
    makes_up: bool


def _part(crontab: Crontab, stretch: Stretch, lo: datetime, hi: datetime) -> _Part:
    begin = stretch.wall(max(lo, stretch.start))
    end = stretch.wall(min(hi, stretch.end))
    if not crontab.has_fixed_times:
        return _Part(crontab, stretch, begin, end, False)
    landing = stretch.wall(stretch.start)
    makes_up = (
        lo <= stretch.start < hi
        and crontab.count(stretch.reached, landing) > 0
        # An appointment of its own at the end of the gap and those made up for there are one due time.
        and crontab.count(landing, landing + MOMENT) == 0
    )
    return _Part(crontab, stretch, max(begin, stretch.reached), end, makes_up)
