"""Processes of readers, for tests of what the whole fleet does.

``python -m tests.faults.readers`` reads, with many threads at once, what one line of JSON on its standard input
says, and answers with one line. A process can be told to read again. It lives until its input is closed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from tools.children import spawn, stop

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE = 60.0  # seconds
READY, FORK = "ready", "fork"


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a process is to read: each of so many threads the same key, again and again."""

    source: str
    key: str
    threads: int
    rounds: int


@dataclass(frozen=True, kw_only=True)
class Report:
    """What its reads came to."""

    outcomes: dict[str, int]
    """How many there were of each: a state with the value's symbol, or the name of an error."""
    slowest: float
    """In seconds; and the median."""
    typical: float


class Readers:
    """One process, started and waiting for orders."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        assert self._answer() == READY

    def begin(self, order: Order) -> None:
        self._say(json.dumps(asdict(order)))

    def report(self) -> Report:
        return Report(**json.loads(self._answer()))

    def read(self, order: Order) -> Report:
        self.begin(order)
        return self.report()

    def fork(self) -> None:
        """Let a child of the process follow all further orders."""
        self._say(FORK)
        assert self._answer() == READY

    def kill(self) -> None:
        """As the kernel does when memory runs out: without a last word."""
        self._process.kill()
        self._process.wait(PATIENCE)

    def _say(self, line: str) -> None:
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _answer(self) -> str:
        timer = threading.Timer(PATIENCE, self._process.kill)
        timer.start()
        try:
            return self._process.stdout.readline().strip()
        finally:
            timer.cancel()


@contextmanager
def readers(environment: Mapping[str, str], processes: int = 1) -> Iterator[list[Readers]]:
    """So many processes, which are ready to read; killed at the end."""
    command = [sys.executable, "-m", "tests.faults.readers"]
    settings = {"DJANGO_SETTINGS_MODULE": "tests.settings", "PYTHONUNBUFFERED": "1"}
    with ExitStack() as ends:
        started = []
        for _ in range(processes):
            process = spawn(
                command,
                cwd=ROOT,
                env={**environment, **settings},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            ends.enter_context(process)
            ends.callback(stop, process, patience=0)
            started.append(process)
        yield [Readers(process) for process in started]


def all_outcomes(reports: Sequence[Report]) -> dict[str, int]:
    counted: Counter[str] = Counter()
    for report in reports:
        counted.update(report.outcomes)
    return dict(counted)


# In the process


def main() -> None:
    import django

    django.setup()
    print(READY, flush=True)
    for line in sys.stdin:
        if line.strip() == FORK:
            fork()
            continue
        print(json.dumps(asdict(follow(Order(**json.loads(line))))), flush=True)


def fork() -> None:
    """Go on as a child of this process."""
    if child := os.fork():
        os.waitpid(child, 0)
        os._exit(0)
    print(READY, flush=True)


def follow(order: Order) -> Report:
    outcomes: list[str] = []
    durations: list[float] = []
    gate = threading.Barrier(order.threads)

    def work() -> None:
        gate.wait()
        for _ in range(order.rounds):
            begun = time.perf_counter()
            outcomes.append(read(order.source, order.key))
            durations.append(time.perf_counter() - begun)

    threads = [threading.Thread(target=work) for _ in range(order.threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    durations.sort()
    return Report(
        outcomes=dict(Counter(outcomes)), slowest=durations[-1], typical=durations[len(durations) // 2]
    )


def read(source: str, key: str) -> str:
    from django.db import close_old_connections

    import hotdata
    from hotdata.exceptions import HotdataError

    try:
        entry = hotdata.get(source, key)
    except HotdataError as error:
        return type(error).__name__
    finally:
        close_old_connections()
    what = entry.value["symbol"] if isinstance(entry.value, dict) else entry.value
    return f"{'last known ' if entry.last_known else ''}{entry.state} {what}"


if __name__ == "__main__":
    main()
