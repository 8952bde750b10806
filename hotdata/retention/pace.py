"""The pace of a deletion: how many rows at once, and how long others get their turn in between.

What is locked is locked for the time of one batch, and on SQLite that is the whole database. Nobody knows beforehand
how long a row takes: it depends on its size, the indexes, the disk and who else is at work. So each batch is timed,
and the next one made as large as would have taken `AIM`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

AIM = 0.02  # seconds that a batch should take
LIMIT = 0.1  # seconds that none may; where the database can, it ends one that does
FIRST = 100  # rows
LEAST, MOST = 5, 5_000  # rows
GROWTH = 2.0  # times from one batch to the next: what is not in memory yet takes longer than what was before
REST = 1.5  # times as long as the batch took
SHORTEST_REST, LONGEST_REST = 0.01, 1.0  # seconds


class Pace:
    """How large batches are, and the rests between them. Measures with `clock`, in seconds."""

    def __init__(
        self, *, clock: Callable[[], float] = time.perf_counter, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.size = FIRST
        self.longest = 0.0
        self.clock = clock
        self._sleep = sleep

    def took(self, seconds: float, rows: int) -> None:
        """A batch of `rows` took so long: the next one is as large as would have taken `AIM`."""
        self.longest = max(self.longest, seconds)
        fitting = rows * AIM / max(seconds, 1e-6)
        # One that was small for want of rows says little about larger ones.
        if rows < self.size and seconds < AIM:
            return
        self._resize(min(fitting, self.size * GROWTH))

    def gave_up(self) -> None:
        """A batch was ended by the database, because it took too long."""
        self._resize(self.size / 4)

    def rest(self, seconds: float) -> None:
        """Let others have their turn after a batch that took so long."""
        self._sleep(min(max(seconds * REST, SHORTEST_REST), LONGEST_REST))

    def _resize(self, size: float) -> None:
        self.size = int(min(max(size, LEAST), MOST))
