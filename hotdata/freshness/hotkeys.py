"""Which keys of a source are read most.

Each process counts its reads in memory and adds them to Redis every few seconds, into one sorted set for each
source and five minutes. A read costs no Redis command. What is hot is worked out from the last half an hour, the
newer buckets counting more: a key is hot when it was read in at least two of them, so that somebody who
walks once through all keys makes none of them hot. A snapshot in the database bridges the loss of Redis.

Everything is bounded: what a process holds, what a bucket holds, and what is read of it.
"""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from hotdata.exceptions import CacheUnavailable
from hotdata.freshness import redis
from hotdata.models.hotkeys import remember, remembered

MAX_COUNTED = 10_000  # keys, in a process between two flushes
MAX_MEMBERS = 10_000  # keys, in a bucket

BUCKET = timedelta(minutes=5)
BUCKETS = 6
WEIGHTS = tuple(0.5**age for age in range(BUCKETS))
KEPT = BUCKET * (BUCKETS + 1)
LEAST_BUCKETS = 2


class _Tally:
    """The reads of this process since its last flush, by source and key. Thread-safe."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.counts: dict[tuple[str, str], int] = {}

    def take(self) -> dict[tuple[str, str], int]:
        with self.lock:
            taken, self.counts = self.counts, {}
        return taken

    def put_back(self, taken: dict[tuple[str, str], int]) -> None:
        with self.lock:
            for pair, count in taken.items():
                if pair in self.counts:
                    self.counts[pair] += count
                elif len(self.counts) < MAX_COUNTED:
                    self.counts[pair] = count


_tally = _Tally()


def _begin_anew() -> None:
    _tally.__init__()  # type: ignore[misc]


# The counts are the parent's, who flushes them; and a lock that was held at the fork would stay so for ever.
os.register_at_fork(after_in_child=_begin_anew)


def note(source: str, key: str) -> None:
    """Count one read of a checked `key`, in memory. Beyond `MAX_COUNTED` keys, new ones are dropped until a flush."""
    pair = source, key
    with _tally.lock:
        counts = _tally.counts
        if pair in counts:
            counts[pair] += 1
        elif len(counts) < MAX_COUNTED:
            counts[pair] = 1


def flush() -> None:
    """Add what was counted since the last flush to Redis, in one round trip.

    Raises CacheUnavailable; then the counts are kept for the next flush, within the same bound, and some of them
    may be counted twice.
    """
    taken = _tally.take()
    if not taken:
        return
    bucket = _bucket(time.time())
    try:
        with redis.guarded(), redis.client().pipeline(transaction=False) as pipe:
            names = {source: _name(source, bucket) for source, _ in taken}
            for (source, key), count in taken.items():
                pipe.zincrby(names[source], count, key)
            for name in names.values():
                pipe.zremrangebyrank(name, 0, -MAX_MEMBERS - 1)
                pipe.expire(name, KEPT)
            pipe.execute()
    except CacheUnavailable:
        _tally.put_back(taken)
        raise


def hottest(source: str, *, now: datetime, limit: int) -> dict[str, float]:
    """The `limit` most-read keys of `source` by what is in Redis: their decayed reads per minute, most-read first.

    A key that was read evenly all the time has its true rate. Reads only the top of each bucket, all in one round
    trip. Raises CacheUnavailable.
    """
    if limit < 1:
        return {}
    newest = _bucket(now.timestamp())
    looked_at = min(4 * limit + 100, MAX_MEMBERS)
    with redis.guarded(), redis.client().pipeline(transaction=False) as pipe:
        for age in range(BUCKETS):
            pipe.zrevrange(_name(source, newest - age), 0, looked_at - 1, withscores=True)
        buckets: list[list[tuple[bytes, float]]] = pipe.execute()
    reads: defaultdict[str, float] = defaultdict(float)
    seen: defaultdict[str, int] = defaultdict(int)
    for weight, bucket in zip(WEIGHTS, buckets, strict=True):
        for member, count in bucket:
            key = member.decode(errors="replace")
            reads[key] += weight * count
            seen[key] += 1
    minutes = _weighted_minutes(now)
    return _top(((key, count / minutes) for key, count in reads.items() if seen[key] >= LEAST_BUCKETS), limit)


def hot_reads(source: str, *, now: datetime, limit: int) -> dict[str, float]:
    """The `limit` most-read keys of `source`, by what is in Redis or by the snapshot, whichever says more.

    As `hottest`, but it knows them also when Redis has been flushed. Raises CacheUnavailable.
    """
    rates = remembered(source, now)
    for key, rate in hottest(source, now=now, limit=limit).items():
        rates[key] = max(rate, rates.get(key, 0.0))
    return _top(rates.items(), limit)


def snapshot(source: str, *, now: datetime, limit: int) -> None:
    """Remember `hot_reads` in the database; to be called every few minutes. Raises CacheUnavailable.

    What is remembered goes into the next snapshot with its rate decayed, so a flushed Redis doesn't wipe it out.
    """
    remember(source, hot_reads(source, now=now, limit=limit), now)


def _bucket(moment: float) -> int:
    return int(moment // BUCKET.total_seconds())


def _name(source: str, bucket: int) -> str:
    return redis.name("h", source, str(bucket))


def _weighted_minutes(now: datetime) -> float:
    """How many minutes the buckets cover, each with its bucket's weight. The newest is not over yet."""
    whole = BUCKET.total_seconds() / 60
    begun = now.timestamp() % BUCKET.total_seconds() / 60
    return WEIGHTS[0] * begun + whole * sum(WEIGHTS[1:])


def _top(rates: Iterable[tuple[str, float]], limit: int) -> dict[str, float]:
    by_rate: Any = sorted(rates, key=lambda pair: (-pair[1], pair[0]))
    return dict(by_rate[:limit])
