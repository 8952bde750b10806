"""How soon an edit shows: the time from its commit until the scheduler has followed it.

With a scheduler that runs as it does in production, each of these in turn, `times` over, with a pause of random
length between them, since whoever edits doesn't know when the scheduler looks next:

- edit: a one-off job is moved to 20 ms from now; until its task is called, counted from the later of the commit
  and the due time.
- run now: until the task is called.
- resume: of a job that is due each second; until its task is called, counted as for an edit.
- pause: of that job, within 40 ms of its next due time; how long after the commit its task was still called, 0
  where it was not.
- cancel: of a task that listens; until it is told, and until the record says that it has ended.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from benchmarks import neighbours
from benchmarks.calls import Calls
from benchmarks.measuring import percentile, wait_until
from benchmarks.processes import LEADING, SCHEDULER, Contender

LEAD = timedelta(milliseconds=20)
BEAT = timedelta(seconds=1)
NARROW = 0.04  # seconds before its due time within which the beating job is paused
MOMENT = 1e-5  # seconds by which two times may differ that are the same
WARM_UP = 2.0  # seconds
AFTERMATH = 0.3  # seconds in which a call that a pause did not stop would be seen
LONGEST_PAUSE = 1.0  # seconds between two edits: as long as the leader lets pass between two looks


def hotdata(times: int, calls: Calls) -> dict[str, Any]:
    """The Redis of the environment rings, or can't be reached."""
    edits = Edits(calls)
    with Contender(*SCHEDULER, calls=calls) as scheduler:
        scheduler.wait_for(LEADING)
        time.sleep(WARM_UP)
        return repeat(
            times, {"edit": edits.edit, "run_now": edits.run_now, "beat": edits.beat, "cancel": edits.cancel}
        )


def procrastinate(times: int, calls: Calls) -> dict[str, Any]:
    """Deferred by another process and announced by NOTIFY; its jobs can't be edited or paused."""
    import procrastinate

    connection = {neighbours.CONNECTION: neighbours.prepare_procrastinate()}
    connector = procrastinate.SyncPsycopgConnector(conninfo=connection[neighbours.CONNECTION])
    app = neighbours.procrastinate_app(connector)

    def run_now() -> dict[str, float]:
        app.tasks["noted"].defer()
        committed = time.time()
        return {"run_now": calls.wait_for(lambda call: call.name == "noted").at - committed}

    def cancel() -> dict[str, float]:
        job = app.tasks["patient"].defer()
        calls.wait_for(lambda call: call.name == "began")
        time.sleep(random.uniform(0, LONGEST_PAUSE))
        app.job_manager.cancel_job_by_id(job, abort=True)
        committed = time.time()
        return {"cancel": calls.wait_for(lambda call: call.name == "told").at - committed}

    with Contender("-m", "benchmarks.neighbours", "procrastinate", calls=calls, **connection) as worker:
        worker.wait_for(neighbours.READY)
        time.sleep(WARM_UP)
        with app.open():
            return repeat(times, {"run_now": run_now, "cancel": cancel})


def repeat(times: int, actions: dict[str, Callable[[], dict[str, float]]]) -> dict[str, Any]:
    """Each of `actions` in turn, `times` over; p50 and p99 of what they return, in milliseconds."""
    latencies: dict[str, list[float]] = {}
    for _ in range(times):
        for action in actions.values():
            time.sleep(random.uniform(0, LONGEST_PAUSE))
            for name, seconds in action().items():
                latencies.setdefault(name, []).append(seconds * 1000)
    return {
        f"{name}_{title}_ms": percentile(values, share)
        for name, values in latencies.items()
        for title, share in (("p50", 0.5), ("p99", 0.99))
    }


class Edits:
    """What people do to jobs and runs, each timed from its commit."""

    def __init__(self, calls: Calls) -> None:
        from django.utils import timezone

        from hotdata.models import Job

        self._calls = calls
        self._now = timezone.now
        later = timezone.now() + timedelta(days=1)
        self._job = Job.objects.create(name="idle", task="noted", trigger="date", run_at=later)
        self._patient = Job.objects.create(name="patient", task="patient", trigger="date", run_at=later)
        self._beating = Job.objects.create(
            name="beat", task="noted", trigger="interval", interval=BEAT, paused=True
        )

    def edit(self) -> dict[str, float]:
        while True:
            self._job.run_at = due = self._now() + LEAD
            committed = committed_at(self._job.save)
            # Under load the edit itself can take longer than that; then the job may not be due any more.
            if committed < due.timestamp():
                break
        call = self._calls.wait_for(lambda call: abs(call.due - due.timestamp()) < MOMENT)
        return {"edit": call.at - max(committed, due.timestamp())}

    def run_now(self) -> dict[str, float]:
        from hotdata.models.runs import Cause

        committed = committed_at(lambda: self._job.request_run(Cause.MANUAL))
        call = self._calls.wait_for(lambda call: call.name == "idle" and not call.due)
        return {"run_now": call.at - committed}

    def beat(self) -> dict[str, float]:
        """Resume the beating job, and pause it again shortly before it is due."""
        resumed = committed_at(lambda: self._beating.set_paused(False))
        first = self._calls.wait_for(lambda call: call.name == "beat" and call.at > resumed)
        time.sleep(max(0.0, first.due + BEAT.total_seconds() - random.uniform(0, NARROW) - time.time()))
        paused = committed_at(lambda: self._beating.set_paused(True))
        time.sleep(AFTERMATH)
        self._calls.read()
        last = max(call.at for call in self._calls.seen if call.name == "beat")
        return {"resume": first.at - max(resumed, first.due), "pause": max(0.0, last - paused)}

    def cancel(self) -> dict[str, float]:
        from hotdata.models import Run
        from hotdata.models.runs import Cause

        run = self._patient.request_run(Cause.MANUAL)
        self._called("began")
        time.sleep(random.uniform(0, LONGEST_PAUSE))
        committed = committed_at(lambda: run.cancel("benchmark", self._now()))
        told = self._called("told")
        finished = Run.objects.finished().filter(id=run.id)
        wait_until(finished.exists)
        ended = finished.get().finished_at.timestamp()
        return {"cancel": told - committed, "cancel_recorded": ended - committed}

    def _called(self, name: str) -> float:
        return self._calls.wait_for(lambda call: call.name == name).at


def committed_at(edit: Callable[[], object]) -> float:
    """Do the `edit`; when its transaction was committed, in Unix seconds."""
    from django.db import transaction

    committed: list[float] = []
    with transaction.atomic():
        # The first to be called: whatever else the commit sets off counts as the product's time.
        transaction.on_commit(lambda: committed.append(time.time()))
        edit()
    return committed[0]


CONTENDERS = {"hotdata": hotdata, "procrastinate": procrastinate}
