"""What dead nodes leave behind: nothing is shown as running for ever, and nothing that waits is lost."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.db import OperationalError, connection, transaction
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from hotdata.models import ChangeCounter, Job, Node, Run
from hotdata.models.runs import BY_SCHEDULE, FINISHED, Cause, State
from hotdata.models.schedules import ScheduleQuerySet
from hotdata.scheduling.recovery import Settlement, settle, tidy_nodes
from tests.builders import make_job, make_run
from tests.threads import in_thread

TIMEOUT = timedelta(seconds=10)
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
DEAD, ALIVE = "dead-node", "living-node"
NOTHING = Settlement(handed_back=0, abandoned=0, recovered=0)

pytestmark = pytest.mark.django_db


def make_node(name: str = ALIVE, *, silent: timedelta = timedelta(0)) -> None:
    Node.objects.create(name=name, host="host", pid=1, version="0", heartbeat_at=Now() - silent)


def test_without_nodes_and_runs_there_is_nothing_to_settle() -> None:
    assert settle(NOW, TIMEOUT) == NOTHING


def test_what_a_dead_node_was_running_is_abandoned() -> None:
    run = make_run(make_job(), node=DEAD, state=State.RUNNING)
    assert settle(NOW, TIMEOUT).abandoned == 1
    run.refresh_from_db()
    assert (run.state, run.finished_at, run.node) == (State.ABANDONED, NOW, DEAD)
    assert DEAD in run.reason


@pytest.mark.parametrize("state", [State.QUEUED, State.RETRYING])
def test_what_a_dead_node_had_not_started_is_free_to_be_taken(state: State) -> None:
    run = make_run(make_job(), node=DEAD, state=state, attempt=1)
    assert settle(NOW, TIMEOUT) == Settlement(handed_back=1, abandoned=0, recovered=0)
    run.refresh_from_db()
    assert (run.state, run.node, run.attempt) == (state, "", 1)


@pytest.mark.parametrize("state", FINISHED)
def test_what_has_ended_stays_as_it_is(state: State) -> None:
    run = make_run(make_job(), node=DEAD, state=state)
    assert settle(NOW, TIMEOUT) == NOTHING
    run.refresh_from_db()
    assert (run.state, run.node) == (state, DEAD)


def test_the_runs_of_living_nodes_are_theirs() -> None:
    make_node(ALIVE, silent=TIMEOUT / 2)
    runs = [make_run(make_job(), node=ALIVE, state=state) for state in (State.QUEUED, State.RUNNING)]
    assert settle(NOW, TIMEOUT) == NOTHING
    assert [Run.objects.get(pk=run.pk).state for run in runs] == [State.QUEUED, State.RUNNING]


def test_runs_that_wait_for_any_node_are_left_alone() -> None:
    make_run(make_job(), node="")
    assert settle(NOW, TIMEOUT) == NOTHING


def test_a_node_is_dead_once_it_was_silent_for_the_timeout() -> None:
    make_node("quiet", silent=TIMEOUT - timedelta(seconds=2))
    make_node("silent", silent=TIMEOUT + timedelta(seconds=2))
    quiet = make_run(make_job(), node="quiet", state=State.RUNNING)
    silent = make_run(make_job(), node="silent", state=State.RUNNING)
    assert settle(NOW, TIMEOUT).abandoned == 1
    quiet.refresh_from_db()
    silent.refresh_from_db()
    assert (quiet.state, silent.state) == (State.RUNNING, State.ABANDONED)


def test_settling_twice_changes_nothing_more() -> None:
    job = make_job(recover=True)
    make_run(job, node=DEAD, state=State.RUNNING)
    make_run(job, node=DEAD)
    settle(NOW, TIMEOUT)
    assert settle(NOW, TIMEOUT) == NOTHING
    assert Run.objects.count() == 3


# Recovery


def test_a_job_that_wants_it_is_run_again_as_a_new_run() -> None:
    job = make_job(recover=True, task="cleanup_logs", params={"days": 30})
    lost = make_run(job, node=DEAD, state=State.RUNNING, params={"days": 7}, requested_by="alice")
    assert settle(NOW, TIMEOUT) == Settlement(handed_back=0, abandoned=1, recovered=1)
    recovery = Run.objects.get(cause=Cause.RECOVERY)
    assert (recovery.job_id, recovery.task, recovery.params) == (job.name, "cleanup_logs", {"days": 7})
    assert (recovery.state, recovery.node, recovery.ready_at) == (State.QUEUED, "", NOW)
    assert recovery.recovers == lost
    assert recovery.scheduled_for is None, "the due time has its account: the abandoned run"


def test_only_jobs_that_want_it_are_run_again() -> None:
    make_run(make_job(recover=False), node=DEAD, state=State.RUNNING)
    assert settle(NOW, TIMEOUT).recovered == 0
    assert not Run.objects.filter(cause=Cause.RECOVERY).exists()


def test_a_run_whose_job_is_gone_is_abandoned_and_not_run_again() -> None:
    job = make_job(recover=True)
    make_run(job, node=DEAD, state=State.RUNNING)
    Job.objects.filter(pk=job.pk)._raw_delete("default")
    assert settle(NOW, TIMEOUT) == Settlement(handed_back=0, abandoned=1, recovered=0)


@pytest.mark.parametrize("by", ["alice", BY_SCHEDULE])
def test_a_run_that_was_asked_to_stop_is_abandoned_and_not_run_again(by: str) -> None:
    run = make_run(make_job(recover=True), node=DEAD, state=State.RUNNING, cancel_requested_by=by)
    assert settle(NOW, TIMEOUT) == Settlement(handed_back=0, abandoned=1, recovered=0)
    assert Run.objects.get().pk == run.pk


def abandon_again(run: Run, times: int) -> Run:
    """Let `run`, and each run that is made in its place, be lost with its node, `times` in all; the last that was."""
    for _ in range(times):
        Run.objects.filter(pk=run.pk).update(state=State.RUNNING, node=DEAD, started_at=NOW, finished_at=None)
        settle(NOW, TIMEOUT)
        lost, run = run, Run.objects.filter(recovers=run).first() or run
    return Run.objects.get(pk=lost.pk)


def test_a_run_that_was_lost_three_times_in_a_row_is_not_made_again() -> None:
    """Or a task that kills its node would kill one node after the other."""
    run = make_run(make_job(recover=True), node=DEAD, state=State.RUNNING)
    last = abandon_again(run, 3)
    assert Run.objects.count() == 3
    assert last.state == State.ABANDONED
    assert last.reason.endswith("It was abandoned 3 times in a row, so it is not run again.")
    assert not Run.objects.get(pk=run.pk).reason.endswith("again.")


def test_a_row_is_broken_by_a_run_that_was_only_cancelled() -> None:
    job = make_job(recover=True)
    first = make_run(job, state=State.ABANDONED)
    stopped = make_run(job, state=State.CANCELLED, recovers=first, cause=Cause.RECOVERY)
    run = make_run(job, state=State.RUNNING, node=DEAD, recovers=stopped, cause=Cause.RECOVERY)
    assert settle(NOW, TIMEOUT).recovered == 1
    assert Run.objects.filter(recovers=run).exists()


def test_a_recovery_is_announced() -> None:
    before = ChangeCounter.current()
    make_run(make_job(recover=True), node=DEAD, state=State.RUNNING)
    made = ChangeCounter.current()
    settle(NOW, TIMEOUT)
    assert ChangeCounter.current() > made > before


def test_to_find_nothing_costs_one_query() -> None:
    make_node(ALIVE)
    make_run(make_job(), node=ALIVE, state=State.RUNNING)
    with CaptureQueriesContext(connection) as captured:
        assert settle(NOW, TIMEOUT) == NOTHING
    assert len(captured) == 1


def test_many_runs_are_settled_at_once() -> None:
    jobs = [make_job(recover=True) for _ in range(3)]
    now = NOW
    Run.objects.bulk_create(
        Run(
            job=jobs[number % 3],
            task="refresh_due",
            cause=Cause.MANUAL,
            state=State.RUNNING,
            node=DEAD,
            created_at=now,
            ready_at=now,
            started_at=now,
        )
        for number in range(1200)
    )
    assert settle(NOW, TIMEOUT) == Settlement(handed_back=0, abandoned=1200, recovered=1200)


# Failures in a row


def test_a_job_that_was_abandoned_as_often_as_it_may_fail_is_paused() -> None:
    job = make_job(pause_after_failures=2)
    due = job.updated_at + timedelta(minutes=5)
    for number, state in enumerate([State.FAILED, State.RUNNING]):
        at = due + number * timedelta(minutes=5)
        make_run(job, node=DEAD, state=state, cause=Cause.SCHEDULE, scheduled_for=at, created_at=at)
    settle(NOW, TIMEOUT)
    job.refresh_from_db()
    assert (job.paused, job.paused_by) == (True, "scheduler")
    assert job.pause_note.startswith("Paused after 2 failures in a row.")
    assert f"Its node {DEAD} was not heard of any more." in job.pause_note


def test_a_job_that_may_fail_more_often_goes_on_after_it_was_abandoned() -> None:
    job, other = make_job(pause_after_failures=2), make_job()
    for lost in (job, other):
        at = lost.updated_at + timedelta(minutes=5)
        make_run(lost, node=DEAD, state=State.RUNNING, cause=Cause.SCHEDULE, scheduled_for=at, created_at=at)
    assert settle(NOW, TIMEOUT).abandoned == 2
    assert not Job.objects.filter(paused=True).exists()


@pytest.mark.django_db(transaction=True)
def test_a_settlement_stands_whatever_becomes_of_the_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    job = make_job(pause_after_failures=1)
    at = job.updated_at + timedelta(minutes=5)
    run = make_run(job, node=DEAD, state=State.RUNNING, cause=Cause.SCHEDULE, scheduled_for=at, created_at=at)

    def fail(*args: object) -> None:
        raise OperationalError("gone away")

    monkeypatch.setattr(ScheduleQuerySet, "lock", fail)
    with pytest.raises(OperationalError):
        settle(NOW, TIMEOUT)
    run.refresh_from_db()
    assert run.state == State.ABANDONED


# The nodes' own rows


def test_a_dead_nodes_row_is_kept_for_a_day() -> None:
    make_node("of-today", silent=timedelta(hours=23))
    make_node("of-yesterday", silent=timedelta(hours=25))
    tidy_nodes()
    assert [node.name for node in Node.objects.all()] == ["of-today"]


# Races


@pytest.mark.only_on("postgres")
@pytest.mark.django_db(transaction=True)
def test_a_run_that_another_transaction_works_on_is_left_for_later() -> None:
    """Its node isn't dead after all, and records the outcome at this very moment."""
    run = make_run(make_job(), node=DEAD, state=State.RUNNING)
    locked, settled = threading.Event(), threading.Event()

    def record() -> None:
        with transaction.atomic():
            Run.objects.filter(pk=run.pk).update(state=State.SUCCEEDED, finished_at=NOW)
            locked.set()
            assert settled.wait(10)

    recording = in_thread(record)
    assert locked.wait(10)
    assert settle(NOW, TIMEOUT) == NOTHING
    settled.set()
    recording.result(10)
    assert settle(NOW, TIMEOUT) == NOTHING
    run.refresh_from_db()
    assert run.state == State.SUCCEEDED


@pytest.mark.django_db(transaction=True)
def test_two_leaders_that_settle_at_once_recover_a_run_once() -> None:
    job = make_job(recover=True)
    for _ in range(10):
        make_run(job, node=DEAD, state=State.RUNNING)
    barrier = threading.Barrier(2)

    def race() -> Settlement:
        barrier.wait(10)
        return settle(NOW, TIMEOUT)

    settlements = [settling.result(20) for settling in [in_thread(race), in_thread(race)]]
    assert sum(settlement.abandoned for settlement in settlements) == 10
    assert Run.objects.filter(cause=Cause.RECOVERY).count() == 10
