"""``python -m benchmarks``: runs them all, A/B in one run, and prints what they measured.

Servers are started for it and stopped with it. Each contender has a process of its own and an empty database.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import cleanup, stampede
from benchmarks.processes import LOG
from tools.postgres_server import postgres_server
from tools.redis_server import redis_server
from tools.sockets import reserved_port

CHILD = "benchmarks.child"
LONGEST = 4500  # seconds that one contender may take
AGE_SECONDS = 180

WHAT = """\
burst      many no-op jobs due at the same moment: until the last is on record. Also stock django-apscheduler.
           --jobs 1000 10000 are the sizes; --policies adds hotdata with every policy of a job set.
steady     1,000 jobs, one due each 50 ms: how late tasks are called, processor time, statements.
           --seconds 30. Also stock and procrastinate.
latency    from the commit of an edit, a run-now, a pause, a cancellation until the scheduler has followed it,
           with and without Redis. --times 100, which takes 15 minutes. Also procrastinate.
takeover   two schedulers, and the leader killed, frozen, stopped: until the other fires. --times 5.
           Also procrastinate, whose workers have no leader.
idle       10,000 jobs with nothing due: processor time, statements, memory, time to start. --seconds 60.
           Also stock and procrastinate.
refresh    200 keys of a slow upstream, and 2,000 in batches of 50: against a loop of requests.
read       a fresh entry: hotdata.get against cache.get, dogpile.cache and cashews. Also Redis commands per read.
stampede   200 readers in four processes at once: of a key that is missing, of one that is stale, and of one whose
           upstream is down. Also Django's cache.get_or_set, dogpile.cache and cashews. Takes two minutes.
admin      the admin's pages over 200 jobs and 1,000,000 runs: how long they take to be answered. On SQLite, if it is
           among the databases. To fill it takes two minutes.
age        how old is what readers get, at the same number of upstream calls: a passive cache, even refreshing, and
           hotdata. Simulated, and for real during --seconds 180.
pages      the admin's lists and pages of runs and API calls over 1,000,000 of each: until the answer, as a client sees
           it. Takes ten minutes, most of which goes into filling the table.

cleanup    how late runs start while cleanup_logs deletes --rows 5000000 beside them, on a PostgreSQL that writes to its
           disk. By command and as a job. Takes half an hour and 10 GB.

burst, steady, idle and pages run on each of --databases, the others on the first of them; procrastinate, which has no
other, on PostgreSQL only. Figures of one run can be compared with each other, and with those of another machine hardly:
close what else is running, and look at ratios first. Statements are counted with commits and without BEGIN. Steady,
latency, takeover, idle and cleanup measure processes from outside, and need Linux.

examples:
  python -m benchmarks steady --databases postgres
  python -m benchmarks latency takeover --times 10
  python -m benchmarks burst --jobs 10000 --databases postgres --policies
"""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A benchmark whose contenders are processes of their own."""

    amount: int
    """Seconds or times, where no option says."""
    option: str
    contenders: tuple[str, ...]
    each_database: bool


PLANS = {
    "steady": Plan(
        amount=30, option="seconds", contenders=("hotdata", "stock", "procrastinate"), each_database=True
    ),
    "latency": Plan(
        amount=100,
        option="times",
        contenders=("hotdata", "hotdata without Redis", "procrastinate"),
        each_database=False,
    ),
    "takeover": Plan(amount=5, option="times", contenders=("hotdata", "procrastinate"), each_database=False),
    "idle": Plan(
        amount=60, option="seconds", contenders=("hotdata", "stock", "procrastinate"), each_database=True
    ),
}
WHICH = ["burst", *PLANS, "refresh", "read", "stampede", "admin", "age", "pages", "cleanup"]
WITHOUT_REDIS = " without Redis"


@contextmanager
def services(databases: list[str], *, careful: bool = False) -> Iterator[dict[str, dict[str, str]]]:
    """A Redis and the databases; yields the environment for each. A `careful` PostgreSQL writes to its disk."""
    with ExitStack() as running:
        # Short, for Unix sockets; open to the account that runs PostgreSQL for root.
        directory = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="hd-bench-", dir="/tmp")))
        directory.chmod(0o711)
        redis = running.enter_context(redis_server(directory / "redis", keep=False))
        urls = {"sqlite": f"sqlite:///{directory / 'bench.sqlite3'}"}
        if "postgres" in databases:
            url = running.enter_context(postgres_server(directory / "postgres", careful=careful))
            urls["postgres"] = url.rpartition("/")[0] + "/postgres"  # the database that every cluster has
        environments = {name: environment(redis, urls[name]) for name in databases}
        if "postgres" in databases:
            environments["postgres"][LOG] = str(directory / "postgres" / "log")
        yield environments


def environment(redis: str, database: str) -> dict[str, str]:
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "benchmarks.settings",
        "SECRET_KEY": secrets.token_urlsafe(48),
        "DEBUG": "0",
        "LOG_LEVEL": "ERROR",
        "REDIS_URL": redis,
        "DATABASE_URL": database,
    }


def run(what: list[str], where: dict[str, str]) -> dict[str, Any]:
    """Run one contender in a process of its own; what it measured."""
    done = subprocess.run(
        [sys.executable, "-m", CHILD, *what],
        env=where,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=LONGEST,
    )
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def show(title: str, measured: dict[str, Any]) -> None:
    figures = ", ".join(
        f"{name} {value:,.2f}" if isinstance(value, float) else f"{name} {value:,}"
        for name, value in measured.items()
    )
    print(f"{title}: {figures}", flush=True)


def run_burst(environments: dict[str, dict[str, str]], sizes: list[int], *, policies: bool) -> None:
    contenders = ["hotdata", *(["hotdata with policies"] if policies else []), "stock"]
    for database, where in environments.items():
        for jobs in sizes:
            for contender in contenders:
                measured = run(["burst", contender, str(jobs)], where)
                show(f"burst of {jobs:,} on {database}, {contender}", measured)


def run_plan(name: str, amount: int, environments: dict[str, dict[str, str]]) -> None:
    plan = PLANS[name]
    for database in list(environments)[: None if plan.each_database else 1]:
        for contender in plan.contenders:
            if contender == "procrastinate" and database != "postgres":
                continue
            where = environments[database]
            with ExitStack() as running:
                if contender.endswith(WITHOUT_REDIS):
                    closed = running.enter_context(reserved_port(20_000))
                    where = {**where, "REDIS_URL": f"redis://127.0.0.1:{closed}/0"}
                measured = run([name, contender.removesuffix(WITHOUT_REDIS), str(amount)], where)
            show(f"{name} on {database}, {contender}", measured)


def run_age(seconds: int, where: dict[str, str]) -> None:
    for how in ("simulated", "real"):
        for contender, measured in run(["age", how, str(seconds)], where).items():
            show(f"age at read, {how}, {contender}", measured)


def run_refresh(where: dict[str, str]) -> None:
    for contender, measured in run(["refresh"], where).items():
        show(f"refresh, {contender}", measured)


def run_stampede(where: dict[str, str]) -> None:
    for contender in stampede.CONTENDERS:
        for what, measured in run(["stampede", contender], where).items():
            show(f"{what} key, {contender}", measured)


def run_read(where: dict[str, str]) -> None:
    for how in ("threads", "asyncio"):
        for contender, measured in run(["read", how], where).items():
            show(f"read of a fresh entry, {contender}", measured)


def run_admin(environments: dict[str, dict[str, str]]) -> None:
    database = "sqlite" if "sqlite" in environments else next(iter(environments))
    for page, measured in run(["admin"], environments[database]).items():
        show(f"admin on {database}, {page}", measured)


def run_pages(environments: dict[str, dict[str, str]]) -> None:
    for database, where in environments.items():
        for page, measured in run(["pages"], where).items():
            show(f"{page}, on {database}", measured)


def run_cleanup(rows: int) -> None:
    with services(["postgres"], careful=True) as environments:
        for contender in cleanup.CONTENDERS:
            show(
                f"cleanup {contender} on postgres",
                run(["cleanup", contender, str(rows)], environments["postgres"]),
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog=WHAT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("which", nargs="*", metavar="NAME", help="which to run; all by default")
    parser.add_argument("--jobs", type=int, nargs="+", default=[1_000, 10_000], help="sizes of the burst")
    parser.add_argument("--policies", action="store_true", help="burst: also with every policy of a job set")
    parser.add_argument("--seconds", type=int, help="how long steady, idle and age are watched")
    parser.add_argument("--times", type=int, help="how often latency and takeover repeat each action")
    parser.add_argument("--rows", type=int, default=5_000_000, help="how many cleanup deletes")
    parser.add_argument(
        "--databases", nargs="+", default=["postgres", "sqlite"], choices=["postgres", "sqlite"]
    )
    options = parser.parse_args()
    if unknown := set(options.which) - set(WHICH):
        parser.error(f"There is no benchmark {', '.join(sorted(unknown))}. There are: {', '.join(WHICH)}.")
    names = options.which or WHICH
    if "cleanup" in names:
        run_cleanup(options.rows)
    with services(options.databases) as environments:
        for name in names:
            if name == "cleanup":
                continue
            if name == "burst":
                run_burst(environments, options.jobs, policies=options.policies)
            elif name in PLANS:
                run_plan(name, getattr(options, PLANS[name].option) or PLANS[name].amount, environments)
            elif name == "age":
                run_age(options.seconds or AGE_SECONDS, environments[options.databases[0]])
            elif name == "stampede":
                run_stampede(environments[options.databases[0]])
            elif name == "admin":
                run_admin(environments)
            elif name == "read":
                run_read(environments[options.databases[0]])
            elif name == "pages":
                run_pages(environments)
            else:
                run_refresh(environments[options.databases[0]])


if __name__ == "__main__":
    main()
