"""What ran when: by the half hour, the failures, and the timeline."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from pytest_django import DjangoAssertNumQueries
from redis import Redis

from hotdata.models import Job, Run
from hotdata.models.runs import State
from hotdata.models.schedules import Kind
from hotdata.observing import buckets
from hotdata.observing.activity import Activity, activity, latest_failures, timeline
from hotdata.observing.jobs import job_statuses
from tests.builders import make_job, make_run

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clear_cache")]

SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=seconds) for seconds in (1, 60, 3600, 86_400))
NOW = datetime(2026, 11, 23, 12, 10, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _now() -> Iterator[None]:
    with time_machine.travel(NOW, tick=False):
        yield


def ran(job: Job, ago: timedelta, state: State = State.SUCCEEDED, **fields: Any) -> Run:
    at = NOW - ago
    times: dict[str, Any] = {"created_at": at, "ready_at": at}
    if state != State.QUEUED:
        times["started_at"] = at
    if state not in (State.QUEUED, State.RUNNING):
        times["finished_at"] = at + SECOND
    return make_run(job, state=state, **(times | fields))


def see(*jobs: Job) -> Activity:
    return activity([job.name for job in jobs], NOW)


# Buckets


def test_a_day_is_forty_eight_half_hours_of_which_the_present_one_is_the_last() -> None:
    day = buckets.Buckets.until(NOW)
    assert len(day.numbers) == 48
    assert day.starts[-1] == datetime(2026, 11, 23, 12, tzinfo=UTC)
    assert day.since == day.starts[0] == datetime(2026, 11, 22, 12, 30, tzinfo=UTC)


def test_runs_are_counted_in_the_half_hour_in_which_they_were_made() -> None:
    job, other = make_job(), make_job()
    ran(job, 0 * SECOND)
    ran(job, 10 * MINUTE)
    ran(job, 10 * MINUTE + SECOND, State.FAILED)
    ran(other, 10 * MINUTE + SECOND, State.TIMED_OUT)
    ran(job, DAY - 20 * MINUTE, State.SKIPPED)
    ran(job, DAY - 21 * MINUTE, State.MISSED, finished_at=NOW)
    ran(job, DAY, State.FAILED)
    seen = see(job)
    assert [tally.counts for tally in seen.by_job[job.name]] == [
        {State.SKIPPED: 1, State.MISSED: 1}, *[{}] * 45, {State.FAILED: 1}, {State.SUCCEEDED: 2},
    ]  # fmt: skip
    assert [seen.totals[46].counts, seen.whole.counts] == [
        {State.FAILED: 1, State.TIMED_OUT: 1},
        {State.SUCCEEDED: 2, State.FAILED: 1, State.TIMED_OUT: 1, State.SKIPPED: 1, State.MISSED: 1},
    ]
    whole = seen.whole
    assert (whole.total, whole.succeeded, whole.failed, whole.passed_over, whole.success) == (6, 2, 2, 2, 0.5)
    assert seen.of_job(job.name).total == 5


def test_what_is_made_by_a_clock_that_is_ahead_is_of_the_present() -> None:
    job = make_job()
    ran(job, -HOUR, State.QUEUED)
    assert see(job).totals[-1].active == 1


def test_a_day_without_runs_has_no_share() -> None:
    job = make_job()
    seen = see(job)
    assert (seen.whole.total, seen.whole.success, seen.of_job(job.name).success) == (0, None, None)


def test_it_takes_one_query(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    jobs = [make_job() for _ in range(3)]
    for job in jobs:
        ran(job, HOUR)
    with django_assert_num_queries(1):
        see(*jobs)


# What is kept


def make_many(job: Job, ago: timedelta, count: int = buckets.WORTH_KEEPING) -> None:
    for number in range(count):
        ran(job, ago + number * SECOND)


def test_a_full_bucket_that_is_settled_is_counted_once(redis: Redis) -> None:
    job, other = make_job(), make_job()
    make_many(job, 2 * HOUR)
    assert see(job).whole.succeeded == 100
    Run.objects.all()._raw_delete(using=Run.objects.db)
    ran(other, HOUR)
    seen = see(job, other)
    assert (seen.of_job(job.name).succeeded, seen.of_job(other.name).succeeded) == (100, 1)
    assert seen.whole.succeeded == 101


def test_it_is_kept_for_all_jobs_at_once() -> None:
    job, other = make_job(), make_job(name="late-comer")
    make_many(job, 2 * HOUR)
    ran(other, 2 * HOUR, State.FAILED)
    see(job)
    Run.objects.all()._raw_delete(using=Run.objects.db)
    assert see(other).of_job("late-comer").failed == 1


@pytest.mark.parametrize(("ago", "count"), [(11 * MINUTE, 100), (5 * SECOND, 100), (2 * HOUR, 99)])
def test_what_is_not_settled_or_not_full_is_not_kept(ago: timedelta, count: int, redis: Redis) -> None:
    make_many(make_job(), ago, count)
    see()
    assert redis.keys("*:b:*") == []


def test_a_bucket_in_which_something_still_runs_is_not_kept(redis: Redis) -> None:
    job = make_job()
    make_many(job, 2 * HOUR)
    run = ran(job, 2 * HOUR, State.RUNNING)
    assert see(job).whole.active == 1
    Run.objects.filter(id=run.id).update(state=State.FAILED, finished_at=NOW)
    assert see(job).whole.failed == 1
    assert see(job).whole.failed == 1
    assert len(redis.keys("*:b:*")) == 1
    assert 0 < redis.ttl(redis.keys("*:b:*")[0]) <= buckets.KEPT.total_seconds()


@pytest.mark.usefixtures("redis_down")
def test_without_redis_all_is_counted_each_time() -> None:
    job = make_job()
    make_many(job, 2 * HOUR)
    assert see(job).whole.succeeded == 100
    assert see(job).whole.succeeded == 100


# Failures


def test_the_latest_failures_come_first_and_say_why(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    job = make_job()
    ran(job, 3 * HOUR, State.FAILED, error="the first")
    ran(job, 2 * HOUR, State.ABANDONED, reason="Its node died.")
    ran(job, HOUR)
    last = ran(job, MINUTE, State.TIMED_OUT, error="x" * 1000)
    ran(job, 2 * DAY, State.FAILED, error="long ago")
    seen = see()
    with django_assert_num_queries(1):
        found = latest_failures(seen, 5)
    assert [failure.error for failure in found] == ["x" * 300, "Its node died.", "the first"]
    assert (found[0].run, found[0].job, found[0].state) == (last.id, job.name, State.TIMED_OUT)
    assert [failure.error for failure in latest_failures(seen, 1)] == ["x" * 300]


def test_without_failures_nothing_is_asked(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    ran(make_job(), HOUR)
    seen = see()
    with django_assert_num_queries(0):
        assert latest_failures(seen, 5) == []


# The timeline


def test_a_timeline_shows_what_ran_runs_and_is_planned(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    job = make_job(cron="*/10 * * * *")
    old = ran(job, 2 * HOUR, duration=SECOND)
    long = ran(job, 2 * HOUR - MINUTE, duration=HOUR)
    now_running = ran(job, 3 * HOUR, State.RUNNING)
    (status,) = job_statuses([job], NOW)
    with django_assert_num_queries(0):
        found = timeline([status], NOW, 10)
    (row,) = found.rows
    assert {run.id for run in row.runs} == {long.id, now_running.id}
    assert old.id not in {run.id for run in row.runs}
    assert row.planned == tuple(NOW + minutes * MINUTE for minutes in (10, 20, 30))
    assert (found.since, found.until) == (NOW - 90 * MINUTE, NOW + 30 * MINUTE)
    assert (row.known_since, row.known_until) == (found.since, found.until)


def test_a_busy_job_is_shown_as_far_as_it_is_known() -> None:
    job = make_job(trigger=Kind.INTERVAL, interval=SECOND, created_at=NOW - DAY)
    for number in range(5, 0, -1):
        ran(job, number * MINUTE)
    (row,) = timeline(job_statuses([job], NOW, count=3), NOW, 10).rows
    assert row.known_since == NOW - 3 * MINUTE
    assert row.known_until == NOW + 60 * SECOND
    assert len(row.planned) == 60


def test_a_planned_fire_is_late_by_the_jobs_jitter() -> None:
    job = make_job(cron="*/20 * * * *", jitter=MINUTE)
    offset = job.timetable().offset
    (row,) = timeline(job_statuses([job], NOW), NOW, 10).rows
    assert row.planned == (NOW + 10 * MINUTE + offset,)


def test_jobs_with_nothing_around_now_are_left_out_and_there_is_an_end() -> None:
    make_job(cron="0 0 1 1 *")
    resting = make_job(cron="*/5 * * * *", paused=True)
    jobs = [make_job(), make_job(), make_job()]
    statuses = job_statuses([resting, *jobs], NOW)
    assert [row.status.job for row in timeline(statuses, NOW, 2).rows] == jobs[:2]


def test_a_definition_that_can_not_be_built_has_no_plans() -> None:
    job = make_job()
    Job.objects.filter(pk=job.pk).update(cron="nonsense")
    (status,) = job_statuses([Job.objects.get(pk=job.pk)], NOW)
    assert timeline([status], NOW, 10).rows == ()
