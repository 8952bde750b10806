"""What ran when, and how it ended: runs by the half hour, the latest failures, and a timeline around now.

A run counts for the moment at which it was put on record. That moment never changes, and what has ended doesn't
either: a settled bucket without active runs is counted once.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count
from django.db.models.functions import Substr

from hotdata.exceptions import BadTrigger
from hotdata.models import Run
from hotdata.models.runs import ACTIVE, FAILURES, NEVER_STARTED, State
from hotdata.observing import buckets as kept_buckets
from hotdata.observing.buckets import ALL, Buckets, Counts, Number
from hotdata.observing.jobs import SHOWN_OF_AN_ERROR, BriefRun, JobHealth, JobStatus, share

RUNS = "runs"
PAST = timedelta(minutes=90)
AHEAD = timedelta(minutes=30)
MOST_PLANNED = 60  # due times of a job in a timeline


@dataclass(frozen=True, kw_only=True)
class Tally:
    """How many runs came to what."""

    counts: Mapping[State, int]

    def _sum(self, states: Collection[State]) -> int:
        return sum(self.counts.get(state, 0) for state in states)

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def succeeded(self) -> int:
        return self.counts.get(State.SUCCEEDED, 0)

    @property
    def failed(self) -> int:
        return self._sum(FAILURES)

    @property
    def passed_over(self) -> int:
        """Due times that came to nothing: missed or skipped."""
        return self._sum(NEVER_STARTED)

    @property
    def cancelled(self) -> int:
        return self.counts.get(State.CANCELLED, 0)

    @property
    def active(self) -> int:
        return self._sum(ACTIVE)

    @property
    def success(self) -> float | None:
        """The share that succeeded, of those that did or failed; None without any."""
        return share(self.succeeded, self.failed)


def merged(tallies: Iterable[Tally]) -> Tally:
    """All of them together."""
    counts = Counter[State]()
    for tally in tallies:
        counts.update(tally.counts)
    return Tally(counts=counts)


NOTHING = Tally(counts={})


@dataclass(frozen=True, kw_only=True)
class Activity:
    """The runs of a day, by bucket. A record that stands for many due times counts as one."""

    buckets: Buckets
    totals: tuple[Tally, ...]
    """Of all jobs, by bucket."""
    by_job: Mapping[str, tuple[Tally, ...]]
    """Of each job that was asked for, by bucket."""

    @functools.cached_property
    def whole(self) -> Tally:
        return merged(self.totals)

    def of_job(self, name: str) -> Tally:
        return merged(self.by_job[name])


def activity(jobs: Collection[str], now: datetime) -> Activity:
    """The runs of the last day: of all jobs together, and of each of `jobs`. One query, and a look into Redis."""
    buckets = Buckets.until(now)
    counted = kept_buckets.kept(RUNS, buckets, jobs, now)
    missing = [number for number in buckets.numbers if number not in counted]
    fresh = _count(buckets, missing)
    closed = [number for number in buckets.settled(now) if number in fresh and not _is_active(fresh[number])]
    kept_buckets.keep(RUNS, buckets, fresh, closed)
    counted |= fresh
    return Activity(
        buckets=buckets,
        totals=_tallies(buckets, counted, ALL),
        by_job={name: _tallies(buckets, counted, name) for name in jobs},
    )


def _count(buckets: Buckets, numbers: Collection[int]) -> dict[int, dict[str, Counts]]:
    runs = Run.objects.filter(buckets.within("created_at", numbers)).order_by()
    rows = runs.values_list(Number("created_at", width=buckets.width), "job_id", "state").annotate(
        count=Count("id")
    )
    return kept_buckets.added_up(buckets, rows)


def _is_active(by_name: Mapping[str, Counts]) -> bool:
    return any(state in by_name[ALL] for state in ACTIVE)


def _tallies(buckets: Buckets, counted: Mapping[int, Mapping[str, Counts]], name: str) -> tuple[Tally, ...]:
    return tuple(
        Tally(counts={State(state): count for state, count in counts.items()}) if counts else NOTHING
        for counts in (counted.get(number, {}).get(name) for number in buckets.numbers)
    )


# Failures


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A run that failed, timed out or was abandoned."""

    run: int
    job: str
    state: State
    at: datetime
    error: str
    """The beginning of it."""


def latest_failures(seen: Activity, limit: int) -> list[Failure]:
    """The latest failures among the runs in `seen`. One query, of those buckets alone that have them; or none."""
    wanted: list[int] = []
    failed = 0
    for number, tally in sorted(zip(seen.buckets.numbers, seen.totals, strict=True), reverse=True):
        if tally.failed and failed < limit:
            wanted.append(number)
            failed += tally.failed
    if not wanted:
        return []
    runs = Run.objects.filter(seen.buckets.within("created_at", wanted), state__in=FAILURES)
    rows = runs.order_by("-created_at", "-id").values_list(
        "id",
        "job_id",
        "state",
        "finished_at",
        Substr("error", 1, SHOWN_OF_AN_ERROR),
        Substr("reason", 1, SHOWN_OF_AN_ERROR),
    )[:limit]
    return [
        Failure(run=id, job=job, state=State(state), at=at, error=error or reason)
        for id, job, state, at, error, reason in rows
        if at is not None
    ]


# The timeline


@dataclass(frozen=True, kw_only=True)
class TimelineRow:
    """A job's runs before now, and its due times after."""

    status: JobStatus
    runs: tuple[BriefRun, ...]
    """Newest first."""
    known_since: datetime
    """Before this there may be more runs than are known here; the timeline's begin where all are."""
    planned: tuple[datetime, ...]
    known_until: datetime
    """After this there are more due times; the timeline's end where all are there."""


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """What jobs did from `since` to `now`, and are going to do until `until`."""

    since: datetime
    now: datetime
    until: datetime
    rows: tuple[TimelineRow, ...]


def timeline(statuses: Sequence[JobStatus], now: datetime, limit: int) -> Timeline:
    """The timeline of up to `limit` of the jobs, in their order, that have something in it. No query.

    A job that ran more often than there are runs in its status is shown for as long as they reach back.
    """
    since, until = now - PAST, now + AHEAD
    rows = []
    for status in statuses:
        row = _row(status, since, now, until)
        if row.runs or row.planned:
            rows.append(row)
        if len(rows) == limit:
            break
    return Timeline(since=since, now=now, until=until, rows=tuple(rows))


def _row(status: JobStatus, since: datetime, now: datetime, until: datetime) -> TimelineRow:
    runs = tuple(run for run in status.latest if _reaches(run, since))
    planned = _planned(status, now, until)
    is_cut_off = status.cut_off and len(runs) == len(status.latest) > 0
    return TimelineRow(
        status=status,
        runs=runs,
        known_since=max(since, runs[-1].at) if is_cut_off else since,
        planned=planned,
        known_until=planned[-1] if len(planned) == MOST_PLANNED else until,
    )


def _reaches(run: BriefRun, since: datetime) -> bool:
    """Whether any of the run lies after `since`."""
    return run.state == State.RUNNING or run.at + (run.duration or timedelta(0)) >= since


def _planned(status: JobStatus, now: datetime, until: datetime) -> tuple[datetime, ...]:
    if status.due_next is None or status.due_next > until or status.health == JobHealth.BROKEN:
        return ()
    timetable = status.job.timetable()
    try:
        first = timetable.next_fire(now)
        if first is None or first > until:
            return ()
        after = first - timetable.offset - timedelta.resolution
        due = timetable.trigger().first_due(MOST_PLANNED, after, until - timetable.offset)
    except BadTrigger:  # edited behind the model's back; the leader is about to park it
        return ()
    return tuple(at + timetable.offset for at in due)
