"""What the demo upstream was asked: its log, complete, in the order of arrival.

A request is in it before the first byte of the answer leaves, which makes it the truth about which calls were
made, for people and for tests.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

LOG_LIMIT = 10_000
"""Requests that are remembered; the counts go on."""


@dataclass(frozen=True, kw_only=True)
class Served:
    """One request. ``status`` and ``duration`` (until the answer's first byte) are None while there is none."""

    path: str
    key: str
    target: str
    at: datetime
    fault: str = ""
    status: int | None = None
    duration: timedelta | None = None

    def describe(self) -> dict[str, Any]:
        duration = None if self.duration is None else round(self.duration.total_seconds(), 6)
        return asdict(self) | {"at": self.at.isoformat(), "duration": duration}


class Log:
    """The last requests in the order of their arrival, and counts of all since the last `clear`."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._requests: OrderedDict[int, Served] = OrderedDict()
        self._by_path: Counter[str] = Counter()
        self._last_number = 0

    def arrive(self, served: Served) -> int:
        """Write `served` down; returns the number by which `update` finds it again."""
        with self._changed:
            self._last_number += 1
            self._requests[self._last_number] = served
            self._by_path[served.path] += 1
            if len(self._requests) > LOG_LIMIT:
                self._requests.popitem(last=False)
            self._changed.notify_all()
            return self._last_number

    def update(self, number: int, served: Served) -> None:
        with self._changed:
            if number in self._requests:  # else it was cleared away while it was answered
                self._requests[number] = served

    def clear(self) -> None:
        with self._changed:
            self._requests.clear()
            self._by_path.clear()

    @property
    def requests(self) -> list[Served]:
        with self._changed:
            return list(self._requests.values())

    def wait_for(self, count: int, timeout: timedelta) -> list[Served]:
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._requests) >= count, timeout.total_seconds()):
                raise TimeoutError(f"{len(self._requests)} of {count} requests came within {timeout}")
            return list(self._requests.values())

    def describe(self) -> dict[str, Any]:
        with self._changed:
            requests, by_path = list(self._requests.values()), dict(self._by_path)
        return {
            "total": sum(by_path.values()),
            "by_path": by_path,
            "requests": [served.describe() for served in requests],
        }
