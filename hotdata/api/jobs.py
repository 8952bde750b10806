"""``GET /admin/scheduled-jobs`` and ``POST /admin/jobs/<id>/trigger``, for staff and their programs.

A job's id is its name.
"""

from __future__ import annotations

from typing import Any

import msgspec
from django.http import HttpRequest, HttpResponse

from hotdata.api.answers import json_answer, json_error, local, methods, staff_with
from hotdata.exceptions import BadParams, BadTrigger, UnknownTask
from hotdata.models import Job, Schedule
from hotdata.models.history import name_of
from hotdata.models.runs import Cause
from hotdata.text import storable


class TriggerRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a trigger request: parameters that replace the job's own, by name."""

    params: dict[str, Any] = {}


@methods("GET", "HEAD")
@staff_with("hotdata.view_job")
def scheduled(request: HttpRequest) -> HttpResponse:
    """Every job, with when it is due next."""
    schedules = Schedule.objects.in_bulk()
    return json_answer([_shown(job, schedules.get(job.name)) for job in Job.objects.all()])


@methods("POST")
@staff_with("hotdata.run_job")
def trigger(request: HttpRequest, job_id: str) -> HttpResponse:
    """Ask for a run now; 202 with its id. It runs beside the schedule, as soon as the leader picks it up."""
    job = Job.objects.filter(name=storable(job_id)).first()
    if job is None:
        return json_error("Job not found", status=404)
    try:
        body = msgspec.json.decode(_body(request), type=TriggerRequest)
        if body.params and not request.user.has_perm("hotdata.change_job"):
            return json_error(
                "Other parameters than the job's own need the permission hotdata.change_job.", status=403
            )
        run = job.request_run(Cause.API, by=name_of(request), params=body.params)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return json_error(f"The body is not what is expected: {error}.", status=400)
    except (BadParams, UnknownTask) as error:
        return json_error(str(error), status=400)
    return json_answer({"run": run.id, "job": job.name, "state": run.state}, status=202)


def _body(request: HttpRequest) -> bytes:
    """What was sent as JSON; nothing of a form, which the check of its token has read already."""
    if (request.content_type or "").startswith("multipart/"):
        raise msgspec.DecodeError("it is a form, and not JSON")
    return request.body or b"{}"


def _shown(job: Job, schedule: Schedule | None) -> dict[str, Any]:
    return {
        "id": job.name,
        "name": job.title or job.name,
        "task": job.task,
        "params": job.params,
        "trigger": _words(job),
        "time_zone": job.time_zone,
        "paused": job.paused,
        "next_run_time": local(schedule.next_run_time) if schedule else None,
        "error": schedule.state.error if schedule else "",
    }


def _words(job: Job) -> str:
    try:
        return job.build_trigger().describe()
    except BadTrigger as error:
        return str(error)
