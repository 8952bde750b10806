"""How upstreams answer: calls, errors and latency of each source over a day, and by the half hour.

Latencies are counted in steps, in the database, so that a day of a million calls is a few hundred numbers, and those of
several half hours add up to those of the day. A step is at most 5 % wide: a latency that is read off is at most as
much too high.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import BigIntegerField, Count, Func

from hotdata.models import ApiCall
from hotdata.observing import buckets as kept_buckets
from hotdata.observing.buckets import ALL, Buckets, Counts, Number

CALLS = "calls"
MICROSECOND = timedelta(microseconds=1)
FAILED, ANSWERED = "f", "a"

FIRST_DIGITS = ((2, 5), (5, 10), (10, 25))
STEPS = tuple(
    (digit * 10**power, percent * 10**power // 100)
    for power in range(3, 9)
    for digit, percent in FIRST_DIGITS
)
"""Up to which latency the steps are how wide, in microseconds. Below and above that they stay as they are there."""


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Calls of an upstream, and how long they took."""

    failed: int
    latencies: Mapping[int, int]
    """How many calls, failed ones too, took up to so many microseconds."""

    @property
    def calls(self) -> int:
        return sum(self.latencies.values())

    @property
    def error_share(self) -> float | None:
        return self.failed / self.calls if self.calls else None

    @property
    def p50(self) -> timedelta | None:
        return self.percentile(0.5)

    @property
    def p95(self) -> timedelta | None:
        return self.percentile(0.95)

    def percentile(self, part: float) -> timedelta | None:
        """What `part` of the calls didn't exceed, at most 5 % too high; None without calls."""
        left = max(1, math.ceil(part * self.calls))
        for bound, count in sorted(self.latencies.items()):
            left -= count
            if left <= 0:
                return bound * MICROSECOND
        return None


def merged(traffic: Iterable[Traffic]) -> Traffic:
    """All of it together."""
    failed, latencies = 0, Counter[int]()
    for part in traffic:
        failed += part.failed
        latencies.update(part.latencies)
    return Traffic(failed=failed, latencies=latencies)


NONE = Traffic(failed=0, latencies={})


@dataclass(frozen=True, kw_only=True)
class Upstreams:
    """The calls of a day, by source and bucket."""

    buckets: Buckets
    by_source: Mapping[str, tuple[Traffic, ...]]
    """Of each source that was asked for."""
    totals: tuple[Traffic, ...]
    """Of all sources, by bucket."""

    @functools.cached_property
    def wholes(self) -> Mapping[str, Traffic]:
        """Of each source, all day."""
        return {name: merged(traffic) for name, traffic in self.by_source.items()}

    @functools.cached_property
    def whole(self) -> Traffic:
        return merged(self.totals)


def upstreams(sources: Collection[str], now: datetime) -> Upstreams:
    """The calls of the last day: of all sources together, and of each of `sources`. One query, one look into Redis."""
    buckets = Buckets.until(now)
    counted = kept_buckets.kept(CALLS, buckets, sources, now)
    fresh = _count(buckets, [number for number in buckets.numbers if number not in counted])
    kept_buckets.keep(CALLS, buckets, fresh, buckets.settled(now))
    counted |= fresh
    return Upstreams(
        buckets=buckets,
        by_source={name: _traffic(buckets, counted, name) for name in sources},
        totals=_traffic(buckets, counted, ALL),
    )


def traffic_between(since: datetime, until: datetime) -> dict[str, Traffic]:
    """The calls that began in that time, as far as they are on record, by source. One query."""
    calls = ApiCall.objects.filter(started_at__gte=since, started_at__lt=until).order_by()
    rows = calls.values_list("source", "outcome", _Step("duration")).annotate(count=Count("id"))
    counts: dict[str, Counts] = {}
    for source, outcome, step, count in rows.iterator():
        of_source = counts.setdefault(source, {})
        what = _what(outcome, step)
        of_source[what] = of_source.get(what, 0) + count
    return {source: _of_counts(of_source) for source, of_source in counts.items()}


def _count(buckets: Buckets, numbers: Collection[int]) -> dict[int, dict[str, Counts]]:
    calls = ApiCall.objects.filter(buckets.within("started_at", numbers)).order_by()
    rows = calls.values_list(
        Number("started_at", width=buckets.width), "source", "outcome", _Step("duration")
    ).annotate(count=Count("id"))
    what = ((number, source, _what(outcome, step), count) for number, source, outcome, step, count in rows)
    return kept_buckets.added_up(buckets, what)


def _what(outcome: str, step: int) -> str:
    """As what a call is counted: whether it failed, and the step of its latency."""
    return f"{FAILED if outcome == ApiCall.Outcome.FAILED else ANSWERED}{int(step)}"


def _traffic(buckets: Buckets, counted: Mapping[int, Mapping[str, Counts]], name: str) -> tuple[Traffic, ...]:
    return tuple(_of_counts(counted.get(number, {}).get(name)) for number in buckets.numbers)


def _of_counts(counts: Counts | None) -> Traffic:
    if not counts:
        return NONE
    latencies: Counter[int] = Counter()
    failed = 0
    for what, count in counts.items():
        latencies[int(what[1:])] += count
        failed += count if what[0] == FAILED else 0
    return Traffic(failed=failed, latencies=latencies)


class _Step(Func):
    """The upper end, in microseconds, of the step in which a duration lies."""

    output_field = BigIntegerField()

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        context["template"] = _stepped("CAST(EXTRACT(EPOCH FROM %(expressions)s) * 1000000 AS bigint)")
        return self.as_sql(compiler, connection, **context)

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        context["template"] = _stepped("%(expressions)s")
        return self.as_sql(compiler, connection, **context)


def _stepped(duration: str) -> str:
    """SQL for the upper end of the step of `duration`, an expression of whole microseconds."""
    whens = " ".join(f"WHEN {duration} < {bound} THEN {_up(duration, width)}" for bound, width in STEPS)
    return f"(CASE {whens} ELSE {_up(duration, STEPS[-1][1])} END)"


def _up(duration: str, width: int) -> str:
    return f"({duration} / {width} + 1) * {width}"
