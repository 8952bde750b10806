"""What the runs of a period came to, counted by the database as one would count them by hand."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given, settings
from hypothesis import strategies as st
from pytest_django import Settings

from hotdata.models import Run
from hotdata.models.runs import FAILURES, Cause, RunQuerySet, State
from hotdata.reporting import runs
from hotdata.reporting.daily import hours_of
from hotdata.reporting.periods import Length, Period, parse
from hotdata.reporting.runs import ATTEMPTED, MOST_JOBS, Runs, due_times_within, runs_of
from tests.builders import make_job, make_run

pytestmark = pytest.mark.django_db

MICROSECOND, SECOND, MINUTE, HOUR, DAY = (
    timedelta(microseconds=1),
    timedelta(seconds=1),
    timedelta(minutes=1),
    timedelta(hours=1),
    timedelta(days=1),
)
THE_DAY = Period(length=Length.DAY, first=date(2026, 11, 25), after=date(2026, 11, 26))
START, END = datetime(2026, 11, 25, tzinfo=UTC), datetime(2026, 11, 26, tzinfo=UTC)
NOON = START + 12 * HOUR


def run(job: str = "update", state: State = State.SUCCEEDED, at: datetime = NOON, **fields: Any) -> Run:
    """An unsaved run that ended, or a record of what never started, at that time."""
    values = {
        "task": "t",
        "cause": Cause.MANUAL,
        "created_at": at,
        "ready_at": at,
        "finished_at": at,
    } | fields
    return Run(job_id=job, state=state, **values)


def ended(*arguments: Any, **fields: Any) -> Run:
    made = run(*arguments, **fields)
    made.save()
    return made


def passed_over(first: datetime, last: datetime, count: int, **fields: Any) -> Run:
    """A record of `count` due times that came to nothing."""
    values: dict[str, Any] = {
        "state": State.SKIPPED,
        "cause": Cause.SCHEDULE,
        "scheduled_for": last,
        "at": last,
    }
    more = {"coalesced": count - 1, "coalesced_since": first if count > 1 else None, "created_at": first}
    return ended(**(values | more | fields))


def see(period: Period = THE_DAY) -> Runs:
    return runs_of(period, hours_of(period))


# What counts


@pytest.mark.parametrize(
    ("at", "counts"),
    [
        (START - MICROSECOND, False),
        (START, True),
        (END - MICROSECOND, True),
        (END, False),
    ],
)
def test_a_run_counts_when_it_ends_to_the_microsecond(at: datetime, counts: bool) -> None:
    ended(at=at, created_at=at - 3 * DAY)
    passed_over(at, at, 1, job="late", state=State.MISSED)
    seen = see()
    assert (seen.total.succeeded, seen.total.missed) == (counts, counts)
    assert len(seen.jobs) == 2 * counts


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", "2026-03-29", 23),
        ("Europe/Berlin", "2026-10-25", 25),
        ("Asia/Kathmandu", "2026-11-25", 24),
        ("America/Santiago", "2026-09-06", 23),
        ("Australia/Lord_Howe", "2026-04-05", 25),  # 24 and a half: the last one is short
    ],
)
def test_days_are_as_long_as_the_clocks_make_them(
    settings: Settings, zone: str, day: str, hours: int
) -> None:
    settings.TIME_ZONE = zone
    period = parse(day, Length.DAY)
    at = period.start - HOUR
    while at < period.end + HOUR:
        ended(at=at)
        at += HOUR
    seen = see(period)
    assert seen.total.succeeded == hours
    assert [slot.succeeded for slot in seen.slots] == [1] * hours
    assert seen.slots[0].start == period.start


def test_what_goes_on_counts_for_no_day_yet() -> None:
    make_run(make_job(), state=State.RUNNING, started_at=NOON, created_at=NOON)
    assert see().total.attempted == 0
    assert see().jobs == ()


def test_a_run_that_was_put_on_record_long_before_counts_on_the_day_on_which_it_ends() -> None:
    ended(at=NOON, created_at=NOON - 300 * DAY)
    assert see().total.succeeded == 1


def test_an_empty_day_is_empty() -> None:
    seen = see()
    assert (seen.total.attempted, seen.total.success, seen.jobs, seen.passed_over, seen.failing) == (
        0,
        None,
        (),
        (),
        (),
    )
    assert [slot.succeeded for slot in seen.slots] == [0] * 24
    assert seen.records == 0


# Records that stand for many due times


def test_due_times_across_midnight_are_shared_between_the_days() -> None:
    """Skipped each minute from 23:00 to 01:59."""
    passed_over(END - HOUR, END + 2 * HOUR - MINUTE, 180, reason="It was still going.")
    assert see().total.skipped == 60
    assert see(parse("2026-11-26", Length.DAY)).total.skipped == 120
    (found,) = see().passed_over
    assert (found.job, found.state, found.due_times, found.reason) == (
        "update",
        "skipped",
        60,
        "It was still going.",
    )


def test_a_downtime_of_a_week_is_spread_over_its_days() -> None:
    first = START - 3 * DAY
    passed_over(first, first + 7 * DAY - HOUR, 7 * 24, state=State.MISSED)
    assert see().total.missed == 24


def test_due_times_that_were_taken_into_a_run_are_counted_with_it() -> None:
    ended(cause=Cause.SCHEDULE, scheduled_for=NOON, coalesced=5, coalesced_since=NOON - HOUR)
    assert (see().total.succeeded, see().total.coalesced) == (1, 5)


MOMENTS = st.integers(0, 10**6).map(lambda n: START + n * SECOND)


@given(MOMENTS, st.integers(0, 10**6), st.integers(1, 10**4), st.lists(MOMENTS, min_size=1))
def test_the_parts_of_a_record_add_up(
    first: datetime, length: int, count: int, edges: Sequence[datetime]
) -> None:
    last = first if count == 1 else first + max(length, 1) * SECOND
    ends = sorted({*edges, START - DAY, last + SECOND, first})
    parts = [due_times_within(first, last, count, start, end) for start, end in pairwise(ends)]
    assert sum(parts) == count
    assert all(part >= 0 for part in parts)


@given(MOMENTS, st.integers(1, 1000), st.integers(2, 50), MOMENTS, MOMENTS)
def test_evenly_spread_due_times_are_counted_exactly(
    first: datetime, step: int, count: int, start: datetime, end: datetime
) -> None:
    due = [first + number * step * SECOND for number in range(count)]
    start, end = sorted((start, end))
    assert due_times_within(first, due[-1], count, start, end) == sum(start <= at < end for at in due)


# Against a count by hand


FINISHED_RUNS = st.builds(
    run,
    job=st.sampled_from(["a", "b", "c"]),
    state=st.sampled_from(ATTEMPTED),
    at=st.integers(-3 * 3600, 27 * 3600).map(lambda n: START + n * SECOND),
    duration=st.none() | st.integers(0, 5).map(lambda n: n * SECOND),
)


@settings(max_examples=60)
@given(st.lists(FINISHED_RUNS, max_size=40))
def test_the_database_counts_as_one_would_by_hand(made: list[Run]) -> None:
    Run.objects.all().delete()
    for one in made:
        one.pk = None
    Run.objects.bulk_create(made)
    seen = see()
    counted = [one for one in made if START <= one.finished_at < END]  # type: ignore[operator]
    states = Counter(one.state for one in counted)
    assert {state: getattr(seen.total, state.value) for state in ATTEMPTED} == {
        state: states[state] for state in ATTEMPTED
    }
    assert {row.job for row in seen.jobs} == {one.job_id for one in counted}
    for row in seen.jobs:
        of_job = [one for one in counted if one.job_id == row.job]
        assert row.attempted == len(of_job)
        assert row.failures == sum(one.state in FAILURES for one in of_job)
        took = sorted(one.duration.total_seconds() for one in of_job if one.duration is not None)
        assert (row.p50, row.p95) == (nearest_rank(took, 0.5), nearest_rank(took, 0.95))
    by_hour = Counter((one.finished_at - START) // HOUR for one in counted if one.state == State.SUCCEEDED)  # type: ignore[operator]
    assert [slot.succeeded for slot in seen.slots] == [by_hour[hour] for hour in range(24)]
    assert seen.records == len(counted)


def nearest_rank(ordered: list[float], part: float) -> float | None:
    return ordered[math.ceil(part * len(ordered)) - 1] if ordered else None


# What is listed


def test_the_worst_come_first_with_their_latest_error() -> None:
    ended("fine")
    ended("bad", State.FAILED, error="old")
    worse = [ended("worse", State.TIMED_OUT), ended("worse", State.FAILED, error="\n\nboom\nmore")]
    seen = see()
    assert [row.job for row in seen.jobs] == ["worse", "bad", "fine"]
    assert [(row.job, row.failures, row.error) for row in seen.failing] == [
        ("worse", 2, "boom"),
        ("bad", 1, "old"),
    ]
    assert seen.failing[0].run == worse[1].pk


def test_of_many_jobs_the_rest_is_summed_up_and_no_query_more_is_asked() -> None:
    ended("first", State.FAILED)
    with CaptureQueriesContext(
        connection,
    ) as few:
        see()
    Run.objects.bulk_create(run(f"job-{number}") for number in range(MOST_JOBS + 50))
    with CaptureQueriesContext(connection) as many:
        seen = see()
    assert len(many) == len(few) <= 10
    assert (len(seen.jobs), seen.other_jobs, seen.others.succeeded) == (MOST_JOBS, 51, 51)
    assert (seen.total.succeeded, seen.total.failed) == (MOST_JOBS + 50, 1)


def test_no_more_rows_are_fetched_than_are_shown_however_many_runs_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of a thousand runs of one job the database hands out a few rows."""
    Run.objects.bulk_create(run(at=NOON + number * SECOND, duration=SECOND) for number in range(1000))
    fetched = 0
    original = RunQuerySet.iterator

    def counting(rows: RunQuerySet, *arguments: Any) -> Iterator[Any]:
        nonlocal fetched
        for row in original(rows, *arguments):
            fetched += 1
            yield row

    monkeypatch.setattr(RunQuerySet, "iterator", counting)
    assert see().total.succeeded == 1000
    assert 0 < fetched < 10


def test_of_many_reasons_the_most_frequent_are_listed() -> None:
    for number in range(runs.MOST_REASONS + 2):
        passed_over(NOON, NOON, 1, job=f"job-{number}", reason="late", state=State.MISSED)
    passed_over(START, NOON, 100, reason="busy")
    seen = see()
    assert seen.passed_over[0].due_times == 100
    assert (len(seen.passed_over), seen.other_reasons) == (runs.MOST_REASONS, 3)
    assert (seen.total.skipped, seen.total.missed) == (100, runs.MOST_REASONS + 2)


def test_jobs_that_are_thinned_out_say_so_and_count_as_no_records() -> None:
    make_job(name="check", keep_runs=100)
    ended("check")
    ended("update")
    seen = see()
    assert {row.job: row.thinned for row in seen.jobs} == {"check": True, "update": False}
    assert seen.records == 1
