"""What answers are made of. The description of the API is made of the same, so an answer is as it is described.

Times are ISO 8601 with the offset of the site's zone, durations and ages are seconds, shares lie between 0 and 1.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

import msgspec
from django.utils import timezone

from hotdata.freshness.gate import GateState
from hotdata.models.policies import Isolation, Overlap
from hotdata.models.runs import Cause, State
from hotdata.models.schedules import Kind
from hotdata.observing.jobs import JobHealth

Moment = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]
Seconds = float
Share = float


def seconds(duration: timedelta | None) -> Seconds | None:
    return None if duration is None else round(duration.total_seconds(), 6)


def moment(at: datetime) -> Moment:
    """As `local`, of what is always there."""
    return timezone.localtime(at).isoformat()


class Error(msgspec.Struct):
    """Why there is no other answer."""

    error: str


# Jobs


class Trigger(msgspec.Struct):
    """When a job is due; only the field of its kind is filled."""

    kind: Kind
    words: str
    """In words; or why it can't be scheduled."""
    cron: str | None
    interval: Seconds | None
    run_at: Moment | None
    time_zone: str


class Pause(msgspec.Struct):
    """A pause of a job's schedule."""

    note: str
    by: str
    until: Moment | None


class LastRun(msgspec.Struct):
    """The latest run of a job that started."""

    id: int
    state: State
    cause: Cause
    started_at: Moment | None
    duration: Seconds | None


class Job(msgspec.Struct):
    """A job, and how it does."""

    name: str
    title: str
    task: str
    params: dict[str, Any]
    trigger: Trigger
    health: JobHealth
    error: str
    """Why it is broken; and why it fails, for who may see runs."""
    paused: Pause | None
    next_run_time: Moment | None
    last_run: LastRun | None


class Policies(msgspec.Struct):
    """What a job wants done with its due times and runs."""

    misfire_grace_time: Seconds | None
    coalesce: bool
    max_instances: int
    overlap: Overlap
    isolation: Isolation
    timeout: Seconds | None
    max_retries: int
    retry_delay: Seconds
    retry_delay_max: Seconds
    recover: bool
    keep_runs: int | None
    pause_after_failures: int | None


class JobDetails(Job):
    """A job with all that defines it, and what its latest runs were like."""

    policies: Policies
    starts_at: Moment | None
    ends_at: Moment | None
    jitter: Seconds
    created_at: Moment
    updated_at: Moment
    p50: Seconds | None
    p95: Seconds | None
    success: Share | None


# Runs


class Progress(msgspec.Struct):
    """How far a run has come."""

    done: int
    total: int | None


class Run(msgspec.Struct):
    """A run: the record of one execution, or of due times that led to none."""

    id: int
    job: str
    task: str
    state: State
    cause: Cause
    requested_by: str
    scheduled_for: Moment | None
    coalesced: int
    created_at: Moment
    ready_at: Moment
    started_at: Moment | None
    finished_at: Moment | None
    duration: Seconds | None
    attempt: int
    node: str
    progress: Progress
    reason: str
    error: str
    cancel_requested_by: str


class Attempt(msgspec.Struct):
    """One attempt of a run."""

    number: int
    state: State
    started_at: Moment | None
    duration: Seconds | None
    node: str
    error: str


class RunDetails(Run):
    """A run with all that is on record of it."""

    params: Any
    attempts: list[Attempt]
    log: str
    result: Any
    traceback: str


class QueuedRun(msgspec.Struct):
    """A run that was asked for."""

    run: int
    job: str
    state: State


# Sources


class Gate(msgspec.Struct):
    """How the gate of an upstream stands."""

    calls: int
    budget: int
    under_way: int
    cooldown: Seconds
    breaker: Literal["closed", "open", "half-open"]
    pause: Seconds
    failures: int


def gate(state: GateState) -> Gate:
    return Gate(
        calls=state.calls,
        budget=state.budget,
        under_way=state.under_way,
        cooldown=state.cooldown.total_seconds(),
        breaker=state.breaker,
        pause=state.pause.total_seconds(),
        failures=state.failures,
    )


class Traffic(msgspec.Struct):
    """The calls of an upstream in the last day."""

    calls: int
    failed: int
    p50: Seconds | None
    p95: Seconds | None


class Reads(msgspec.Struct):
    """What readers got in the last hour."""

    reads: int
    fresh: Share | None
    stale: Share | None


class Objective(msgspec.Struct):
    """What readers should get, and how far they did."""

    age: Seconds
    share: Share
    met_share: Share | None
    budget_left: float | None


class Shares(msgspec.Struct):
    """Of all reads, by how they were served."""

    fresh: Share | None
    stale: Share | None
    last_known: Share | None
    miss: Share | None
    error: Share | None


class AgedKey(msgspec.Struct):
    """A hot key, and how old its value is."""

    key: str
    age: Seconds


class Freshness(msgspec.Struct):
    """What readers of a source got, and what was asked of its upstream."""

    source: str
    since: Moment
    until: Moment
    reads: int
    shares: Shares
    p50: Seconds | None
    p99: Seconds | None
    oldest_hot_key: AgedKey | None
    missing_hot_keys: int
    last_success: Moment | None
    calls: int
    failed_calls: int
    budget: int
    objective: Objective | None


class HotKeys(msgspec.Struct):
    """The hot keys of a source."""

    count: int
    missing: int
    overdue: int
    oldest: AgedKey | None


class Source(msgspec.Struct):
    """A source, and how it stands. What only Redis could tell is null while Redis is away."""

    name: str
    title: str
    enabled: bool
    rests: bool
    """It is switched off, or no refresh window is open."""
    calls: Traffic
    gate: Gate | None
    reads: Reads | None
    objective: Objective | None
    hot_keys: HotKeys | None


class Definition(msgspec.Struct):
    """How a source is asked, kept fresh and bounded. Of secrets there are the names of environment variables."""

    fetcher: str
    base_url: str
    path: str
    query: Any
    headers: Any
    secret_query: Any
    secret_headers: Any
    value: str
    batch_size: int
    batch_path: str
    batch_query: Any
    batch_items: str
    batch_key: str
    key_policy: str
    key_pattern: str
    value_kind: str
    required: Any
    bounds: Any
    max_bytes: int | None
    soft_ttl: Seconds
    hard_ttl: Seconds
    absent_ttl: Seconds | None
    refresh_after: Seconds | None
    max_age: Seconds | None
    hot_keys: int
    windows: str
    objective_age: Seconds | None
    objective_share: Share
    timeout: Seconds
    calls_per_minute: int
    burst: int
    concurrency: int
    breaker_failures: int
    breaker_pause: Seconds
    max_failed_share: Share


class SourceDetails(Source):
    """A source with its definition."""

    pinned_keys: int
    last_success: Moment | None
    definition: Definition


class Refreshing(msgspec.Struct):
    """Keys whose refresh was asked for."""

    source: str
    keys: int
