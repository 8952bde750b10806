"""Runs: those of a job, one with all that is on record of it, and its cancellation."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone

from hotdata import actions
from hotdata.api import shapes
from hotdata.api.answers import local, methods, staff_with
from hotdata.api.asking import Nothing, Refused
from hotdata.api.cursors import Cursor, Limit, Page, cursor_at, number_at
from hotdata.api.operations import Operation
from hotdata.api.shapes import moment, seconds
from hotdata.models import Job, Run
from hotdata.models.runs import Cause, State
from hotdata.observing.attempts import attempts_of
from hotdata.observing.runs import RunSearch

SHOWN = (
    "id", "job_id", "task", "state", "cause", "requested_by", "scheduled_for", "coalesced", "created_at", "ready_at",
    "started_at", "finished_at", "duration", "attempt", "node", "progress_done", "progress_total", "reason", "error",
    "cancel_requested_by",
)  # fmt: skip
"""What a list reads: not what may be long, logs and results."""


class RunQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Which runs are asked for."""

    state: Annotated[list[State], msgspec.Meta(description="One of these.")] = []
    limit: Limit = 20
    cursor: Cursor = ""


@methods("GET", "HEAD")
@staff_with("hotdata.view_run")
@Operation(query=RunQuery, answer=Page[shapes.Run])
def of_job(request: HttpRequest, name: str, asked: RunQuery) -> Page[shapes.Run]:
    """The runs of a job, newest first; also of one that was deleted.

    Of rare states the latest 20,000 runs are looked through for one page: it may be empty, and lead on.
    """
    search = RunSearch(job=name, states=frozenset(asked.state), before=number_at(asked.cursor)).find()
    runs = list(search.rows.only(*SHOWN)[: asked.limit + 1])
    if not runs:
        check_known(name)
    shown = [shapes.Run(**_facts(run)) for run in runs[: asked.limit]]
    if len(runs) > asked.limit:
        return Page(shown, cursor_at(runs[asked.limit - 1].pk))
    return Page(shown, None if search.horizon is None else cursor_at(search.horizon + 1))


@methods("GET", "HEAD")
@staff_with("hotdata.view_run")
@Operation(answer=shapes.RunDetails)
def one(request: HttpRequest, run_id: int) -> shapes.RunDetails:
    """One run, with its attempts, log, result and traceback."""
    run = _run(run_id)
    return shapes.RunDetails(
        **_facts(run),
        params=run.params,
        attempts=[
            shapes.Attempt(
                number=attempt.number,
                state=attempt.state,
                started_at=local(attempt.started_at),
                duration=seconds(attempt.duration),
                node=attempt.node,
                error=attempt.error,
            )
            for attempt in attempts_of(run, timezone.now())
        ],
        log=run.log,
        result=run.result,
        traceback=run.traceback,
    )


@methods("POST")
@staff_with("hotdata.cancel_run")
@Operation(
    body=Nothing,
    answer=shapes.Run,
    status=202,
    errors={409: "The run has ended already, or is being cancelled."},
)
def cancel(request: HttpRequest, run_id: int, body: Nothing) -> shapes.Run:
    """Cancel a run. One that waits is cancelled at once, one that runs when its task next looks."""
    run = _run(run_id)
    with transaction.atomic():  # as for a pause
        if not actions.cancel(actions.Actor.of(request), run):
            raise Refused(409, f"Run {run.pk} has ended already, or is being cancelled.")
        return shapes.Run(**_facts(_run(run_id)))


def check_known(name: str) -> None:
    """Raise Refused unless there is a job of that name, or there was one that left runs."""
    if not (Job.objects.filter(name=name).exists() or Run.objects.of_job(name).exists()):
        raise Refused(404, "Job not found")


def _run(run_id: int) -> Run:
    run = Run.objects.filter(pk=run_id).first()
    if run is None:
        raise Refused(404, f"There is no run {run_id}.")
    return run


def _facts(run: Run) -> dict[str, Any]:
    """What a `shapes.Run` is made of."""
    return {
        "id": run.pk,
        "job": run.job_id,
        "task": run.task,
        "state": State(run.state),
        "cause": Cause(run.cause),
        "requested_by": run.requested_by,
        "scheduled_for": local(run.scheduled_for),
        "coalesced": run.coalesced,
        "created_at": moment(run.created_at),
        "ready_at": moment(run.ready_at),
        "started_at": local(run.started_at),
        "finished_at": local(run.finished_at),
        "duration": seconds(run.duration),
        "attempt": run.attempt,
        "node": run.node,
        "progress": shapes.Progress(done=run.progress_done, total=run.progress_total),
        "reason": run.reason,
        "error": run.error,
        "cancel_requested_by": run.cancel_requested_by,
    }
