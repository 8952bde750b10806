"""What readers got, measured: how each read was served, how old its value was, and what the upstreams were asked.

Each process counts in memory, by source and minute, and adds its counts to Redis every few seconds: one hash for
each source and minute, kept for 48 hours, and one for each source, for what metrics show. A read costs no Redis
command.

Ages are counted in buckets with ten bounds to a decade, from 0.1 s to a week: each is 26 % above the one before.
So an age that is read off a bound is at most 26 % too high. What is older than a week counts as a week.
"""

from __future__ import annotations

import enum
import math
import os
import threading
import time
from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby

from hotdata.exceptions import CacheUnavailable
from hotdata.freshness import redis

MINUTE = timedelta(minutes=1)
KEPT = timedelta(hours=48)
MAX_MINUTES = 60  # that a process holds while it can't reach Redis

# Counts are stored for months by their place in here alone, so the bounds can't be changed.
BOUNDS = (*(10 ** (place / 10 - 1) for place in range(68)), 604_800.0)
"""Seconds. A bucket holds the ages above the bound before it, up to and with its own."""


class Served(enum.StrEnum):
    """How a read was served."""

    FRESH = "fresh"
    STALE = "stale"
    LAST_KNOWN = "last_known"
    MISS = "miss"
    ERROR = "error"


CALLS, FAILED_CALLS = "calls", "failed_calls"
WAITS, WAITED = "waits", "waited_ms"
FIELDS = (*Served, CALLS, FAILED_CALLS, WAITS, WAITED, *(f"age_{place}" for place in range(len(BOUNDS))))
"""What is counted, as fields of a hash; in memory, a list has the counts in this order."""

PLACES = {name: place for place, name in enumerate(FIELDS)}
PLACE_OF_CALLS, PLACE_OF_FAILED_CALLS, FIRST_AGE = PLACES[CALLS], PLACES[FAILED_CALLS], PLACES["age_0"]
PLACE_OF_WAITS, PLACE_OF_WAITED = PLACES[WAITS], PLACES[WAITED]
LAST_BOUND = BOUNDS[-1]

KEPT_OF_EVER = timedelta(days=30)
COUNTED_FOR_EVER = tuple(PLACES[name] for name in (*Served, WAITS, WAITED))
"""The places of what is also counted without regard to the minute."""

Counts = dict[int, dict[str, list[int]]]
"""By minute since the epoch and by source."""


# KEYS the hashes of some minutes. Their sum is worked out where they are: to read the hashes of a day of a busy source
# takes ten times as long, most of it for making Python's objects of 50,000 numbers.
SUM = redis.Script("""
local sums, answer = {}, {}
for _, minute in ipairs(KEYS) do
  local counts = redis.call('HGETALL', minute)
  for at = 1, #counts, 2 do
    sums[counts[at]] = (sums[counts[at]] or 0) + counts[at + 1]
  end
end
for name, sum in pairs(sums) do
  answer[#answer + 1] = name
  answer[#answer + 1] = string.format('%.0f', sum)
end
return answer
""")


class _Tally:
    """The counts of this process since its last flush. Thread-safe where the lock is held."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.counts: Counts = {}

    def row(self, minute: int, source: str) -> list[int]:
        """The counts of `source` in `minute`, to be added to. The caller holds the lock."""
        try:
            return self.counts[minute][source]
        except KeyError:
            row = self.counts.setdefault(minute, {}).setdefault(source, [0] * len(FIELDS))
            self._forget_oldest()
            return row

    def take(self) -> Counts:
        with self.lock:
            taken, self.counts = self.counts, {}
        return taken

    def put_back(self, taken: Counts) -> None:
        with self.lock:
            for minute, source, counted in _rows(taken):
                row = self.row(minute, source)
                row[:] = map(int.__add__, row, counted)

    def _forget_oldest(self) -> None:
        while len(self.counts) > MAX_MINUTES:
            del self.counts[min(self.counts)]


_tally = _Tally()


def _begin_anew() -> None:
    _tally.__init__()  # type: ignore[misc]


# The counts are the parent's, who flushes them; and a lock that was held at the fork would stay so for ever.
os.register_at_fork(after_in_child=_begin_anew)


def note(source: str, served: Served, age: float | None) -> None:
    """Count one read of a source that exists, in memory. `age` is that of the value in seconds, if it got one."""
    minute = int(time.time()) // 60
    with _tally.lock:
        row = _tally.row(minute, source)
        row[PLACES[served]] += 1
        if age is not None:
            row[FIRST_AGE + bisect_left(BOUNDS, age if age < LAST_BOUND else LAST_BOUND)] += 1


def note_call(source: str, *, ok: bool) -> None:
    """Count one call of the source's upstream, in memory."""
    minute = int(time.time()) // 60
    with _tally.lock:
        row = _tally.row(minute, source)
        row[PLACE_OF_CALLS] += 1
        if not ok:
            row[PLACE_OF_FAILED_CALLS] += 1


def note_wait(source: str, seconds: float) -> None:
    """Count one wait at the gate of `source`, in memory."""
    minute = int(time.time()) // 60
    with _tally.lock:
        row = _tally.row(minute, source)
        row[PLACE_OF_WAITS] += 1
        row[PLACE_OF_WAITED] += round(seconds * 1000)


def flush() -> None:
    """Add what was counted since the last flush to Redis, all or nothing, in one round trip.

    Raises CacheUnavailable; then the counts of the last `MAX_MINUTES` minutes that had any are kept for the next
    flush. Should Redis have added them, and only its answer was lost, they count twice.
    """
    taken = _tally.take()
    if not taken:
        return
    try:
        with redis.guarded(), redis.client().pipeline(transaction=True) as pipe:
            for minute, source, row in _rows(taken):
                name = _name(source, minute)
                for counted, count in zip(FIELDS, row, strict=True):
                    if count:
                        pipe.hincrby(name, counted, count)
                pipe.expire(name, KEPT)
                ever = _name_of_ever(source)
                for place in COUNTED_FOR_EVER:
                    if row[place]:
                        pipe.hincrby(ever, FIELDS[place], row[place])
                pipe.expire(ever, KEPT_OF_EVER)
            pipe.execute()
    except CacheUnavailable:
        _tally.put_back(taken)
        raise


@dataclass(frozen=True, kw_only=True)
class Measures:
    """What was counted for a source in some time. Of several times, they can be added up."""

    served: Mapping[Served, int] = field(default_factory=dict)
    ages: tuple[int, ...] = (0,) * len(BOUNDS)
    """How many reads got a value of which age, for each of `BOUNDS`."""
    calls: int = 0
    failed_calls: int = 0

    def __add__(self, other: Measures) -> Measures:
        return Measures(
            served={served: self.served.get(served, 0) + other.served.get(served, 0) for served in Served},
            ages=tuple(mine + others for mine, others in zip(self.ages, other.ages, strict=True)),
            calls=self.calls + other.calls,
            failed_calls=self.failed_calls + other.failed_calls,
        )

    @property
    def reads(self) -> int:
        return sum(self.served.values())

    def share(self, served: Served) -> float | None:
        """The share of all reads that were `served` so; None without reads."""
        return self.served.get(served, 0) / self.reads if self.reads else None

    def percentile(self, p: float) -> float | None:
        """The age in seconds that `p` percent of the values didn't exceed; None when no value was read.

        It is the upper bound of the bucket, so at most 26 % (below 0.1 s: 0.1 s) above the true one.
        """
        rank = max(1.0, sum(self.ages) * p / 100)
        counted = 0
        for bound, count in zip(BOUNDS, self.ages, strict=True):
            counted += count
            if counted >= rank:
                return bound
        return None

    def younger_than(self, age: timedelta) -> float | None:
        """The share of all reads that got a value younger than `age`; None without reads.

        A read that got no value didn't get a young one. `age` seldom is a bound: of the bucket in which it lies
        those are taken to be younger that would be, were its ages spread evenly.
        """
        if not self.reads:
            return None
        sought = age.total_seconds()
        younger = 0.0
        lower = 0.0
        for bound, count in zip(BOUNDS, self.ages, strict=True):
            younger += count * min(1.0, max(0.0, (sought - lower) / (bound - lower)))
            lower = bound
        return younger / self.reads


def measured(source: str, *, since: datetime, until: datetime) -> dict[datetime, Measures]:
    """What was counted for `source` from the minute of `since` on and before `until`, by minute, in one round trip.

    Only minutes with any counts are there, of the last 48 hours. Raises CacheUnavailable.
    """
    minutes = _minutes(since, until)
    if not minutes:
        return {}
    with redis.guarded(), redis.client().pipeline(transaction=False) as pipe:
        for minute in minutes:
            pipe.hgetall(_name(source, minute))
        found: list[dict[bytes, bytes]] = pipe.execute()
    return {
        datetime.fromtimestamp(minute * 60, UTC): _measures(counts)
        for minute, counts in zip(minutes, found, strict=True)
        if counts
    }


def totals(sources: Collection[str], *, since: datetime, until: datetime) -> dict[str, Measures]:
    """What was counted for each of `sources` in that time, as `measured` has it by minute; in one round trip.

    Raises CacheUnavailable.
    """
    minutes = _minutes(since, until)
    if not minutes:
        return dict.fromkeys(sources, NOTHING)
    names = list(sources)
    return dict(zip(names, _summed([(source, minutes) for source in names]), strict=True))


def by_hour(source: str, *, since: datetime, until: datetime) -> dict[datetime, Measures]:
    """What `measured` has by minute, by hour of UTC. Raises CacheUnavailable."""
    hours = [list(minutes) for _, minutes in groupby(_minutes(since, until), lambda minute: minute // 60)]
    summed = _summed([(source, minutes) for minutes in hours])
    return {
        datetime.fromtimestamp(minutes[0] // 60 * 3600, UTC): measures
        for minutes, measures in zip(hours, summed, strict=True)
        if measures != NOTHING
    }


@dataclass(frozen=True, kw_only=True)
class Ever:
    """What was counted of a source since Redis knows of it. It only grows, until Redis loses it."""

    served: Mapping[Served, int]
    waits: int
    waited: timedelta


def ever(sources: Sequence[str]) -> dict[str, Ever]:
    """What was ever counted of each of `sources`, in one round trip. Raises CacheUnavailable."""
    with redis.guarded(), redis.client().pipeline(transaction=False) as pipe:
        for source in sources:
            pipe.hgetall(_name_of_ever(source))
        found: list[dict[bytes, bytes]] = pipe.execute()
    return {source: _ever(counts) for source, counts in zip(sources, found, strict=True)}


def _ever(counts: Mapping[bytes, bytes]) -> Ever:
    def count(name: str) -> int:
        return int(counts.get(name.encode(), 0))

    return Ever(
        served={served: count(served) for served in Served},
        waits=count(WAITS),
        waited=timedelta(milliseconds=count(WAITED)),
    )


def _minutes(since: datetime, until: datetime) -> range:
    """Those that Redis may have counts of, by their numbers since the epoch."""
    now = time.time()
    first = int(max(since.timestamp(), now - KEPT.total_seconds()) // 60)
    return range(first, math.ceil(min(until.timestamp(), now + 60) / 60))


def _summed(asked: Sequence[tuple[str, Sequence[int]]]) -> list[Measures]:
    """For each source and its minutes what was counted in all of these."""
    if not asked:
        return []
    with redis.guarded():
        answers = SUM.run_each(
            ([_name(source, minute) for minute in minutes], []) for source, minutes in asked
        )
    return [_measures(dict(zip(answer[::2], answer[1::2], strict=True))) for answer in answers]


NOTHING = Measures(served=dict.fromkeys(Served, 0))


def _measures(counts: Mapping[bytes, bytes]) -> Measures:
    row = [int(counts.get(name.encode(), 0)) for name in FIELDS]
    return Measures(
        served={served: row[PLACES[served]] for served in Served},
        ages=tuple(row[FIRST_AGE:]),
        calls=row[PLACE_OF_CALLS],
        failed_calls=row[PLACE_OF_FAILED_CALLS],
    )


def _rows(counts: Counts) -> Iterator[tuple[int, str, list[int]]]:
    for minute, sources in counts.items():
        for source, row in sources.items():
            yield minute, source, row


def _name_of_ever(source: str) -> str:
    return redis.name("me", source)


def _name(source: str, minute: int) -> str:
    return redis.name("m", source, str(minute))
