"""Taking over: two schedulers and a job that is due each second; the leader is killed, frozen or told to stop.

The seconds from the blow until the first run that was made after it, `times` over for each kind of blow. With a
due time each second, half a second of it is waiting for that on average. Each round has a new pair, and strikes
at a random moment between two due times.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from benchmarks import neighbours
from benchmarks.calls import Calls
from benchmarks.measuring import median
from benchmarks.processes import LEADING, SCHEDULER, STARTED, Contender

SECOND = timedelta(seconds=1)
BLOWS = {"killed": signal.SIGKILL, "frozen": signal.SIGSTOP, "stopped": signal.SIGTERM}
STEADY = 2.0  # seconds that both are at work before the blow


def hotdata(times: int, calls: Calls) -> dict[str, Any]:
    from hotdata.models import Job

    Job.objects.create(name="second", task="noted", trigger="interval", interval=SECOND)
    return repeat(times, lambda blow: strike_scheduler(blow, calls))


def strike_scheduler(blow: signal.Signals, calls: Calls) -> float:
    """A new pair, and its leader struck; the seconds until the other fires."""
    from hotdata.models import Run

    with Contender(*SCHEDULER, calls=calls) as leader:
        leader.wait_for(LEADING)
        with Contender(*SCHEDULER, calls=calls) as standby:
            standby.wait_for(STARTED)
            time.sleep(STEADY + random.random())
            struck = time.time()
            leader.send(blow)
            later = Run.objects.filter(
                created_at__gt=datetime.fromtimestamp(struck, UTC),
                started_at__isnull=False,
                node__contains=f":{standby.pid}:",  # the leader may fire once more before it hears of it
            )
            standby.wait_until(later.exists)
            return later.earliest("created_at").created_at.timestamp() - struck


def procrastinate(times: int, calls: Calls) -> dict[str, Any]:
    """Two workers with the same periodic task. None leads: each defers, and the database keeps one of both."""
    connection = {neighbours.CONNECTION: neighbours.prepare_procrastinate()}
    command = ["-m", "benchmarks.neighbours", "procrastinate", "--secondly"]

    def strike(blow: signal.Signals) -> float:
        with (
            Contender(*command, calls=calls, **connection) as first,
            Contender(*command, calls=calls, **connection) as second,
        ):
            first.wait_for(neighbours.READY)
            second.wait_for(neighbours.READY)
            time.sleep(STEADY + random.random())
            calls.read()
            struck = time.time()
            first.send(blow)
            return calls.wait_for(lambda call: call.at > struck).at - struck

    return repeat(times, strike)


def repeat(times: int, strike: Callable[[signal.Signals], float]) -> dict[str, Any]:
    """Median and longest of `times` blows of each kind, in seconds."""
    figures: dict[str, Any] = {}
    for name, blow in BLOWS.items():
        seconds = [strike(blow) for _ in range(times)]
        figures |= {f"{name}_median_s": median(seconds), f"{name}_longest_s": max(seconds)}
    return figures


CONTENDERS = {"hotdata": hotdata, "procrastinate": procrastinate}
