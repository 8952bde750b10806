"""A sleep that can be ended from anywhere: from another thread, and from inside a signal handler.

``threading.Event`` is no good for that: its ``set`` takes a lock, and a handler that interrupts the main
thread while it holds that lock waits for itself for ever. Writing a byte into a pipe takes no lock.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from collections.abc import Iterator

CLOSED = -1  # no file descriptor


class Waker:
    """Sleeps until woken. A wake-up that comes while nobody sleeps ends the next sleep."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)

    def wake(self) -> None:
        """End the sleep, or the next one. Does nothing once the waker is closed."""
        # A full pipe means that many wake-ups are waiting already.
        with contextlib.suppress(BlockingIOError):
            if (writer := self._writer) != CLOSED:
                os.write(writer, b"\0")

    def sleep(self, seconds: float) -> bool:
        """Sleep up to `seconds`; True when woken."""
        woken, _, _ = select.select([self._reader], [], [], max(0.0, seconds))
        if woken:
            with contextlib.suppress(BlockingIOError):
                while os.read(self._reader, 4096):
                    pass
        return bool(woken)

    @contextlib.contextmanager
    def woken_by_signals(self) -> Iterator[None]:
        """Inside the block, each signal that has a handler wakes. Only in the main thread, which runs the handlers."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)

    def close(self) -> None:
        # Forgotten before it is closed: its number may be that of somebody else's file right after.
        writer, self._writer = self._writer, CLOSED
        os.close(writer)
        os.close(self._reader)
