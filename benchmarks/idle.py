"""Nothing to do: 10,000 jobs of which none is due within the hour. What a process costs that only waits.

The share of a core, statements a second, resident memory, and the seconds from the start of the process until it
is at work. The contender's jobs are in its database before it starts.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from benchmarks import neighbours
from benchmarks.calls import Calls
from benchmarks.processes import LEADING, SCHEDULER, Contender

JOBS = 10_000
HOUR = 3600.0  # seconds
SETTLING = 3.0  # seconds after the start that are not measured


def observe(contender: Contender, seconds: float, ready: str) -> dict[str, Any]:
    started = contender.wait_for(ready)
    time.sleep(SETTLING)
    starting = contender.cpu()
    use = contender.use(seconds)
    return {"ready_after_s": started, "start_cpu_s": starting, **use.figures(), "rss_mb": contender.rss()}


def hotdata(seconds: float, calls: Calls) -> dict[str, Any]:
    """`manage.py runscheduler`, until it leads."""
    from django.utils import timezone

    from hotdata.models import Job, Schedule
    from hotdata.models.schedules import ScheduleState

    now, interval = timezone.now(), timedelta(seconds=2 * HOUR)
    made = [
        Job(name=f"job-{number:05}", task="noop", trigger="interval", interval=interval, created_at=now)
        for number in range(JOBS)
    ]
    Job.objects.bulk_create(made)
    Schedule.objects.bulk_create(
        Schedule(
            id=job.name,
            next_run_time=now + interval,
            job_state=ScheduleState(timetable=job.timetable()).encode(),
        )
        for job in made
    )
    with Contender(*SCHEDULER, calls=calls) as scheduler:
        return observe(scheduler, seconds, LEADING)


def stock(seconds: float, calls: Calls) -> dict[str, Any]:
    """A BackgroundScheduler that finds its jobs in the table: another process added them."""
    command = ["-m", "benchmarks.neighbours", "stock"]
    later = [f"--first={time.time() + 2 * HOUR}", f"--interval={2 * HOUR}"]
    with Contender(*command, f"--jobs={JOBS}", *later, calls=calls) as filling:
        filling.wait_for(neighbours.READY)
    with Contender(*command, calls=calls) as scheduler:
        return observe(scheduler, seconds, neighbours.READY)


def procrastinate(seconds: float, calls: Calls) -> dict[str, Any]:
    """A worker with an empty queue; it has no schedule that would be kept in a table."""
    connection = {neighbours.CONNECTION: neighbours.prepare_procrastinate()}
    with Contender("-m", "benchmarks.neighbours", "procrastinate", calls=calls, **connection) as worker:
        return observe(worker, seconds, neighbours.READY)


CONTENDERS = {"hotdata": hotdata, "stock": stock, "procrastinate": procrastinate}
