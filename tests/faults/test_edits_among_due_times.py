"""Edits that move the line between what has come and what is to come: each due time lies on one side of it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from hotdata.models import Job, Run
from hotdata.models.policies import Overlap
from hotdata.models.schedules import Kind
from hotdata.scheduling.jobstore import JobStore
from hotdata.scheduling.lease import LeaseKeeper
from tests.builders import make_job
from tests.faults import accounts

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
NODE = "claiming-node"

pytestmark = pytest.mark.django_db


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(START, tick=False) as clock:
        yield clock


@pytest.fixture
def store() -> JobStore:
    lease = LeaseKeeper(node=NODE, ttl=timedelta(hours=1))
    assert lease.keep()
    return JobStore(node=NODE, lease=lease)


def make_minutely(**fields: timedelta) -> Job:
    """A job that was due each minute from START on. Its name gives it an offset of 47 s of ten minutes' jitter."""
    return make_job(
        name="jx",
        trigger=Kind.INTERVAL,
        interval=MINUTE,
        starts_at=START + MINUTE,
        cron="",
        overlap=Overlap.ALLOW_ALL,
        max_instances=5,
        **fields,
    )


def claim_at(store: JobStore, clock: time_machine.Traveller, time: datetime) -> None:
    clock.move_to(time)
    store.claim(time)


def assert_each_minute_has_one_account(job: Job) -> None:
    last = max(run.scheduled_for for run in Run.objects.of_job(job.name) if run.scheduled_for)
    accounts.assert_each_due_time_has_one_account(
        job.name, accounts.due_times(job, since=START + MINUTE, until=last)
    )


@pytest.mark.parametrize(("before", "after"), [(0, 10), (10, 0)])
def test_more_or_less_jitter_neither_repeats_a_due_time_nor_loses_one(
    store: JobStore, clock: time_machine.Traveller, before: int, after: int
) -> None:
    job = make_minutely(jitter=before * MINUTE)
    claim_at(store, clock, START + 20 * MINUTE)
    job.jitter = after * MINUTE
    job.save()
    claim_at(store, clock, START + 40 * MINUTE)
    assert_each_minute_has_one_account(job)


def test_a_resume_after_the_clock_was_set_back_repeats_no_due_time(
    store: JobStore, clock: time_machine.Traveller
) -> None:
    job = make_minutely()
    claim_at(store, clock, START + 20 * MINUTE)
    clock.move_to(START + 15 * MINUTE)
    assert job.set_paused(True)
    assert job.set_paused(False)
    claim_at(store, clock, START + 22 * MINUTE)
    assert_each_minute_has_one_account(job)
