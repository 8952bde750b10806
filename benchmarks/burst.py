"""A burst: many no-op jobs due at the same moment. Time from then until the last is on record as finished.

Each contender runs in a process of its own, against an empty database, with 20 worker threads.
"""

from __future__ import annotations

import io
import os
import signal
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from benchmarks.measuring import Statements, wait_until

WORKERS = 20

# A job with everything that a job can have. Runs of it succeed, so no retry comes of it.
POLICIES: dict[str, Any] = {
    "overlap": "buffer_one",
    "jitter": timedelta(0),
    "misfire_grace_time": timedelta(minutes=5),
    "pause_after_failures": 3,
    "max_retries": 3,
    "recover": True,
}


def due_time(jobs: int, *, made_per_second: int) -> datetime:
    """When the burst is due: late enough for the contender to have set itself up."""
    from django.utils import timezone

    return timezone.now() + timedelta(seconds=5 + jobs / made_per_second)


def observe(due: datetime, ended: Callable[[], int], jobs: int) -> dict[str, Any]:
    """Wait for the burst and its end; the seconds it took and the statements it cost."""
    from django.utils import timezone

    statements = Statements()
    wait_until(lambda: timezone.now() >= due)
    statements.start()
    wait_until(lambda: ended() >= jobs)
    return {"seconds": (timezone.now() - due).total_seconds(), "statements": statements.count}


def hotdata(jobs: int, policies: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    """Our scheduler with its thread executor; each job has `policies`, and leaves a Run."""
    from django.core.management import call_command

    from hotdata.models import Job, Run, Schedule
    from hotdata.models.runs import State
    from hotdata.models.schedules import ScheduleState

    due = due_time(jobs, made_per_second=2000)
    hour = timedelta(hours=1)
    made = [
        Job(
            name=f"job-{number:05}",
            task="noop",
            trigger="interval",
            interval=hour,
            created_at=due - hour,
            **policies,
        )
        for number in range(jobs)
    ]
    Job.objects.bulk_create(made)
    Schedule.objects.bulk_create(
        Schedule(id=job.name, next_run_time=due, job_state=ScheduleState(timetable=job.timetable()).encode())
        for job in made
    )
    measured: dict[str, Any] = {}

    def watch() -> None:
        measured.update(observe(due, lambda: Run.objects.finished().count(), jobs))
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch).start()
    call_command("runscheduler", workers=WORKERS, stdout=io.StringIO())
    succeeded = Run.objects.filter(state=State.SUCCEEDED).count()
    return {**measured, "finished": succeeded, "missed": jobs - succeeded}


def stock(jobs: int) -> dict[str, Any]:
    """django-apscheduler as its documentation sets it up; each job leaves a DjangoJobExecution."""
    from apscheduler.executors.pool import ThreadPoolExecutor
    from apscheduler.schedulers.background import BackgroundScheduler
    from django_apscheduler.jobstores import DjangoJobStore
    from django_apscheduler.models import DjangoJobExecution

    from benchmarks.tasks import noop

    due = due_time(jobs, made_per_second=200)
    scheduler = BackgroundScheduler(executors={"default": ThreadPoolExecutor(WORKERS)}, timezone="UTC")
    scheduler.add_jobstore(DjangoJobStore(), "default")
    for number in range(jobs):
        scheduler.add_job(noop, "interval", hours=1, next_run_time=due, id=f"job-{number:05}")
    scheduler.start()
    records = DjangoJobExecution.objects
    ended = [DjangoJobExecution.SUCCESS, DjangoJobExecution.MISSED, DjangoJobExecution.ERROR]
    measured = observe(due, lambda: records.filter(status__in=ended).count(), jobs)
    scheduler.shutdown()
    finished = records.filter(status=DjangoJobExecution.SUCCESS).count()
    return {**measured, "finished": finished, "missed": jobs - finished}


CONTENDERS = {
    "hotdata": hotdata,
    "hotdata with policies": lambda jobs: hotdata(jobs, POLICIES),
    "stock": stock,
}
