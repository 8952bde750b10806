"""When a call ends: at its deadline, whatever the upstream does.

A watchdog thread keeps the deadline, because the timeouts of requests count from one packet to the next: at
0.5 s, headers sent byte by byte took 5 s. At the deadline it shuts the socket down, which wakes the thread that
reads from it. What that thread then has may look like a short but complete answer: whoever holds it must ask
`Call.remaining` or compare with `Call.deadline` before believing it.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import socket
import threading
from datetime import timedelta
from time import monotonic
from typing import Self

from hotdata.exceptions import UpstreamTimeout


class Call:
    """One request under one deadline, on whatever sockets it goes through; inside of ``with``, this thread's call.

    ``place`` is its URL fit for a log. ``allowed`` are the ``host:port`` pairs that it may ask although they are
    private or plain http. ``started`` and ``deadline`` are on the clock of ``time.monotonic``.
    """

    def __init__(self, place: str, *, timeout: timedelta, allowed: frozenset[str]) -> None:
        self.place = place
        self.timeout = timeout
        self.allowed = allowed
        self.started = monotonic()
        self.deadline = self.started + timeout.total_seconds()
        self._lock = threading.Lock()
        self._handle: socket.socket | None = None

    def __enter__(self) -> Self:
        _thread.call = self
        _watchdog.watch(self)
        return self

    def __exit__(self, *exc_info: object) -> None:
        _thread.call = None
        self.let_go()

    def remaining(self) -> float:
        """Seconds left. Raises UpstreamTimeout if there are none."""
        left = self.deadline - monotonic()
        if left <= 0:
            raise self.timed_out()
        return left

    def timed_out(self) -> UpstreamTimeout:
        return UpstreamTimeout(f"{self.place} gave no whole answer in {self.timeout.total_seconds():g} s.")

    def hold(self, sock: socket.socket) -> None:
        """Have `sock` cut at the deadline. Raises UpstreamTimeout if that has passed.

        What is kept is a duplicate: TLS takes the descriptor out of the socket object it wraps, and the bare
        number could belong to another connection by the time it is cut.
        """
        self._keep(socket.fromfd(sock.fileno(), sock.family, sock.type))
        self.remaining()  # asked last: the watchdog may have come just before there was something to cut

    def let_go(self) -> None:
        """Cut nothing any more. Afterwards another call may use the connection."""
        self._keep(None)

    def _keep(self, handle: socket.socket | None) -> None:
        with self._lock:
            handle, self._handle = self._handle, handle
        if handle:
            handle.close()

    def cut(self) -> None:
        with self._lock, contextlib.suppress(OSError):  # the other side may have been faster
            if self._handle:
                self._handle.shutdown(socket.SHUT_RDWR)


class _Thread(threading.local):
    call: Call | None = None


_thread = _Thread()


def current_call() -> Call | None:
    """The call that this thread is in: what the connections of urllib3, made far below it, serve."""
    return _thread.call


class _Watchdog:
    """Cuts calls at their deadlines: one thread for the whole process, which mostly sleeps.

    A call that has ended stays in the heap until its deadline and is then cut to no effect: that is cheaper
    than finding it, and the heap is no longer than the calls of one timeout.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._changed = threading.Condition()
        self._calls: list[tuple[float, int, Call]] = []
        self._order = itertools.count()
        self._started = False

    def watch(self, call: Call) -> None:
        with self._changed:
            heapq.heappush(self._calls, (call.deadline, next(self._order), call))
            if not self._started:
                threading.Thread(target=self._run, name="hotdata-deadlines", daemon=True).start()
                self._started = True
            elif self._calls[0][2] is call:
                self._changed.notify()

    def _run(self) -> None:
        with self._changed:
            while True:
                wait = self._calls[0][0] - monotonic() if self._calls else None
                if wait is None or wait > 0:
                    self._changed.wait(wait)
                else:
                    heapq.heappop(self._calls)[2].cut()


_watchdog = _Watchdog()
os.register_at_fork(after_in_child=_watchdog.reset)  # a child has none of its parent's threads
