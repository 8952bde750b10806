"""The clerk: one thread that does all the writing for an executor's workers.

It starts runs, records outcomes, shows progress and learns of cancellations. So the database sees one connection
and whole batches instead of two statements per run, and while the clerk writes one batch the next one gathers.

Others talk to it through two queues. Into its inbox go runs (`submit`), outcomes (`report`) and wishes (`look`,
`leave`); out come started runs, each to the one worker that asks first (`next_started`). Nothing else is shared
but two words: `drain` says that nothing more is to be started, `cut_short` cancels what runs.
"""

from __future__ import annotations

import contextlib
import enum
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from django.db import InterfaceError, OperationalError, close_old_connections, connections
from django.utils import timezone

from hotdata.execution.context import CurrentRun
from hotdata.execution.leaving import record_cut_off, say_last_words
from hotdata.execution.outcome import Outcome
from hotdata.execution.progress import attend
from hotdata.execution.record import record, record_each
from hotdata.execution.runner import make_context
from hotdata.execution.starting import Starter
from hotdata.logs import EventLogger
from hotdata.models import Run

logger = EventLogger(__name__)

MAX_BATCH = 1000
HOUSEKEEPING = 1.0  # seconds between two looks at progress and cancellations
BACKOFF_FIRST = 0.1  # seconds
BACKOFF_LONGEST = 1.0  # seconds between two tries of a database that is away

Started = tuple[Run, CurrentRun]


class Wish(enum.Enum):
    LOOK = enum.auto()
    LEAVE = enum.auto()


class Clerk:
    """Writes for `workers` workers, in the name of `node`; calls `drained` when, after `drain`, nothing is left to do.

    Whatever the database does, no run and no outcome that it was handed is forgotten while its thread lives.
    """

    def __init__(self, *, node: str, workers: int, drained: Callable[[], None]) -> None:
        self._node = node
        self._workers = workers
        self._drained = drained
        self._inbox: queue.SimpleQueue[Sequence[Run] | Outcome | Wish] = queue.SimpleQueue()
        self._started: queue.SimpleQueue[Started | None] = queue.SimpleQueue()
        self._draining = threading.Event()
        self._backlog: deque[Run] = deque()
        self._contexts: dict[int, CurrentRun] = {}
        self._cut_off: set[int] = set()
        self._has_cut = False
        self._unbegun: list[Run] = []
        self._unrecorded: list[Outcome] = []
        self._starter = Starter(node=node, workers=workers)
        self._look_at = time.monotonic() + HOUSEKEEPING
        self._failures: dict[str, int] = {}
        self._thread = threading.Thread(target=self._keep_books, name="hotdata-clerk", daemon=True)

    # For others, from any thread

    def start(self) -> None:
        self._thread.start()

    def submit(self, runs: Sequence[Run]) -> None:
        """Take over `runs`, which are on record as queued for this node."""
        self._inbox.put(runs)

    def next_started(self) -> Started | None:
        """Wait for a run to work on; None when the work is over. Its outcome is for `report`."""
        return self._started.get()

    def report(self, outcome: Outcome) -> None:
        self._inbox.put(outcome)

    def look(self) -> None:
        """Look at once whether running runs are to be cancelled, and show their progress."""
        self._inbox.put(Wish.LOOK)

    @property
    def running(self) -> int:
        """Runs that are being worked on."""
        return len(self._contexts)

    def drain(self) -> None:
        """Start nothing more, and hand back what no worker has begun."""
        self._draining.set()
        for context in list(self._contexts.values()):
            context.winding_down = True
        self._inbox.put([])  # it may be waiting for something to do

    def cut_short(self) -> None:
        """Cancel what runs; that which somebody cancelled before would have ended anyway."""
        running = {id: context for id, context in list(self._contexts.items()) if not context.cancelled}
        self._cut_off |= running.keys()
        for context in running.values():
            context.cancel()

    def leave(self, seconds: float) -> bool:
        """Send the workers home, settle what is left, and end, within `seconds`; True when nothing was cut off."""
        self._inbox.put(Wish.LEAVE)
        for _ in range(self._workers):
            self._started.put(None)
        self._thread.join(seconds)
        return not self._has_cut and not self._contexts

    # The thread

    def _keep_books(self) -> None:
        leaving = False
        while not leaving or self._unrecorded:
            leaving = self._read_inbox(timeout=self._patience()) or leaving
            try:
                self._take_turn()
            except Exception as error:  # noqa: BLE001 - one turn of the loop: whatever it is, the loop goes on
                pause = self._survive(error)
                if leaving and sum(self._failures.values()) > 1:
                    break
                time.sleep(pause)
            if self._draining.is_set() and self._is_done():
                self._drained()
        say_last_words(self._node, list(self._contexts))
        connections.close_all()

    def _patience(self) -> float | None:
        """How long to wait for something to do; None for as long as it takes."""
        if self._unrecorded or self._unbegun or (self._backlog and not self._contexts):
            return 0
        if self._contexts:
            return max(0.0, self._look_at - time.monotonic())
        return None

    def _read_inbox(self, timeout: float | None) -> bool:
        """Sort what has come in; wait for something at most `timeout` seconds. True when told to leave."""
        leaving = False
        for _ in range(MAX_BATCH):
            try:
                item = self._inbox.get(block=timeout != 0, timeout=timeout)
            except queue.Empty:
                break
            timeout = 0  # only the first is worth waiting for
            if item is Wish.LEAVE:
                leaving = True
            elif item is Wish.LOOK:
                self._look_at = 0.0
            elif isinstance(item, Outcome):
                self._unrecorded.append(item)
            else:
                self._backlog.extend(item)
        return leaving

    def _take_turn(self) -> None:
        self._record()
        if self._draining.is_set():
            self._hand_back()
        else:
            self._start()
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + HOUSEKEEPING
            attend(self._contexts)
        if self._failures:
            logger.warning("executor.recovered", failures=sum(self._failures.values()))
            self._failures.clear()

    def _is_done(self) -> bool:
        return not (self._contexts or self._backlog or self._unrecorded) and self._inbox.empty()

    def _survive(self, error: Exception) -> float:
        """Log an error, once per kind until a turn succeeds, and say how long to back off."""
        kind = type(error).__name__
        failures = self._failures[kind] = self._failures.get(kind, 0) + 1
        away = isinstance(error, OperationalError | InterfaceError)
        if failures == 1 and away:
            logger.warning("executor.database_away", error=error)
        elif failures == 1:
            logger.error("executor.turn_failed", error=f"{kind}: {error}", exc_info=error)
        close_old_connections()
        return min(BACKOFF_LONGEST, BACKOFF_FIRST * 2 ** min(failures - 1, 10)) if away else BACKOFF_LONGEST

    # The steps of a turn

    def _record(self) -> None:
        """Record what came to an end. What fails half way is tried again in the next turn, to the same effect."""
        if self._cut_off:
            cut = record_cut_off(self._unrecorded, self._cut_off)
            self._has_cut = self._has_cut or bool(cut)
            self._forget(cut)
            self._unrecorded = [end for end in self._unrecorded if end.run.id not in cut]
        if not self._unrecorded:
            return
        try:
            record(self._unrecorded)
        except (OperationalError, InterfaceError):
            raise
        except Exception:  # noqa: BLE001 - one of them can't be recorded: the log says so below
            record_each(self._unrecorded)
        self._starter.note_ended(len(self._unrecorded))
        self._forget(end.run.id for end in self._unrecorded)
        self._unrecorded = []

    def _start(self) -> None:
        """Start as many of the backlog as will be worked on at once or very soon."""
        room = self._starter.room(len(self._contexts))
        chunk = [self._backlog.popleft() for _ in range(min(room, len(self._backlog), MAX_BATCH))]
        if not chunk:
            return
        try:
            started = self._starter.start(chunk, self._contexts.keys())
        except Exception:
            self._backlog.extendleft(reversed(chunk))
            raise
        for run in started:
            context = self._contexts[run.id] = make_context(run)
            self._started.put((run, context))

    def _hand_back(self) -> None:
        """Return to the queue what waits, and what was started but no worker has begun."""
        self._unbegun += self._take_unbegun()
        if self._unbegun:
            Run.objects.unstart(self._unbegun, self._node, timezone.now())
            self._forget(run.id for run in self._unbegun)
            self._unbegun = []
        if self._backlog:
            Run.objects.hand_back(self._node)
            self._backlog.clear()

    def _take_unbegun(self) -> list[Run]:
        """Take back what no worker has taken yet; what sends the workers home stays."""
        taken: list[Started | None] = []
        with contextlib.suppress(queue.Empty):
            while True:
                taken.append(self._started.get_nowait())
        for _ in range(taken.count(None)):
            self._started.put(None)
        return [started[0] for started in taken if started is not None]

    def _forget(self, ids: Iterable[int]) -> None:
        for id in ids:
            self._contexts.pop(id, None)
