"""Writes down how attempts ended: once each, many in one transaction.

A row is written only while it still stands as the attempt left it. When the run was declared abandoned in the
meantime, since its node was thought dead, it stays so, and what came late is added to the record.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from django.db import InterfaceError, OperationalError, transaction
from django.utils import timezone

from hotdata.execution.outcome import RETRIED, Outcome
from hotdata.execution.retry import retry_delay
from hotdata.logs import EventLogger
from hotdata.models import ChangeCounter, Job, Run, bulk, endings
from hotdata.models.policies import HOLDING
from hotdata.models.runs import FAILURES, State

logger = EventLogger(__name__)

WRITTEN = [
    "state", "reason", "node", "ready_at", "finished_at", "duration", "attempts",
    "progress_done", "progress_total", "log", "result", "error", "traceback", "notable",
]  # fmt: skip


def record(outcomes: Sequence[Outcome]) -> list[Run]:
    """Write `outcomes`; return the runs that now wait for a retry. All are written or, on an error, none."""
    concluded = [_conclude(outcome) for outcome in outcomes]
    # Ends alone are one statement, all or none by itself: what follows it is found later when it is cut off here.
    # A transaction would be three, and most of what it costs to record one run.
    with transaction.atomic() if State.RETRYING in {run.state for run in concluded} else nullcontext():
        # A retry on record already, whose answer was lost, may be running on another node by now.
        nodes = {outcome.node for outcome in outcomes}
        hit = bulk.update(concluded, WRITTEN, state=[State.RUNNING], node=nodes)
        runs = [outcome.run for outcome in outcomes if outcome.run.id in hit]
        if len(hit) < len(outcomes):
            _add_late([outcome for outcome in outcomes if outcome.run.id not in hit])
        retrying = [run for run in runs if run.state == State.RETRYING]
        if retrying:
            retrying = _without_cancelled(retrying)
        if retrying or _are_waited_for(runs):
            ChangeCounter.bump()
    for run in runs:
        endings.say(run)
    # Of all outcomes: when a crash or an error came between the record and this, it is made up for now.
    _pause_failing([outcome.run for outcome in outcomes])
    return retrying


def record_each(outcomes: Sequence[Outcome]) -> None:
    """Write `outcomes` one by one. One that the database refuses is recorded as failed, and stops no other.

    Raises OperationalError and InterfaceError, when the database is away.
    """
    for outcome in outcomes:
        try:
            record([outcome])
        except (OperationalError, InterfaceError):
            raise
        except Exception as error:
            logger.exception("run.unrecordable", job=outcome.run.job_id, run=outcome.run.id)
            record([_unrecordable(outcome, error)])


def _are_waited_for(runs: Sequence[Run]) -> bool:
    """Whether a held run may go on now that `runs` ended."""
    holding = {run.job_id for run in runs if run.definition and run.definition.overlap in HOLDING}
    return bool(holding) and Run.objects.filter(job_id__in=holding, held=True).exists()


def _pause_failing(runs: Sequence[Run]) -> None:
    """Pause the jobs that have failed as often in a row as they may. In transactions of its own: it locks schedules.

    Raises nothing: the outcomes are on record, and a job that could not be paused is at its next failure.
    """
    failed = (run for run in runs if run.state in FAILURES and run.definition)
    names = {run.job_id for run in failed if run.job.pause_after_failures}
    if not names:
        return
    try:
        Job.objects.pause_failing(*names)
    except Exception:
        logger.exception("run.pause_failed", jobs=",".join(sorted(names)))


def _unrecordable(outcome: Outcome, error: Exception) -> Outcome:
    """What is recorded in place of `outcome`: nothing of what the task left is trusted."""
    return Outcome(
        run=outcome.run,
        node=outcome.node,
        state=State.FAILED,
        finished_at=outcome.finished_at,
        duration=outcome.duration,
        permanent=True,
        error=f"The outcome could not be recorded: {type(error).__name__}.",
    )


def _conclude(outcome: Outcome) -> Run:
    """The run as its record will stand: at its end, or waiting for a retry. The same however often it is asked."""
    run = outcome.run
    run.duration = outcome.duration
    run.progress_done, run.progress_total = outcome.progress_done, outcome.progress_total
    run.log, run.result = outcome.log, outcome.result
    run.error, run.traceback = outcome.error, outcome.traceback
    run.notable = outcome.notable
    run.attempts = [*run.attempts[: run.attempt - 1], _attempt(outcome)]
    delay = _delay_before_retry(outcome)
    if delay is None:
        run.state, run.reason, run.finished_at = outcome.state, outcome.reason, outcome.finished_at
    else:
        run.state, run.node, run.ready_at = State.RETRYING, "", outcome.finished_at + delay
    return run


def _delay_before_retry(outcome: Outcome) -> Any:
    """How long until the next attempt; None when there is none."""
    job = outcome.run.definition
    if (
        job is None
        or outcome.state not in RETRIED
        or outcome.permanent
        or outcome.run.attempt > job.max_retries
    ):
        return None
    return retry_delay(
        outcome.run.attempt,
        first=job.retry_delay,
        longest=job.retry_delay_max,
        retry_after=outcome.retry_after,
    )


def _attempt(outcome: Outcome) -> dict[str, Any]:
    """The attempt as one line of the run's ``attempts``."""
    started_at = outcome.run.started_at
    assert started_at is not None, "an attempt that was not started has no outcome"
    return {
        "number": outcome.run.attempt,
        "state": outcome.state.value,
        "started_at": started_at.isoformat(),
        "duration": outcome.duration.total_seconds(),
        "error": outcome.error,
        "node": outcome.node,
    }


def _without_cancelled(retrying: list[Run]) -> list[Run]:
    """Cancel those that nobody wants tried again, and return the others.

    They were asked to stop in an attempt that failed before it heard of it, or their job was deleted meanwhile.
    """
    asked = Run.objects.filter(id__in=[run.id for run in retrying]).exclude(cancel_requested_by="")
    unwanted = dict.fromkeys(asked.values_list("id", flat=True), "Cancelled while it was running.")
    defined = set(
        Job.objects.filter(name__in={run.job_id for run in retrying}).values_list("name", flat=True)
    )
    unwanted |= {run.id: "Its job was deleted." for run in retrying if run.job_id not in defined}
    now = timezone.now()
    for run in retrying:
        if run.id in unwanted:
            run.state, run.finished_at, run.reason = State.CANCELLED, now, unwanted[run.id]
            run.save(update_fields=["state", "finished_at", "reason"])
    return [run for run in retrying if run.id not in unwanted]


def _add_late(outcomes: Sequence[Outcome]) -> None:
    """Add what came too late to the records of runs that were abandoned in the meantime."""
    for outcome in outcomes:
        run = outcome.run
        added = Run.objects.filter(id=run.id, state=State.ABANDONED).update(
            reason=f"Abandoned, as its node was thought dead. It ended late, at "
            f"{outcome.finished_at:%Y-%m-%d %H:%M:%S} UTC, as {outcome.state.value}.",
            duration=outcome.duration,
            attempts=[*run.attempts[: run.attempt - 1], _attempt(outcome)],
            log=outcome.log,
            result=outcome.result,
            error=outcome.error,
            traceback=outcome.traceback,
        )
        if added:
            logger.warning("run.late", job=run.job_id, run=run.id, state=outcome.state.value)
