"""The pages of runs and of API calls over a million of each: how long each takes to be answered, as a client sees it.

One job has three runs in ten; one run in a hundred failed, and some outcomes and causes are so rare that a walk through
the table would hardly meet them. A job of its own has failed only at the very beginning.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from benchmarks.measuring import median

ROWS = 1_000_000
DAYS = 90
JOBS = 200
SOURCES = 10
AT_ONCE = 5_000  # rows
LOOKS = 5
BUSY, UNHAPPY = "job-000", "job-001"
LOG = "2026-11-25 12:00:00 INFO hotdata: a line of the log\n"


def fill(now: datetime, rows: int = ROWS) -> None:
    """Jobs, `rows` runs of them and `rows` calls up to `now`, oldest first."""
    from hotdata.models import Job, Source, bulk

    chance = random.Random(1)
    for number in range(JOBS):
        Job(name=f"job-{number:03}", title=f"Job {number}", task="refresh_due", cron="*/5 * * * *").save()
    for number in range(SOURCES):
        Source(name=f"source-{number}", base_url="https://upstream.example", path="/{key}").save()
    for made in (runs(now, rows, chance), calls(now, rows, chance)):
        batch: list[Any] = []
        for row in made:
            batch.append(row)
            if len(batch) == AT_ONCE:
                bulk.insert(batch)
                batch = []
        bulk.insert(batch)


def runs(now: datetime, rows: int, chance: random.Random) -> Iterator[Any]:
    """In the order in which they were made."""
    from hotdata.models import Run

    for number in range(rows):
        made = now - timedelta(days=DAYS) * (rows - number) / rows
        took = timedelta(milliseconds=chance.lognormvariate(6, 1))
        job = BUSY if chance.random() < 0.3 else f"job-{chance.randrange(2, JOBS):03}"
        state, cause, error = "succeeded", "schedule", ""
        if number < 1000 and number % 10 == 0:
            job, state = UNHAPPY, "failed"
        elif chance.random() < 0.01:
            state = chance.choice(["failed"] * 8 + ["timed_out", "skipped"])
        if number % 100_000 == 50:
            state = "abandoned"
        if chance.random() < 0.003:
            cause = chance.choice(["manual", "api"])
        if state != "succeeded":
            error = f"UpstreamStatus: 503 from https://upstream.example/{number}"
        yield Run(
            job_id=job, task="refresh_due", cause=cause, state=state, node="node", attempt=1,
            scheduled_for=made if cause == "schedule" else None, created_at=made, ready_at=made, started_at=made,
            finished_at=made + took, duration=took, error=error, log=LOG * chance.choice([0, 5, 20]),
            result={"refreshed": 12, "failed": {}},
        )  # fmt: skip


def calls(now: datetime, rows: int, chance: random.Random) -> Iterator[Any]:
    from hotdata.models import ApiCall

    for number in range(rows):
        failed = chance.random() < 0.01
        yield ApiCall(
            source=f"source-{number % (SOURCES - 1)}",
            run_id=number + 1,
            keys="AAPL,MSFT",
            url="https://upstream.example/AAPL",
            outcome="failed" if failed else "ok" if number % 250_000 else "not_modified",
            status=503 if failed else 200,
            error="UpstreamStatus: 503" if failed else "",
            started_at=now - timedelta(days=DAYS) * (rows - number) / rows,
            duration=timedelta(milliseconds=chance.lognormvariate(6, 1)),
        )


def pages(now: datetime) -> dict[str, str]:
    """What is asked for, by what it is."""
    from hotdata.models import Run

    run = Run.objects.order_by("-id").values_list("id", flat=True)[0]
    runs, calls = "/admin/hotdata/run/", "/admin/hotdata/apicall/"
    long_ago = (now - timedelta(days=DAYS * 0.8)).date().isoformat()
    return {
        "runs": runs,
        "runs, last page offered": f"{runs}?p=200",
        "runs, from the middle on": f"{runs}?before={run // 2}",
        "runs that failed": f"{runs}?outcome=failures",
        "runs that failed, last page offered": f"{runs}?outcome=failures&p=150",
        "runs that succeeded": f"{runs}?outcome=succeeded",
        "runs under way": f"{runs}?outcome=active",
        "runs abandoned, a few": f"{runs}?outcome=abandoned",
        "runs missed, none": f"{runs}?outcome=missed",
        "runs by hand": f"{runs}?cause=manual",
        "runs from the command line, none": f"{runs}?cause=cli",
        "runs by hand that failed": f"{runs}?cause=manual&outcome=failures",
        "runs of a job": f"{runs}?job=job-007",
        "runs of the busiest job": f"{runs}?job={BUSY}",
        "runs of a job that failed": f"{runs}?job=job-007&outcome=failures",
        "runs of the busiest job that failed": f"{runs}?job={BUSY}&outcome=failures",
        "runs of the busiest job, abandoned": f"{runs}?job={BUSY}&outcome=abandoned",
        "runs of the busiest job by hand": f"{runs}?job={BUSY}&cause=manual",
        "runs of a job that failed long ago": f"{runs}?job={UNHAPPY}&outcome=failures",
        "runs of a job that never succeeded": f"{runs}?job={UNHAPPY}&outcome=succeeded",
        "runs of the last hour": f"{runs}?time=hour",
        "runs of the last week": f"{runs}?time=week",
        "runs of a day long ago": f"{runs}?since={long_ago}&until={long_ago}",
        "runs that failed in the last month": f"{runs}?outcome=failures&time=month",
        "runs, searched for a job": f"{runs}?q=job-007",
        "runs, searched for parts of jobs": f"{runs}?q=job-00",
        "runs, searched for an error": f"{runs}?q=upstream.example",
        "runs, searched for an error that isn't there": f"{runs}?q=nothing+like+it",
        "a run": f"{runs}{run}/change/",
        "a run, live": f"{runs}{run}/live/",
        "runs as CSV, until it begins": f"{runs}export/",
        "failures of a job as CSV, until it begins": f"{runs}export/?outcome=failures&job={BUSY}",
        "calls": calls,
        "calls, last page offered": f"{calls}?p=200",
        "calls of a source": f"{calls}?source=source-1",
        "calls of a source, none": f"{calls}?source=source-9",
        "calls that failed": f"{calls}?outcome=failed",
        "calls of a source that failed": f"{calls}?outcome=failed&source=source-1",
        "calls not modified, a few": f"{calls}?outcome=not_modified",
        "calls of a run": f"{calls}?run={run}",
        "calls of the last week": f"{calls}?time=week",
        "calls, searched for a key": f"{calls}?q=MSFT",
        "calls, searched for a key that isn't there": f"{calls}?q=nothing",
    }


def measure(rows: int = ROWS) -> dict[str, dict[str, Any]]:
    """Milliseconds by page, and those of this process's processor time, in which SQLite works, too.

    Fills the database before, if it is empty.
    """
    from django.contrib.auth.models import User
    from django.db import connection
    from django.test import Client
    from django.utils import timezone

    from hotdata.models import Run

    if not Run.objects.exists():
        fill(timezone.now(), rows)
        if connection.vendor == "postgresql":  # as autovacuum would, before long
            with connection.cursor() as cursor:
                cursor.execute("VACUUM ANALYZE")
    client = Client(SERVER_NAME="localhost")
    user, _ = User.objects.get_or_create(username="bench", is_staff=True, is_superuser=True)
    client.force_login(user)
    client.get("/admin/login/")  # templates and modules are loaded
    return {page: _looks(client, path) for page, path in pages(timezone.now()).items()}


def _looks(client: Any, path: str) -> dict[str, float]:
    took, cpu = [], []
    for _ in range(LOOKS):
        began, cpu_began = time.perf_counter(), time.process_time()
        answer = client.get(path)
        if answer.streaming:
            next(iter(answer))
        took.append((time.perf_counter() - began) * 1e3)
        cpu.append((time.process_time() - cpu_began) * 1e3)
        assert answer.status_code == 200, (path, answer.status_code)
        answer.close()
    return {"p50_ms": median(took), "slowest_ms": max(took), "cpu_ms": median(cpu)}
