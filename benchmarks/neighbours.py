"""The neighbours as processes, set up as their documentation does: ``python -m benchmarks.neighbours NAME``.

Both say READY when they are at work, and stop at SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import threading
import time
from datetime import UTC, datetime
from typing import Any

from benchmarks import calls

WORKERS = 20
READY = "neighbour.ready"
CONNECTION = "BENCH_PROCRASTINATE"
DATABASE = "neighbour"


# django-apscheduler


def noted_by_stock(name: str, first: float, interval: float) -> None:
    """Write down the call; its due time is the last one that has come."""
    now = time.time()
    calls.note(name, now - (now - first) % interval)


def stock(*, jobs: int, first: float, interval: float) -> None:
    """A BackgroundScheduler with `jobs` new jobs, the first due at `first`, the others spread over `interval`."""
    import django

    django.setup()
    from apscheduler.executors.pool import ThreadPoolExecutor
    from apscheduler.schedulers.background import BackgroundScheduler
    from django_apscheduler.jobstores import DjangoJobStore

    scheduler = BackgroundScheduler(executors={"default": ThreadPoolExecutor(WORKERS)}, timezone="UTC")
    scheduler.add_jobstore(DjangoJobStore(), "default")
    for number in range(jobs):
        due = first + number * interval / jobs
        scheduler.add_job(
            noted_by_stock,
            "interval",
            seconds=interval,
            next_run_time=datetime.fromtimestamp(due, UTC),
            id=f"job-{number:05}",
            args=[f"job-{number:05}", due, interval],
        )
    scheduler.start()
    print(READY, flush=True)
    threading.Event().wait()


# procrastinate


def prepare_procrastinate() -> str:
    """Make it an empty database of its own beside ours, with its tables; the connection string."""
    import procrastinate
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        cursor.execute(f"CREATE DATABASE {DATABASE}")
    settings = connection.settings_dict
    address = f"host={settings['HOST']} user={settings['USER']} dbname={DATABASE}"
    app = procrastinate.App(connector=procrastinate.SyncPsycopgConnector(conninfo=address))
    with app.open():
        app.schema_manager.apply_schema()
    return address


def procrastinate_app(connector: Any) -> Any:
    """Its tasks; asynchronous ones, which is what its worker is quickest with."""
    import procrastinate

    app = procrastinate.App(connector=connector)

    async def noted(timestamp: int = 0) -> None:
        calls.note("noted", float(timestamp))

    async def patient() -> None:
        calls.note("began")
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            calls.note("told")
            raise

    app.task(name="noted")(noted)
    app.task(name="patient")(patient)
    return app


def procrastinate(*, jobs: int, secondly: bool) -> None:
    """One worker with `jobs` periodic tasks, each once a minute, spread over its seconds; or one each second.

    Its periods are cron expressions with a column for seconds: finer than that they can't be spread.
    """
    from procrastinate import PsycopgConnector

    app = procrastinate_app(PsycopgConnector(conninfo=os.environ[CONNECTION]))
    if secondly:
        app.periodic(cron="* * * * * *")(app.tasks["noted"])
    for number in range(jobs):
        app.periodic(cron=f"* * * * * {number * 60 // jobs}", periodic_id=str(number))(app.tasks["noted"])

    async def work() -> None:
        async with app.open_async():
            print(READY, flush=True)
            await app.run_worker_async(concurrency=WORKERS)

    asyncio.run(work())


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.neighbours")
    parser.add_argument("which", choices=["stock", "procrastinate"])
    parser.add_argument("--jobs", type=int, default=0, help="jobs to add")
    parser.add_argument(
        "--secondly", action="store_true", help="one more that is due each second; procrastinate"
    )
    parser.add_argument("--first", type=float, default=0.0, help="when the first is due, in Unix seconds")
    parser.add_argument("--interval", type=float, default=3600.0, help="seconds; not for procrastinate")
    options = parser.parse_args()
    if options.which == "stock":
        stock(jobs=options.jobs, first=options.first, interval=options.interval)
    else:
        procrastinate(jobs=options.jobs, secondly=options.secondly)


if __name__ == "__main__":
    main()
