"""A steady load: 1,000 jobs with an interval of 50 s, spread evenly, so that one is due each 50 ms.

How late each task is called (the call minus its due time), what share of a core the process takes for it, and
how many statements. The contender is a process of its own, with 20 workers; measured is a stretch of `seconds`
in the middle of its work.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from benchmarks import neighbours
from benchmarks.calls import Calls
from benchmarks.measuring import percentile
from benchmarks.processes import LEADING, SCHEDULER, Contender

JOBS = 1_000
INTERVAL = 50.0  # seconds
SETTLING = 2.0  # seconds of the load before the stretch that is measured
CATCHING_UP = 10.0  # seconds that procrastinate gets after its start for what came due during that
LAST_CALLS = 1.5  # seconds that the last due times of the stretch get to be called


def observe(contender: Contender, calls: Calls, seconds: float) -> dict[str, Any]:
    """Watch the load for `seconds`; lateness in milliseconds."""
    use = contender.use(seconds)
    time.sleep(LAST_CALLS)
    calls.read()
    late = [call.late * 1000 for call in calls.seen if use.began <= call.due < use.ended]
    if not late:
        raise RuntimeError("Nothing was fired.")
    return {
        "fires": len(late),
        "late_p50_ms": percentile(late, 0.5),
        "late_p99_ms": percentile(late, 0.99),
        "late_max_ms": max(late),
        **use.figures(fires=len(late)),
    }


def hotdata(seconds: float, calls: Calls) -> dict[str, Any]:
    """`manage.py runscheduler`; what its records say of the delay is told beside what the tasks saw."""
    from hotdata.models import Run

    first = time.time() + 6
    make_jobs(first)
    with Contender(*SCHEDULER, calls=calls) as scheduler:
        scheduler.wait_for(LEADING)
        time.sleep(max(0.0, first + SETTLING - time.time()))
        measured = observe(scheduler, calls, seconds)
    runs = Run.objects.filter(started_at__isnull=False, scheduled_for__gt=moment(first + SETTLING))
    recorded = [delay.total_seconds() * 1000 for run in runs if (delay := run.delay) is not None]
    return {
        **measured,
        "recorded_p50_ms": percentile(recorded, 0.5),
        "recorded_p99_ms": percentile(recorded, 0.99),
        "never_started": Run.objects.filter(started_at__isnull=True).finished().count(),
    }


def make_jobs(first: float) -> None:
    from hotdata.models import Job, Schedule
    from hotdata.models.schedules import ScheduleState

    interval = timedelta(seconds=INTERVAL)
    made = [
        Job(
            name=f"job-{number:05}",
            task="noted",
            trigger="interval",
            interval=interval,
            created_at=moment(first + number * INTERVAL / JOBS) - interval,
        )
        for number in range(JOBS)
    ]
    Job.objects.bulk_create(made)
    Schedule.objects.bulk_create(
        Schedule(
            id=job.name,
            next_run_time=job.created_at + interval,
            job_state=ScheduleState(timetable=job.timetable()).encode(),
        )
        for job in made
    )


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def stock(seconds: float, calls: Calls) -> dict[str, Any]:
    """django-apscheduler's BackgroundScheduler, the same jobs."""
    first = time.time() + 6 + JOBS / 100
    settled = first + SETTLING
    arguments = [f"--jobs={JOBS}", f"--first={first}", f"--interval={INTERVAL}"]
    with Contender("-m", "benchmarks.neighbours", "stock", *arguments, calls=calls) as scheduler:
        scheduler.wait_for(neighbours.READY)
        time.sleep(max(0.0, settled - time.time()))
        return observe(scheduler, calls, seconds)


def procrastinate(seconds: float, calls: Calls) -> dict[str, Any]:
    """A worker with 1,000 periodic tasks once a minute: 16 or 17 due on each full second, as its cron allows.

    It defers them half a second after that on purpose. When it starts it first catches up with each task's last
    minute; measured is what follows.
    """
    connection = {neighbours.CONNECTION: neighbours.prepare_procrastinate()}
    arguments = ["procrastinate", f"--jobs={JOBS}"]
    with Contender("-m", "benchmarks.neighbours", *arguments, calls=calls, **connection) as worker:
        worker.wait_for(neighbours.READY)
        worker.wait_until(lambda: calls.count() >= JOBS)
        time.sleep(CATCHING_UP)
        return observe(worker, calls, seconds)


CONTENDERS = {"hotdata": hotdata, "stock": stock, "procrastinate": procrastinate}
