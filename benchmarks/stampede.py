"""Stampedes and an outage: four processes with fifty readers each, all of one key, of an upstream that takes 200 ms.

Missing: all read at the same moment a key that nobody has fetched. Stale: the same, one second after its TTL of 2 s
has passed. Outage: its TTL has passed again, and the upstream answers nothing but 500 for 5 s, in which each reader
reads 10 times a second. What the upstream was asked it counts itself; how old a value is, the value tells.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from benchmarks.measuring import percentile
from benchmarks.processes import ROOT
from benchmarks.readers import IN_A_LOOP, IN_THREADS, KEPT, READY, SOURCE, TTL, Round, Seen
from benchmarks.slow_upstream import SlowUpstream, slow_upstream
from tools.children import spawn, stop

PROCESSES = 4
LATENCY = 0.2  # seconds
OUTAGE = 5.0  # seconds
START = 0.5  # seconds from a round's announcement to its begin
SETTLING = 1.0  # seconds after a round, in which calls in the background come to their end
CONTENDERS = (*IN_THREADS, *IN_A_LOOP)


class Crowd:
    """The readers of all processes."""

    def __init__(self, processes: list[subprocess.Popen[str]]) -> None:
        self._processes = processes
        for process in processes:
            assert process.stdout is not None
            if process.stdout.readline().strip() != READY:
                raise RuntimeError("The readers did not start.")

    def read(self, key: str, seconds: float = 0.0) -> list[Seen]:
        """All of them, beginning at the same moment; what they saw."""
        line = json.dumps(asdict(Round(key=key, at=time.time() + START, seconds=seconds))) + "\n"
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(line)
            process.stdin.flush()
        seen = []
        for process in self._processes:
            assert process.stdout is not None
            seen += [Seen(**read) for read in json.loads(process.stdout.readline())]
        return seen


@contextmanager
def crowd(contender: str, upstream: SlowUpstream) -> Iterator[Crowd]:
    command = [sys.executable, "-m", "benchmarks.readers", contender, upstream.url]
    environment = {**os.environ, "HOTDATA_ALLOW_PRIVATE": upstream.host}
    with ExitStack() as running:
        processes = []
        for _ in range(PROCESSES):
            process = spawn(
                command,
                farewell=signal.SIGKILL,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            running.callback(stop, process)
            processes.append(process)
        yield Crowd(processes)


def figures(seen: list[Seen], calls: int) -> dict[str, Any]:
    waits = [read.wait * 1000 for read in seen]
    return {
        "reads": len(seen),
        "calls": calls,
        "wait_p50_ms": percentile(waits, 0.5),
        "wait_p99_ms": percentile(waits, 0.99),
        "errors": sum(read.age is None for read in seen),
        "stale": sum(read.age is not None and read.age > TTL for read in seen),
    }


def make_source(upstream: SlowUpstream) -> None:
    """What hotdata asks the upstream by. No scheduler runs: readers see to stale keys themselves."""
    from hotdata.models import Source

    source = Source(
        name=SOURCE,
        base_url=upstream.url,
        path="/stocks/{key}",
        key_policy="any",
        soft_ttl=timedelta(seconds=TTL),
        hard_ttl=timedelta(seconds=KEPT),
    )
    source.save()


def measure(contender: str) -> dict[str, dict[str, Any]]:
    from hotdata.freshness import redis

    redis.client().flushdb()
    with slow_upstream(LATENCY) as upstream:
        make_source(upstream)
        with crowd(contender, upstream) as readers:
            readers.read("WARM")  # connects everybody to everything
            measured = {}
            for name, seconds, status in (
                ("missing", 0.0, 200),
                ("stale", 0.0, 200),
                ("outage", OUTAGE, 500),
            ):
                upstream.answer(status)
                seen = readers.read("AAPL", seconds)
                time.sleep(SETTLING)
                measured[name] = figures(seen, upstream.calls())
                time.sleep(TTL)
    return measured
