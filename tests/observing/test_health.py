"""Is everything well? Each component by itself: ok, degraded or down."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError, connection
from django.db.migrations.recorder import MigrationRecorder
from django.db.models.functions import Now
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings
from redis import Redis

from hotdata.conf import conf
from hotdata.models import ApiCall, Component, Lease, Run, Schedule
from hotdata.models.components import Health
from hotdata.models.runs import State
from hotdata.observing import health
from hotdata.observing.health import Migrated, Part, Report, check
from tests.builders import make_call, make_job, make_run, make_source, store

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clear_cache")]

SECOND = timedelta(seconds=1)


def lead(name: str = "leader", *, silent_for: timedelta = 0 * SECOND) -> None:
    """As a scheduler does that leads, or did."""
    Lease.acquire(name, conf().lease_ttl)
    Lease.objects.update(expires_at=Now() + conf().lease_ttl - silent_for)


def part(name: str) -> Part:
    return check().parts[name]


# The whole


def test_with_all_parts_well_the_whole_is_ok() -> None:
    lead()
    make_source(name="stock")
    report = check()
    assert report.state == Health.OK
    assert list(report.parts) == ["database", "redis", "migrations", "scheduler", "jobs", "source:stock"]


@pytest.mark.parametrize(
    ("states", "whole"),
    [
        ([], Health.OK),
        ([Health.OK, Health.OK], Health.OK),
        ([Health.OK, Health.DEGRADED, Health.OK], Health.DEGRADED),
        ([Health.DOWN, Health.DEGRADED, Health.OK], Health.DOWN),
    ],
)
def test_the_whole_is_as_bad_as_its_worst_part(states: list[Health], whole: Health) -> None:
    parts = {str(number): Part(state=state, detail="") for number, state in enumerate(states)}
    assert Report(parts=parts).state == whole


def test_a_report_as_json_says_it_all() -> None:
    report = Report(parts={"redis": Part(state=Health.DOWN, detail="gone")})
    assert report.to_json() == {"state": "down", "parts": {"redis": {"state": "down", "detail": "gone"}}}


# Database and Redis


def test_a_database_that_answers_is_ok() -> None:
    assert part("database").state == Health.OK


@pytest.mark.parametrize("error", [OperationalError("gone away"), InterfaceError("connection closed")])
def test_a_database_that_is_away_is_down_and_the_other_parts_are_looked_at(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise error

    monkeypatch.setattr(health.connection, "cursor", fail)
    report = check()
    assert report.parts["database"] == Part(state=Health.DOWN, detail=f"{type(error).__name__}: {error}")
    assert report.parts["redis"].state == Health.OK
    assert report.parts["scheduler"].state == Health.DOWN


def test_a_password_that_an_error_quotes_is_not_repeated(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise OperationalError('no "pg://ada:hunter2@db/x", no word s3cr3t-word; user ada')

    monkeypatch.setitem(settings.DATABASES["default"], "PASSWORD", "s3cr3t-word")
    monkeypatch.setattr(health.connection, "cursor", fail)
    assert part("database").detail == (
        'OperationalError: no "pg://[secret]@db/x", no word [secret]; user ada'
    )


@pytest.mark.usefixtures("redis_down")
def test_a_redis_that_is_away_is_down_and_so_is_every_source() -> None:
    lead()
    make_source(name="stock", pinned=("AAPL",))
    report = check()
    assert report.parts["redis"].state == Health.DOWN
    assert report.parts["redis"].detail.startswith("CacheUnavailable: Redis can't be reached")
    assert report.parts["source:stock"].state == Health.DOWN
    assert report.parts["database"].state == report.parts["scheduler"].state == Health.OK


# Migrations


@pytest.fixture
def forgets_migrations() -> Iterator[None]:
    Migrated.until = 0
    yield
    Migrated.until = 0


@pytest.mark.usefixtures("forgets_migrations")
def test_a_migration_that_is_not_applied_is_down_and_named_until_it_is() -> None:
    MigrationRecorder(connection).record_unapplied("hotdata", "0013_totals_of_calls")
    assert part("migrations") == Part(
        state=Health.DOWN,
        detail="Not applied: hotdata.0013_totals_of_calls. Run manage.py migrate.",
    )
    MigrationRecorder(connection).record_applied("hotdata", "0013_totals_of_calls")
    assert part("migrations").state == Health.OK


@pytest.mark.usefixtures("forgets_migrations")
def test_migrations_that_were_applied_are_not_looked_for_each_time(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    assert part("migrations").state == Health.OK
    with django_assert_num_queries(0):
        assert health.LOOKS["migrations"]().state == Health.OK


# The scheduler


def test_where_none_ever_started_nobody_leads() -> None:
    assert part("scheduler") == Part(
        state=Health.DOWN, detail="No scheduler leads (last: none). Start runscheduler."
    )


def test_a_leader_that_has_not_renewed_its_lease_is_down_and_named() -> None:
    lead(silent_for=conf().node_timeout + SECOND)
    assert part("scheduler").detail == "No scheduler leads (last: leader). Start runscheduler."


def test_between_two_leaders_the_scheduler_is_well() -> None:
    lead(silent_for=conf().lease_ttl + SECOND)
    assert part("scheduler").state == Health.OK


def test_a_leader_that_gave_up_its_lease_leads_no_more() -> None:
    epoch = Lease.acquire("leader", conf().lease_ttl)
    assert epoch
    Lease.release("leader", epoch)
    assert part("scheduler").state == Health.DOWN


def test_a_lease_from_before_the_clock_was_set_back_is_nobodys() -> None:
    lead(silent_for=-3600 * SECOND)
    assert part("scheduler").state == Health.DOWN


def test_a_leader_that_renews_its_lease_is_ok() -> None:
    lead()
    assert part("scheduler") == Part(state=Health.OK, detail="leader leads.")


# Jobs


def test_jobs_that_are_not_due_yet_are_ok() -> None:
    make_run(make_job())
    assert part("jobs") == Part(state=Health.OK, detail="No job is overdue.")


def test_a_job_that_nobody_fires_is_degraded_and_named() -> None:
    make_job(name="update")
    make_job(name="clean")
    Schedule.objects.filter(id="update").update(next_run_time=timezone.now() - 60 * SECOND)
    Schedule.objects.filter(id="clean").update(next_run_time=timezone.now() - 30 * SECOND)
    assert part("jobs") == Part(state=Health.DEGRADED, detail="update was due 60 s ago, and hasn't started.")


@pytest.mark.parametrize("state", [State.QUEUED, State.RETRYING])
def test_a_run_that_waits_for_long_is_degraded(state: State) -> None:
    make_run(make_job(name="update"), state=state, ready_at=timezone.now() - 60 * SECOND)
    assert part("jobs").detail == "update was due 60 s ago, and hasn't started."


def test_a_short_lag_is_tolerated_and_so_is_a_retry_whose_time_has_not_come() -> None:
    job = make_job()
    make_run(job, state=State.QUEUED, ready_at=timezone.now() - 5 * SECOND)
    make_run(job, state=State.RETRYING, ready_at=timezone.now() + 600 * SECOND)
    make_run(job, state=State.QUEUED, node="", held=True, ready_at=timezone.now() - 600 * SECOND)
    assert part("jobs").state == Health.OK


def test_a_long_run_is_no_lag() -> None:
    make_run(make_job(), state=State.RUNNING, ready_at=timezone.now() - 3600 * SECOND)
    assert part("jobs").state == Health.OK


# Sources


def test_a_source_whose_hot_keys_are_stored_is_ok_and_says_when_it_was_reached() -> None:
    make_source(name="stock", pinned=("AAPL", "MSFT"))
    call = make_call("stock")
    store("stock", "AAPL")
    store("stock", "MSFT")
    assert part("source:stock") == Part(
        state=Health.OK, detail=f"2 hot keys; last success {call.started_at:%Y-%m-%d %H:%M:%S} UTC."
    )


def test_a_source_with_missing_keys_is_degraded() -> None:
    make_source(name="stock", pinned=("AAPL", "MSFT", "北京"))
    store("stock", "AAPL")
    assert part("source:stock") == Part(
        state=Health.DEGRADED, detail="2 of 3 hot keys are overdue; no success yet."
    )


@pytest.mark.parametrize(("age", "state"), [(61, Health.OK), (119, Health.OK), (121, Health.DEGRADED)])
def test_a_key_is_overdue_at_twice_its_time(age: float, state: Health) -> None:
    make_source(name="stock", pinned=("AAPL",), soft_ttl=60 * SECOND)
    store("stock", "AAPL", age=age)
    assert part("source:stock").state == state


def test_a_failed_call_is_no_success_and_an_unchanged_answer_is_one() -> None:
    make_source(name="stock")
    good = make_call("stock", outcome=ApiCall.Outcome.NOT_MODIFIED, started_at=timezone.now() - 60 * SECOND)
    make_call("stock", outcome=ApiCall.Outcome.FAILED)
    make_call("news")
    assert f"last success {good.started_at:%Y-%m-%d %H:%M:%S} UTC" in part("source:stock").detail


@pytest.mark.parametrize(
    ("since", "state"), [(None, Health.DEGRADED), (500, Health.OK), (700, Health.DEGRADED)]
)
def test_an_upstream_that_fails_is_degraded_when_its_last_success_is_old(
    since: float | None, state: Health
) -> None:
    make_source(name="stock", soft_ttl=timedelta(seconds=300))
    if since is not None:
        make_call(started_at=timezone.now() - since * SECOND)
    make_call(outcome=ApiCall.Outcome.FAILED, status=500, error="UpstreamStatus: The upstream answered 500.")
    found = part("source:stock")
    assert found.state == state
    assert ("The upstream answered 500." in found.detail) == (state == Health.DEGRADED)


def test_a_source_that_rests_is_well_as_it_is() -> None:
    today = f"{timezone.now():%a}".lower()
    others = ",".join(day for day in ("mon", "tue", "wed", "thu", "fri", "sat", "sun") if day != today)
    make_source(name="stock", pinned=("AAPL",), windows=f"06:00-06:01 UTC {others}")
    assert part("source:stock").state == Health.OK


def test_a_source_that_is_meant_to_grow_old_is_judged_by_that() -> None:
    make_source(name="stock", pinned=("AAPL",), soft_ttl=60 * SECOND, max_age=3600 * SECOND)
    store("stock", "AAPL", age=1800)
    assert part("source:stock").state == Health.OK


def test_a_disabled_source_is_not_looked_at() -> None:
    make_source(name="stock", pinned=("AAPL",), enabled=False)
    assert "source:stock" not in check().parts


def test_a_check_leaves_nothing_behind(redis: Redis) -> None:
    make_source(name="stock", pinned=("AAPL",))
    check()
    assert redis.dbsize() == 0
    assert not Run.objects.exists()
    assert not Component.objects.exists()
