"""The database is away for a while: PostgreSQL is stopped, crashes or cuts connections; SQLite is kept locked."""

from __future__ import annotations

import os
import signal
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone
from pytest_django import DjangoDbBlocker

from hotdata.models import Node, Run
from hotdata.models.runs import State
from hotdata.models.schedules import Kind
from project.settings import database
from tests.builders import make_job
from tests.faults.sites import Site, site, succeeded
from tests.scheduling.processes import STOPPED, SchedulerProcess
from tools.postgres_server import FAST, IMMEDIATE, PostgresServer

LOCKED = 5.0  # seconds
AWAY = 10.0  # seconds
CUTS = 5
CUT_EVERY = 1.5  # seconds

pytestmark = pytest.mark.slow

on_postgres = pytest.mark.only_on("postgres")
on_sqlite = pytest.mark.only_on("sqlite")


# PostgreSQL


@pytest.fixture(scope="module")
def cluster() -> Iterator[PostgresServer]:
    """A PostgreSQL of these tests' own, so that no other suffers."""
    with tempfile.TemporaryDirectory(prefix="hotdata-test-", dir="/tmp", ignore_cleanup_errors=True) as made:
        Path(made).chmod(0o711)  # the account that runs PostgreSQL for root must pass through
        server = PostgresServer(Path(made, "postgres"), durable=True)
        try:
            server.start()
            with connected(server, "postgres") as administrator:
                administrator.execute("CREATE DATABASE hotdata")
            yield server
        finally:
            server.stop()


@pytest.fixture
def own_postgres(cluster: PostgresServer, django_db_blocker: DjangoDbBlocker) -> Iterator[PostgresServer]:
    """The same, running and empty, and the default database while the test lasts."""
    cluster.start()
    usual = dict(connection.settings_dict)
    connection.close()
    connection.settings_dict.update(database(cluster.url))
    try:
        with django_db_blocker.unblock():
            call_command("migrate", verbosity=0)
            call_command("flush", verbosity=0, interactive=False)
            yield cluster
    finally:
        connection.close()
        connection.settings_dict.update(usual)


@pytest.fixture
def postgres_site(own_postgres: PostgresServer, tmp_path: Path) -> Iterator[Site]:
    with site({**os.environ, "DATABASE_URL": own_postgres.url}, tmp_path) as working:
        yield working


def connected(server: PostgresServer, name: str = "hotdata") -> psycopg.Connection:
    """A connection with its database `name`, beside that of Django."""
    return psycopg.connect(host=database(server.url)["HOST"], user="postgres", dbname=name, autocommit=True)


def cut_all_connections(server: PostgresServer) -> int:
    """End every session with the database, as a pooler or a firewall may; returns how many there were."""
    connection.close()
    with connected(server) as cutter:
        cut = cutter.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchone()
    return cut[0]


@on_postgres
def test_postgresql_is_stopped_for_ten_seconds_and_started_again(
    postgres_site: Site, own_postgres: PostgresServer
) -> None:
    ends_meanwhile, outlasts_it = postgres_site.start_a_run(AWAY / 2), postgres_site.start_a_run(AWAY + 2)
    connection.close()
    own_postgres.stop(FAST)
    postgres_site.lasts(AWAY)
    own_postgres.start()
    postgres_site.is_back_at_work(since=timezone.now())
    postgres_site.scheduler.wait_until(lambda: succeeded(ends_meanwhile, outlasts_it))
    postgres_site.ends_well()


@on_postgres
def test_a_scheduler_that_is_started_before_postgresql_waits_for_it(own_postgres: PostgresServer) -> None:
    make_job(task="echo", trigger=Kind.INTERVAL, interval=timedelta(seconds=1), cron="")
    connection.close()
    own_postgres.stop(FAST)
    with SchedulerProcess({**os.environ, "DATABASE_URL": own_postgres.url}) as scheduler:
        scheduler.wait_for("scheduler.turn_failed error='OperationalError")
        assert "Traceback" not in scheduler.output
        own_postgres.start()
        scheduler.wait_until(lambda: Run.objects.filter(state=State.SUCCEEDED).exists())
        assert scheduler.output.count("scheduler.turn_failed") == 1
        assert Node.objects.count() == 1
        scheduler.send(signal.SIGTERM)
        assert scheduler.wait() == 0, scheduler.output
    assert not Node.objects.exists()


@on_postgres
def test_a_scheduler_that_waits_for_postgresql_can_be_stopped(own_postgres: PostgresServer) -> None:
    connection.close()
    own_postgres.stop(FAST)
    with SchedulerProcess({**os.environ, "DATABASE_URL": own_postgres.url}) as scheduler:
        scheduler.wait_for("scheduler.turn_failed")
        scheduler.send(signal.SIGTERM)
        assert scheduler.wait() == 0, scheduler.output
    assert scheduler.says(STOPPED)
    assert "Traceback" not in scheduler.output


@on_postgres
def test_postgresql_crashes_and_is_started_again(postgres_site: Site, own_postgres: PostgresServer) -> None:
    running = postgres_site.start_a_run(2)
    for _ in range(2):
        connection.close()
        own_postgres.stop(IMMEDIATE)
        own_postgres.start()
        postgres_site.is_back_at_work(since=timezone.now())
    postgres_site.scheduler.wait_until(lambda: succeeded(running))
    postgres_site.ends_well()


@on_postgres
def test_the_connections_to_postgresql_are_cut_again_and_again(
    postgres_site: Site, own_postgres: PostgresServer
) -> None:
    running = postgres_site.start_a_run(CUTS * CUT_EVERY / 2)
    for _ in range(CUTS):
        postgres_site.lasts(CUT_EVERY)
        assert cut_all_connections(own_postgres), "nothing was connected"
    postgres_site.is_back_at_work(since=timezone.now())
    postgres_site.scheduler.wait_until(lambda: succeeded(running))
    postgres_site.ends_well()


# SQLite


@on_sqlite
def test_sqlite_is_kept_locked_by_another_process(child_environment: dict[str, str], tmp_path: Path) -> None:
    with site(child_environment, tmp_path) as locked_out:
        running = locked_out.start_a_run(LOCKED / 2)
        with closing(sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            known = Run.objects.count()
            locked_out.lasts(LOCKED)
            assert Run.objects.count() == known
            other.execute("ROLLBACK")
        locked_out.is_back_at_work(since=timezone.now())
        locked_out.scheduler.wait_until(lambda: succeeded(running))
        locked_out.ends_well()
