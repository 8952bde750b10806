"""What an executor leaves behind when it stops: what others can go on with, and nothing that only seems to run.

What it has not begun is anybody's again. What the end of the grace cut off is told from what somebody cancelled,
and made again where its job wants that. What can't be made to end is put on record as abandoned.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence, Set
from dataclasses import replace

from django.db import Error as AnyDatabaseError
from django.db import transaction
from django.utils import timezone

from hotdata.execution.outcome import Outcome
from hotdata.execution.record import record
from hotdata.logs import EventLogger
from hotdata.models import Run, endings, recoveries
from hotdata.models.runs import State

logger = EventLogger(__name__)

CUT_OFF = "Its node was stopped, and the grace was over."
DEAF = "Its node was stopped, and the task did not end when it was told to."


def record_cut_off(outcomes: Sequence[Outcome], cut_off: Set[int]) -> set[int]:
    """Record those of `outcomes` that the end of the grace made of the runs `cut_off`, and their recoveries.

    All of them or, on an error, none. Returns their ids; the others came to an end of their own.
    """
    cut = [end for end in outcomes if end.run.id in cut_off and end.state == State.CANCELLED]
    ids = {end.run.id for end in cut}
    if not cut:
        return ids
    with transaction.atomic():
        # Not what somebody asked to cancel in the meantime, nor what a leader has abandoned and made again.
        lost = Run.objects.filter(id__in=ids, state=State.RUNNING, cancel_requested_by="").select_for_update()
        again = set(lost.values_list("id", flat=True))
        record([replace(end, reason=CUT_OFF) for end in cut])
        recoveries.make([end.run for end in cut if end.run.id in again], timezone.now())
    return ids


def say_last_words(node: str, running: Collection[int]) -> None:
    """Settle what `node` leaves: what it was handed, and the runs `running`, by id, that ignore their cancellation.

    A thread can't be killed, so these go on until the process ends; nobody will hear of their outcome. When the
    database is away, it is all left to the leader, who finds a node that is gone.
    """
    now = timezone.now()
    try:
        with transaction.atomic():
            # All runs are locked before the change counter is, as everywhere.
            deaf = list(Run.objects.filter(id__in=running, state=State.RUNNING).select_for_update())
            lost = recoveries.abandon(deaf, DEAF, now)
            Run.objects.hand_back(node)
            recoveries.make(lost, now)
            endings.say_later(deaf)
    except AnyDatabaseError as error:
        logger.warning("executor.left_without_settling", error=error)
