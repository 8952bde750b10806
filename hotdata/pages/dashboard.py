"""The dashboard: is the scheduler alive, how do the jobs do, what ran, how fresh is the data, how do upstreams answer.

Everybody sees as much of it as they may see of the tables behind it. A dozen queries, however many jobs there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from hotdata.exceptions import CacheUnavailable
from hotdata.models import Job
from hotdata.observing import activity as activities
from hotdata.observing import components as on_record
from hotdata.observing import jobs as health
from hotdata.observing import keys, schedulers, upstreams
from hotdata.observing.activity import Activity
from hotdata.observing.components import Standing
from hotdata.observing.jobs import JobHealth, JobStatus
from hotdata.observing.keys import KeyAge, WatchedSource
from hotdata.observing.schedulers import Schedulers
from hotdata.pages import cards, day_charts, rows, timelines, words
from hotdata.pages.access import may, may_see
from hotdata.pages.cards import Card

MOST_JOBS = 50
LATEST = 60  # runs of each job, for its p95 and the timeline
MOST_ROWS = 15  # of the timeline
MOST_KEYS = 12
MOST_SOURCES = 10
MOST_FAILURES = 8
MOST_UNWELL = 6


@dataclass(frozen=True, kw_only=True)
class ComponentsPart:
    """Which components aren't well."""

    rows: Sequence[rows.ComponentRow]
    """The worst of those that are degraded or down."""
    more: int
    """How many there are beside these."""
    unknown: int
    """How many have not been checked for a while."""
    any_down: bool


@dataclass(frozen=True, kw_only=True)
class JobsPart:
    """How the jobs do: the worst of them, and how many there are."""

    card: Card
    rows: Sequence[rows.JobRow]
    in_all: int
    is_failing: bool
    may_add: bool


@dataclass(frozen=True, kw_only=True)
class RunsPart:
    """What ran."""

    cards: Sequence[Card]
    chart: SafeString | str
    failures: Sequence[rows.FailureRow]


@dataclass(frozen=True, kw_only=True)
class SourcesPart:
    """How fresh the data is, and how upstreams answer."""

    cards: Sequence[Card]
    upstreams: Sequence[rows.UpstreamRow]
    latency: SafeString | str
    legend: SafeString | str
    keys: Sequence[rows.KeyRow] | None
    """None while Redis is away."""
    may_add: bool


@dataclass(frozen=True, kw_only=True)
class Dashboard:
    """What one user sees. The parts that they may not see are None; all of them, if they may see nothing at all."""

    now: datetime
    scheduler: Schedulers | None = None
    shows_nodes: bool = False
    components: ComponentsPart | None = None
    jobs: JobsPart | None = None
    runs: RunsPart | None = None
    timeline: SafeString | str = ""
    sources: SourcesPart | None = None

    @property
    def is_failing(self) -> bool:
        """Whether somebody should look: no scheduler leads, a component is down, or a job fails."""
        no_leader = self.scheduler is not None and self.scheduler.leader is None
        any_down = self.components is not None and self.components.any_down
        return no_leader or any_down or (self.jobs is not None and self.jobs.is_failing)

    @property
    def cards(self) -> list[Card]:
        return [
            *([self.jobs.card] if self.jobs else []),
            *(self.runs.cards if self.runs else []),
            *(self.sources.cards if self.sources else []),
        ]

    @property
    def last_beat(self) -> datetime | None:
        """When the leader was last heard of, by the clock that the page goes by."""
        leader = self.scheduler.leader if self.scheduler else None
        return None if leader is None else self.now - leader.silent_for

    @property
    def strip_legend(self) -> list[tuple[str, str]]:
        return [
            (words.OK.css, _("ok")),
            (words.WARN.css, _("some failed")),
            (words.FAILED.css, _("all failed")),
            (words.MUTED.css, _("missed, skipped or cancelled")),
            ("", _("no runs")),
        ]


def build(user: Any, now: datetime) -> Dashboard:
    """The dashboard as `user` may see it."""
    sees = {model: may_see(user, model) for model in ("job", "run", "source", "node")}
    if not any(sees.values()):
        return Dashboard(now=now)
    statuses = health.worst_first(Job.objects.all(), now, MOST_JOBS, LATEST) if sees["job"] else []
    seen = activities.activity([status.job.name for status in statuses], now)
    return Dashboard(
        now=now,
        scheduler=schedulers.look(),
        shows_nodes=sees["node"],
        components=_components(now) if may_see(user, "component") else None,
        jobs=_jobs(user, statuses, seen, now) if sees["job"] else None,
        runs=_runs(statuses, seen) if sees["run"] else None,
        timeline=_timeline(statuses, now) if sees["job"] and sees["run"] else "",
        sources=_sources(user, now) if sees["source"] else None,
    )


def _components(now: datetime) -> ComponentsPart:
    unwell = on_record.unwell(now)
    known = [component for component in unwell if component.standing != Standing.UNKNOWN]
    return ComponentsPart(
        rows=[rows.component_row(component) for component in known[:MOST_UNWELL]],
        more=len(known[MOST_UNWELL:]),
        unknown=len(unwell) - len(known),
        any_down=any(component.standing == Standing.DOWN for component in known),
    )


def _jobs(user: Any, statuses: Sequence[JobStatus], seen: Activity, now: datetime) -> JobsPart:
    counts = health.count_by_health(Job.objects.all(), now)
    return JobsPart(
        card=cards.jobs_card(counts),
        rows=rows.job_rows(statuses, seen, now, with_errors=may_see(user, "run")),
        in_all=sum(counts.values()),
        is_failing=bool(counts[JobHealth.FAILING] + counts[JobHealth.BROKEN]),
        may_add=may(user, "add", "job"),
    )


def _runs(statuses: Sequence[JobStatus], seen: Activity) -> RunsPart:
    failures = activities.latest_failures(seen, MOST_FAILURES)
    return RunsPart(
        cards=[cards.success_card(seen), cards.runs_card(seen)],
        chart=day_charts.runs_chart(seen),
        failures=rows.failure_rows(failures, statuses),
    )


def _timeline(statuses: Sequence[JobStatus], now: datetime) -> SafeString | str:
    timeline = activities.timeline(statuses, now, MOST_ROWS)
    return timelines.draw(timeline) if timeline.rows else ""


def _sources(user: Any, now: datetime) -> SourcesPart:
    sources = keys.watched_sources(now)
    seen = upstreams.upstreams([source.name for source in sources], now)
    ages = _ages(sources, now)
    latency, legend = day_charts.latency_chart(sources, seen)
    return SourcesPart(
        cards=[cards.away_card() if ages is None else cards.keys_card(ages), cards.latency_card(seen)],
        upstreams=rows.upstream_rows(sources, seen, MOST_SOURCES),
        latency=latency,
        legend=legend,
        keys=None if ages is None else [rows.key_row(key) for key in ages[:MOST_KEYS]],
        may_add=may(user, "add", "source"),
    )


def _ages(sources: Sequence[WatchedSource], now: datetime) -> list[KeyAge] | None:
    """None while Redis is away."""
    try:
        return keys.key_ages(sources, now)
    except CacheUnavailable:
        return None
