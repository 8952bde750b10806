"""Calls a run's task in a process of its own, which is killed when it doesn't end by itself in time.

The process comes from a fork server that has Django loaded: ready within tens of milliseconds, where one started
from nothing takes half a second or more. Forking the scheduler itself would be as quick, but it has threads, and
whatever lock one of them holds at that moment stays locked in the child for ever. The server is started by the
first such run of a scheduler and stays until the scheduler ends. It finds this module from the working directory;
started elsewhere, each child loads Django for itself.

A task is told to stop as in a thread, and has `NOTICE` to do so. Then SIGKILL goes to its whole process group: to
the processes that it started as well, unless they made a session of their own.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import signal
import time
from concurrent.futures import CancelledError, Future, wait
from multiprocessing.context import ForkServerContext
from types import TracebackType
from typing import Any, Self

from pebble import ProcessExpired, concurrent

from hotdata.exceptions import HotdataError
from hotdata.execution import child, wire
from hotdata.execution.context import CurrentRun
from hotdata.logs import EventLogger
from hotdata.models.runs import State

logger = EventLogger(__name__)

NOTICE = 0.5  # seconds between telling a task to stop and killing it
LOOK_AGAIN = 0.1  # seconds between two looks at the clock and for a cancellation; pebble's own interval
START_PATIENCE = 60.0  # seconds until the task must have been called, with Django loaded on a busy machine
LEAVE_PATIENCE = 1.0  # seconds that a process gets to close what it holds, once its task has ended
PIECE = 64 * 1024  # bytes that are read at a time
DEATH_PATIENCE = 5.0  # seconds that a killed process gets to be gone; the kernel needs milliseconds


class NotStarted(HotdataError):
    """No process could be started for a run's task."""


def call(task: str, params: dict[str, Any], current: CurrentRun) -> dict[str, Any]:
    """Call the registered `task` in a process of its own; return its ending, as `runner.attempt` does.

    Log and progress reach `current` as they occur, and `current`'s timeout counts from when the task is called.
    However this is left, the process and its group are dead. Raises NotStarted.
    """
    with _Child(_order(task, params, current), current) as process:
        ending = _followed(process, current)
    # What was under way when the process was killed has been read meanwhile: it may have ended by itself after all.
    return process.ending or ending or _sudden_end(process, current)


def _order(task: str, params: dict[str, Any], current: CurrentRun) -> wire.Order:
    return wire.Order(
        id=current.id,
        job=current.job,
        task=task,
        params=params,
        time_zone=current.time_zone,
        scheduled_for=current.scheduled_for,
        attempt=current.attempt,
        timeout=current.timeout,
        log_limit=current.captured.limit,
    )


def _followed(process: _Child, current: CurrentRun) -> dict[str, Any] | None:
    """Follow `process` until it has ended or must be killed; then the ending says why. None when it died."""
    started = time.monotonic()
    told_at: float | None = None
    while process.listen(LOOK_AGAIN):
        now = time.monotonic()
        overdue = process.begun and current.overdue
        if told_at is None and (current.cancelled or overdue):
            told_at = now
            if not overdue:  # its own clock tells it so, and gives another reason
                process.tell_to_stop()
        if told_at is not None and now >= told_at + NOTICE:
            logger.warning("isolation.killed", job=current.job, run=current.id)
            return _killed(current)
        if not process.begun and now >= started + START_PATIENCE:
            error = f"Its process did not come to call the task within {START_PATIENCE:g} s."
            return {"state": State.FAILED, "error": error}
    return None


def _killed(current: CurrentRun) -> dict[str, Any]:
    if current.cancelled:
        return {"state": State.CANCELLED}
    assert current.timeout is not None, "without a timeout nothing is overdue"
    return {
        "state": State.TIMED_OUT,
        "error": f"It was killed at its timeout of {current.timeout.total_seconds():g} s.",
    }


def _sudden_end(process: _Child, current: CurrentRun) -> dict[str, Any]:
    """The ending of a process that was gone before its task had ended."""
    if current.cancelled:
        return {"state": State.CANCELLED}
    timed_out = process.begun and current.overdue
    return {"state": State.TIMED_OUT if timed_out else State.FAILED, "error": process.last_words()}


class _Child:
    """One run's process while the block lasts. What it reports goes to `current`."""

    def __init__(self, order: wire.Order, current: CurrentRun) -> None:
        self._order = order
        self._name = f"hotdata-run-{order.id}"
        self._current = current
        self._inbox = wire.Inbox()
        self._pid: int | None = None
        self.ending: dict[str, Any] | None = None

    def __enter__(self) -> Self:
        context = _fork_server()
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            try:
                self._channel, channel = context.Pipe()
                ours.enter_context(self._channel)
                theirs.enter_context(channel)
                lifeline, self._lifeline = context.Pipe(duplex=False)
                ours.enter_context(self._lifeline)
                theirs.enter_context(lifeline)
                # No daemon: that could start no processes by multiprocessing. And pebble's types give `context` another
                # name than its code does.
                start = concurrent.process(name=self._name, daemon=False, context=context)  # type: ignore[call-overload]
                order = wire.encode_order(self._order)
                self._future: Future[None] = start(child.main)(order, channel, lifeline)
            except (OSError, EOFError) as error:
                said = str(error) or "the fork server died, and said why in the scheduler's log"
                raise NotStarted(f"No process could be started: {said}.") from error
            ours.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Kill what is left of it, read what it said before, and wait until it is gone."""
        try:
            if self.ending is not None:
                wait([self._future], LEAVE_PATIENCE)
            self._kill()
            until = time.monotonic() + DEATH_PATIENCE
            while self._read(LOOK_AGAIN) and time.monotonic() < until:
                pass
            wait([self._future], DEATH_PATIENCE)
        finally:
            self._future.cancel()  # what can't be killed is pebble's to wait for
            self._channel.close()
            self._lifeline.close()

    @property
    def begun(self) -> bool:
        """Whether it has come to call the task."""
        return self._pid is not None

    def tell_to_stop(self) -> None:
        with contextlib.suppress(OSError):
            self._channel.send_bytes(wire.CANCEL)

    def listen(self, seconds: float) -> bool:
        """Take in what it reports, waiting at most `seconds`; False once its task has ended, or it is dead."""
        return self._read(seconds) and self.ending is None and self._alive()

    def last_words(self) -> str:
        """How it died, as far as that is known."""
        try:
            error = self._future.exception(timeout=0)
        except (CancelledError, TimeoutError):
            return "Its process could not be ended."
        if isinstance(error, ProcessExpired):
            return f"Its process ended with exit code {_spelt(error.exitcode)}."
        return f"Its process could not be set up: {type(error).__name__}: {error}"

    def _read(self, seconds: float) -> bool:
        """Take in what comes within `seconds`; False when nothing can come any more."""
        try:
            piece = os.read(self._channel.fileno(), PIECE) if self._channel.poll(seconds) else None
        except OSError:
            return False
        if piece is None:
            return True
        for message in self._inbox.take_in(piece):
            self._take(message)
        return piece != b""

    def _take(self, message: wire.Message) -> None:
        match message:
            case wire.Begun():
                self._pid = message.pid
                self._current.begin()
            case wire.Wrote():
                self._current.captured.write(message.text)
            case wire.Progressed():
                self._current.follow(message.done, message.total, notable=message.notable)
            case wire.Ended():
                self.ending = {
                    "state": State(message.state),
                    "result": message.result,
                    "error": message.error,
                    "traceback": message.traceback,
                    "permanent": message.permanent,
                    "retry_after": message.retry_after,
                }

    def _alive(self) -> bool:
        """Whether it is there; an open channel doesn't say so when the task has forked, and the fork holds it, too."""
        if self._pid is None:
            return not self._future.done()
        try:
            os.kill(self._pid, 0)
        except ProcessLookupError:
            return False
        return True

    def _kill(self) -> None:
        if self._pid is None:
            self._future.cancel()
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)


@functools.cache
def _fork_server() -> ForkServerContext:
    """The way processes are started here. The server itself is started with the first one."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([child.__name__])
    return context


def _spelt(exitcode: int) -> str:
    """An exit code, and the name of the signal behind a negative one."""
    try:
        return f"{exitcode} ({signal.Signals(-exitcode).name})" if exitcode < 0 else str(exitcode)
    except ValueError:
        return str(exitcode)
