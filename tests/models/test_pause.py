"""Pauses: by whom, why, until when; and those that the system makes after failures in a row."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.core.exceptions import ValidationError

from hotdata.execution.outcome import Outcome
from hotdata.execution.record import record
from hotdata.models import Job, Run, Schedule
from hotdata.models.runs import Cause, State
from tests.builders import NODE, make_job, make_run

NOW = datetime(2026, 11, 23, 14, 51, 30, tzinfo=UTC)
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)

pytestmark = pytest.mark.django_db


@pytest.fixture
def clock() -> Any:
    """The time stands still at `NOW`, until it is moved."""
    with time_machine.travel(NOW, tick=False) as clock:
        yield clock


def next_fire(job: Job) -> datetime | None:
    fire: datetime | None = Schedule.objects.get(id=job.name).next_run_time
    return fire


def stored(job: Job) -> Job:
    return Job.objects.get(pk=job.pk)


# By whom, why, until when


def test_a_pause_says_who_and_why(clock: Any) -> None:
    job = make_job()
    assert job.set_paused(True, note="The upstream moves.", by="ada")
    assert (stored(job).pause_note, stored(job).paused_by) == ("The upstream moves.", "ada")
    assert next_fire(job) is None


def test_a_resumed_job_has_nothing_left_of_its_pause(clock: Any) -> None:
    job = make_job()
    job.set_paused(True, note="The upstream moves.", by="ada", until=NOW + HOUR)
    assert job.set_paused(False)
    again = stored(job)
    assert (again.paused, again.pause_note, again.paused_by, again.paused_until) == (False, "", "", None)
    assert next_fire(job) == NOW.replace(minute=55, second=0)


@pytest.mark.parametrize("until", [NOW.replace(minute=55, second=0), NOW.replace(minute=50) + SECOND])
def test_a_pause_ends_by_itself_and_includes_the_due_time_at_its_end(clock: Any, until: datetime) -> None:
    job = make_job()
    job.set_paused(True, until=until)
    expected = NOW.replace(minute=55, second=0)
    assert next_fire(job) == expected


def test_due_times_inside_a_pause_are_passed_over(clock: Any) -> None:
    job = make_job()
    job.set_paused(True, until=NOW + HOUR)
    assert next_fire(job) == NOW.replace(hour=15, minute=55, second=0)
    assert not Run.objects.exists()


def test_a_job_is_paused_up_to_the_end_of_its_pause(clock: Any) -> None:
    job = make_job(paused=True, paused_until=NOW + HOUR)
    assert job.is_paused(NOW)
    assert not job.is_paused(NOW + HOUR)
    assert make_job(paused=True).is_paused(NOW + 1000 * HOUR)


def test_a_pause_that_has_ended_can_be_made_again(clock: Any) -> None:
    """Before the leader has taken it off the record."""
    job = make_job(paused=True, paused_until=NOW + MINUTE)
    clock.move_to(NOW + HOUR)
    assert job.set_paused(True, by="ada")
    assert stored(job).is_paused(NOW + 1000 * HOUR)
    assert not job.set_paused(True)


def test_taking_an_ended_pause_back_loses_no_due_time(clock: Any) -> None:
    """The first due time after the pause has come, and is not fired yet, when the pause is taken off the record."""
    job = make_job(paused=True, paused_until=NOW + MINUTE)
    due = next_fire(job)
    assert due == NOW.replace(minute=55, second=0)
    clock.move_to(due + SECOND)
    job.set_paused(False)
    assert next_fire(job) == due
    assert not Run.objects.exists()


def test_an_end_in_the_past_is_refused(clock: Any) -> None:
    job = make_job(paused=True)
    job.paused_until = NOW - SECOND
    with pytest.raises(ValidationError) as refusal:
        job.full_clean()
    assert "lies in the past" in refusal.value.message_dict["paused_until"][0]


def test_an_end_of_no_pause_is_refused(clock: Any) -> None:
    job = make_job()
    job.paused_until = NOW + HOUR
    with pytest.raises(ValidationError) as refusal:
        job.full_clean()
    assert refusal.value.message_dict["paused_until"] == ["The job is not paused."]


# After failures


def fail(job: Job, state: State = State.FAILED, **fields: Any) -> None:
    """Let a run of the job's schedule end, as the executor does."""
    number = Run.objects.count()
    at = job.updated_at + (1 + number) * timedelta.resolution
    given = {"cause": Cause.SCHEDULE, "scheduled_for": at, "created_at": at, "state": State.RUNNING}
    run = make_run(job, **(given | fields))
    outcome = Outcome(run=run, node=NODE, state=state, finished_at=at, duration=SECOND, error="No route.")
    record([outcome])


def test_failures_in_a_row_pause_the_job_and_the_system_says_why() -> None:
    job = make_job(pause_after_failures=3)
    for state in (State.FAILED, State.TIMED_OUT):
        fail(job, state)
    assert not stored(job).paused
    fail(job)
    paused = stored(job)
    assert (paused.paused, paused.paused_by) == (True, "scheduler")
    last = Run.objects.first()
    assert last is not None
    assert paused.pause_note == f"Paused after 3 failures in a row. The last one, run {last.id}: No route."
    assert next_fire(job) is None


def test_a_success_begins_the_count_anew() -> None:
    job = make_job(pause_after_failures=2)
    for state in (State.FAILED, State.SUCCEEDED, State.FAILED):
        fail(job, state)
    assert not stored(job).paused


def test_what_was_never_started_counts_neither_way() -> None:
    job = make_job(pause_after_failures=2)
    fail(job)
    make_run(job, state=State.SKIPPED, cause=Cause.SCHEDULE, scheduled_for=job.updated_at + HOUR)
    fail(job)
    assert stored(job).paused


def test_a_failure_that_is_tried_again_is_none_yet() -> None:
    job = make_job(pause_after_failures=1, max_retries=1)
    fail(job)
    assert Run.objects.get().state == State.RETRYING
    assert not stored(job).paused


def test_runs_by_hand_pause_nothing() -> None:
    job = make_job(pause_after_failures=1)
    fail(job, cause=Cause.MANUAL, scheduled_for=None)
    assert not stored(job).paused


def test_after_it_was_resumed_a_job_gets_as_many_tries_again() -> None:
    job = make_job(pause_after_failures=2)
    fail(job)
    fail(job)
    job.set_paused(False)
    fail(stored(job))
    assert not stored(job).paused


def test_a_job_without_the_policy_fails_on() -> None:
    job = make_job()
    for _ in range(5):
        fail(job)
    assert not stored(job).paused


def test_a_long_error_fits_into_the_note() -> None:
    job = make_job(pause_after_failures=1)
    run = make_run(
        job, cause=Cause.SCHEDULE, scheduled_for=NOW, state=State.RUNNING, created_at=job.updated_at + HOUR
    )
    error = "x" * 4000
    record([Outcome(run=run, node=NODE, state=State.FAILED, finished_at=NOW, duration=SECOND, error=error)])
    assert len(stored(job).pause_note) == 500
