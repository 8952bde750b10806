"""`/healthz` and `/readyz`: what fails a web process, what is only shown, and what nobody is told."""

from __future__ import annotations

import logging
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from hotdata.conf import conf
from hotdata.models import Lease, Schedule
from hotdata.observing import health, readiness
from hotdata.observing.health import Migrated
from tests.builders import Staff, caches_at, make_job
from tests.freshness.conftest import redis_down
from tests.freshness.hostile import closed_port
from tests.threads import eventually

__all__ = ["redis_down"]

pytestmark = pytest.mark.usefixtures("clear_cache")

# The checks look at the database from a thread of their own, and see what is committed.
committed = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _unknown_migrations() -> Iterator[None]:
    Migrated.until = 0
    yield
    Migrated.until = 0


def lead() -> None:
    Lease.acquire("leader", conf().lease_ttl)


def readyz(query: str = "") -> tuple[int, str, dict[str, str]]:
    """The status, the state of the whole, and that of each check."""
    answer = Client().get(f"/readyz{query}")
    told = answer.json()
    return answer.status_code, told["state"], {name: check["state"] for name, check in told["checks"].items()}


def unwell(states: dict[str, str]) -> dict[str, str]:
    return {name: state for name, state in states.items() if state != "ok"}


# /healthz


def test_a_process_that_answers_is_alive_without_a_database_and_redis(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    # The test may not use a database, and would fail if it did.
    settings.CACHES = caches_at(f"redis://{closed_port()}/0")
    client = Client()
    client.cookies[settings.SESSION_COOKIE_NAME] = "a-session"
    with caplog.at_level(logging.INFO):
        answer = client.get("/healthz")
    assert (answer.status_code, answer.content) == (200, b"ok\n")
    assert answer["Cache-Control"] == "no-store"
    assert not caplog.records


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
@committed
def test_a_probe_reads_and_nothing_else(path: str) -> None:
    lead()
    answer = Client().head(path)
    assert (answer.status_code, answer.content) == (200, b"")
    assert not {"Vary", "Set-Cookie"} & set(answer.headers)
    for method in ("post", "put", "delete"):
        refused = getattr(Client(enforce_csrf_checks=True), method)(path)
        assert (refused.status_code, refused["Allow"]) == (405, "GET, HEAD")


# /readyz


@committed
def test_with_all_well_each_check_says_so_and_how_long_it_took() -> None:
    lead()
    answer = Client().get("/readyz")
    assert answer["Cache-Control"] == "no-store"
    told = answer.json()
    assert (answer.status_code, told["state"]) == (200, "ok")
    assert list(told["checks"]) == ["database", "redis", "migrations", "scheduler", "jobs"]
    for check in told["checks"].values():
        assert check.keys() == {"state", "seconds"}
        assert 0 < check["seconds"] < 5
    assert readyz("?strict=1")[0] == 200


@committed
def test_as_text_each_check_is_a_line() -> None:
    lead()
    answer = Client().get("/readyz?format=text")
    assert answer["Content-Type"] == "text/plain; charset=utf-8"
    assert re.fullmatch(
        r"ok\ndatabase: ok \(\d\.\d{3} s\)\n(\w+: ok \(\d\.\d{3} s\)\n){4}", answer.content.decode()
    )


@committed
def test_without_a_scheduler_the_site_is_ready_and_says_so() -> None:
    status, state, checks = readyz()
    assert (status, state, unwell(checks)) == (200, "degraded", {"scheduler": "down"})
    assert readyz("?strict=1")[0] == 503


@committed
def test_while_jobs_are_overdue_the_site_is_ready() -> None:
    lead()
    make_job()
    Schedule.objects.update(next_run_time=timezone.now() - timedelta(minutes=1))
    status, state, checks = readyz()
    assert (status, state, unwell(checks)) == (200, "degraded", {"jobs": "degraded"})
    assert readyz("?strict=1")[0] == 503


@committed
@pytest.mark.usefixtures("redis_down")
def test_without_redis_the_site_is_ready() -> None:
    lead()
    status, state, checks = readyz()
    assert (status, state, unwell(checks)) == (200, "degraded", {"redis": "down"})
    assert readyz("?strict=1")[0] == 503


@committed
def test_with_a_migration_to_come_the_site_is_not_ready() -> None:
    lead()
    recorder = MigrationRecorder(connection)
    recorder.record_unapplied("hotdata", "0013_totals_of_calls")
    try:
        status, state, checks = readyz()
    finally:
        recorder.record_applied("hotdata", "0013_totals_of_calls")
    assert (status, state, unwell(checks)) == (503, "down", {"migrations": "down"})
    assert readyz()[0] == 200


@pytest.fixture
def other_database(django_db_blocker: Any) -> Iterator[Callable[..., None]]:
    """Makes the default database another one, for connections that are yet to be made."""
    usual = dict(connection.settings_dict)
    with django_db_blocker.unblock():
        yield connection.settings_dict.update
    connection.settings_dict.update(usual)


@pytest.mark.parametrize("query", ["", "?format=text", "?strict=1"])
@pytest.mark.uses_database
def test_what_nobody_is_told(
    other_database: Callable[..., None],
    query: str,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    if connection.vendor == "sqlite":
        other_database(NAME="/the-directory/the-name.sqlite3")
    else:
        host, _, port = closed_port().partition(":")
        other_database(NAME="the-name", USER="the-user", PASSWORD="the-password", HOST=host, PORT=port)
    settings.CACHES = caches_at("redis://:the-password@the-host.invalid:1/0")
    answer = Client().get(f"/readyz{query}")
    assert answer.status_code == 503
    told = answer.content.decode() + str(answer.headers)
    assert not re.search("the-|Error|127", told), told
    logged = caplog.text + "".join(capfd.readouterr())
    assert not re.search("the-|Traceback", logged), logged


# What hangs


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "TIMEOUT", timedelta(seconds=0.1))


@pytest.mark.only_on("sqlite")
@pytest.mark.usefixtures("impatient")
def test_a_database_that_hangs_makes_the_site_unready_and_keeps_nobody_waiting(
    other_database: Callable[..., None], tmp_path: Path
) -> None:
    name = tmp_path / "locked.sqlite3"
    other_database(NAME=str(name))
    with closing(sqlite3.connect(name, isolation_level=None)) as locker:
        locker.execute("CREATE TABLE anything (id)")
        locker.execute("BEGIN EXCLUSIVE")
        for _ in range(2):  # the second time behind what hangs
            status, state, checks = readyz()
            assert (status, state, checks.pop("redis")) == (503, "down", "ok")
            assert set(checks.values()) == {"down"}
        locker.execute("ROLLBACK")
    assert eventually(lambda: readyz()[2]["database"] == "ok")


@pytest.mark.only_on("postgres")
@pytest.mark.usefixtures("impatient")
@committed
def test_a_table_that_is_locked_keeps_nobody_waiting() -> None:
    lead()
    psycopg = pytest.importorskip("psycopg")
    at = connection.settings_dict
    with psycopg.connect(
        host=at["HOST"], user=at["USER"], dbname=at["NAME"], port=at["PORT"] or None
    ) as locker:
        locker.execute("LOCK TABLE hotdata_lease IN ACCESS EXCLUSIVE MODE")
        status, state, checks = readyz()
        assert (status, state) == (200, "degraded")
        assert unwell(checks) == {"scheduler": "down", "jobs": "down"}
        locker.rollback()
    assert eventually(lambda: readyz()[1] == "ok")


@committed
def test_a_check_that_fails_by_itself_is_down_and_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ValueError("a mistake")

    lead()
    monkeypatch.setattr(health, "LOOKS", health.LOOKS | {"jobs": fail})
    monkeypatch.setattr("hotdata.observing.bounded.LOOKS", health.LOOKS)
    status, _, checks = readyz()
    assert (status, unwell(checks)) == (200, {"jobs": "down"})


@committed
def test_somebody_who_is_logged_in_is_told_no_more(staff: Staff) -> None:
    lead()
    told = staff("view_component").get("/readyz").json()
    assert all(check.keys() == {"state", "seconds"} for check in told["checks"].values())
