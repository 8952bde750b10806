"""The endpoints below ``/admin/``, which were there first: their paths and answers stay. A job's id is its name."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from django.http import HttpRequest, HttpResponse

from hotdata.api.answers import local, methods, staff_with
from hotdata.api.cursors import Limit
from hotdata.api.jobs import TRIGGER, TriggerRequest, job_called, trigger_job, words_of
from hotdata.api.operations import Operation
from hotdata.api.runs import check_known
from hotdata.api.shapes import Moment, Seconds, moment, seconds
from hotdata.models import Job, Run, Schedule
from hotdata.models.runs import State
from hotdata.text import storable


class ScheduledJob(msgspec.Struct):
    """A job, and when it is due next."""

    id: str
    name: str
    task: str
    params: dict[str, Any]
    trigger: str
    time_zone: str
    paused: bool
    next_run_time: Moment | None
    error: str


class LogQuery(msgspec.Struct, forbid_unknown_fields=True):
    """How many of the latest runs are asked for."""

    limit: Limit = 10


class LoggedRun(msgspec.Struct):
    """How a run went, and what it logged."""

    id: int
    state: State
    scheduled_for: Moment | None
    created_at: Moment
    started_at: Moment | None
    finished_at: Moment | None
    duration: Seconds | None
    error: Annotated[str, msgspec.Meta(description="Or the reason why it never started.")]
    log: str


@methods("GET", "HEAD")
@staff_with("hotdata.view_job")
@Operation(answer=list[ScheduledJob])
def scheduled(request: HttpRequest) -> list[ScheduledJob]:
    """Every job, with when it is due next."""
    schedules = Schedule.objects.in_bulk()
    return [_shown(job, schedules.get(job.name)) for job in Job.objects.all()]


@methods("POST")
@staff_with("hotdata.run_job")
@TRIGGER
def trigger(request: HttpRequest, job_id: str, body: TriggerRequest) -> HttpResponse:
    """Ask for a run now, as the endpoint below /api/ does."""
    return trigger_job(request, job_called(storable(job_id)), body)


@methods("GET", "HEAD")
@staff_with("hotdata.view_run")
@Operation(query=LogQuery, answer=list[LoggedRun])
def logs(request: HttpRequest, job_id: str, asked: LogQuery) -> list[LoggedRun]:
    """The latest runs of a job with their logs, newest first; also of one that was deleted."""
    name = storable(job_id)
    runs = Run.objects.of_job(name).defer("params", "attempts", "result", "traceback")
    logged = [_logged(run) for run in runs.order_by("-id")[: asked.limit]]
    if not logged:
        check_known(name)
    return logged


def _shown(job: Job, schedule: Schedule | None) -> ScheduledJob:
    return ScheduledJob(
        id=job.name,
        name=job.title or job.name,
        task=job.task,
        params=job.params,
        trigger=words_of(job),
        time_zone=job.time_zone,
        paused=job.paused,
        next_run_time=local(schedule.next_run_time) if schedule else None,
        error=schedule.state.error if schedule else "",
    )


def _logged(run: Run) -> LoggedRun:
    return LoggedRun(
        id=run.pk,
        state=State(run.state),
        scheduled_for=local(run.scheduled_for),
        created_at=moment(run.created_at),
        started_at=local(run.started_at),
        finished_at=local(run.finished_at),
        duration=seconds(run.duration),
        error=run.error or run.reason,
        log=run.log,
    )
