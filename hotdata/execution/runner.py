"""Runs one run to one outcome, in named steps: start → resolve → validate → perform → record.

`perform` never raises for what a task does: whatever happens becomes an `Outcome`. `execute` is the whole way
for a single run; an executor that works on many takes the same steps in batches.
"""

from __future__ import annotations

import re
import time
import traceback as tracebacks
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
from django.utils import timezone

from hotdata import registry
from hotdata.conf import conf
from hotdata.exceptions import BadResult, HotdataError, RunCancelled, RunTimedOut
from hotdata.execution.context import CurrentRun, entered
from hotdata.execution.outcome import Outcome
from hotdata.execution.progress import attended
from hotdata.execution.record import record_each
from hotdata.logs import EventLogger
from hotdata.models import Job, Run
from hotdata.models.policies import Isolation
from hotdata.models.runs import State
from hotdata.registry import Task
from hotdata.text import holds_secret, shortened, storable, without_secrets

logger = EventLogger(__name__)

ERROR_LIMIT = 4000  # characters; an error's text may hold a whole answer of an upstream
NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")

Ending = dict[str, Any]
"""How a call of a task ended: the fields of an `Outcome` that the call itself decides."""


def execute(
    run_id: int, node: str, *, on_context: Callable[[CurrentRun], None] = lambda context: None
) -> Outcome | None:
    """Start run `run_id` on `node`, perform it, and record how it ended. `on_context` is shown what the task will see.

    Returns None, having done nothing, when the run is not `node`'s to start: it was cancelled, is running or
    has ended. So it is harmless to call this twice. Killed in the middle, it leaves a ``running`` run of a
    dead node, which the next leader marks as abandoned.
    """
    run = Run.objects.get(pk=run_id)
    if not Run.objects.start([run], node, timezone.now()):
        return None
    attach_jobs([run])
    context = make_context(run)
    on_context(context)
    with attended(run.id, context):
        outcome = perform(run, context)
    record_each([outcome])
    return outcome


def attach_jobs(runs: list[Run]) -> None:
    """Load the jobs of `runs` in one query, and mark those whose job is gone with ``job = None`` in the cache."""
    names = {run.job_id for run in runs if not Run.job.is_cached(run)}
    if not names:
        return
    jobs = Job.objects.in_bulk(list(names), field_name="name")
    for run in runs:
        if run.job_id in names:
            run._state.fields_cache["job"] = jobs.get(run.job_id)


def make_context(run: Run) -> CurrentRun:
    """The context in which `run`'s task will find itself."""
    job = run.definition
    return CurrentRun(
        id=run.id,
        job=run.job_id,
        time_zone=job.time_zone if job else "UTC",
        scheduled_for=run.scheduled_for,
        attempt=run.attempt,
        timeout=job.timeout if job else None,
        log_limit=conf().log_limit,
        isolated=job is not None and job.isolation == Isolation.PROCESS,
    )


def perform(run: Run, current: CurrentRun) -> Outcome:
    """Resolve the task, validate the parameters, call it, and put into an Outcome whatever came of it.

    It is called in this thread or, where the run is `isolated`, in a process of its own, which has ended then.
    """
    begun = time.perf_counter()
    try:
        return _performed(run, current, begun)
    except BaseException as error:
        # What a task raises is somebody else's code, too: it may raise in its turn when it is looked at.
        logger.exception("run.untold", job=run.job_id, run=run.id)
        return Outcome(
            run=run,
            node=run.node,
            state=State.FAILED,
            finished_at=timezone.now(),
            duration=timedelta(seconds=time.perf_counter() - begun),
            error=f"How it ended could not be told: {type(error).__name__}.",
        )


def _performed(run: Run, current: CurrentRun, begun: float) -> Outcome:
    with entered(current):
        current.begin()
        ending = attempt(run.task, run.params, current, call=_call_isolated if current.isolated else _call)
    if ending["state"] == State.CANCELLED:
        ending["reason"] = "Cancelled while it was running."
    return Outcome(
        run=run,
        node=run.node,
        finished_at=timezone.now(),
        duration=timedelta(seconds=time.perf_counter() - begun),
        log=storable(current.captured.text()),
        progress_done=current.done,
        progress_total=current.total,
        notable=current.notable,
        **ending,
    )


def _call(task: Task, params: Any, current: CurrentRun) -> Ending:
    return _ended(current, task.function(**task.validate(params)))


def _call_isolated(task: Task, params: Any, current: CurrentRun) -> Ending:
    # Not at the top: a scheduler without such jobs is spared multiprocessing, pebble and their memory.
    from hotdata.execution import isolation

    task.validate(params)
    return isolation.call(task.name, params, current)


def attempt(
    name: str, params: Any, current: CurrentRun, *, call: Callable[[Task, Any, CurrentRun], Ending] = _call
) -> Ending:
    """Find the task `name` and `call` it within `current`; never raises. The ending is a part of an Outcome."""
    try:
        # It may have been cancelled while it waited for a free thread.
        current.check()
        return call(registry.tasks.get(name), params, current)
    except (RunCancelled, KeyboardInterrupt):
        return {"state": State.CANCELLED}
    except BaseException as error:  # noqa: BLE001 - somebody else's code: all it raises, exit() too, is an outcome
        return _failed(current, error)


def _ended(current: CurrentRun, returned: Any) -> Ending:
    """The ending of a task that returned: it may still have come too late, or returned something unusable."""
    result = to_json(returned)
    if current.cancelled:
        return {"state": State.CANCELLED, "result": result}
    if current.overdue:
        return {"state": State.TIMED_OUT, "result": result, "error": "It returned only after its timeout."}
    return {"state": State.SUCCEEDED, "result": result}


def _failed(current: CurrentRun, error: BaseException) -> Ending:
    """The ending of a task that raised. One that stumbles because it was told to stop is no failure of its own."""
    if current.cancelled:
        return {"state": State.CANCELLED}
    timed_out = isinstance(error, RunTimedOut) or current.overdue
    known = isinstance(error, HotdataError)
    return {
        "state": State.TIMED_OUT if timed_out else State.FAILED,
        # What is cut first may hold half a secret.
        "error": shortened(storable(_said(error)), ERROR_LIMIT),
        "traceback": shortened(storable("".join(tracebacks.format_exception(error))), conf().log_limit),
        "permanent": known and error.permanent,  # type: ignore[attr-defined]
        "retry_after": error.retry_after if known else None,  # type: ignore[attr-defined]
        "result": _result_of(error) if known else None,
    }


def _said(error: BaseException) -> str:
    """What `error` says, on one line with its type."""
    if isinstance(error, SystemExit):
        return f"SystemExit: the task called exit({error.code!r})."
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - an error's text is made by somebody else's code, too
        return f"{type(error).__name__}: its text could not be made."


def _result_of(error: BaseException) -> Any:
    """The result that an error of ours may carry, as far as it can be recorded."""
    try:
        return to_json(getattr(error, "result", None))
    except Exception:  # noqa: BLE001 - it may be a property of somebody else's
        return None


def to_json(value: Any) -> Any:
    """`value` as plain JSON data, as it will be recorded; raises BadResult.

    NaN and infinities become null. What msgspec has a JSON form for is taken as that: datetimes, decimals,
    UUIDs, dataclasses and structs, sets as lists, bytes as base64. Anything else that JSON lacks is refused.
    """
    if value is None:
        return None
    limit = conf().result_limit
    try:
        encoded = msgspec.json.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise BadResult(f"The task returned something that is not JSON: {error}") from error
    if len(encoded) > limit:
        raise BadResult(f"The task returned {len(encoded):,} bytes of JSON; at most {limit:,} are recorded.")
    # PostgreSQL's jsonb can't hold NUL characters.
    data = msgspec.json.decode(NUL.sub(rb"\1\\ufffd", encoded))
    return without_secrets(data) if holds_secret(encoded.decode()) else data
