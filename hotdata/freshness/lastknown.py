"""What this process has read last, for when Redis is away. Bounded, by entries and by the size of their values."""

from __future__ import annotations

import os
import threading
import time

from hotdata.freshness.entries import Stored

MAX_ENTRIES = 2_000
MAX_BYTES = 8 * 1024 * 1024  # of values as JSON; Python's objects take a few times as much


class LastKnown:
    """The entries that were read last, or written anew since. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[tuple[str, str], Stored] = {}
        self._bytes = 0

    def keep(self, stored: Stored) -> None:
        """Remember `stored`. Of what is over the bounds, what was kept first is forgotten."""
        name = stored.source, stored.key
        there = self._entries.get(name)
        if there is not None and there.fetched_at == stored.fetched_at:
            return  # as with almost all reads
        with self._lock:
            self._forget(name)
            if stored.size > MAX_BYTES:
                return
            self._entries[name] = stored
            self._bytes += stored.size
            while len(self._entries) > MAX_ENTRIES or self._bytes > MAX_BYTES:
                self._forget(next(iter(self._entries)))

    def get(self, source: str, key: str) -> Stored | None:
        """What is known of the checked `key`, until its hard expiry."""
        stored = self._entries.get((source, key))
        return stored if stored is not None and time.time() < stored.hard_expiry else None

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()
            self._bytes = 0

    def _forget(self, name: tuple[str, str]) -> None:
        stored = self._entries.pop(name, None)
        if stored is not None:
            self._bytes -= stored.size


last_known = LastKnown()


def _after_fork() -> None:
    last_known._lock = threading.Lock()  # it may have been held in the parent


os.register_at_fork(after_in_child=_after_fork)
