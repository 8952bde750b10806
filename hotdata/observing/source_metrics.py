"""What Prometheus is told of sources: calls of their upstreams, reads and ages, and how their gates stand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from hotdata.exceptions import CacheUnavailable
from hotdata.freshness import entries, gate, meters
from hotdata.freshness.upstream import gate_of
from hotdata.models import CallTotal, Source
from hotdata.observing.counting import OTHER

MOST_SOURCES = 500
AGES_OVER = timedelta(minutes=5)
QUANTILES = (0.5, 0.99)


def calls() -> Iterator[Metric]:
    """The calls of each source's upstream. The sources that were called first have numbers of their own, for good."""
    made = CounterMetricFamily("hotdata_upstream_calls", "Calls of upstreams.", labels=["source", "outcome"])
    size = CounterMetricFamily(
        "hotdata_upstream_bytes", "What upstreams answered, in decoded bytes.", labels=["source"]
    )
    totals = CallTotal.objects.order_by("id")
    counted = ((row.source, (row.calls - row.failed_calls, row.failed_calls, row.size)) for row in totals)
    for source, (ok, failed, answered) in _cut(counted):
        made.add_metric([source, "ok"], ok)
        made.add_metric([source, "failed"], failed)
        size.add_metric([source], answered)
    yield from (made, size)


def _cut(counted: Iterable[tuple[str, tuple[int, ...]]]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The first `MOST_SOURCES` of these, and all others added up."""
    others: list[tuple[int, ...]] = []
    for place, (source, counts) in enumerate(counted):
        if place < MOST_SOURCES:
            yield source, counts
        else:
            others.append(counts)
    if others:
        yield OTHER, tuple(map(sum, zip(*others, strict=True)))


def told_by_redis(sources: Sequence[Source], now: datetime) -> list[Metric]:
    """What only Redis knows, and whether it says so."""
    up = GaugeMetricFamily("hotdata_redis_up", "Whether Redis answers.")
    try:
        entries.ping()
        told = [*_reads(sources, now), *_gates(sources[:MOST_SOURCES])]
    except CacheUnavailable:
        up.add_metric([], 0)
        return [up]
    up.add_metric([], 1)
    return [up, *told]


def _reads(sources: Sequence[Source], now: datetime) -> Iterator[Metric]:
    reads = CounterMetricFamily(
        "hotdata_reads", "Reads, by how they were served.", labels=["source", "served"]
    )
    waits = CounterMetricFamily("hotdata_gate_waits", "Calls that waited at the gate.", labels=["source"])
    waited = CounterMetricFamily(
        "hotdata_gate_wait_seconds", "How long calls waited at the gate.", labels=["source"]
    )
    names = [source.name for source in sources]
    found = meters.ever(names)
    counted = (
        (
            name,
            (
                *found[name].served.values(),
                found[name].waits,
                found[name].waited // timedelta(milliseconds=1),
            ),
        )
        for name in names
    )
    for source, (*served, waits_of_it, milliseconds) in _cut(counted):
        for how, count in zip(meters.Served, served, strict=True):
            reads.add_metric([source, how], count)
        waits.add_metric([source], waits_of_it)
        waited.add_metric([source], milliseconds / 1000)
    ages = GaugeMetricFamily(
        "hotdata_entry_age_seconds",
        "How old the values were that readers got in the last five minutes.",
        labels=["source", "quantile"],
    )
    for source, measures in meters.totals(names[:MOST_SOURCES], since=now - AGES_OVER, until=now).items():
        for quantile in QUANTILES:
            age = measures.percentile(100 * quantile)
            if age is not None:
                ages.add_metric([source, str(quantile)], age)
    yield from (reads, waits, waited, ages)


def _gates(sources: Sequence[Source]) -> Iterator[Metric]:
    def gauge(name: str, documentation: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(name, documentation, labels=["source"])

    breaker = gauge(
        "hotdata_breaker_open", "1 while an upstream is left alone, or only probed, after failures."
    )
    used = gauge("hotdata_budget_used_calls", "Calls of the upstream in the last minute.")
    budget = gauge("hotdata_budget_calls", "Calls of the upstream that a minute may have.")
    under_way = gauge("hotdata_calls_under_way", "Calls of the upstream that have not ended.")
    cooldown = gauge("hotdata_cooldown_seconds", "How long the upstream still wants to be left alone.")
    states = gate.look_each([gate_of(source) for source in sources])
    for source, state in zip(sources, states, strict=True):
        breaker.add_metric([source.name], int(state.breaker != "closed"))
        used.add_metric([source.name], state.calls)
        budget.add_metric([source.name], state.budget)
        under_way.add_metric([source.name], state.under_way)
        cooldown.add_metric([source.name], state.cooldown.total_seconds())
    yield from (breaker, used, budget, under_way, cooldown)
