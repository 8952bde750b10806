"""Overlap policies, from the claim to the end of the runs that others wait for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hotdata.execution.outcome import Outcome
from hotdata.execution.record import record
from hotdata.models import ChangeCounter, Job, Run, Schedule
from hotdata.models.policies import Overlap
from hotdata.models.runs import State
from hotdata.models.schedules import Kind
from hotdata.scheduling.jobstore import Claim, JobStore
from hotdata.scheduling.lease import LeaseKeeper
from tests.builders import make_job, make_run
from tests.faults.accounts import assert_each_due_time_has_one_account

NODE = "claiming-node"
START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

pytestmark = pytest.mark.django_db


@pytest.fixture
def store() -> JobStore:
    lease = LeaseKeeper(node=NODE, ttl=timedelta(seconds=30))
    assert lease.keep()
    return JobStore(node=NODE, lease=lease)


def make_minutely(overlap: Overlap, **fields: Any) -> Job:
    job = make_job(
        trigger=Kind.INTERVAL, interval=MINUTE, starts_at=START, cron="", overlap=overlap, **fields
    )
    Schedule.objects.filter(id=job.name).update(next_run_time=START)
    return job


def start(claim: Claim) -> Run:
    """Start the one run that the claim has queued."""
    [run] = claim.queued
    assert Run.objects.start([run], NODE, run.created_at) == [run]
    return run


def end(run: Run, state: State = State.SUCCEEDED) -> None:
    record([Outcome(run=run, node=NODE, state=state, finished_at=START, duration=MINUTE)])


def states(job: Job) -> list[str]:
    """The states of the job's runs, by due time."""
    runs = Run.objects.of_job(job.name).order_by("scheduled_for")
    return ["held" if run.held else run.state for run in runs]


def take(now: datetime) -> list[Run]:
    """As a turn of the scheduler does."""
    Run.objects.release_held(now)
    return Run.objects.take(NODE, now, 100)


def test_buffer_one_starts_the_next_when_the_active_one_ends(store: JobStore) -> None:
    job = make_minutely(Overlap.BUFFER_ONE)
    first = start(store.claim(START))
    claim = store.claim(START + MINUTE)
    assert (list(claim.queued), claim.held) == ([], True)
    store.claim(START + 2 * MINUTE)
    assert states(job) == [State.RUNNING, "held", State.SKIPPED]
    assert take(START + 2 * MINUTE) == []
    end(first)
    [second] = take(START + 3 * MINUTE)
    assert second.scheduled_for == START + MINUTE
    assert second.ready_at == START + 3 * MINUTE
    assert states(job) == [State.SUCCEEDED, State.QUEUED, State.SKIPPED]


def test_a_run_between_two_attempts_still_holds_the_next(store: JobStore) -> None:
    job = make_minutely(Overlap.BUFFER_ONE, max_retries=1)
    first = start(store.claim(START))
    store.claim(START + MINUTE)
    end(first, State.FAILED)
    assert states(job) == [State.RETRYING, "held"]
    assert Run.objects.release_held(START + MINUTE) == 0


def test_the_leader_hears_when_a_run_ends_that_another_waits_for(store: JobStore) -> None:
    make_minutely(Overlap.BUFFER_ONE)
    first = start(store.claim(START))
    store.claim(START + MINUTE)
    before = ChangeCounter.current()
    end(first)
    assert ChangeCounter.current() > before


def test_an_end_that_nobody_waits_for_wakes_nobody(store: JobStore) -> None:
    make_minutely(Overlap.BUFFER_ONE)
    first = start(store.claim(START))
    before = ChangeCounter.current()
    end(first)
    assert ChangeCounter.current() == before


def test_cancel_other_asks_what_runs_to_stop_and_starts_when_it_has(store: JobStore) -> None:
    job = make_minutely(Overlap.CANCEL_OTHER)
    first = start(store.claim(START))
    before = ChangeCounter.current()
    store.claim(START + MINUTE)
    assert Run.objects.get(pk=first.pk).cancel_requested_by == "schedule"
    assert ChangeCounter.current() > before, "its node is told"
    assert take(START + MINUTE) == [], "it has not stopped yet"
    end(first, State.CANCELLED)
    [second] = take(START + MINUTE)
    assert second.scheduled_for == START + MINUTE
    assert states(job) == [State.CANCELLED, State.QUEUED]


def test_cancel_other_cancels_a_retry_and_what_was_asked_for_by_hand_on_the_spot(store: JobStore) -> None:
    job = make_minutely(Overlap.CANCEL_OTHER, max_retries=1)
    end(start(store.claim(START)), State.FAILED)
    by_hand = make_run(job)
    store.claim(START + MINUTE)
    assert sorted(states(job)) == [State.CANCELLED, State.CANCELLED, "held"]
    assert Run.objects.get(pk=by_hand.pk).reason == "A later due time took its place."
    assert len(take(START + MINUTE)) == 1


def test_cancel_other_skips_what_was_not_started(store: JobStore) -> None:
    job = make_minutely(Overlap.CANCEL_OTHER)
    store.claim(START)
    store.claim(START + MINUTE)
    assert states(job) == [State.SKIPPED, "held"]
    skipped = Run.objects.get(state=State.SKIPPED)
    assert (skipped.reason, skipped.node) == ("A later due time took its place.", "")
    assert len(take(START + MINUTE)) == 1


@pytest.mark.parametrize("coalesce", [True, False], ids=["coalesce", "each"])
@pytest.mark.parametrize("step", [1, 3], ids=["one at a time", "three at a time"])
def test_a_burst_beside_a_run_that_does_not_stop_leaves_one_record(
    store: JobStore, coalesce: bool, step: int
) -> None:
    """However many due times overtake each other, there are the run, one record, and what waits now."""
    job = make_minutely(Overlap.CANCEL_OTHER, coalesce=coalesce)
    first = start(store.claim(START))
    for minute in range(step, 31, step):
        store.claim(START + minute * MINUTE)
    assert states(job) == [State.RUNNING, State.SKIPPED, "held"]
    assert_each_due_time_has_one_account(job.name, [START + n * MINUTE for n in range(31)])
    end(first, State.CANCELLED)
    [last] = take(START + 30 * MINUTE)
    assert last.scheduled_for == START + 30 * MINUTE


def test_a_burst_for_which_no_worker_is_free_leaves_one_record(store: JobStore) -> None:
    """Each run is handed to a node, and overtaken before the node has begun it."""
    job = make_minutely(Overlap.CANCEL_OTHER)
    handed = list(store.claim(START).queued)
    for minute in range(1, 10):
        store.claim(START + minute * MINUTE)
        handed += take(START + minute * MINUTE)
    assert states(job) == [State.SKIPPED, State.QUEUED]
    assert_each_due_time_has_one_account(job.name, [START + n * MINUTE for n in range(10)])
    started = Run.objects.start(handed, NODE, START + 10 * MINUTE)
    assert [run.scheduled_for for run in started] == [START + 9 * MINUTE]


def test_what_was_started_as_it_was_overtaken_is_asked_to_stop(store: JobStore) -> None:
    job = make_minutely(Overlap.CANCEL_OTHER)
    first = start(store.claim(START))
    store.claim(START + MINUTE)
    end(first, State.CANCELLED)
    [second] = take(START + MINUTE)
    Run.objects.start([second], NODE, START + MINUTE)
    store.claim(START + 2 * MINUTE)
    assert states(job) == [State.CANCELLED, State.RUNNING, "held"]
    assert Run.objects.get(pk=second.pk).cancel_requested_by == "schedule"


def test_cancel_other_leaves_other_jobs_alone(store: JobStore) -> None:
    other = make_run(make_job(), state=State.RUNNING)
    make_minutely(Overlap.CANCEL_OTHER)
    store.claim(START)
    store.claim(START + MINUTE)
    assert Run.objects.get(pk=other.pk).cancel_requested_by == ""


def test_a_held_run_can_be_cancelled(store: JobStore) -> None:
    job = make_minutely(Overlap.BUFFER_ONE)
    start(store.claim(START))
    store.claim(START + MINUTE)
    assert Run.objects.get(held=True).cancel("ada", START + MINUTE)
    assert states(job) == [State.RUNNING, State.CANCELLED]


def test_held_runs_go_with_their_job(store: JobStore) -> None:
    job = make_minutely(Overlap.BUFFER_ONE)
    start(store.claim(START))
    store.claim(START + MINUTE)
    job.delete()
    assert states(job)[:2] == [State.RUNNING, State.CANCELLED]


def test_two_held_runs_of_other_jobs_are_released_together(store: JobStore) -> None:
    for _ in range(2):
        make_minutely(Overlap.BUFFER_ONE)
    queued = store.claim(START).queued
    Run.objects.start(queued, NODE, START)
    store.claim(START + MINUTE)
    for run in queued:
        end(run)
    assert len(take(START + MINUTE)) == 2


@pytest.mark.parametrize("overlap", [Overlap.SKIP, Overlap.BUFFER_ONE, Overlap.CANCEL_OTHER])
def test_the_number_of_instances_is_for_allow_all_alone(store: JobStore, overlap: Overlap) -> None:
    job = make_minutely(overlap, max_instances=3)
    start(store.claim(START))
    assert store.claim(START + MINUTE).queued == []
    assert states(job).count(State.RUNNING) == 1


def test_a_burst_of_skips_leaves_one_record(store: JobStore) -> None:
    job = make_minutely(Overlap.SKIP)
    start(store.claim(START))
    for minute in range(1, 10):
        store.claim(START + minute * MINUTE)
    assert states(job) == [State.RUNNING, State.SKIPPED]
    skipped = Run.objects.get(state=State.SKIPPED)
    assert (skipped.coalesced, skipped.coalesced_since) == (8, START + MINUTE)
    assert skipped.scheduled_for == START + 9 * MINUTE
