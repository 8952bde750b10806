"""The clock is stepped by an hour, back and forth, and a week of due times is overtaken at once."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db.models.functions import Now
from django.utils import timezone

from hotdata.conf import conf
from hotdata.models import ChangeCounter, Job, Lease, Run, Schedule
from hotdata.models.policies import Overlap
from hotdata.models.runs import ACTIVE, Cause, State
from hotdata.models.schedules import Kind
from hotdata.scheduling.jobstore import JobStore
from hotdata.scheduling.lease import LeaseKeeper
from hotdata.scheduling.presence import Presence
from hotdata.scheduling.scheduler import Scheduler
from tests.builders import make_job
from tests.faults.accounts import assert_each_due_time_has_one_account, assert_each_second_has_one_account
from tests.threads import eventually, in_thread

NODE = "node-with-a-clock"
START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SECOND, MINUTE, HOUR, WEEK = (timedelta(seconds=seconds) for seconds in (1, 60, 3600, 604_800))
TTL = timedelta(minutes=5)

REPEATS = 5
SLOWER = 10  # times: a week may take this much longer to account for than a minute
MILLISECONDS = 0.25  # seconds: generous, for a machine that is busy
TURNS_A_SECOND = 60  # looks at the clock in one second; it takes a few, and a loop that spins thousands

pytestmark = pytest.mark.django_db


@pytest.fixture
def store() -> JobStore:
    lease = LeaseKeeper(node=NODE, ttl=TTL)
    assert lease.keep()
    return JobStore(node=NODE, lease=lease)


def make_due(**fields: Any) -> Job:
    """A job that is due at START, and was planned before that."""
    given = {"trigger": Kind.INTERVAL, "interval": MINUTE, "starts_at": START}
    job = make_job(**(given | fields))
    due_at_start(job)
    return job


def due_at_start(job: Job) -> None:
    Schedule.objects.filter(id=job.name).update(next_run_time=START)


def end_all_runs() -> None:
    Run.objects.filter(state__in=ACTIVE).update(state=State.SUCCEEDED, finished_at=START)


# Between two claims

WAYS = {  # the minutes after START at which claims are made
    "set back by an hour": [*range(6), *range(-55, 20)],
    "set forward by an hour": [*range(6), *range(65, 70)],
    "set forward by mistake, and back again": [*range(6), 65, *range(6, 70)],
    "set back by mistake, and forward again": [*range(6), -55, -54, *range(6, 10)],
}
KINDS = {
    "interval": {"trigger": Kind.INTERVAL, "interval": MINUTE},
    "cron": {"trigger": Kind.CRON, "cron": "* * * * *"},
}
POLICIES = {
    "coalesce": {"coalesce": True},
    "each": {"coalesce": False, "overlap": Overlap.ALLOW_ALL, "max_instances": 3},
    "grace": {"coalesce": False, "misfire_grace_time": 3 * MINUTE},
}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", WAYS)
def test_each_due_time_has_one_account_when_the_clock_is_stepped_between_two_claims(
    store: JobStore, way: str, kind: str, policy: str
) -> None:
    job = make_due(**KINDS[kind], **POLICIES[policy])
    for minute in WAYS[way]:
        store.claim(START + minute * MINUTE)
        end_all_runs()
    due = [START + minute * MINUTE for minute in range(max(WAYS[way]) + 1)]
    assert_each_due_time_has_one_account(job.name, due)


def test_while_the_clock_repeats_an_hour_a_job_that_has_fired_waits_and_one_that_has_not_fires(
    store: JobStore,
) -> None:
    fired = make_due()
    store.claim(START)
    end_all_runs()
    before = START - HOUR
    new = make_job(trigger=Kind.INTERVAL, interval=MINUTE, starts_at=before)
    Schedule.objects.filter(id=new.name).update(next_run_time=before)
    assert [run.job_id for run in store.claim(before).queued] == [new.name]
    end_all_runs()
    assert {run.job_id for run in store.claim(START + MINUTE).queued} == {fired.name, new.name}


# While the scheduler runs


class Clock:
    """The wall clock, stepped by as much as the test says; counts how often it is looked at."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)
        self.looks = 0

    def __call__(self) -> datetime:
        self.looks += 1
        return timezone.now() + self.ahead


class Ending:
    """An executor whose runs succeed at once."""

    def submit(self, runs: Sequence[Run]) -> None:
        ids = [run.id for run in runs]
        Run.objects.filter(id__in=ids).update(state=State.SUCCEEDED, finished_at=timezone.now())


@contextmanager
def scheduling(clock: Clock) -> Iterator[Scheduler]:
    """A scheduler that runs in a thread inside the block, and has ended in order after it."""
    with Presence(timeout=conf().node_timeout) as presence:
        scheduler = Scheduler(presence=presence, executor=Ending(), clock=clock)
        running = in_thread(scheduler.start)
        try:
            yield scheduler
        finally:
            scheduler.stop()
            running.result(20)


def looks_within_a_second(clock: Clock) -> int:
    known, until = clock.looks, time.monotonic() + 1
    eventually(lambda: time.monotonic() > until)
    return clock.looks - known


def begins_a_turn(scheduler: Scheduler) -> None:
    """Wait until the scheduler has begun a turn after this call."""
    ChangeCounter.bump()
    scheduler.wakeup()
    eventually(lambda: scheduler._seen_change == ChangeCounter.current())


def latest(job: Job) -> Run | None:
    return Run.objects.of_job(job.name).order_by("-scheduled_for").first()


def fires_again(job: Job) -> None:
    """Wait until the job fires once more than it has."""
    known = latest(job)
    eventually(lambda: latest(job) != known)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("step", [-HOUR, HOUR], ids=["back", "forward"])
def test_the_clock_is_stepped_and_put_right_again_while_the_scheduler_runs(step: timedelta) -> None:
    job, clock = make_job(trigger=Kind.INTERVAL, interval=SECOND), Clock()
    with scheduling(clock) as scheduler:
        fires_again(job)
        epoch = Lease.objects.get().epoch

        clock.ahead = step
        if step > timedelta(0):
            fires_again(job)
        assert looks_within_a_second(clock) < TURNS_A_SECOND

        clock.ahead = timedelta(0)
        begins_a_turn(scheduler)  # the one before may have fired by the clock as it was
        known = latest(job)
        assert looks_within_a_second(clock) < TURNS_A_SECOND
        if step > timedelta(0):
            assert known is not None
            assert latest(job) == known, "what is due now has its account already"
            clock.ahead = step
        fires_again(job)
        assert Lease.objects.get().epoch == epoch
    assert_each_second_has_one_account(job, at_least=3600 if step > timedelta(0) else 3)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("ahead", [-HOUR, HOUR], ids=["behind", "ahead"])
def test_a_run_that_is_asked_for_by_a_machine_with_another_clock_is_started_at_once(ahead: timedelta) -> None:
    job, clock = make_job(cron="0 0 1 1 *"), Clock()
    clock.ahead = ahead
    with scheduling(clock):
        eventually(lambda: Lease.objects.filter(epoch__gt=0).exists())
        run = job.request_run(Cause.MANUAL)
        eventually(lambda: Run.objects.get(pk=run.pk).state == State.SUCCEEDED)


def test_the_lease_of_a_dead_node_is_taken_although_the_clock_of_the_database_was_set_back() -> None:
    assert LeaseKeeper(node="dead", ttl=TTL).keep()
    Lease.objects.update(expires_at=Now() + HOUR + TTL)
    assert LeaseKeeper(node=NODE, ttl=TTL).keep()


# After a week


@pytest.mark.parametrize("grace", [None, HOUR], ids=["no-grace", "grace"])
@pytest.mark.parametrize("coalesce", [True, False], ids=["coalesce", "each"])
@pytest.mark.parametrize("kind", ["interval", "cron"])
def test_a_week_is_accounted_for_about_as_quickly_as_a_minute(
    store: JobStore, kind: str, coalesce: bool, grace: timedelta | None
) -> None:
    """A job of a second, or the most frequent one that cron knows."""
    fields = {"interval": {"interval": SECOND}, "cron": KINDS["cron"]}[kind]
    job = make_due(
        **fields,
        coalesce=coalesce,
        misfire_grace_time=grace,
        overlap=Overlap.ALLOW_ALL,
        max_instances=10,
    )
    after_a_minute = min(seconds_to_claim(store, job, MINUTE) for _ in range(REPEATS))
    after_a_week = min(seconds_to_claim(store, job, WEEK) for _ in range(REPEATS))
    assert after_a_week < SLOWER * after_a_minute
    assert after_a_week < MILLISECONDS
    every = SECOND if kind == "interval" else MINUTE
    assert sum(1 + run.coalesced for run in Run.objects.all()) == WEEK // every + 1


def seconds_to_claim(store: JobStore, job: Job, down: timedelta) -> float:
    """The processor time of the claim that accounts for a job which was due first at START."""
    Run.objects.all().delete()
    due_at_start(job)
    began = time.thread_time()
    store.claim(START + down)
    return time.thread_time() - began
