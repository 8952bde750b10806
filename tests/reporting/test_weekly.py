"""The weekly report: a week against the week before, and what should be looked at."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from hotdata.models import FreshnessHour, HotKey, SourceUsage
from hotdata.models.policies import Overlap
from hotdata.models.runs import Cause, State
from hotdata.reporting.letters import Letter, as_text
from hotdata.reporting.periods import Length, parse
from hotdata.reporting.weekly import Weekly, collect, letter
from tests.builders import make_call, make_job, make_prices, make_run, make_source, store

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clear_cache")]

SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=n) for n in (1, 60, 3600, 86_400))
WEEK = parse("2026-W47", Length.WEEK)
MONDAY = datetime(2026, 11, 16, tzinfo=UTC)
NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _now() -> Iterator[None]:
    with time_machine.travel(NOW, tick=False):
        yield


def ran(
    job: Any, at: datetime = MONDAY, state: State = State.SUCCEEDED, count: int = 1, **fields: Any
) -> None:
    for _ in range(count):
        make_run(job, state=state, created_at=at, finished_at=at, **fields)


def read(source: str, reads: int, at: datetime = MONDAY) -> None:
    FreshnessHour.objects.create(source=source, hour=at, fresh=reads, ages=[0] * 20 + [reads] + [0] * 48)


def asked(source: str, calls: int, day: date = WEEK.first, failed: int = 0) -> None:
    SourceUsage.objects.create(source=source, day=day, calls=calls, failed_calls=failed)


def see() -> Weekly:
    return collect(WEEK, NOW)


def said(weekly: Weekly) -> Letter:
    return letter(weekly, WEEK)


def advised(weekly: Weekly) -> dict[str, str]:
    """What is advised about what."""
    return {found.job or found.source: found.rule for found in weekly.advice}


def table(shown: Letter, name: str) -> list[list[Any]]:
    (section,) = [section for section in shown.sections if section.name == name]
    return [[getattr(value, "said", value) for value in row] for row in section.rows]


# Comparison


def test_the_week_is_compared_with_the_week_before() -> None:
    job = make_job(name="update")
    ran(job, count=3, duration=2 * SECOND)
    ran(job, state=State.FAILED)
    ran(job, MONDAY - DAY, count=2, duration=SECOND)
    ran(job, MONDAY + 7 * DAY)
    read("stock", 100)
    read("stock", 80, MONDAY - HOUR)
    asked("stock", 30, failed=3)
    asked("stock", 40, date(2026, 11, 15))
    shown = said(see())
    assert table(shown, "comparison") == [
        ["Runs", "4", "2", "2", 1.0],
        ["Success", "75.0 %", "100.0 %", "-25.0 %", None],
        ["Failures", "1", "0", "1", None],
        ["Missed", "0", "0", "0", None],
        ["Skipped", "0", "0", "0", None],
        ["Reads", "100", "80", "20", 0.25],
        ["Upstream calls", "30", "40", "-10", -0.25],
        ["Failed calls", "3", "0", "3", None],
    ]
    (row,) = table(shown, "jobs")
    assert row[-3:] == [2, 0, 1.0]


def test_records_of_both_weeks_count_so_that_neither_is_emptied_unasked() -> None:
    job = make_job()
    ran(job)
    ran(job, MONDAY - DAY)
    read("stock", 1, MONDAY - DAY)
    assert see().records == 3


def test_a_week_is_told_day_by_day_also_when_clocks_are_changed(settings: Settings) -> None:
    settings.TIME_ZONE = "Europe/Berlin"
    week = parse("2026-W43", Length.WEEK)
    job = make_job()
    at = week.start
    while at < week.end:
        ran(job, at)
        read("stock", 1, at)
        at += HOUR
    asked("stock", 7, date(2026, 10, 25))
    weekly = collect(week, NOW)
    assert [slot.succeeded for slot in weekly.runs.slots] == [24] * 6 + [25]
    assert [day.reads for day in weekly.days] == [24] * 6 + [25]
    assert [day.calls for day in weekly.days] == [0] * 6 + [7]
    assert table(letter(weekly, week), "days")[-1] == ["Sun 10-25", 25, 0, 25, 7, 0]


def test_an_empty_week_has_a_report() -> None:
    text = as_text(said(see()))
    assert said(see()).subject == "Weekly report 2026-W47: nothing ran"
    assert "There is nothing to advise." in text
    assert "No budget was used by 80% or more in any minute." in text


def test_no_query_more_is_asked_for_more_rows() -> None:
    def fill(name: str) -> None:
        job = make_job(name=f"job-{name}")
        ran(job, state=State.FAILED, count=3, duration=HOUR)
        make_source(name=name, pinned=("A",))
        read(name, 1)
        asked(name, 1000)
        make_call(name, started_at=MONDAY)

    fill("one")
    with CaptureQueriesContext(connection) as few:
        see()
    for number in range(5):
        fill(f"source-{number}")
    with CaptureQueriesContext(connection) as many:
        see()
    assert len(many) == len(few) <= 40


# Keys


def test_the_least_fresh_keys_are_looked_up_when_it_is_made() -> None:
    make_source(name="stock", pinned=tuple(f"K{number}" for number in range(12)), soft_ttl=MINUTE)
    for number in range(12):
        store("stock", f"K{number}", age=number * 60)
    weekly = see()
    assert [old.key for old in weekly.least_fresh] == [f"K{number}" for number in range(11, 1, -1)]
    assert (weekly.least_fresh[0].age, weekly.least_fresh[0].share) == (660, 11)
    assert "As they were when the report was made, at 2026-11-23 09:00 UTC." in as_text(said(weekly))


def test_of_an_older_week_they_are_not_known() -> None:
    make_source(name="stock", pinned=("A",))
    weekly = collect(WEEK.before, NOW)
    assert weekly.looked_at is None
    assert "Not known: no record tells how old keys were." in as_text(letter(weekly, WEEK.before))


def test_nor_while_redis_is_away(redis_down: None) -> None:
    make_source(name="stock", pinned=("A",))
    assert see().looked_at is None


# Budgets


def test_a_budget_that_was_used_almost_up_is_told_with_its_fullest_minute() -> None:
    make_source(name="stock", calls_per_minute=10)
    make_source(name="news", calls_per_minute=100)
    for source in ("stock", "news", "gone"):
        for minute, calls in ((0, 8), (5, 9), (7, 7)):
            for second in range(calls):
                make_call(source, started_at=MONDAY + minute * MINUTE + second * SECOND)
    for second in range(50):
        make_call("stock", started_at=MONDAY + 7 * DAY + second * SECOND)
    (peak,) = see().peaks
    assert (peak.source, peak.calls, peak.budget, peak.close_minutes) == ("stock", 9, 10, 2)
    assert peak.at == MONDAY + 5 * MINUTE


# Advice


def test_a_job_that_works_longer_than_its_interval_is_told_of() -> None:
    slow = make_job(name="slow", cron="*/5 * * * *")
    ran(slow, count=3, duration=6 * MINUTE)
    ran(make_job(name="quick", cron="*/5 * * * *"), count=3, duration=4 * MINUTE)
    ran(make_job(name="many", overlap=Overlap.ALLOW_ALL, max_instances=9), count=3, duration=6 * MINUTE)
    ran(make_job(name="daily", cron="0 9 * * *"), count=3, duration=6 * MINUTE)
    weekly = see()
    assert advised(weekly) == {"slow": "overruns"}
    assert weekly.advice[0].sentence == (
        "It is due each 5 min, but all but 5 % of its runs take up to 6 min: give it more time between runs."
    )


def test_a_job_that_never_succeeds_is_told_of() -> None:
    ran(make_job(name="broken"), state=State.FAILED, count=3)
    ran(make_job(name="unlucky"), state=State.FAILED, count=2)
    mixed = make_job(name="mixed")
    ran(mixed, state=State.FAILED, count=3)
    ran(mixed)
    assert advised(see()) == {"broken": "never_succeeds"}


def test_a_job_that_is_due_more_often_than_it_can_run_is_told_of() -> None:
    for name, count in (("often", 10), ("once", 9)):
        job = make_job(name=name)
        ran(job, count=30)
        ran(
            job,
            state=State.SKIPPED,
            cause=Cause.SCHEDULE,
            scheduled_for=MONDAY + HOUR,
            coalesced=count - 1,
            coalesced_since=MONDAY,
        )
    weekly = see()
    assert advised(weekly) == {"often": "passed_over"}
    assert weekly.advice[0].figures == {"share": 0.25, "due_times": 10}


def test_a_source_whose_answers_hardly_change_is_told_of() -> None:
    for source, same in (("calm", 95), ("lively", 50)):
        for number in range(100):
            outcome = "not_modified" if number < same else "ok"
            make_call(source, started_at=MONDAY + number * MINUTE, outcome=outcome)
    weekly = see()
    assert advised(weekly) == {"calm": "unchanged"}
    assert weekly.advice[0].sentence.startswith("95.0 % of 100 answers said that nothing had changed")


def test_a_source_that_is_asked_more_than_it_is_read_is_told_of() -> None:
    for source, reads in (("unread", 100), ("read", 1000)):
        read(source, reads)
        asked(source, 1000)
    asked("unknown", 1000)  # of its reads there is no record
    assert advised(see()) == {"unread": "unread"}


def test_pinned_keys_that_nobody_reads_are_told_of() -> None:
    make_source(name="stock", pinned=("AAPL", "MSFT", "北京"))
    make_source(name="news", pinned=("world",))
    read("stock", 100)
    for source, key in (("stock", "MSFT"), ("news", "world")):
        HotKey.objects.create(source=source, key=key, reads_per_minute=1, seen_at=NOW)
    weekly = see()
    assert advised(weekly) == {"stock": "unread_pins"}
    assert weekly.advice[0].sentence == ("2 of its 3 pinned keys were not read in the last day: AAPL, 北京.")
    assert advised(collect(WEEK.before, NOW)) == {}


def test_costs_of_both_weeks_stand_side_by_side_in_all_currencies() -> None:
    asked("stock", 1_000)
    assert "Cost" not in as_text(said(see()))
    make_prices("stock", tiers="0.01")
    make_prices("news", tiers="3", currency="JPY")
    assert "* Cost: This week 10.00 USD" in as_text(said(see()))
    asked("news", 2, WEEK.before.first)
    asked("stock", 1, WEEK.before.first)
    weekly = see()
    assert "* Cost: This week 10.00 USD, Week before 6 JPY, 0.01 USD" in as_text(said(weekly))
    assert msgspec.convert(msgspec.json.decode(msgspec.json.encode(weekly)), Weekly) == weekly
