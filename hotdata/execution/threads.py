"""The embedded executor: runs in a pool of threads of the scheduler's own process.

Worker threads only call tasks: each asks the clerk for a started run, performs it, and reports its outcome. All
writing is the clerk's. Here is what starts them, and what stops them within a grace.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Sequence
from datetime import timedelta

from django.db import close_old_connections, connections

from hotdata.execution.clerk import Clerk
from hotdata.execution.runner import perform
from hotdata.models import Run

CANCEL_GRACE = 5.0  # seconds that cancelled tasks get to notice
HURRIED_GRACE = 1.0  # seconds of that when somebody is in a hurry
SIGNAL_DELAY = 0.1  # seconds that a signal may wait for its handler while the executor stops
DONE, HURRY = "done", "hurry"


class ThreadExecutor:
    """Works on up to `workers` runs at a time, in the name of `node`.

    Guarantees: a run handed in by `submit` ends with its outcome recorded, unless the process dies; then it
    stays ``queued`` or ``running`` in the name of a dead node, for the next leader to settle.
    """

    def __init__(self, *, node: str, workers: int) -> None:
        # What `stop` waits for. A queue, since a signal handler may put into it, where the lock of an event could be
        # held by the very thread that it interrupts.
        self._ends: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._clerk = Clerk(node=node, workers=workers, drained=lambda: self._ends.put(DONE))
        self._threads = [
            threading.Thread(target=self._work, name=f"hotdata-worker-{number}", daemon=True)
            for number in range(1, workers + 1)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()
        self._clerk.start()

    def submit(self, runs: Sequence[Run]) -> None:
        """Take over `runs`, which are on record as queued for this node. Returns at once."""
        if runs:
            self._clerk.submit(runs)

    @property
    def running(self) -> int:
        """Runs that are being worked on."""
        return self._clerk.running

    def look(self) -> None:
        """Look at once whether running runs are to be cancelled, and show their progress. Returns at once."""
        self._clerk.look()

    def hurry(self) -> None:
        """End the grace of a `stop` that goes on, or is to come. Safe in a signal handler."""
        self._ends.put(HURRY)

    def stop(self, grace: timedelta) -> bool:
        """Start nothing more, hand back what waits, give running runs `grace` to end, then cancel them.

        Returns True when nothing was cut off. What was is made again, where its job wants that; what ignores
        its cancellation is recorded as abandoned.
        """
        self._clerk.drain()
        end = self._wait_for_end(grace.total_seconds())
        if end != DONE:
            self._clerk.cut_short()
            if end != HURRY:
                end = self._wait_for_end(CANCEL_GRACE)
            if end == HURRY:
                self._wait_for_end(HURRIED_GRACE)
        return self._clerk.leave(HURRIED_GRACE if end == HURRY else CANCEL_GRACE)

    def _wait_for_end(self, seconds: float) -> str:
        """Wait until all is done, or somebody is in a hurry; return which, or nothing when the time is up."""
        until = time.monotonic() + seconds
        while True:
            # In short pieces: a signal that arrives just before a wait begins is handled only after it.
            left = until - time.monotonic()
            with contextlib.suppress(queue.Empty):
                return self._ends.get(timeout=max(0.0, min(left, SIGNAL_DELAY)))
            if left <= 0:
                return ""

    def _work(self) -> None:
        while (started := self._clerk.next_started()) is not None:
            self._clerk.report(perform(*started))
            close_old_connections()
        connections.close_all()
