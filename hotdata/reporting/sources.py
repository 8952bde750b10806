"""What readers of each source got in a period, against its objective, and what its upstream was asked.

Reads are on record by the hour of UTC. An hour counts in the period in which it begins: where the clocks are half an
hour off, days begin up to half an hour later here, and each hour still counts in one day only. Calls are counted by
the day of the site's zone, exactly; how long they took is read off the calls that are still on record.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator

import msgspec
from django.db.models import Sum

from hotdata.freshness.meters import Measures, Served
from hotdata.models import Source, SourceUsage
from hotdata.observing import freshness, upstreams
from hotdata.reporting.periods import Period

MOST_SOURCES = 200


class SourceReads(msgspec.Struct, frozen=True, kw_only=True):
    """What readers of a source got. Ages in seconds."""

    source: str
    reads: int
    fresh: int
    errors: int
    """Reads that got nothing, though they might have."""
    hours: int
    """Of so many there is a record."""
    p50: float | None
    p99: float | None
    objective_age: float | None = None
    """What it was when the report was made. None: it has none, or the source is gone."""
    objective_share: float | None = None
    met_share: float | None = None

    @property
    def met(self) -> bool | None:
        if self.met_share is None or self.objective_share is None:
            return None
        return self.met_share >= self.objective_share


class SourceCalls(msgspec.Struct, frozen=True, kw_only=True):
    """What the upstream of a source was asked. Latencies in seconds, at most 5 % too high."""

    source: str
    calls: int
    failed: int
    size: int
    """Bytes of the decoded answers."""
    p50: float | None = None
    p95: float | None = None

    @property
    def error_share(self) -> float | None:
        return self.failed / self.calls if self.calls else None


class Reads(msgspec.Struct, frozen=True, kw_only=True):
    """What readers got in a period."""

    sources: tuple[SourceReads, ...]
    """At most `MOST_SOURCES`: those that missed their objective by most, then those that were read most."""
    other_sources: int
    reads: int
    """Of all sources."""
    hours: int


class Calls(msgspec.Struct, frozen=True, kw_only=True):
    """What upstreams were asked in a period."""

    sources: tuple[SourceCalls, ...]
    """At most `MOST_SOURCES`: those with the most failed calls, then those with the most."""
    other_sources: int
    calls: int
    """Of all sources; and likewise:"""
    failed: int
    size: int


def reads_of(period: Period) -> Reads:
    """What readers got in `period`. Two queries."""
    sources = {
        source.name: source for source in Source.objects.only("name", "objective_age", "objective_share")
    }
    count = reads = hours = 0

    def rows() -> Iterator[SourceReads]:
        nonlocal count, reads, hours
        for name, hours_of_it, measures in freshness.on_record(period.start, period.end):
            count, reads, hours = count + 1, reads + measures.reads, hours + hours_of_it
            yield _reads(name, hours_of_it, measures, sources.get(name))

    listed = heapq.nsmallest(MOST_SOURCES, rows(), key=_by_want)
    return Reads(sources=tuple(listed), other_sources=count - len(listed), reads=reads, hours=hours)


def calls_of(period: Period) -> Calls:
    """What upstreams were asked in `period`. Two queries."""
    traffic = upstreams.traffic_between(period.start, period.end)
    count = calls = failed = size = 0

    def rows() -> Iterator[SourceCalls]:
        nonlocal count, calls, failed, size
        usage = SourceUsage.objects.filter(day__gte=period.first, day__lt=period.after).order_by()
        summed = usage.values_list("source").annotate(c=Sum("calls"), f=Sum("failed_calls"), s=Sum("size"))
        for source, *sums in summed.iterator():
            count, calls, failed, size = count + 1, calls + sums[0], failed + sums[1], size + sums[2]
            yield _calls(source, *sums, traffic=traffic.get(source, upstreams.NONE))

    listed = heapq.nsmallest(MOST_SOURCES, rows(), key=lambda row: (-row.failed, -row.calls, row.source))
    return Calls(
        sources=tuple(listed), other_sources=count - len(listed), calls=calls, failed=failed, size=size
    )


def _reads(name: str, hours: int, measures: Measures, source: Source | None) -> SourceReads:
    row = SourceReads(
        source=name,
        reads=measures.reads,
        fresh=measures.served.get(Served.FRESH, 0),
        errors=measures.served.get(Served.ERROR, 0),
        hours=hours,
        p50=measures.percentile(50),
        p99=measures.percentile(99),
    )
    objective = source and freshness.objective_of(source, measures)
    if not objective:
        return row
    return msgspec.structs.replace(
        row,
        objective_age=objective.age.total_seconds(),
        objective_share=objective.share,
        met_share=objective.met_share,
    )


def _by_want(row: SourceReads) -> tuple[float, int, str]:
    """By how much of the objective is wanting; nothing where there is none, or it is met."""
    wanting = 0.0
    if row.met_share is not None and row.objective_share is not None:
        wanting = max(0.0, row.objective_share - row.met_share)
    return (-wanting, -row.reads, row.source)


def _calls(source: str, calls: int, failed: int, size: int, *, traffic: upstreams.Traffic) -> SourceCalls:
    p50, p95 = traffic.p50, traffic.p95
    return SourceCalls(
        source=source,
        calls=calls,
        failed=failed,
        size=size,
        p50=p50.total_seconds() if p50 is not None else None,
        p95=p95.total_seconds() if p95 is not None else None,
    )
