"""How each job does: one word for its health, its next due time, and its latest runs. The worst come first.

The health of a job is worked out in the database, so that a list of any length can be filtered, sorted and counted by
it: `with_health`. What a page shows of the jobs that are on it is `job_statuses`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
from django.db import models
from django.db.models import Case, Count, Exists, Func, OuterRef, Q, QuerySet, Subquery, Value, When
from django.db.models.functions import Coalesce, Substr
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from hotdata import registry
from hotdata.models import Job, Run, Schedule
from hotdata.models.pauses import SYSTEM
from hotdata.models.runs import FAILURES, NEVER_STARTED, WAITING, Cause, State
from hotdata.models.schedules import Kind
from hotdata.observing.health import LAG_TOLERATED

SHOWN_OF_AN_ERROR = 300  # characters


class JobHealth(models.TextChoices):
    """How a job does, the worst first."""

    BROKEN = "broken", gettext_lazy("Broken")
    """It can't run: its task is unknown, or its trigger can't be built."""
    FAILING = "failing", gettext_lazy("Failing")
    """The last run that the schedule caused failed; also where that has paused the job, or its only due time was
    missed."""
    LATE = "late", gettext_lazy("Late")
    """Nothing has fired a due time, or started a run, that should have been a while ago."""
    RUNNING = "running", gettext_lazy("Running")
    HEALTHY = "healthy", gettext_lazy("Healthy")
    PAUSED = "paused", gettext_lazy("Paused")
    """By somebody."""
    NEW = "new", gettext_lazy("New")
    """It never ran."""
    DONE = "done", gettext_lazy("Done")
    """It has no due time left."""

    @property
    def severity(self) -> int:
        """Its place among all; the worst has 0."""
        return SEVERITIES[self]


SEVERITIES = {health: place for place, health in enumerate(JobHealth)}
HEALTHS = tuple(JobHealth)


class BriefRun(msgspec.Struct, frozen=True):
    """What a mark in a strip or a timeline tells of a run."""

    id: int
    state: State
    cause: Cause
    at: datetime
    """When its last attempt began or, before the first one, when it was put on record."""
    attempt: int
    """0 while, or because, it never started."""
    duration: timedelta | None
    """Of the last attempt."""

    @property
    def started_at(self) -> datetime | None:
        """When the last attempt began."""
        return self.at if self.attempt else None


# None of the columns that may be long, and lie behind these in the row; and of the times, each of which takes as long
# to read as all else, only one.
BRIEF = ("id", "state", "cause", Coalesce("started_at", "created_at"), "attempt", "duration")


@dataclass(frozen=True, kw_only=True)
class JobStatus:
    """How a job does now."""

    job: Job
    health: JobHealth
    due_next: datetime | None
    """When it fires next; in the past when it is late."""
    error: str
    """Why it is broken, or what the failure said that makes it failing; the beginning of it."""
    latest: tuple[BriefRun, ...]
    """Its latest runs and accounts, newest first."""
    cut_off: bool
    """Whether there may be earlier ones."""

    @property
    def last(self) -> BriefRun | None:
        """The latest run that started."""
        return next((run for run in self.latest if run.attempt), None)

    def told_error(self, *, sees_runs: bool) -> str:
        """`error` for somebody: what a run said is for who may see runs, what is wrong with the job for everybody."""
        return self.error if sees_runs or self.health == JobHealth.BROKEN else ""

    @property
    def p50(self) -> timedelta | None:
        return percentile(self._durations(), 0.5)

    @property
    def p95(self) -> timedelta | None:
        return percentile(self._durations(), 0.95)

    @property
    def success(self) -> float | None:
        """The share of the latest runs that succeeded, of those that did or failed; None without any."""
        return share(
            sum(run.state == State.SUCCEEDED for run in self.latest),
            sum(run.state in FAILURES for run in self.latest),
        )

    def _durations(self) -> list[timedelta]:
        return [run.duration for run in self.latest if run.duration is not None]


def percentile(values: Iterable[timedelta], part: float) -> timedelta | None:
    """The least of `values` that `part` of them don't exceed; None without any."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)] if ordered else None


def share(succeeded: int, failed: int) -> float | None:
    return succeeded / (succeeded + failed) if succeeded + failed else None


def with_health(jobs: QuerySet[Job], now: datetime) -> QuerySet[Any]:
    """`jobs`, each with ``severity``, the place of its health, and ``due_next``, when it fires next.

    To be filtered by ``severity=JobHealth.FAILING.severity``, and sorted by it.
    """
    schedule = Schedule.objects.filter(id=OuterRef("name"))
    return jobs.alias(last_attempt=Subquery(_attempted().values("state")[:1])).annotate(
        due_next=Subquery(schedule.values("next_run_time")[:1]), severity=_severity(now)
    )


def _attempted() -> QuerySet[Run]:
    """The runs that tell whether a job's schedule works, latest first; those by hand may have had other parameters."""
    return Run.objects.filter(
        job=OuterRef("name"),
        cause__in=[Cause.SCHEDULE, Cause.RECOVERY],
        state__in=[State.SUCCEEDED, *FAILURES],
    ).order_by("-id")


def _severity(now: datetime) -> Case:
    late = now - LAG_TOLERATED
    active = Run.objects.active()
    running = Q(name__in=active.filter(state=State.RUNNING).values("job_id"))
    waiting = Run.objects.filter(state__in=WAITING, held=False, ready_at__lt=late)
    rests = Q(paused=True) & (Q(paused_until=None) | Q(paused_until__gt=now))
    latest = Run.objects.filter(job=OuterRef("name")).order_by("-id")
    state = Schedule.objects.filter(id=OuterRef("name")).values("job_state")
    parked = Q(due_next=None) & Q(_HoldsError(Subquery(state[:1], output_field=models.BinaryField())))
    only_missed = Q(trigger=Kind.DATE, due_next=None) & Q(
        Exists(latest.filter(state__in=NEVER_STARTED, cause=Cause.SCHEDULE)), last_attempt=None
    )
    rules = [
        (~Q(task__in=[task.name for task in registry.tasks]) | parked, JobHealth.BROKEN),
        (rests & ~Q(paused_by=SYSTEM) & ~running, JobHealth.PAUSED),
        (Q(last_attempt__in=FAILURES), JobHealth.FAILING),
        (Q(due_next__lt=late) | Q(name__in=waiting.values("job_id")), JobHealth.LATE),
        (running, JobHealth.RUNNING),
        (rests, JobHealth.PAUSED),
        (~Exists(latest), JobHealth.NEW),
        (only_missed, JobHealth.FAILING),
        (Q(due_next=None), JobHealth.DONE),
    ]
    return Case(
        *(When(rule, then=Value(health.severity)) for rule, health in rules),
        default=Value(JobHealth.HEALTHY.severity),
        output_field=models.IntegerField(),
    )


class _HoldsError(Func):
    """Whether a schedule's state says why the job is parked. Within a text of it, the quotes would be escaped."""

    output_field = models.BooleanField()

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        context["template"] = "(POSITION('\"error\":'::bytea IN %(expressions)s) > 0)"
        return self.as_sql(compiler, connection, **context)

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        context["template"] = "(INSTR(%(expressions)s, CAST('\"error\":' AS BLOB)) > 0)"
        return self.as_sql(compiler, connection, **context)


def count_by_health(jobs: QuerySet[Job], now: datetime) -> dict[JobHealth, int]:
    """How many of `jobs` are in which health; each is there, worst first. One query."""
    counted = with_health(jobs, now).order_by().values_list("severity").annotate(count=Count("pk"))
    counts = dict(counted)
    return {health: counts.get(health.severity, 0) for health in JobHealth}


def job_statuses(jobs: Iterable[Job], now: datetime, count: int = 60) -> list[JobStatus]:
    """How each of `jobs` does, with its `count` latest runs, in the order given. Two queries, and that of `jobs`."""
    jobs = list(jobs)
    told = {job.pk: job for job in _told(jobs, now)}
    latest: dict[str, list[BriefRun]] = {}
    runs = Run.objects.latest_of_each([job.name for job in jobs], count)
    for name, *brief in runs.values_list("job_id", *BRIEF):
        latest.setdefault(name, []).append(_brief(*brief))
    return [
        _status(job, told[job.pk], tuple(latest.get(job.name, ())), count)
        for job in jobs
        if job.pk in told  # not deleted in this moment
    ]


def worst_first(jobs: QuerySet[Job], now: datetime, limit: int, count: int = 60) -> list[JobStatus]:
    """As `job_statuses`, of the `limit` jobs that do worst. Two queries."""
    worst = _with_errors(with_health(jobs, now)).order_by("severity", "name")[:limit]
    return job_statuses(worst, now, count)


def _told(jobs: Sequence[Job], now: datetime) -> Iterable[Any]:
    """`jobs` with what `_with_errors` adds; as they are, where they have that."""
    if all(hasattr(job, "planned") for job in jobs):
        return jobs
    return _with_errors(with_health(Job.objects.filter(pk__in=[job.pk for job in jobs]), now))


def _with_errors(jobs: QuerySet[Any]) -> QuerySet[Any]:
    said = _attempted().values(said=Substr("error", 1, SHOWN_OF_AN_ERROR))
    why = _attempted().values(why=Substr("reason", 1, SHOWN_OF_AN_ERROR))
    planned = Schedule.objects.filter(id=OuterRef("name")).values("job_state")
    failing = Q(severity=JobHealth.FAILING.severity)
    told: QuerySet[Any] = jobs.annotate(
        planned=Subquery(planned[:1]),
        said=Case(When(failing, then=Subquery(said[:1])), default=Value("")),
        why=Case(When(failing, then=Subquery(why[:1])), default=Value("")),
    )
    return told


def _brief(id: int, state: str, cause: str, *others: Any) -> BriefRun:
    return BriefRun(id, State(state), Cause(cause), *others)


def _status(job: Job, told: Any, latest: tuple[BriefRun, ...], count: int) -> JobStatus:
    health = HEALTHS[told.severity]
    error = told.said or told.why or ""
    if health == JobHealth.BROKEN:
        error = Schedule(id=job.name, job_state=told.planned or b"").state.error
        if job.task not in registry.tasks:
            error = _("The task “%(task)s” is not registered.") % {"task": job.task}
    return JobStatus(
        job=job,
        health=health,
        due_next=told.due_next,
        error=error,
        latest=latest,
        cut_off=len(latest) >= count,
    )
