"""What Prometheus is told of runs: those that ended, by what totals count, and those that wait or work now."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from django.db.models import Count, Min, Q
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from hotdata.models import Run, Schedule
from hotdata.models.runs import State
from hotdata.observing import totals
from hotdata.observing.counting import DELAYS, DURATIONS, ENDED, Counts, bound_at
from hotdata.observing.health import LAG_TOLERATED


def ended(now: datetime) -> Iterator[Metric]:
    """The runs that ended since counting began, and the due times that came to nothing."""
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


def waiting(now: datetime) -> Iterator[Metric]:
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
    waits = GaugeMetricFamily(
        "hotdata_runs_waiting", "Runs that wait: for a node, for their next try, for others of their job.",
        labels=["state"],
    )  # fmt: skip
    for state, count in counted.items():
        waits.add_metric([state], count)
    yield waits
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
