"""How the wall clock of a time zone runs against UTC: as stretches of constant offset.

Within a stretch, wall time is plain arithmetic. Everything odd about time zones happens where one stretch
meets the next: the clock skips wall times (a gap) or shows some a second time (a fold).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.utils.translation import gettext as _

from hotdata.exceptions import BadTrigger

# datetime's first and last year are left out, so that no wall clock leaves its range.
EARLIEST = datetime(2, 1, 1, tzinfo=UTC)
LATEST = datetime(9999, 1, 1, tzinfo=UTC)

SECOND = timedelta(seconds=1)
# In the whole zone database (2026), two changes of a zone's offset are never closer than 3.9 days.
PROBE_STEP = timedelta(days=3)
# No clock was ever turned back by more than a day; a fold is over after this.
LONGEST_FOLD = timedelta(days=2)


@dataclass(frozen=True, slots=True)
class Stretch:
    """A time of constant offset, from `start` to before `end` (UTC).

    `reached` is the wall time up to which the clock had already run when the stretch began: before the
    stretch's own first wall time after a gap, after it in a fold.
    """

    start: datetime
    end: datetime
    offset: timedelta
    reached: datetime

    def wall(self, instant: datetime) -> datetime:
        """The wall time, as a naive datetime, that the clock of this stretch shows at `instant`."""
        return _wall(instant, self.offset)

    def instant(self, wall: datetime) -> datetime:
        return (wall - self.offset).replace(tzinfo=UTC)


def is_in_range(instant: datetime) -> bool:
    """Whether the clocks of all time zones can show `instant`, which is aware."""
    return EARLIEST <= instant <= LATEST


def load_zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (
        ZoneInfoNotFoundError,
        ValueError,
        OSError,
        TypeError,
    ) as error:  # OSError: "Europe" is a directory
        message = _("There is no time zone “%(name)s”; names look like Europe/Berlin.")
        raise BadTrigger("time_zone", message % {"name": name}) from error


def stretches(time_zone: str, lo: datetime, hi: datetime) -> Iterator[Stretch]:
    """The stretches that share an instant with [lo, hi), in order. Long ones come in pieces of a year."""
    for year in range(lo.year, hi.year + 1):
        for stretch in _stretches_of_year(time_zone, year):
            if stretch.start < hi and lo < stretch.end:
                yield stretch


@functools.lru_cache(maxsize=2048)
def _stretches_of_year(time_zone: str, year: int) -> tuple[Stretch, ...]:
    """A year's stretches: nearly a millisecond to find, which is why they are kept."""
    zone = ZoneInfo(time_zone)
    start = max(datetime(year, 1, 1, tzinfo=UTC), EARLIEST)
    end = min(datetime(min(year + 1, LATEST.year), 1, 1, tzinfo=UTC), LATEST)
    # From a little earlier, since the year may begin inside a fold.
    begin = start - LONGEST_FOLD
    reached = _wall(begin, _offset(zone, begin))
    found: list[Stretch] = []
    for since, until in pairwise([begin, *_changes(zone, begin, end), end]):
        offset = _offset(zone, since)
        if until > start:
            already = reached if since >= start else max(reached, _wall(start, offset))
            found.append(Stretch(max(since, start), until, offset, already))
        reached = max(reached, _wall(until, offset))
    return tuple(found)


def _changes(zone: ZoneInfo, start: datetime, end: datetime) -> Iterator[datetime]:
    """The instants after `start` and before `end` from which on the offset is another."""
    known, offset = start, _offset(zone, start)
    while known < end - SECOND:
        probe = min(known + PROBE_STEP, end - SECOND)
        if (other := _offset(zone, probe)) != offset:
            yield _bisect_change(zone, known, probe)
        known, offset = probe, other


def _bisect_change(zone: ZoneInfo, before: datetime, after: datetime) -> datetime:
    old = _offset(zone, before)
    while after - before > SECOND:
        middle = before + (after - before) // SECOND // 2 * SECOND
        if _offset(zone, middle) == old:
            before = middle
        else:
            after = middle
    return after


def _wall(instant: datetime, offset: timedelta) -> datetime:
    return instant.replace(tzinfo=None) + offset


def _offset(zone: ZoneInfo, instant: datetime) -> timedelta:
    offset = instant.astimezone(zone).utcoffset()
    assert offset is not None
    return offset
