"""When tasks were called: each writes a line into one file, which the benchmark reads.

So all contenders are measured by the same clock at the same point, the first statement of the task, whatever
their own records say, and the benchmark's waiting costs the database nothing.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "BENCH_CALLS"
TIMEOUT = 30.0  # seconds
POLL = 0.002  # seconds


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of a task; both times are Unix seconds."""

    name: str
    due: float
    """When it should have been; 0 where nothing says."""
    at: float

    @property
    def late(self) -> float:
        return self.at - self.due


@functools.cache
def _file() -> int:
    return os.open(os.environ[VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def note(name: str, due: float = 0.0) -> None:
    """Write down that the task called `name` was called now. Costs one system call."""
    os.write(_file(), f"{name} {due:.6f} {time.time():.6f}\n".encode())


class Calls:
    """The calls of one contender, as they come in."""

    def __init__(self, path: Path) -> None:
        path.touch()
        self.path = path
        self.seen: list[Call] = []
        self._rest = ""
        self._reader = path.open()

    def read(self) -> list[Call]:
        """Those that came in since the last look."""
        *lines, self._rest = (self._rest + self._reader.read()).split("\n")
        fresh = [self._parse(line) for line in lines]
        self.seen += fresh
        return fresh

    def count(self) -> int:
        """How many there have been until now."""
        self.read()
        return len(self.seen)

    def wait_for(self, wanted: Callable[[Call], bool]) -> Call:
        """The first new call that is `wanted`; those before it are passed over. Raises TimeoutError."""
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            for call in self.read():
                if wanted(call):
                    return call
            time.sleep(POLL)
        raise TimeoutError(f"No such call within {TIMEOUT:g} s.")

    def close(self) -> None:
        self._reader.close()

    @staticmethod
    def _parse(line: str) -> Call:
        name, due, at = line.split(" ")
        return Call(name=name, due=float(due), at=float(at))
