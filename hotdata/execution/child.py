"""Inside a run's own process: calls its task, and tells the scheduler what happens while it happens.

The process leads a session of its own, so that it can be killed together with all that its task starts, and
Ctrl-C in the scheduler's terminal passes it by. It never outlives its scheduler: see `_tie`.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection

from django.db import connections

from hotdata.execution import preload  # noqa: F401 - Django is up from here on; the imports below need its models
from hotdata.execution.context import CurrentRun, RunLog, captured_output, entered
from hotdata.execution.runner import attempt
from hotdata.execution.wire import (
    Begun,
    Ended,
    Message,
    Order,
    Progressed,
    Wrote,
    decode_order,
    encode_message,
)
from hotdata.text import storable

REPORT_INTERVAL = 0.2  # seconds between two reports of progress; a loop may report a million times
PIECE = 32 * 1024  # characters of log in one message


def main(order: bytes, channel: Connection, lifeline: Connection) -> None:
    """Carry out the `order`, an encoded `Order`. Reports over `channel`; dies when `lifeline`'s other end is closed.

    Its last message is `Ended`. When there is none, the task took the process with it.
    """
    _stand_alone()
    _tie(lifeline)
    voice = _Voice(channel)
    run = _ReportingRun(decoded := decode_order(order), voice)
    threading.Thread(target=_listen, args=(channel, run), name="hotdata-listener", daemon=True).start()
    with captured_output(), entered(run):
        voice.say(Begun(pid=os.getpid()))
        run.begin()
        ending = attempt(decoded.task, decoded.params, run)
        run.report()
        voice.say(Ended(**ending))
    _leave()


def _stand_alone() -> None:
    """Lead a session, and take signals as any program does, whatever this process has inherited."""
    if os.getpgrp() != os.getpid():
        os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _tie(lifeline: Connection) -> None:
    """Have the kernel kill this process's whole group when the other end of `lifeline` is closed, by whatever death.

    `_listen` would notice as well, but only when the task lets other threads run: a regular expression that
    backtracks for ever doesn't. PR_SET_PDEATHSIG is of no use here, since our parent is the fork server.
    """
    if sys.platform == "linux":
        descriptor = lifeline.fileno()
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(descriptor, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_ASYNC)


def _listen(channel: Connection, run: _ReportingRun) -> None:
    """Wait for the word to stop, and report what progress was made meanwhile; the scheduler's end is ours."""
    while True:
        try:
            if channel.poll(REPORT_INTERVAL):
                channel.recv_bytes()
                run.cancel()
        except (EOFError, OSError):
            os.killpg(os.getpgrp(), signal.SIGKILL)
        run.report()


def _leave() -> None:
    """What an interpreter does at its end, which a forked process never gets to."""
    connections.close_all()
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    logging.shutdown()


class _Voice:
    """Sends messages, from any thread. What the task forks off is silent: two processes would mix their words."""

    def __init__(self, channel: Connection) -> None:
        self._channel = channel
        self._lock = threading.Lock()
        self._pid = os.getpid()

    @property
    def silent(self) -> bool:
        """Ask this before any lock: in a fork it may be held by a thread that isn't there."""
        return os.getpid() != self._pid

    def say(self, message: Message) -> None:
        if self.silent:
            return
        with self._lock, contextlib.suppress(OSError):  # nobody listens any more: the end is near
            data = memoryview(encode_message(message))
            while data:
                data = data[os.write(self._channel.fileno(), data) :]


class _ReportingLog(RunLog):
    """A log whose every piece is in the kernel's hands when `write` returns: a sudden death loses none."""

    def __init__(self, limit: int, voice: _Voice) -> None:
        super().__init__(limit)
        self._voice = voice

    def write(self, text: str) -> None:
        text = storable(text)  # as a whole: a piece may hold half a secret
        for start in range(0, len(text), PIECE):
            self._voice.say(Wrote(text=text[start : start + PIECE]))


class _ReportingRun(CurrentRun):
    """What `current_run()` gives to the task here."""

    def __init__(self, order: Order, voice: _Voice) -> None:
        super().__init__(
            id=order.id,
            job=order.job,
            time_zone=order.time_zone,
            scheduled_for=order.scheduled_for,
            attempt=order.attempt,
            timeout=order.timeout,
            isolated=True,
        )
        self.captured = _ReportingLog(order.log_limit, voice)
        self._voice = voice
        self._reporting = threading.Lock()
        self._reported = (self.done, self.total, self.notable)
        self._reported_at = float("-inf")

    def progress(self, done: int, total: int | None = None) -> None:
        try:
            super().progress(done, total)
        finally:
            # At once, so that a sudden death doesn't lose it; in a tight loop `_listen` reports the latest.
            if time.monotonic() - self._reported_at >= REPORT_INTERVAL:
                self.report()

    def report(self) -> None:
        """Tell how far the task is, if that has changed."""
        if self._voice.silent:
            return
        with self._reporting:
            now = (self.done, self.total, self.notable)
            if now != self._reported:
                self._reported, self._reported_at = now, time.monotonic()
                self._voice.say(Progressed(done=now[0], total=now[1], notable=now[2]))
