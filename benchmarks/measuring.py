"""What the benchmarks measure with."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

TIMEOUT = 600.0  # seconds
POLL = 0.05  # seconds


class Statements:
    """Counts the SQL statements of this process's connections, those opened before it and after."""

    def __init__(self) -> None:
        self.count = 0
        self._counting = False
        from django.db.backends.base.base import BaseDatabaseWrapper
        from django.db.backends.utils import CursorWrapper

        execute = CursorWrapper._execute_with_wrappers

        def counted(cursor: Any, sql: Any, *args: Any, **kwargs: Any) -> Any:
            # The benchmark's own looks at how far it is are not the contender's.
            if self._counting and not str(sql).startswith(("SELECT COUNT(*)", "BEGIN")):
                self.count += 1
            return execute(cursor, sql, *args, **kwargs)

        CursorWrapper._execute_with_wrappers = counted
        for name in ("_commit", "_rollback"):
            self._count_calls(BaseDatabaseWrapper, name)

    def _count_calls(self, owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            if self._counting:
                self.count += 1
            return original(*args, **kwargs)

        setattr(owner, name, counted)

    def start(self) -> None:
        self.count = 0
        self._counting = True


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for `condition`, looking 20 times a second."""
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("It took too long.")
        time.sleep(POLL)


def seconds(function: Callable[[], Any]) -> float:
    """How long one call takes."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` (0 to 1) of `values` do not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


median = statistics.median
