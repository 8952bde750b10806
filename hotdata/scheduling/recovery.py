"""Settles what dead nodes left behind. Done by the leader, over and over; mostly there is nothing to do.

What a dead node had been handed but not started is free for the taking again. What it was running can't be
known to have ended, so it becomes ``abandoned``; a job with ``recover`` set is run again, as a new run. To be
abandoned is to fail: a job that has failed often enough in a row by that is paused.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from hotdata.logs import EventLogger
from hotdata.models import Job, Node, Run, endings, recoveries
from hotdata.models.runs import ACTIVE, WAITING, State

logger = EventLogger(__name__)

NODE_KEPT = timedelta(days=1)
NOT_HEARD_OF = "Its node {node} was not heard of any more."


@dataclass(frozen=True, kw_only=True)
class Settlement:
    """What was found of dead nodes."""

    handed_back: int
    abandoned: int
    recovered: int


def silent_nodes(node_timeout: timedelta, *, me: str = "") -> set[str]:
    """Who has runs that have not ended, and was not heard of for `node_timeout`; never `me`: who asks is alive.

    Silence is counted by the database's clock. When that was stepped, all are silent until they are heard of again.
    """
    return set(_orphans(node_timeout, me).order_by().values_list("node", flat=True).distinct())


def settle(
    now: datetime, node_timeout: timedelta, *, me: str = "", among: Collection[str] | None = None
) -> Settlement:
    """Settle the runs of every node not heard of for `node_timeout`, `among` these, but for `me`: who asks is alive.

    Runs may be left for a later call. All is one transaction, but for the pauses of jobs that fail; when nothing is
    to be done, one cheap query.
    """
    orphans = _orphans(node_timeout, me)
    if among is not None:
        orphans = orphans.filter(node__in=among)
    if not orphans.exists():
        return Settlement(handed_back=0, abandoned=0, recovered=0)
    with transaction.atomic():
        handed_back = orphans.filter(state__in=WAITING).update(node="")
        # Without what may be large and is not needed here.
        light = orphans.defer("log", "result", "traceback", "attempts")
        lost = list(light.filter(state=State.RUNNING).select_for_update(skip_locked=True))
        recovered = recoveries.make(recoveries.abandon(lost, NOT_HEARD_OF, now), now)
    if handed_back or lost:
        logger.warning("runs.settled", handed_back=handed_back, abandoned=len(lost), recovered=recovered)
    for run in lost:
        endings.say(run)
    if lost:
        # After the commit: it locks schedules. When a crash comes in between, the job's next failure makes up for it.
        Job.objects.pause_failing(*{run.job_id for run in lost})
    return Settlement(handed_back=handed_back, abandoned=len(lost), recovered=recovered)


def tidy_nodes() -> None:
    """Forget the nodes that have been silent for a day."""
    Node.objects.filter(heartbeat_at__lt=Now() - NODE_KEPT).delete()


def _orphans(node_timeout: timedelta, me: str) -> QuerySet[Run]:
    """The runs that have not ended, of nodes that are not heard of any more."""
    alive = Node.objects.alive(node_timeout).values("name")
    return Run.objects.filter(state__in=ACTIVE).exclude(node__in=["", me]).exclude(node__in=alive)
