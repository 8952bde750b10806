"""How jobs do: the word for it, and what is shown beside it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from hotdata.models import Job, Run, Schedule
from hotdata.models.pauses import SYSTEM
from hotdata.models.runs import Cause, State
from hotdata.models.schedules import Kind, ScheduleState
from hotdata.observing.jobs import (
    JobHealth,
    JobStatus,
    count_by_health,
    job_statuses,
    percentile,
    with_health,
    worst_first,
)
from tests.builders import make_job, make_run

pytestmark = pytest.mark.django_db

SECOND, MINUTE, HOUR = (timedelta(seconds=seconds) for seconds in (1, 60, 3600))


def scheduled(job: Job, state: State, *, minutes_ago: float = 1, **fields: Any) -> Run:
    """A run, or an account, that a due time led to."""
    due = timezone.now() - minutes_ago * MINUTE
    return make_run(
        job, cause=Cause.SCHEDULE, state=state, scheduled_for=due, created_at=due, ready_at=due, **fields
    )


def status(job: Job, **options: Any) -> JobStatus:
    (found,) = job_statuses([job], timezone.now(), **options)
    return found


def health(job: Job) -> JobHealth:
    return status(job).health


def due_since(job: Job, lag: timedelta) -> None:
    Schedule.objects.filter(id=job.name).update(next_run_time=timezone.now() - lag)


# One job of each health


def broken() -> Job:
    job = make_job(cron="0 0 * * *")
    Job.objects.filter(pk=job.pk).update(cron="0 0 30 2 *")
    Schedule.objects.park(Job.objects.get(pk=job.pk), "It never comes due.", timezone.now())
    return job


def failing() -> Job:
    job = make_job()
    scheduled(job, State.SUCCEEDED, minutes_ago=2)
    scheduled(job, State.FAILED, error="UpstreamStatus: 401 Unauthorized")
    return job


def late() -> Job:
    job = make_job()
    scheduled(job, State.SUCCEEDED)
    due_since(job, MINUTE)
    return job


def running() -> Job:
    job = make_job()
    scheduled(job, State.SUCCEEDED, minutes_ago=2)
    scheduled(job, State.RUNNING)
    return job


def healthy() -> Job:
    job = make_job()
    scheduled(job, State.FAILED, minutes_ago=2)
    scheduled(job, State.SUCCEEDED)
    return job


def paused() -> Job:
    job = make_job(paused=True, paused_by="ada")
    scheduled(job, State.FAILED)
    return job


def new() -> Job:
    return make_job()


def done() -> Job:
    job = make_job(trigger=Kind.DATE, run_at=timezone.now() - HOUR)
    Schedule.objects.filter(id=job.name).update(next_run_time=None)
    scheduled(job, State.SUCCEEDED)
    return job


BY_HEALTH: dict[JobHealth, Callable[[], Job]] = {
    JobHealth.BROKEN: broken,
    JobHealth.FAILING: failing,
    JobHealth.LATE: late,
    JobHealth.RUNNING: running,
    JobHealth.HEALTHY: healthy,
    JobHealth.PAUSED: paused,
    JobHealth.NEW: new,
    JobHealth.DONE: done,
}


@pytest.mark.parametrize(("expected", "make"), BY_HEALTH.items())
def test_each_job_has_the_health_that_it_should(expected: JobHealth, make: Callable[[], Job]) -> None:
    assert health(make()) == expected


def test_every_health_is_tested_and_the_list_is_the_order() -> None:
    assert list(BY_HEALTH) == list(JobHealth)
    assert [state.severity for state in JobHealth] == list(range(len(JobHealth)))


def test_jobs_are_counted_filtered_and_sorted_by_health() -> None:
    made = {expected: make().name for expected, make in reversed(BY_HEALTH.items())}
    failing()
    now = timezone.now()
    counts = count_by_health(Job.objects.all(), now)
    assert list(counts.items()) == [(each, 2 if each == JobHealth.FAILING else 1) for each in JobHealth]
    judged = with_health(Job.objects.all(), now)
    assert judged.get(severity=JobHealth.LATE.severity).name == made[JobHealth.LATE]
    worst = worst_first(Job.objects.all(), now, 4)
    assert [each.health for each in worst] == [
        JobHealth.BROKEN, JobHealth.FAILING, JobHealth.FAILING, JobHealth.LATE,
    ]  # fmt: skip


def test_without_jobs_all_counts_are_zero() -> None:
    assert count_by_health(Job.objects.all(), timezone.now()) == dict.fromkeys(JobHealth, 0)
    assert worst_first(Job.objects.all(), timezone.now(), 5) == []


# Broken


def test_a_broken_job_says_why() -> None:
    assert status(broken()).error == "It never comes due."


def test_a_job_whose_task_is_gone_is_broken() -> None:
    job = healthy()
    Job.objects.filter(pk=job.pk).update(task="gone")
    found = status(Job.objects.get(pk=job.pk))
    assert (found.health, found.error) == (JobHealth.BROKEN, "The task “gone” is not registered.")


def test_a_title_that_looks_like_an_error_is_none() -> None:
    """The texts of a definition are in the schedule's state, too."""
    job = healthy()
    timetable = job.timetable()
    state = ScheduleState(timetable=type(timetable)(kind="cron", cron='"error":'))
    Schedule.objects.filter(id=job.name).update(next_run_time=None, job_state=state.encode())
    assert health(job) == JobHealth.DONE


# Failing


@pytest.mark.parametrize("state", [State.FAILED, State.TIMED_OUT, State.ABANDONED])
def test_a_job_fails_when_its_last_run_did(state: State) -> None:
    job = make_job()
    scheduled(job, State.SUCCEEDED, minutes_ago=5)
    scheduled(job, state, error="" if state == State.ABANDONED else "What happened", reason="Its node died.")
    found = status(job)
    assert found.health == JobHealth.FAILING
    assert found.error == ("Its node died." if state == State.ABANDONED else "What happened")


def test_what_was_skipped_cancelled_or_run_by_hand_since_changes_nothing() -> None:
    job = failing()
    scheduled(job, State.SKIPPED, minutes_ago=0.5)
    scheduled(job, State.CANCELLED, minutes_ago=0.4)
    make_run(job, state=State.SUCCEEDED)
    assert health(job) == JobHealth.FAILING


def test_a_recovery_that_went_well_ends_it() -> None:
    job = failing()
    make_run(job, state=State.SUCCEEDED, cause=Cause.RECOVERY)
    assert health(job) == JobHealth.HEALTHY


def test_a_failing_job_that_runs_is_failing_until_it_succeeds() -> None:
    job = failing()
    scheduled(job, State.RUNNING, minutes_ago=0)
    assert health(job) == JobHealth.FAILING


def test_a_job_that_failures_have_paused_is_failing() -> None:
    job = failing()
    job.set_paused(True, by=SYSTEM, note="Paused after 5 failures in a row.")
    assert health(job) == JobHealth.FAILING


def test_a_one_off_that_was_missed_is_failing() -> None:
    job = make_job(trigger=Kind.DATE, run_at=timezone.now() - HOUR)
    Schedule.objects.filter(id=job.name).update(next_run_time=None)
    scheduled(job, State.MISSED)
    assert health(job) == JobHealth.FAILING


def test_a_long_error_is_cut() -> None:
    job = make_job()
    scheduled(job, State.FAILED, error="x" * 10_000)
    assert status(job).error == "x" * 300


# Late


@pytest.mark.parametrize(("lag", "expected"), [(5, JobHealth.HEALTHY), (30, JobHealth.LATE)])
def test_a_due_time_that_nothing_fires_makes_a_job_late(lag: float, expected: JobHealth) -> None:
    job = healthy()
    due_since(job, lag * SECOND)
    assert health(job) == expected


@pytest.mark.parametrize("state", [State.QUEUED, State.RETRYING])
def test_a_run_that_waits_past_its_time_makes_a_job_late(state: State) -> None:
    job = healthy()
    scheduled(job, state, minutes_ago=0.9)
    assert health(job) == JobHealth.LATE


def test_a_held_run_and_a_retry_whose_time_has_not_come_are_not_late() -> None:
    job = healthy()
    scheduled(job, State.QUEUED, minutes_ago=0.9, held=True, node="")
    assert health(job) == JobHealth.HEALTHY
    other = healthy()
    make_run(other, state=State.RETRYING, ready_at=timezone.now() + HOUR)
    assert health(other) == JobHealth.HEALTHY


# Paused


def test_a_paused_job_that_somebody_runs_is_running() -> None:
    job = paused()
    make_run(job, state=State.RUNNING)
    assert health(job) == JobHealth.FAILING
    calm = make_job(paused=True, paused_by="ada")
    scheduled(calm, State.SUCCEEDED)
    make_run(calm, state=State.RUNNING)
    assert health(calm) == JobHealth.RUNNING


def test_a_pause_that_has_ended_is_none() -> None:
    job = healthy()
    Job.objects.filter(pk=job.pk).update(paused=True, paused_until=timezone.now() - MINUTE)
    assert health(job) == JobHealth.HEALTHY
    Job.objects.filter(pk=job.pk).update(paused_until=timezone.now() + MINUTE)
    assert health(job) == JobHealth.PAUSED


# What is shown beside it


def test_a_status_tells_of_the_latest_runs() -> None:
    job = make_job()
    for number, state in enumerate([State.SUCCEEDED, State.FAILED, State.SUCCEEDED, State.SKIPPED], 1):
        took = None if state == State.SKIPPED else number * SECOND
        attempt = 0 if state == State.SKIPPED else 1
        scheduled(job, state, minutes_ago=10 - number, duration=took, attempt=attempt, log="x" * 1000)
    found = status(job)
    assert [run.state for run in found.latest] == [
        State.SKIPPED, State.SUCCEEDED, State.FAILED, State.SUCCEEDED,
    ]  # fmt: skip
    assert (found.p50, found.p95) == (2 * SECOND, 3 * SECOND)
    assert found.success == pytest.approx(2 / 3)
    assert found.last == found.latest[1]
    assert found.last.duration == 3 * SECOND
    assert found.due_next == Schedule.objects.get(id=job.name).next_run_time
    assert not found.cut_off


def test_only_as_many_runs_are_told_of_as_were_asked_for() -> None:
    job = make_job()
    for number in range(4):
        scheduled(job, State.SUCCEEDED, minutes_ago=10 - number)
    found = status(job, count=3)
    assert len(found.latest) == 3
    assert found.cut_off


def test_a_job_without_runs_has_no_figures() -> None:
    found = status(new())
    assert (found.last, found.p50, found.p95, found.success, found.latest) == (None, None, None, None, ())


def test_a_run_that_took_no_time_counts() -> None:
    job = make_job()
    scheduled(job, State.SUCCEEDED, duration=0 * SECOND)
    assert status(job).p95 == 0 * SECOND


@pytest.mark.parametrize(
    ("seconds", "part", "expected"),
    [([], 0.5, None), ([7], 0.95, 7), (range(1, 101), 0.95, 95), (range(1, 101), 0.5, 50), ([3, 1, 2], 1, 3)],
)
def test_a_percentile_is_one_of_the_values(seconds: Any, part: float, expected: float | None) -> None:
    found = percentile([second * SECOND for second in seconds], part)
    assert found == (None if expected is None else expected * SECOND)


def test_statuses_come_in_the_order_asked_for_and_take_few_queries(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    jobs = [make() for make in BY_HEALTH.values()]
    jobs.reverse()
    with django_assert_num_queries(2):
        found = job_statuses(jobs, timezone.now())
    assert [each.job for each in found] == jobs
    with django_assert_num_queries(2):
        assert len(worst_first(Job.objects.all(), timezone.now(), 5)) == 5
    with django_assert_num_queries(1):
        count_by_health(Job.objects.all(), timezone.now())


def test_a_job_that_was_deleted_meanwhile_is_left_out() -> None:
    job, gone = make_job(), make_job()
    Job.objects.filter(pk=gone.pk)._raw_delete(using=Job.objects.db)
    assert [each.job for each in job_statuses([gone, job], timezone.now())] == [job]


def test_a_run_is_where_its_last_attempt_began_or_where_it_was_put_on_record() -> None:
    job = make_job()
    made, started = (datetime(2026, 11, 23, 12, minute, tzinfo=UTC) for minute in (0, 5))
    make_run(job, state=State.SUCCEEDED, created_at=made, started_at=started)
    make_run(job, state=State.QUEUED, created_at=made)
    assert [run.at for run in status(job).latest] == [made, started]
