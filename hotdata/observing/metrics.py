"""What Prometheus is told: a reading of the records, of all processes together, taken when somebody asks for it.

No process counts for itself, so it doesn't matter which one is asked, and there is nothing to lose by a restart.
Counters come from totals that outlive records (`totals`, `SourceUsage`, and Redis for what is counted at reads), all
else shows how things are at this moment. Labels are names of jobs and sources, `MOST_SOURCES` and `MOST_JOBS` of them,
and words; never keys or texts. What Redis doesn't tell is left out.
"""

from __future__ import annotations

import platform
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

import django
from django.db import Error as AnyDatabaseError
from django.db.models import Count, Min, Q, Sum
from django.utils import timezone
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)

from hotdata.exceptions import CacheUnavailable
from hotdata.freshness import entries, gate, meters
from hotdata.freshness.upstream import gate_of
from hotdata.models import Alert, Component, Run, Schedule, Source, SourceUsage
from hotdata.models.components import Health
from hotdata.models.runs import State
from hotdata.observing import schedulers, totals
from hotdata.observing.health import LAG_TOLERATED
from hotdata.observing.patience import at_most
from hotdata.observing.totals import DELAYS, DURATIONS, ENDED, OTHER, Counts, bound_at
from hotdata.version import VERSION

MOST_SOURCES = 500
MOST_COMPONENTS = 2 * MOST_SOURCES
AGES_OVER = timedelta(minutes=5)
QUANTILES = (0.5, 0.99)
PATIENCE = timedelta(seconds=5)
KEPT = 3.0  # seconds

SEVERITIES = {state: place for place, state in enumerate(Health)}


class Reading:
    """All metrics at one moment, as prometheus-client's encoders want them."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def read(now: datetime) -> Reading:
    """Take a reading. Raises the database's errors, and BeingCounted."""
    began = time.perf_counter()
    metrics: list[Metric] = [InfoMetricFamily("hotdata_build", "Versions of what runs.", value=_versions())]
    with at_most(PATIENCE):
        sources = list(Source.objects.order_by("id"))
        jobs_cut = totals.without_total()
        for part in (_runs(now), _waiting(now), _nodes(), _calls(), _alerts(), _components()):
            metrics += part
    metrics += _of_redis(sources, now)
    cut = GaugeMetricFamily(
        "hotdata_labels_cut",
        "Jobs and sources that are counted together, as there are so many.",
        labels=["label"],
    )
    cut.add_metric(["job"], jobs_cut)
    cut.add_metric(["source"], max(0, len(sources) - MOST_SOURCES))
    took = GaugeMetricFamily("hotdata_reading_seconds", "How long this reading took.")
    took.add_metric([], time.perf_counter() - began)
    return Reading([*metrics, cut, took])


class Readings:
    """Readings, of which each serves all who ask within a moment, and those who ask while it is taken."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._latest: Reading | AnyDatabaseError | None = None
        self._taken_at = 0.0  # monotonic

    def latest(self) -> Reading:
        """A reading that is `KEPT` seconds old at most. Raises what `read` does; an outage, too, is found out once."""
        with self._lock:
            if self._latest is None or time.monotonic() - self._taken_at > KEPT:
                try:
                    self._latest = read(timezone.now())
                except AnyDatabaseError as error:
                    self._latest = error
                self._taken_at = time.monotonic()
            latest = self._latest
        if isinstance(latest, AnyDatabaseError):
            raise latest
        return latest

    def forget(self) -> None:
        self._latest = None


readings = Readings()


def _versions() -> dict[str, str]:
    return {"version": VERSION, "python": platform.python_version(), "django": django.get_version()}


# Runs


def _runs(now: datetime) -> Iterator[Metric]:
    """Nothing before they are counted."""
    found = totals.totals(now)
    if found is None:
        return
    behind = GaugeMetricFamily("hotdata_totals_age_seconds", "Since runs were last rolled up into totals.")
    behind.add_metric([], found.behind.total_seconds())
    yield behind
    runs = CounterMetricFamily("hotdata_runs", "Runs that ended.", labels=["job", "outcome"])
    due = CounterMetricFamily(
        "hotdata_due_times",
        "Due times that started nothing, and those that were counted in the run of a later one.",
        labels=["job", "account", "reason"],
    )
    durations = HistogramMetricFamily(
        "hotdata_run_duration_seconds", "How long the last attempts of runs worked.", labels=["job"]
    )
    delays = HistogramMetricFamily(
        "hotdata_run_start_delay_seconds",
        "How long after their due time, or their request, runs of one attempt started.",
        labels=["job"],
    )
    for job, counts in sorted(found.by_job.items()):
        for outcome in ENDED:
            runs.add_metric([job, outcome], counts[f"run {outcome}"])
        for what in counts:
            if what.startswith("due "):
                _, account, reason = what.split()
                due.add_metric([job, account, reason], counts[what])
        durations.add_metric([job], _cumulated(counts, "duration", DURATIONS), counts["duration sum"] / 1e6)
        delays.add_metric([job], _cumulated(counts, "delay", DELAYS), counts["delay sum"] / 1e6)
    yield from (runs, due, durations, delays)


def _cumulated(counts: Counts, what: str, bounds: tuple[float, ...]) -> list[tuple[str, float]]:
    """How many were up to each of `bounds`."""
    buckets: list[tuple[str, float]] = []
    so_far = 0
    for place in range(len(bounds) + 1):
        bound = bound_at(bounds, place)
        so_far += counts[f"{what} {bound}"]
        buckets.append((bound, so_far))
    return buckets


def _waiting(now: datetime) -> Iterator[Metric]:
    """What is under way or waits, and how far behind the schedulers are."""
    counted: dict[str, int] = dict.fromkeys(("queued", "retrying", "held"), 0)
    running = 0
    since: list[datetime] = []
    rows = Run.objects.active().order_by().values_list("state", "held")
    for state, held, count, ready_at in rows.annotate(count=Count("id"), ready_at=Min("ready_at")):
        if state == State.RUNNING:
            running += count
        else:
            counted["held" if held else state] += count
            since += [] if held else [ready_at]
    schedules = Schedule.objects.aggregate(
        due=Min("next_run_time"), late=Count("id", filter=Q(next_run_time__lt=now - LAG_TOLERATED))
    )
    since += [schedules["due"]] if schedules["due"] is not None else []
    waiting = GaugeMetricFamily(
        "hotdata_runs_waiting", "Runs that wait: for a node, for their next try, for others of their job.",
        labels=["state"],
    )  # fmt: skip
    for state, count in counted.items():
        waiting.add_metric([state], count)
    yield waiting
    yield GaugeMetricFamily("hotdata_runs_running", "Runs that are being worked on.", value=running)
    yield GaugeMetricFamily(
        "hotdata_lag_seconds",
        "How long the oldest has been due that no scheduler has fired, or started.",
        value=max((now - at for at in since if at < now), default=timedelta(0)).total_seconds(),
    )
    yield GaugeMetricFamily(
        "hotdata_schedules_late",
        "Schedules that are due, and should have been fired.",
        value=schedules["late"],
    )


def _nodes() -> Iterator[Metric]:
    found = schedulers.look()
    leader = GaugeMetricFamily(
        "hotdata_leader", "1 for the scheduler that fires what is due.", labels=["node"]
    )
    if found.leader is not None:
        leader.add_metric([found.leader.name], 1)
    yield leader
    nodes = GaugeMetricFamily(
        "hotdata_nodes", "Schedulers of the last day, by what they are.", labels=["state"]
    )
    nodes.add_metric(["leading"], int(found.leader is not None))
    nodes.add_metric(["standby"], len(found.standbys))
    nodes.add_metric(["dead"], len(found.dead))
    yield nodes


# Upstreams


def _calls() -> Iterator[Metric]:
    """The calls of each source's upstream. The sources that were called first have numbers of their own, for good."""
    calls = CounterMetricFamily("hotdata_upstream_calls", "Calls of upstreams.", labels=["source", "outcome"])
    size = CounterMetricFamily(
        "hotdata_upstream_bytes", "What upstreams answered, in decoded bytes.", labels=["source"]
    )
    usage = SourceUsage.objects.order_by().values("source").annotate(first=Min("id"))
    rows = usage.annotate(all=Sum("calls"), failed=Sum("failed_calls"), bytes=Sum("size")).order_by("first")
    counted = ((row["source"], (row["all"] - row["failed"], row["failed"], row["bytes"])) for row in rows)
    for source, (ok, failed, answered) in _cut(counted):
        calls.add_metric([source, "ok"], ok)
        calls.add_metric([source, "failed"], failed)
        size.add_metric([source], answered)
    yield from (calls, size)


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


def _of_redis(sources: Sequence[Source], now: datetime) -> list[Metric]:
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


# What somebody should know of


def _alerts() -> Iterator[Metric]:
    counted: Mapping[str, int] = dict(
        Alert.objects.open().order_by().values_list("kind").annotate(count=Count("id"))
    )
    alerts = GaugeMetricFamily("hotdata_alerts_open", "Alerts that are not over.", labels=["kind"])
    for kind in Alert.Kind:
        alerts.add_metric([kind], counted.get(kind, 0))
    yield alerts


def _components() -> Iterator[Metric]:
    components = GaugeMetricFamily(
        "hotdata_component_state",
        "How components did at the latest check: 0 is well, 1 degraded, 2 down.",
        labels=["component"],
    )
    for name, state in Component.objects.order_by("id").values_list("name", "state")[:MOST_COMPONENTS]:
        components.add_metric([name], SEVERITIES[Health(state)])
    yield components
