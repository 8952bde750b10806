"""What a task can ask about the run it is part of: `current_run()`.

The context travels in a context variable, so threads that a task starts with ``contextvars.copy_context()``
belong to the run as well. Timeouts and cancellation are cooperative in threads: a task learns of them when it
reports progress or calls `check`, not before. A task in a process of its own learns of them in the same way, and
is killed when it doesn't end half a second later.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable
from contextvars import ContextVar
from datetime import datetime, timedelta
from typing import Any, TextIO

from hotdata.exceptions import RunCancelled, RunTimedOut
from hotdata.logs import LINE
from hotdata.text import storable

MOST_COUNTED = 2**31 - 1  # what a record's counters hold


class RunLog:
    """A run's captured log, bounded: the first half of `limit` characters is kept, and the last. Thread-safe."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._half = limit // 2
        self._head: list[str] = []
        self._head_size = 0
        self._tail: deque[str] = deque()
        self._tail_size = 0
        self._dropped = 0
        self._lock = threading.Lock()
        self.size = 0
        """Characters written so far; grows with each write, so it tells whether there is something new."""

    def write(self, text: str) -> None:
        text = storable(text)  # before a piece is cut off, which may hold half a secret
        with self._lock:
            self.size += len(text)
            room = self._half - self._head_size
            if room > 0:
                self._head.append(text[:room])
                self._head_size += len(self._head[-1])
                text = text[room:]
            if text:
                self._append_tail(text)

    def _append_tail(self, text: str) -> None:
        self._dropped += max(0, len(text) - self._half)
        text = text[-self._half :]
        self._tail.append(text)
        self._tail_size += len(text)
        while self._tail_size > self._half:
            excess = self._tail_size - self._half
            oldest = self._tail.popleft()
            if len(oldest) > excess:
                self._tail.appendleft(oldest[excess:])
            dropped = min(excess, len(oldest))
            self._dropped += dropped
            self._tail_size -= dropped

    def text(self) -> str:
        with self._lock:
            gap = f"\n… {self._dropped:,} characters left out …\n" if self._dropped else ""
            return "".join(self._head) + gap + "".join(self._tail)


class CurrentRun:
    """The run that the calling code is part of. Also made for code that runs outside of any, with nothing behind it."""

    def __init__(
        self,
        *,
        id: int | None = None,
        job: str = "",
        time_zone: str = "UTC",
        scheduled_for: datetime | None = None,
        attempt: int = 1,
        timeout: timedelta | None = None,
        log_limit: int = 64 * 1024,
        isolated: bool = False,
    ) -> None:
        self.id = id
        self.job = job
        self.time_zone = time_zone
        self.scheduled_for = scheduled_for
        self.attempt = attempt
        self.timeout = timeout
        self.isolated = isolated
        """Whether the task is called in a process of its own."""
        self.deadline: float | None = None
        """On the monotonic clock; None for a run without a timeout, and before `begin`."""
        self.captured = RunLog(log_limit)
        self.done = 0
        self.total: int | None = None
        self.notable = False
        """Set to True to keep this run when the job's others are thinned out (``keep_runs``)."""
        self._told: tuple[int, int | None, int] = (0, None, 0)
        self._cancelled = threading.Event()
        self.winding_down = False
        """Whether the node is being stopped: what can end now without harm, and would go on for long, should."""

    def begin(self) -> None:
        """Let the timeout count from now: a run may have waited for a free thread before."""
        if self.timeout is not None:
            self.deadline = time.monotonic() + self.timeout.total_seconds()

    def progress(self, done: int, total: int | None = None) -> None:
        """Report that `done` (of `total`) parts are done; shown within about a second.

        Raises RunCancelled or RunTimedOut when the run should stop.
        """
        self.done = _count(done)
        if total is not None:
            self.total = _count(total)
        self.check()

    def check(self) -> None:
        """Raise RunCancelled or RunTimedOut when the run should stop; call it now and then in long work."""
        if self._cancelled.is_set():
            raise RunCancelled("The run was cancelled.")
        if self.overdue:
            raise RunTimedOut("The run went over its timeout.")

    def follow(self, done: int, total: int | None, *, notable: bool) -> None:
        """Take over how far the task is, as its own process tells; stops nothing."""
        self.done, self.total, self.notable = done, total, notable

    def log(self, message: str) -> None:
        """Add a line to the run's log."""
        self.captured.write(message + "\n")

    def wait(self, seconds: float) -> None:
        """Sleep, but wake up and raise as `check` does when the run should stop."""
        left = self.time_left()
        self._cancelled.wait(seconds if left is None else min(seconds, left))
        self.check()

    def time_left(self) -> float | None:
        """Seconds until the deadline, never below 0; None without one."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    @property
    def overdue(self) -> bool:
        return self.deadline is not None and time.monotonic() >= self.deadline

    @property
    def cancelled(self) -> bool:
        return self._cancelled.is_set()

    def news(self) -> tuple[int, int | None, str] | None:
        """Done, total and log, if any of them changed since the last call; for whoever shows them."""
        now = (self.done, self.total, self.captured.size)
        if now == self._told:
            return None
        self._told = now
        return now[0], now[1], self.captured.text()

    def cancel(self) -> None:
        """Tell the task to stop; called by whoever runs it."""
        self._cancelled.set()


def _count(number: int) -> int:
    return min(max(0, int(number)), MOST_COUNTED)


_current: ContextVar[CurrentRun | None] = ContextVar("hotdata_current_run", default=None)


def current_run() -> CurrentRun:
    """The run that this code is part of. Outside of a run, one that accepts everything and stops nothing."""
    return _current.get() or CurrentRun()


class entered:
    """Make `run` the current one inside the block. Hand-written for speed: it stands around every run."""

    __slots__ = ("_run", "_token")

    def __init__(self, run: CurrentRun) -> None:
        self._run = run

    def __enter__(self) -> CurrentRun:
        self._token = _current.set(self._run)
        return self._run

    def __exit__(self, *exc: object) -> None:
        _current.reset(self._token)


class RunLogHandler(logging.Handler):
    """Copies log records that are made inside a run into that run's log."""

    def emit(self, record: logging.LogRecord) -> None:
        run = _current.get()
        if run is None:
            return
        try:
            run.captured.write(self.format(record) + "\n")
        except Exception:  # noqa: BLE001 - a record that can't be formatted must not end the task
            self.handleError(record)


class RunFacts(logging.Filter):
    """Adds to records that are made inside a run which one that is: its job, its id and the attempt."""

    def filter(self, record: logging.LogRecord) -> bool:
        run = _current.get()
        if run is not None and run.id is not None:
            record.job, record.run, record.attempt = run.job, run.id, run.attempt
        return True


class _TeeToRun:
    """Stands for stdout or stderr: what is printed inside a run goes to the run's log, all else where it went."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        run = _current.get()
        if run is None:
            return self._stream.write(text)
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        run.captured.write(text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class captured_output:
    """Inside the block, what runs log and print (in any thread) lands in their logs."""

    def __enter__(self) -> None:
        self._handler = RunLogHandler(level=logging.INFO)
        self._handler.setFormatter(logging.Formatter(LINE, style="{"))
        logging.getLogger().addHandler(self._handler)
        self._streams = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = _TeeToRun(sys.stdout), _TeeToRun(sys.stderr)

    def __exit__(self, *exc: object) -> None:
        sys.stdout, sys.stderr = self._streams
        logging.getLogger().removeHandler(self._handler)
