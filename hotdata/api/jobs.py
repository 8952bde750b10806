"""Jobs under ``/api/jobs``: what there are and how they do; pause, resume, trigger."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone

from hotdata import actions
from hotdata.api import shapes
from hotdata.api.answers import json_answer, local, methods, staff_with
from hotdata.api.asking import Nothing, Refused
from hotdata.api.cursors import Cursor, Limit, Page, cursor_at, name_at
from hotdata.api.operations import Operation
from hotdata.api.shapes import moment, seconds
from hotdata.exceptions import BadParams, BadTrigger, TooManyRuns, UnknownTask
from hotdata.models import Job
from hotdata.models.pauses import NOTE_LIMIT
from hotdata.models.policies import Isolation, Overlap
from hotdata.models.runs import Cause, State
from hotdata.models.schedules import Kind
from hotdata.observing.jobs import JobHealth, JobStatus, job_statuses, with_health
from hotdata.pages.access import may_see
from hotdata.triggers.zones import is_in_range


class JobQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Which jobs are asked for. All that is given has to hold."""

    health: Annotated[list[JobHealth], msgspec.Meta(description="One of these.")] = []
    task: Annotated[str, msgspec.Meta(pattern="^[a-z0-9_]*$", description="The name of the task.")] = ""
    paused: bool | msgspec.UnsetType = msgspec.UNSET
    limit: Limit = 20
    cursor: Cursor = ""


class PauseRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Why a job is paused, and until when."""

    note: Annotated[str, msgspec.Meta(max_length=NOTE_LIMIT)] = ""
    until: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    """The pause ends then by itself; without, when somebody resumes the job."""


class TriggerRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Parameters that replace the job's own, by name."""

    params: dict[str, Any] = {}


TRIGGER = Operation(
    body=TriggerRequest,
    answer=shapes.QueuedRun,
    status=202,
    errors={409: f"{actions.MOST_RUNS} runs of the job that people asked for have not ended."},
    headers={"Location": "Where the run is."},
)
"""What a trigger takes and gives, below /api/ and below /admin/."""


@methods("GET", "HEAD")
@staff_with("hotdata.view_job")
@Operation(query=JobQuery, answer=Page[shapes.Job])
def listed(request: HttpRequest, asked: JobQuery) -> Page[shapes.Job]:
    """The jobs by name, each with how it does."""
    now = timezone.now()
    found = list(_found(asked, now)[: asked.limit + 1])
    statuses = job_statuses(found[: asked.limit], now)
    shown = [shapes.Job(**_facts(request, status, now)) for status in statuses]
    return Page(shown, cursor_at(found[asked.limit - 1].name) if len(found) > asked.limit else None)


@methods("GET", "HEAD")
@staff_with("hotdata.view_job")
@Operation(answer=shapes.JobDetails)
def one(request: HttpRequest, name: str) -> shapes.JobDetails:
    """One job, with all that defines it."""
    job, now = job_called(name), timezone.now()
    status = _status(job, now)
    return shapes.JobDetails(
        **_facts(request, status, now),
        policies=_policies(job),
        starts_at=local(job.starts_at),
        ends_at=local(job.ends_at),
        jitter=job.jitter.total_seconds(),
        created_at=moment(job.created_at),
        updated_at=moment(job.updated_at),
        p50=seconds(status.p50),
        p95=seconds(status.p95),
        success=status.success,
    )


@methods("POST")
@staff_with("hotdata.pause_job")
@Operation(
    body=PauseRequest,
    answer=shapes.Job,
    errors={409: "The job is paused already, or can't be scheduled at all."},
)
def pause(request: HttpRequest, name: str, body: PauseRequest) -> shapes.Job:
    """Pause a job: due times are passed over, runs by hand work."""
    job = job_called(name)
    until = _until(body)
    if "\0" in body.note:
        raise Refused(400, "note: it can't hold the character U+0000.")
    return _set_paused(request, job, paused=True, note=body.note, until=until)


@methods("POST")
@staff_with("hotdata.pause_job")
@Operation(
    body=Nothing,
    answer=shapes.Job,
    errors={409: "The job is not paused, or can't be scheduled at all."},
)
def resume(request: HttpRequest, name: str, body: Nothing) -> shapes.Job:
    """Resume a paused job."""
    return _set_paused(request, job_called(name), paused=False)


@methods("POST")
@staff_with("hotdata.run_job")
@TRIGGER
def trigger(request: HttpRequest, name: str, body: TriggerRequest) -> HttpResponse:
    """Ask for a run now, beside the schedule, as soon as the leader picks it up.

    Other parameters than the job's own need the permission hotdata.change_job, too.
    """
    return trigger_job(request, job_called(name), body)


def trigger_job(request: HttpRequest, job: Job, body: TriggerRequest) -> HttpResponse:
    """Ask for a run in the user's name; 202 with its id. Raises Refused."""
    if body.params and not request.user.has_perm("hotdata.change_job"):
        raise Refused(403, "Other parameters than the job's own need the permission hotdata.change_job.")
    try:
        run = actions.run_now(actions.Actor.of(request), job, Cause.API, params=body.params)
    except (BadParams, UnknownTask) as error:
        raise Refused(400, str(error)) from error
    except TooManyRuns as error:
        raise Refused(409, str(error)) from error
    answer = json_answer(shapes.QueuedRun(run=run.pk, job=job.name, state=State(run.state)), status=202)
    answer["Location"] = reverse("hotdata:run", args=[run.pk])
    return answer


def job_called(name: str) -> Job:
    """The job of that name. Raises Refused."""
    job = Job.objects.filter(name=name).first()
    if job is None:
        raise Refused(404, "Job not found")
    return job


def words_of(job: Job) -> str:
    """When the job is due, in words; or why it can't be scheduled."""
    try:
        return job.build_trigger().describe()
    except BadTrigger as error:
        return str(error)


def _found(asked: JobQuery, now: datetime) -> QuerySet[Any]:
    jobs = with_health(Job.objects.all(), now).filter(name__gt=name_at(asked.cursor))
    if asked.health:
        jobs = jobs.filter(severity__in=[health.severity for health in asked.health])
    if asked.task:
        jobs = jobs.filter(task=asked.task)
    if asked.paused is not msgspec.UNSET:
        rests = Q(paused=True) & (Q(paused_until=None) | Q(paused_until__gt=now))
        jobs = jobs.filter(rests if asked.paused else ~rests)
    return jobs.order_by("name")


def _until(body: PauseRequest) -> datetime | None:
    if body.until is None:
        return None
    if not is_in_range(body.until):
        raise Refused(400, "until: the time is out of range.")
    if body.until <= timezone.now():
        raise Refused(400, "until: this lies in the past, the pause would have ended.")
    return body.until.astimezone(UTC)


def _set_paused(request: HttpRequest, job: Job, *, paused: bool, **why: Any) -> shapes.Job:
    with transaction.atomic():  # an answer that can't be read any more is one of which nothing was done
        try:
            changed = actions.set_paused(actions.Actor.of(request), job, paused=paused, **why)
        except BadTrigger as error:
            raise Refused(409, f"{job.name} can't be scheduled: {error}") from error
        if not changed:
            raise Refused(409, f"{job.name} is {'paused already' if paused else 'not paused'}.")
        now = timezone.now()
        return shapes.Job(**_facts(request, _status(job_called(job.name), now), now))


def _status(job: Job, now: datetime) -> JobStatus:
    statuses = job_statuses([job], now)
    if not statuses:  # deleted in this moment
        raise Refused(404, "Job not found")
    return statuses[0]


def _facts(request: HttpRequest, status: JobStatus, now: datetime) -> dict[str, Any]:
    """What a `shapes.Job` is made of."""
    job, last = status.job, status.last
    return {
        "name": job.name,
        "title": job.title,
        "task": job.task,
        "params": job.params,
        "trigger": shapes.Trigger(
            kind=Kind(job.trigger),
            words=words_of(job),
            cron=job.cron if job.trigger == Kind.CRON else None,
            interval=seconds(job.interval) if job.trigger == Kind.INTERVAL else None,
            run_at=local(job.run_at) if job.trigger == Kind.DATE else None,
            time_zone=job.time_zone,
        ),
        "health": status.health,
        "error": status.told_error(sees_runs=may_see(request.user, "run")),
        "paused": shapes.Pause(note=job.pause_note, by=job.paused_by, until=local(job.paused_until))
        if job.is_paused(now)
        else None,
        "next_run_time": local(status.due_next),
        "last_run": last
        and shapes.LastRun(
            id=last.id,
            state=last.state,
            cause=last.cause,
            started_at=local(last.started_at),
            duration=seconds(last.duration),
        ),
    }


def _policies(job: Job) -> shapes.Policies:
    return shapes.Policies(
        misfire_grace_time=seconds(job.misfire_grace_time),
        coalesce=job.coalesce,
        max_instances=job.max_instances,
        overlap=Overlap(job.overlap),
        isolation=Isolation(job.isolation),
        timeout=seconds(job.timeout),
        max_retries=job.max_retries,
        retry_delay=job.retry_delay.total_seconds(),
        retry_delay_max=job.retry_delay_max.total_seconds(),
        recover=job.recover,
        keep_runs=job.keep_runs,
        pause_after_failures=job.pause_after_failures,
    )
