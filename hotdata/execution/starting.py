"""Starting: puts runs on record as running, once each, and no sooner than a worker will get to them.

A run counts as ``running`` from that moment on. To keep batches large without lying about it, no more are started
than the free workers can take at once, or than the pool, at its present pace, will get to within `LOOKAHEAD`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence, Set

from django.utils import timezone

from hotdata.execution.runner import attach_jobs
from hotdata.models import Run
from hotdata.models.runs import State

LOOKAHEAD = 0.1  # seconds


class Starter:
    """Starts runs in the name of `node`, for a pool of `workers`."""

    def __init__(self, *, node: str, workers: int) -> None:
        self._node = node
        self._workers = workers
        self._in_doubt: set[int] = set()
        self._pace = 0.0  # runs per second, lately
        self._paced_at = time.monotonic()

    def room(self, working: int) -> int:
        """How many more runs may be started while `working` have not ended; not positive when there is no room."""
        if not working and time.monotonic() - self._paced_at > LOOKAHEAD:
            self._pace = 0.0  # of other runs, and past
        return max(self._workers, int(self._pace * LOOKAHEAD)) - working

    def note_ended(self, count: int) -> None:
        """Learn the pace: `count` runs have ended since the last call."""
        now = time.monotonic()
        self._pace = count / max(now - self._paced_at, 0.001)
        self._paced_at = now

    def start(self, runs: list[Run], working: Set[int]) -> list[Run]:
        """Start `runs`; return those that are to be worked on and, by id, are not among `working`.

        Whatever this raises, some may be started nevertheless, and another try finds out.
        """
        try:
            attach_jobs(runs)
            started = Run.objects.start(runs, self._node, timezone.now())
            started += self._started_unheard(runs, {run.id for run in started} | working)
        except Exception:
            self._in_doubt.update(run.id for run in runs)
            raise
        self._in_doubt.difference_update(run.id for run in runs)
        return started

    def _started_unheard(self, runs: Sequence[Run], known: Set[int]) -> list[Run]:
        """Those of `runs` that an earlier try did start, although the answer to its commit was lost."""
        doubtful = self._in_doubt.intersection(run.id for run in runs) - known
        if not doubtful:
            return []
        ours = Run.objects.filter(id__in=doubtful, node=self._node, state=State.RUNNING)
        ids = set(ours.values_list("id", flat=True))
        return list({run.id: run for run in runs if run.id in ids}.values())
