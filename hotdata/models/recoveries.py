"""Recoveries: which runs that were cut off are made again, for jobs that want it, and which are no more.

A recovery is a new run that points to the one it stands in for. A task that kills its node would go from one
node to the next that way, for ever; so a run that was abandoned several times in a row is left alone.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from django.db import transaction

from hotdata.models import bulk
from hotdata.models.changes import ChangeCounter
from hotdata.models.jobs import Job
from hotdata.models.runs import Cause, Run, State

MOST_IN_A_ROW = 3
SPENT = f"It was abandoned {MOST_IN_A_ROW} times in a row, so it is not run again."


def abandon(lost: Sequence[Run], reason: str, now: datetime) -> list[Run]:
    """Record that the running runs `lost`, whose rows the caller has locked, came to no end that anybody knows of.

    In `reason`, ``{node}`` stands for a run's node. Returns those that may be made again.
    """
    spent = _spent([run.id for run in lost])
    for run in lost:
        run.state, run.finished_at, run.reason = State.ABANDONED, now, reason.format(node=run.node)
        if run.id in spent:
            run.reason += f" {SPENT}"
    bulk.update(lost, ["state", "finished_at", "reason"], state=[State.RUNNING])
    return [run for run in lost if run.id not in spent]


def make(lost: Sequence[Run], now: datetime) -> int:
    """Make a new run for each of `lost` whose job wants it run again; return how many.

    Not for one that was asked to stop, as its row was last read: whoever asked doesn't want it run again. Call
    it in the transaction that records why they are lost, as the last thing: it bumps the change counter.
    """
    names = {run.job_id for run in lost}
    wanting = set(Job.objects.filter(name__in=names, recover=True).values_list("name", flat=True))
    recoveries = [
        Run(
            job_id=run.job_id,
            task=run.task,
            params=run.params,
            cause=Cause.RECOVERY,
            recovers=run,
            state=State.QUEUED,
            created_at=now,
            ready_at=now,
        )
        for run in lost
        if run.job_id in wanting and not run.cancel_requested_by
    ]
    if recoveries:
        with transaction.atomic():
            Run.objects.bulk_create(recoveries)
            ChangeCounter.bump()
    return len(recoveries)


def _spent(runs: Collection[int]) -> set[int]:
    """Those of `runs`, by id, that recover a run that was abandoned, which recovers one that was, too."""
    before = {"recovers__state": State.ABANDONED, "recovers__recovers__state": State.ABANDONED}
    return set(Run.objects.filter(id__in=runs, **before).order_by().values_list("id", flat=True))
