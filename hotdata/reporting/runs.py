"""What the runs of a period came to: by job and outcome, how long they took, and which due times came to nothing.

An attempted run counts in the period in which it ended. That never changes afterwards, so a report of a period that
is over is the same whenever it is made. A due time that was missed or skipped counts in the period in which it lies.
Where one record stands for many of them, over the end of a period, they are taken to be evenly spread: so the reports
of two days never count one twice, nor leave one out.

All of it is counted by the database, in a fixed number of queries. What is held is a few hundred rows: of more jobs,
the sum.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec
from django.db.models import Count, F, Max, Min, Q, Sum, Window
from django.db.models.functions import Coalesce, Left, RowNumber

from hotdata.models import Job, Run
from hotdata.models.runs import FAILURES, NEVER_STARTED, RunQuerySet, State
from hotdata.observing.buckets import EPOCH, Number
from hotdata.observing.jobs import share
from hotdata.reporting.periods import Period
from hotdata.text import first_line

ATTEMPTED = (State.SUCCEEDED, *FAILURES, State.CANCELLED)
MOST_JOBS = 200
MOST_REASONS = 50
MOST_FAILING = 10
BRIEF = 300  # characters of an error or a reason
QUARTER = timedelta(minutes=15)
"""Every zone of today begins its days and hours at a quarter of an hour of UTC."""


class JobRuns(msgspec.Struct, frozen=True, kw_only=True):
    """What the runs of one job, or of several together, came to. Durations in seconds."""

    job: str = ""
    succeeded: int = 0
    failed: int = 0
    timed_out: int = 0
    abandoned: int = 0
    cancelled: int = 0
    missed: int = 0
    """Due times; and skipped ones likewise."""
    skipped: int = 0
    coalesced: int = 0
    """Further due times that the attempted runs stand for."""
    p50: float | None = None
    """Of how long the attempted runs worked. None without any, and for several jobs together."""
    p95: float | None = None
    thinned: bool = False
    """Clean-up keeps only the latest runs of this job and the notable ones, so there were more."""

    @property
    def failures(self) -> int:
        return self.failed + self.timed_out + self.abandoned

    @property
    def attempted(self) -> int:
        return self.succeeded + self.failures + self.cancelled

    @property
    def passed_over(self) -> int:
        return self.missed + self.skipped

    @property
    def success(self) -> float | None:
        """The share of the runs that succeeded, of those that did or failed; None without any."""
        return share(self.succeeded, self.failures)


class PassedOver(msgspec.Struct, frozen=True, kw_only=True):
    """Due times of a job that were missed or skipped for one reason."""

    job: str
    state: str
    reason: str
    due_times: int


class Failing(msgspec.Struct, frozen=True, kw_only=True):
    """A job that failed, with the latest failure."""

    job: str
    failures: int
    run: int
    state: str
    error: str


class Slot(msgspec.Struct, frozen=True, kw_only=True):
    """Attempted runs by when they ended, from `start` to the next one's."""

    start: datetime
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0


class Runs(msgspec.Struct, frozen=True, kw_only=True):
    """What the runs of a period came to."""

    total: JobRuns
    jobs: tuple[JobRuns, ...]
    """At most `MOST_JOBS`: those with the most failures, then with the most due times that came to nothing."""
    other_jobs: int
    """How many there are beside these,"""
    others: JobRuns
    """and what they came to."""
    passed_over: tuple[PassedOver, ...]
    """At most `MOST_REASONS`, the most frequent first."""
    other_reasons: int
    """Due times that came to nothing beside these."""
    failing: tuple[Failing, ...]
    """At most `MOST_FAILING`."""
    slots: tuple[Slot, ...]
    records: int
    """How many records it counts, without those of jobs that are thinned out."""


COUNTED = ("succeeded", "failed", "timed_out", "abandoned", "cancelled", "missed", "skipped", "coalesced")


def runs_of(period: Period, edges: Sequence[datetime]) -> Runs:
    """What the runs of `period` came to, with those that ended by slots between `edges`. A fixed number of queries."""
    book = _Book(period)
    jobs, others, total = _first(book.by_job(), MOST_JOBS)
    percentiles = book.percentiles([row.job for row in jobs])
    jobs = [
        msgspec.structs.replace(row, p50=p50, p95=p95)
        for row in jobs
        for p50, p95 in [percentiles.get(row.job, (None, None))]
    ]
    reasons, other_reasons = book.reasons()
    return Runs(
        total=total.sum,
        jobs=tuple(jobs),
        other_jobs=others.count,
        others=others.sum,
        passed_over=tuple(reasons),
        other_reasons=other_reasons,
        failing=tuple(book.failing([row for row in jobs if row.failures][:MOST_FAILING])),
        slots=book.slots(edges),
        records=book.records,
    )


@dataclass(frozen=True)
class _Sum:
    count: int
    sum: JobRuns


def _first(rows: Iterable[JobRuns], most: int) -> tuple[list[JobRuns], _Sum, _Sum]:
    """The first `most` of `rows` by trouble, the sum of the others, and that of all. Holds no more than `most`."""
    sums: dict[str, Any] = dict.fromkeys(COUNTED, 0)
    count = 0

    def counted() -> Iterator[JobRuns]:
        nonlocal count
        for row in rows:
            count += 1
            for name in COUNTED:
                sums[name] += getattr(row, name)
            yield row

    first = heapq.nsmallest(most, counted(), key=_by_trouble)
    rest: dict[str, Any] = {name: sums[name] - sum(getattr(row, name) for row in first) for name in COUNTED}
    return first, _Sum(count - len(first), JobRuns(**rest)), _Sum(count, JobRuns(**sums))


def _by_trouble(row: JobRuns) -> tuple[int, int, int, str]:
    return (-row.failures, -row.passed_over, -row.attempted, row.job)


class _Part(NamedTuple):
    """What a record of due times that lie across an end of the period says of those within."""

    job: str
    state: str
    reason: str
    due_times: int


class _Book:
    """The runs that count for a period, and the questions asked of them."""

    def __init__(self, period: Period) -> None:
        self._start, self._end = period.start, period.end
        self._ended = Q(state__in=ATTEMPTED, finished_at__gte=self._start, finished_at__lt=self._end)
        passed = Q(state__in=NEVER_STARTED, last_due__gte=self._start, first_due__lt=self._end)
        within = Q(first_due__gte=self._start, last_due__lt=self._end)
        # There is an index of when runs were put on record, and none of when they ended: the firing path would write
        # it for each run. So all of them are looked through once, and then that stretch of the index.
        bounds = _runs().filter(self._ended | passed).aggregate(Min("created_at"), Max("created_at"))
        self._runs = _runs().filter(
            created_at__gte=bounds["created_at__min"] or self._start,
            created_at__lte=bounds["created_at__max"] or self._start,
        )
        self._counted = self._runs.filter(self._ended | (passed & within))
        self._passed = self._runs.filter(passed & within)
        self._parts = [*self._parts_of(self._runs.filter(passed & ~within))]
        self.thinned = frozenset(Job.objects.filter(keep_runs__isnull=False).values_list("name", flat=True))
        self.records = 0
        """So many were counted by `by_job`, without those of jobs that are thinned out."""

    def _parts_of(self, runs: RunQuerySet) -> Iterator[_Part]:
        """At most two records of each job lie across an end of the period, since each begins after the one before."""
        rows = runs.values_list(
            "job_id", "state", Left("reason", BRIEF), "first_due", "last_due", "coalesced"
        )
        for job, state, reason, first, last, coalesced in rows.iterator():
            due_times = due_times_within(first, last, coalesced + 1, self._start, self._end)
            if due_times:
                yield _Part(job, state, reason, due_times)

    def by_job(self) -> Iterator[JobRuns]:
        """A row for each job that has any. What it holds meanwhile are the records across an end of the period."""
        parts: dict[str, list[_Part]] = {}
        for part in self._parts:
            parts.setdefault(part.job, []).append(part)
        counts: dict[str, Any] = {state.value: Count("id", filter=Q(state=state)) for state in ATTEMPTED} | {
            state.value: _due_times(Q(state=state)) for state in NEVER_STARTED
        }
        counts["coalesced_too"] = Sum("coalesced", filter=Q(state__in=ATTEMPTED), default=0)
        rows: Any = self._counted.values("job_id").annotate(**counts, n=Count("id")).order_by()
        for row in rows.iterator():
            job = row["job_id"]
            yield self._row(job, row.pop("n"), row, parts.pop(job, []))
        for job, of_job in parts.items():
            yield self._row(job, 0, {}, of_job)

    def _row(self, job: str, records: int, counts: Mapping[str, Any], parts: Sequence[_Part]) -> JobRuns:
        if job not in self.thinned:
            self.records += records + len(parts)
        more = {
            state: sum(part.due_times for part in parts if part.state == state) for state in NEVER_STARTED
        }
        return JobRuns(
            job=job,
            **{state.value: counts.get(state, 0) for state in ATTEMPTED},
            **{state.value: counts.get(state, 0) + more[state] for state in NEVER_STARTED},
            coalesced=counts.get("coalesced_too", 0),
            thinned=job in self.thinned,
        )

    def percentiles(self, jobs: Collection[str]) -> dict[str, tuple[float, float]]:
        """By job, the least durations that half of its runs, and all but 5 % of them, don't exceed."""
        place: dict[str, Any] = {"partition_by": F("job_id")}
        # Of all jobs: asked for some, SQLite would take the index by job, and read all their runs of all time.
        ranked = self._runs.filter(self._ended, duration__isnull=False).annotate(
            rank=Window(RowNumber(), order_by=F("duration").asc(), **place),
            of=Window(Count("id"), **place),
        )
        # Both divisions are of whole numbers, and round up.
        half, most = Q(rank=(F("of") + 1) / 2), Q(rank=(F("of") * 95 + 99) / 100)
        rows: Any = ranked.filter(half | most).order_by("job_id", "rank").values_list("job_id", "duration")
        found: dict[str, list[float]] = {job: [] for job in jobs}
        for job, duration in rows.iterator():
            if job in found:
                found[job].append(duration.total_seconds())
        return {job: (durations[0], durations[-1]) for job, durations in found.items() if durations}

    def reasons(self) -> tuple[list[PassedOver], int]:
        """The most frequent reasons why due times came to nothing, and how many others did."""
        parts: Counter[tuple[str, str, str]] = Counter()
        for job, state, reason, due_times in self._parts:
            parts[job, state, reason] += due_times
        every = 0

        def rows() -> Iterator[PassedOver]:
            nonlocal every
            what: Any = self._passed.values_list("job_id", "state", Left("reason", BRIEF))
            for job, state, reason, due_times in what.annotate(n=_due_times()).order_by().iterator():
                every += due_times
                yield _passed_over(job, state, reason, due_times + parts.pop((job, state, reason), 0))
            for (job, state, reason), due_times in parts.items():
                yield _passed_over(job, state, reason, due_times)

        every += sum(parts.values())
        most = heapq.nsmallest(MOST_REASONS, rows(), key=lambda row: (-row.due_times, row.job, row.reason))
        return most, every - sum(row.due_times for row in most)

    def failing(self, jobs: Sequence[JobRuns]) -> Iterator[Failing]:
        """`jobs` with the latest failure of each."""
        named = {row.job for row in jobs}
        failures: Any = self._runs.filter(self._ended, state__in=FAILURES).values_list("job_id")
        ids = [id for job, id in failures.annotate(latest=Max("id")).order_by().iterator() if job in named]
        latest = {
            run.job_id: run
            for run in Run.objects.filter(id__in=ids)
            .annotate(said=Left("error", BRIEF), why=Left("reason", BRIEF))
            .only("job_id", "state")
        }
        for row in jobs:
            if run := latest.get(row.job):
                yield Failing(
                    job=row.job,
                    failures=row.failures,
                    run=run.id,
                    state=run.state,
                    error=first_line(run.said or run.why),
                )

    def slots(self, edges: Sequence[datetime]) -> tuple[Slot, ...]:
        """The attempted runs that ended from each of `edges` to the next one, and from the last to the period's end."""
        sums: list[Counter[str]] = [Counter() for _ in edges]
        ended = self._runs.filter(self._ended).order_by()
        rows: Any = ended.values_list(Number("finished_at", width=QUARTER), "state").annotate(n=Count("id"))
        for quarter, state, n in rows.iterator():
            at = bisect_right(edges, EPOCH + int(quarter) * QUARTER) - 1
            sums[max(at, 0)]["failed" if state in FAILURES else state] += n
        return tuple(Slot(start=start, **count) for start, count in zip(edges, sums, strict=True))


def _runs() -> RunQuerySet:
    """All runs, with the first and the last due time that each is the account of."""
    runs: RunQuerySet = Run.objects.order_by().annotate(
        first_due=Coalesce("coalesced_since", "scheduled_for", "created_at"),
        last_due=Coalesce("scheduled_for", "created_at"),
    )
    return runs


def _due_times(condition: Q | None = None) -> Sum:
    return Sum(F("coalesced") + 1, filter=condition, default=0)


def _passed_over(job: str, state: str, reason: str, due_times: int) -> PassedOver:
    return PassedOver(job=job, state=state, reason=first_line(reason), due_times=due_times)


def due_times_within(first: datetime, last: datetime, count: int, start: datetime, end: datetime) -> int:
    """How many of `count` due times, evenly spread from `first` to `last`, lie from `start` on and before `end`.

    In whole numbers: those of adjoining times always add up to those of all of it.
    """
    return _before(end, first, last, count) - _before(start, first, last, count)


def _before(moment: datetime, first: datetime, last: datetime, count: int) -> int:
    if moment <= first:
        return 0
    if moment > last:
        return count
    # The first one that is not before: first + n × (last - first) / (count - 1) >= moment
    return min(count, -((moment - first) * (count - 1) // -(last - first)))
