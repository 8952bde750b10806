"""How attempts that ended are written down: once each, and whether they are tried again."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import DataError, OperationalError
from django.utils import timezone

from hotdata.execution.outcome import Outcome
from hotdata.execution.record import record, record_each
from hotdata.models import ChangeCounter, Job, Run, bulk, endings
from hotdata.models.jobs import JobQuerySet
from hotdata.models.runs import Cause, State
from tests.builders import NODE, make_job, make_run

pytestmark = pytest.mark.django_db

ENDED = datetime(2026, 11, 23, 6, 59, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.fixture(autouse=True)
def _longest_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.random", lambda: 1.0)


def make_running(job: Job | None = None, **fields: Any) -> Run:
    return make_run(job or make_job(), state=State.RUNNING, **fields)


def make_outcome(run: Run, state: State = State.SUCCEEDED, **fields: Any) -> Outcome:
    values = {"node": NODE, "finished_at": ENDED, "duration": 2 * SECOND} | fields
    return Outcome(run=run, state=state, **values)


def stored(run: Run) -> Run:
    return Run.objects.get(pk=run.pk)


def retrying_job(**fields: Any) -> Job:
    return make_job(
        **({"max_retries": 2, "retry_delay": 10 * SECOND, "retry_delay_max": 60 * SECOND} | fields)
    )


# The end


@pytest.mark.parametrize("state", [State.SUCCEEDED, State.FAILED, State.TIMED_OUT, State.CANCELLED])
def test_an_attempt_without_retries_is_the_end_of_its_run(state: State) -> None:
    run = make_running()
    record([make_outcome(run, state, error="why", log="what", result={"n": 1}, reason="because")])
    ended = stored(run)
    assert (ended.state, ended.finished_at, ended.duration) == (state, ENDED, 2 * SECOND)
    assert (ended.error, ended.log, ended.result, ended.reason) == ("why", "what", {"n": 1}, "because")


def test_an_end_is_said_once_in_the_log_of_the_process(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    run = make_running()
    record([make_outcome(run, State.FAILED, error="x" * 1000)])
    [entry] = [entry for entry in caplog.records if entry.name == endings.logger.name]
    assert entry.levelname == "ERROR"
    assert entry.getMessage().startswith(f"run.failed job={run.job_id} run={run.id} attempt=1 duration=2.000")
    assert len(entry.getMessage()) < 400


def test_an_outcome_is_recorded_once_whoever_says_it_again() -> None:
    run = make_running()
    record([make_outcome(run, result="first")])
    record([make_outcome(stored(run), result="second")])
    assert stored(run).result == "first"


def test_a_run_that_is_on_record_as_something_else_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    run = make_running()
    Run.objects.filter(pk=run.pk).update(state=State.CANCELLED, finished_at=ENDED)
    record([make_outcome(run)])
    assert stored(run).state == State.CANCELLED
    assert "run.late" not in caplog.text


def test_many_outcomes_take_few_statements(django_assert_max_num_queries: Any) -> None:
    job = make_job()
    runs = [make_running(job) for _ in range(100)]
    for run in runs:
        run._state.fields_cache["job"] = job
    # One update; the rest are savepoints, since the test is a transaction already.
    with django_assert_max_num_queries(5):
        record([make_outcome(run, result=number) for number, run in enumerate(runs)])
    assert [stored(run).result for run in runs] == list(range(100))


# Retries


def test_a_failed_attempt_with_retries_left_waits_for_its_next_one() -> None:
    run = make_running(retrying_job())
    before = ChangeCounter.current()
    assert record([make_outcome(run, State.FAILED, error="no answer")]) == [run]
    waiting = stored(run)
    assert (waiting.state, waiting.ready_at) == (State.RETRYING, ENDED + 10 * SECOND)
    assert (waiting.node, waiting.finished_at, waiting.error) == ("", None, "no answer")
    assert ChangeCounter.current() == before + 1


def test_a_retry_whose_record_got_no_answer_is_not_taken_back_from_the_node_that_tries_again() -> None:
    run = make_running(retrying_job())
    outcome = make_outcome(run, State.FAILED)
    record([outcome])
    Run.objects.filter(pk=run.pk).update(node="another")
    again = stored(run)
    assert Run.objects.start([again], "another", ENDED) == [again]
    record([outcome])
    trying = stored(run)
    assert (trying.state, trying.node, trying.attempt) == (State.RUNNING, "another", 2)


def test_the_delay_before_a_retry_is_jittered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.random", lambda: 0.25)
    run = make_running(retrying_job())
    record([make_outcome(run, State.FAILED)])
    assert stored(run).ready_at == ENDED + 2.5 * SECOND


def test_an_attempt_that_timed_out_is_tried_again() -> None:
    run = make_running(retrying_job())
    record([make_outcome(run, State.TIMED_OUT)])
    assert stored(run).state == State.RETRYING


def test_the_time_to_stay_away_that_an_upstream_asked_for_is_honoured() -> None:
    run = make_running(retrying_job())
    record([make_outcome(run, State.FAILED, retry_after=300 * SECOND)])
    assert stored(run).ready_at == ENDED + 300 * SECOND


def test_a_permanent_failure_is_not_tried_again() -> None:
    run = make_running(retrying_job())
    assert record([make_outcome(run, State.FAILED, permanent=True)]) == []
    assert stored(run).state == State.FAILED


@pytest.mark.parametrize("state", [State.SUCCEEDED, State.CANCELLED])
def test_what_did_not_fail_is_not_tried_again(state: State) -> None:
    run = make_running(retrying_job())
    record([make_outcome(run, state)])
    assert stored(run).state == state


def test_the_last_attempt_is_the_end() -> None:
    run = make_running(retrying_job(max_retries=2), attempt=3)
    record([make_outcome(run, State.FAILED)])
    assert stored(run).state == State.FAILED


def test_a_run_whose_job_was_deleted_meanwhile_is_not_tried_again() -> None:
    job = retrying_job()
    run = make_running(job)
    job.delete()
    record([make_outcome(stored(run), State.FAILED)])
    assert stored(run).state == State.FAILED


def test_a_run_that_was_asked_to_stop_is_not_tried_again_although_its_task_never_heard_of_it() -> None:
    run, other = (make_running(retrying_job()) for _ in range(2))
    outcomes = [make_outcome(run, State.FAILED), make_outcome(other, State.FAILED)]
    assert stored(run).cancel("alice", timezone.now())
    assert record(outcomes) == [other]
    cancelled = stored(run)
    assert (cancelled.state, cancelled.reason) == (State.CANCELLED, "Cancelled while it was running.")
    assert cancelled.finished_at is not None
    assert stored(other).state == State.RETRYING


def test_each_attempt_is_one_line_of_the_record() -> None:
    run = make_running(retrying_job())
    started = []
    for number, state in enumerate([State.FAILED, State.TIMED_OUT, State.SUCCEEDED], start=1):
        if number > 1:
            Run.objects.filter(pk=run.pk).update(node=NODE)
            run = stored(run)
            assert Run.objects.start([run], NODE, timezone.now()) == [run]
        started.append(run.started_at)
        record([make_outcome(run, state, error=f"error {number}", duration=number * SECOND)])
    ended = stored(run)
    assert (ended.state, ended.attempt) == (State.SUCCEEDED, 3)
    assert ended.attempts == [
        {
            "number": number,
            "state": state,
            "started_at": started[number - 1].isoformat(),
            "duration": float(number),
            "error": f"error {number}",
            "node": NODE,
        }
        for number, state in enumerate(["failed", "timed_out", "succeeded"], start=1)
    ]


# What comes late


def test_what_comes_after_its_run_was_given_up_is_added_and_the_state_stays(
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = make_running(retrying_job())
    Run.objects.filter(pk=run.pk).update(state=State.ABANDONED, finished_at=ENDED - SECOND)
    record([make_outcome(run, State.FAILED, error="late error", log="late log")])
    late = stored(run)
    assert (late.state, late.finished_at) == (State.ABANDONED, ENDED - SECOND)
    assert (late.error, late.log, len(late.attempts)) == ("late error", "late log", 1)
    assert late.reason == (
        "Abandoned, as its node was thought dead. It ended late, at 2026-11-23 06:59:00 UTC, as failed."
    )
    assert f"run.late job={run.job_id} run={run.id} state=failed" in caplog.text


def test_one_late_outcome_does_not_keep_the_others_of_its_batch_from_being_recorded() -> None:
    late, good = make_running(), make_running()
    Run.objects.filter(pk=late.pk).update(state=State.ABANDONED, finished_at=ENDED)
    record([make_outcome(late), make_outcome(good, result=1)])
    assert (stored(late).state, stored(good).state) == (State.ABANDONED, State.SUCCEEDED)


# When the database fails


def test_an_outcome_whose_first_writing_failed_is_the_same_when_it_is_written_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = make_running(retrying_job())
    outcome = make_outcome(run, State.FAILED, error="no answer")
    with monkeypatch.context() as broken:
        broken.setattr(bulk, "update", refuse(OperationalError("gone away")))
        for _ in range(3):
            with pytest.raises(OperationalError):
                record([outcome])
    assert stored(run).state == State.RUNNING
    record([outcome])
    waiting = stored(run)
    assert (waiting.state, waiting.attempt, len(waiting.attempts)) == (State.RETRYING, 1, 1)


def test_a_batch_that_fails_half_way_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_running(retrying_job())
    monkeypatch.setattr(ChangeCounter, "bump", refuse(OperationalError("gone away")))
    with pytest.raises(OperationalError):
        record([make_outcome(run, State.FAILED)])
    assert stored(run).state == State.RUNNING


@pytest.mark.django_db(transaction=True)
def test_one_outcome_that_the_database_refuses_does_not_take_the_others_with_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    good, bad, better = (make_running(retrying_job()) for _ in range(3))
    record_each(
        [
            make_outcome(good, result=1),
            make_outcome(bad, progress_done=-1, result="poison"),
            make_outcome(better, State.FAILED),
        ]
    )
    assert (stored(good).state, stored(better).state) == (State.SUCCEEDED, State.RETRYING)
    refused = stored(bad)
    assert (refused.state, refused.result) == (State.FAILED, None)
    assert refused.error == "The outcome could not be recorded: IntegrityError."
    assert f"run.unrecordable job={bad.job_id} run={bad.id}" in caplog.text


def test_a_database_that_is_away_is_no_fault_of_an_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_running()
    with monkeypatch.context() as broken:
        broken.setattr(bulk, "update", refuse(OperationalError("gone away")))
        with pytest.raises(OperationalError):
            record_each([make_outcome(run)])
    record_each([make_outcome(run, result=1)])
    assert (stored(run).state, stored(run).error) == (State.SUCCEEDED, "")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("error", [RuntimeError("broken on purpose"), OperationalError("lock timeout")])
def test_a_job_that_can_not_be_paused_keeps_no_outcome_from_being_settled(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    job = make_job(pause_after_failures=1)
    first, second = (
        make_running(job, cause=Cause.SCHEDULE, scheduled_for=ENDED + n * SECOND) for n in (0, 1)
    )
    with monkeypatch.context() as broken:
        broken.setattr(JobQuerySet, "pause_failing", refuse(error))
        record([make_outcome(first, State.FAILED)])
    assert stored(first).state == State.FAILED
    assert f"run.pause_failed jobs={job.name}" in caplog.text
    record([make_outcome(second, State.FAILED)])
    assert Job.objects.get(pk=job.pk).paused, "at its next failure"


def test_an_error_of_the_recorder_itself_is_recorded_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_running()
    outcome = make_outcome(run)
    update, errors = bulk.update, [DataError("out of range")]

    def fail_once(*args: Any, **kwargs: Any) -> set[Any]:
        if errors:
            raise errors.pop()
        return update(*args, **kwargs)

    monkeypatch.setattr(bulk, "update", fail_once)
    record_each([outcome])
    assert stored(run).error == "The outcome could not be recorded: DataError."


def refuse(error: Exception) -> Any:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise error

    return fail


@pytest.mark.parametrize("others", [0, 1], ids=["alone", "among others"])
def test_a_stale_copy_does_not_start_an_attempt_again(others: int) -> None:
    """The run was handed to its node twice; the first copy has failed, and the retry is this node's as well."""
    run = make_run(retrying_job())
    stale = stored(run)
    rest = [make_run(make_job(), attempt=1, attempts=[{"number": 1}]) for _ in range(others)]
    assert Run.objects.start([run], NODE, ENDED) == [run]
    record([make_outcome(run, State.FAILED)])
    [retry] = Run.objects.take(NODE, ENDED + 60 * SECOND, 10)
    assert Run.objects.start([stale, *rest], NODE, ENDED) == rest
    assert Run.objects.start([retry], NODE, ENDED) == [retry]
    assert stored(run).attempt == 2
