"""The admin's pages over 200 jobs and 1,000,000 runs of 90 days: how long each takes to be answered.

The first look finds nothing kept from looks before it; the others are what a page that refreshes itself costs.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from benchmarks.measuring import median

JOBS = (
    (20, timedelta(minutes=5)),
    (60, timedelta(minutes=30)),
    (100, timedelta(hours=1)),
    (20, timedelta(days=1)),
)
"""How many jobs of which interval: 11,060 runs a day."""
DAYS = 90
CALLS = 20_000  # of the last day
SOURCES = 10
AT_ONCE = 5_000  # rows
LOOKS = 10
PAGES = {"dashboard": "/admin/", "jobs": "/admin/hotdata/job/"}


def fill(now: datetime, days: int = DAYS) -> None:
    """Jobs with what they have done up to `now`, and calls of upstreams; a hundredth of it failed."""
    from hotdata.models import Job, Source, bulk

    chance = random.Random(1)
    jobs = [
        Job(name=f"job-{number:03}", title=f"Job {number}", task="noop", trigger="interval", interval=interval,
            created_at=now - timedelta(days=days))
        for number, interval in enumerate(interval for count, interval in JOBS for _ in range(count))
    ]  # fmt: skip
    for job in jobs:
        job.save()
    for number in range(SOURCES):
        Source(name=f"source-{number}", base_url="https://upstream.example", path="/{key}").save()
    batch: list[Any] = []
    for row in runs(jobs, now, days, chance):
        batch.append(row)
        if len(batch) == AT_ONCE:
            bulk.insert(batch)
            batch = []
    bulk.insert(batch)
    bulk.insert(list(calls(now, chance)))


def runs(jobs: list[Any], now: datetime, days: int, chance: random.Random) -> Iterator[Any]:
    """In the order in which they were made."""
    from hotdata.models import Run

    step = min(interval for _, interval in JOBS)
    moment = now - timedelta(days=days)
    turn = 0
    while moment < now:
        for number, job in enumerate(jobs):
            every = job.interval // step
            if (turn + number) % every:
                continue
            began = moment + timedelta(milliseconds=chance.randrange(1_000))
            took = timedelta(milliseconds=chance.lognormvariate(6, 1))
            failed = chance.random() < 0.01
            yield Run(
                job_id=job.name, task=job.task, cause="schedule", state="failed" if failed else "succeeded",
                scheduled_for=moment, created_at=began, ready_at=began, started_at=began, finished_at=began + took,
                duration=took, node="node", attempt=1, error="UpstreamStatus: 503" if failed else "",
                log="a line of the log\n" * 10,
            )  # fmt: skip
        moment += step
        turn += 1


def calls(now: datetime, chance: random.Random) -> Iterator[Any]:
    from hotdata.models import ApiCall

    for number in range(CALLS):
        failed = chance.random() < 0.02
        yield ApiCall(
            source=f"source-{number % SOURCES}",
            keys="AAPL",
            url="https://upstream.example/AAPL",
            outcome="failed" if failed else "ok",
            started_at=now - timedelta(days=1) * (CALLS - number) / CALLS,
            duration=timedelta(milliseconds=chance.lognormvariate(6, 1)),
        )


def measure() -> dict[str, dict[str, Any]]:
    """Milliseconds by page."""
    from django.contrib.auth.models import User
    from django.test import Client
    from django.utils import timezone

    from hotdata.models import Run

    fill(timezone.now())
    client = Client(SERVER_NAME="localhost")
    client.force_login(User.objects.create_superuser("bench"))
    client.get("/admin/login/")  # templates and modules are loaded
    return {page: {"runs": Run.objects.count(), **_looks(client, path)} for page, path in PAGES.items()}


def _looks(client: Any, path: str) -> dict[str, float]:
    took, worked = [], []
    for _ in range(1 + LOOKS):
        began, began_work = time.perf_counter(), time.process_time()
        answer = client.get(path)
        took.append((time.perf_counter() - began) * 1e3)
        worked.append((time.process_time() - began_work) * 1e3)
        assert answer.status_code == 200
    return {
        "first_ms": took[0],
        "p50_ms": median(took[1:]),
        "slowest_ms": max(took[1:]),
        "processor_p50_ms": median(worked[1:]),
    }
