"""How late runs start while a clean-up deletes millions of old rows beside them, on a PostgreSQL that uses its disk.

200 jobs are due each ten seconds, 20 a second, fired by `manage.py runscheduler`. Watched first without, then with
`cleanup_logs` in a process of its own. The rows are half runs, with a log and a result, and half API calls.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from benchmarks.calls import Call, Calls
from benchmarks.measuring import percentile
from benchmarks.processes import LEADING, SCHEDULER, Contender

JOBS = 200
INTERVAL = timedelta(seconds=10)
SETTLING = 5.0  # seconds
BEFORE = 30.0  # seconds without the clean-up
LAST_CALLS = 1.0  # seconds
LONGEST = 3600.0  # seconds that the clean-up may take
CLEAN_UP = ("manage.py", "cleanup_logs", "--kind", "runs", "calls")

FILL = {
    "runs": """
        INSERT INTO hotdata_run (
            job_name, task, params, cause, requested_by, state, reason, scheduled_for, coalesced, created_at, ready_at,
            held, started_at, finished_at, duration, node, attempt, attempts, cancel_requested_by, progress_done, log,
            result, error, traceback, notable
        )
        SELECT 'old-' || number %% 200, 'refresh_source', '{"source": "stock"}', 'schedule', '',
            CASE WHEN number %% 100 = 0 THEN 'failed' ELSE 'succeeded' END, '', at, 0, at, at, false, at, at,
            '00:00:00.4', 'node', 1, '[]', '', 12,
            repeat('2026-06-01 12:00:00 INFO app: a line of the log' || chr(10), 5),
            '{"refreshed": 12, "failed": {}}', '', '', false
        FROM generate_series(1, %s) AS number,
            LATERAL (SELECT %s::timestamptz + number * interval '1 second' AS at) AS made
    """,
    "calls": """
        INSERT INTO hotdata_apicall (source, keys, url, outcome, status, error, started_at, duration, size)
        SELECT 'source-' || number %% 10, 'AAPL,MSFT', 'https://upstream.example/quotes',
            CASE WHEN number %% 100 = 0 THEN 'failed' ELSE 'ok' END, 200, '',
            %s::timestamptz + number * interval '1 second', '00:00:00.2', 600
        FROM generate_series(1, %s) AS number
    """,
}


def fill(rows: int, now: datetime) -> None:
    """`rows` old rows, in the order of their age, as they would have come in; then as autovacuum leaves them."""
    from django.db import connection

    half = rows // 2
    first = now - timedelta(days=100, seconds=half)
    with connection.cursor() as cursor:
        cursor.execute(FILL["runs"], [half, first])
        cursor.execute(FILL["calls"], [first, half])
        cursor.execute("VACUUM ANALYZE")
        cursor.execute("CHECKPOINT")


def make_jobs(first: float) -> None:
    from benchmarks.steady import moment
    from hotdata.models import Job

    for number in range(JOBS):
        due = moment(first) + number * INTERVAL / JOBS
        Job(
            name=f"job-{number:03}",
            task="noted",
            trigger="interval",
            interval=INTERVAL,
            created_at=due - INTERVAL,
        ).save()


def by_command(rows: int, calls: Calls) -> dict[str, Any]:
    """The clean-up is a process of its own."""

    def clean_up() -> str:
        with Contender(*CLEAN_UP) as process:
            return process.finish(LONGEST)

    return measure(rows, calls, clean_up)


def as_a_job(rows: int, calls: Calls) -> dict[str, Any]:
    """The clean-up is a run, in a thread of the scheduler that fires the others."""
    from django.utils import timezone

    from hotdata.models import Job, Run
    from hotdata.models.runs import Cause

    def clean_up() -> str:
        job = Job(name="clean", task="cleanup_logs", params={"kinds": ["runs", "calls"]}, timeout=None)
        job.trigger, job.run_at = "date", timezone.now() + timedelta(days=1)
        job.save()
        run = job.request_run(Cause.MANUAL)
        finished = Run.objects.finished().filter(id=run.id)
        deadline = time.monotonic() + LONGEST
        while not finished.exists() and time.monotonic() < deadline:
            time.sleep(1)
        return finished.get().log

    return measure(rows, calls, clean_up)


def measure(rows: int, calls: Calls, clean_up: Callable[[], str]) -> dict[str, Any]:
    """`clean_up` returns the log of its work."""
    from django.utils import timezone

    from hotdata.models import Run

    fill(rows, timezone.now())
    make_jobs(time.time() + 5)
    with Contender(*SCHEDULER, calls=calls) as scheduler:
        scheduler.wait_for(LEADING)
        time.sleep(SETTLING)
        alone = time.time()
        time.sleep(BEFORE)
        began = time.time()
        log = clean_up()
        ended = time.time()
        time.sleep(LAST_CALLS)
    calls.read()
    deleted = sum(int(number) for number in re.findall(r"retention.deleted .*rows=(\d+)", log))
    assert deleted == rows, log
    return {
        "deleted": deleted,
        "longest_batch_ms": 1000 * max(float(longest) for longest in re.findall(r" longest=([\d.]+)", log)),
        "batches_ended": len(re.findall("retention.too_long", log)),
        "seconds": ended - began,
        "rows_per_second": rows / (ended - began),
        **lateness("before", [call for call in calls.seen if alone <= call.due < began]),
        **lateness("meanwhile", [call for call in calls.seen if began <= call.due < ended]),
        "never_started": Run.objects.filter(started_at__isnull=True).finished().count(),
    }


def lateness(when: str, seen: Sequence[Call]) -> dict[str, Any]:
    late = [call.late * 1000 for call in seen]
    return {
        f"fires_{when}": len(late),
        f"late_p50_{when}_ms": percentile(late, 0.5),
        f"late_p99_{when}_ms": percentile(late, 0.99),
        f"late_max_{when}_ms": max(late),
    }


CONTENDERS = {"by command": by_command, "as a job": as_a_job}
