"""Time in buckets: records counted by the half hour of a day, and what is known of past ones kept for the next look.

A bucket that is over and settled never changes again, so its counts are kept in Redis, as short texts in one hash by
bucket. Only full ones are: to count a few rows again is as cheap as to ask. While Redis is away all are counted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

import msgspec
from django.db.models import BigIntegerField, Func, Q

from hotdata.exceptions import CacheUnavailable
from hotdata.freshness import redis

DAY = timedelta(days=1)
HALF_HOUR = timedelta(minutes=30)
SETTLING = timedelta(minutes=15)
"""After its end somebody may still write down what happened in a bucket."""
WORTH_KEEPING = 100  # records
KEPT = DAY + 2 * HALF_HOUR

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ALL = ""
"""Under this, a bucket's hash has the counts of all records."""

Counts = dict[str, int]
"""How many records, by what they are: the state of a run, the outcome and the latency of a call."""

_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(Counts)


@dataclass(frozen=True, kw_only=True)
class Buckets:
    """Consecutive buckets by their numbers since the epoch. The last one is not over yet."""

    width: timedelta
    numbers: range

    @classmethod
    def until(cls, now: datetime, *, over: timedelta = DAY, width: timedelta = HALF_HOUR) -> Buckets:
        """As many whole buckets as are in `over`, of which that of `now` is the last."""
        last = (now - EPOCH) // width
        return cls(width=width, numbers=range(last - over // width + 1, last + 1))

    def start(self, number: int) -> datetime:
        return EPOCH + number * self.width

    @property
    def since(self) -> datetime:
        return self.start(self.numbers[0])

    @property
    def starts(self) -> list[datetime]:
        return [self.start(number) for number in self.numbers]

    def within(self, field: str, numbers: Collection[int]) -> Q:
        """Whether `field` lies in one of the buckets with these `numbers`; in none, if there are none."""
        condition = Q(pk__in=[])
        for first, last in _ranges(numbers):
            end = self.start(last + 1)
            # What lies in the future, by another clock, is for the present. A range without an end makes SQLite read
            # another index, and all of the table.
            end += DAY if last == self.numbers[-1] else timedelta(0)
            condition |= Q((f"{field}__gte", self.start(first)), (f"{field}__lt", end))
        return condition

    def settled(self, now: datetime) -> list[int]:
        """The numbers of those that are over for long enough."""
        return [number for number in self.numbers if self.start(number + 1) + SETTLING <= now]


class Number(Func):
    """The number of the bucket in which a time lies."""

    output_field = BigIntegerField()

    def __init__(self, field: Any, *, width: timedelta) -> None:
        super().__init__(field, seconds=width // timedelta(seconds=1))

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        context["template"] = "FLOOR(EXTRACT(EPOCH FROM %(expressions)s) / %(seconds)s)"
        return self.as_sql(compiler, connection, **context)

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        context["template"] = "(CAST(STRFTIME('%%%%s', %(expressions)s) AS INTEGER) / %(seconds)s)"
        return self.as_sql(compiler, connection, **context)


def added_up(buckets: Buckets, rows: Iterable[tuple[Any, str, str, int]]) -> dict[int, dict[str, Counts]]:
    """By bucket, the counts of each name and of ALL. A row is a `Number`, a name, what it counts, and how many."""
    counted: dict[int, dict[str, Counts]] = {}
    last = buckets.numbers[-1]
    for number, name, what, count in rows:
        by_name = counted.setdefault(min(int(number), last), {ALL: {}})
        for counts in (by_name[ALL], by_name.setdefault(name, {})):
            counts[what] = counts.get(what, 0) + count
    return counted


def kept(what: str, buckets: Buckets, names: Collection[str], now: datetime) -> dict[int, dict[str, Counts]]:
    """What is kept of settled buckets: by bucket, the counts of ALL and of those of `names` that have any."""
    fields = list(dict.fromkeys((ALL, *names)))
    settled = buckets.settled(now)
    try:
        with redis.guarded(), redis.client(write=False).pipeline(transaction=False) as pipe:
            for number in settled:
                pipe.hmget(_name(what, buckets, number), fields)
            answers: list[list[bytes | None]] = pipe.execute()
    except CacheUnavailable:
        return {}
    found = {}
    for number, answer in zip(settled, answers, strict=True):
        if answer[0] is not None:
            pairs = zip(fields, answer, strict=True)
            found[number] = {name: _decoder.decode(text) for name, text in pairs if text is not None}
    return found


def keep(
    what: str, buckets: Buckets, counted: Mapping[int, Mapping[str, Counts]], settled: Collection[int]
) -> None:
    """Keep what was `counted` in the `settled` buckets, by bucket and name, where that is worth it."""
    full = {number: counted[number] for number in settled if number in counted and _is_full(counted[number])}
    if not full:
        return
    try:
        with redis.guarded(), redis.client().pipeline(transaction=False) as pipe:
            for number, by_name in full.items():
                name = _name(what, buckets, number)
                pipe.hset(name, mapping={field: _encode(counts) for field, counts in by_name.items()})
                pipe.expire(name, KEPT)
            pipe.execute()
    except CacheUnavailable:
        return


def _is_full(by_name: Mapping[str, Counts]) -> bool:
    return sum(by_name.get(ALL, {}).values()) >= WORTH_KEEPING


def _name(what: str, buckets: Buckets, number: int) -> str:
    return redis.name("b", what, f"{buckets.width.total_seconds():.0f}", str(number))


def _ranges(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """The first and the last of each row of consecutive numbers."""
    for _, row in groupby(enumerate(sorted(numbers)), key=lambda pair: pair[1] - pair[0]):
        members = [number for _, number in row]
        yield members[0], members[-1]
