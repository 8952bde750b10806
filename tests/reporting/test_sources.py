"""What readers got, and what upstreams were asked, in a period."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from hotdata.models import FreshnessHour, SourceUsage
from hotdata.reporting.periods import Length, parse
from hotdata.reporting.sources import MOST_SOURCES, calls_of, reads_of
from tests.builders import make_call, make_source

pytestmark = pytest.mark.django_db

SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
DAY = parse("2026-11-25", Length.DAY)
START = datetime(2026, 11, 25, tzinfo=UTC)
TEN_SECONDS, THOUSAND_SECONDS = 20, 40  # places of the histogram


def read(source: str, hour: datetime, fresh: int = 10, place: int = TEN_SECONDS, **fields: Any) -> None:
    ages = [0] * 69
    ages[place] = fresh
    FreshnessHour.objects.create(source=source, hour=hour, fresh=fresh, ages=ages, **fields)


def test_reads_are_judged_by_the_objective_of_their_source() -> None:
    make_source(name="stock", objective_age=60 * SECOND, objective_share=0.9)
    make_source(name="news", objective_age=60 * SECOND, objective_share=0.5)
    make_source(name="weather")
    for source in ("stock", "news", "weather", "gone"):
        read(source, START)
        read(source, START + HOUR, fresh=5, place=THOUSAND_SECONDS, errors=1)
    seen = reads_of(DAY)
    assert (seen.reads, seen.hours) == (64, 8)
    stock, *others = seen.sources
    assert (stock.source, stock.reads, stock.fresh, stock.errors, stock.hours) == ("stock", 16, 15, 1, 2)
    assert (stock.p50, stock.met_share, stock.met) == (10.0, 10 / 16, False)
    assert {row.source: row.met for row in others} == {"news": True, "weather": None, "gone": None}


@pytest.mark.parametrize(("zone", "hours"), [("UTC", 24), ("Asia/Kolkata", 24), ("Europe/Berlin", 25)])
def test_each_hour_counts_in_the_one_day_in_which_it_begins(
    settings: Settings, zone: str, hours: int
) -> None:
    settings.TIME_ZONE = zone
    day = parse("2026-10-25", Length.DAY)
    at = datetime(2026, 10, 23, tzinfo=UTC)
    for number in range(5 * 24):
        read("stock", at + number * HOUR, fresh=1)
    days = [day.before, day, parse("2026-10-26", Length.DAY)]
    assert [reads_of(period).reads for period in days] == [24, hours, 24]


def test_calls_are_those_of_the_usage_with_the_latencies_on_record() -> None:
    for day, calls in ((24, 1), (25, 100), (26, 1)):
        SourceUsage.objects.create(
            day=date(2026, 11, day), source="stock", calls=calls, failed_calls=5, size=1000
        )
    SourceUsage.objects.create(day=date(2026, 11, 25), source="news", calls=7)
    make_call("stock", started_at=START, duration=SECOND)
    make_call("stock", started_at=START + 24 * HOUR, duration=9 * SECOND)
    seen = calls_of(DAY)
    stock, news = seen.sources
    assert (stock.source, stock.calls, stock.failed, stock.size, stock.error_share) == (
        "stock",
        100,
        5,
        1000,
        0.05,
    )
    assert stock.p95 is not None
    assert 1 <= stock.p95 <= 1.05
    assert (news.p95, news.error_share) == (None, 0)
    assert (seen.calls, seen.failed, seen.size) == (107, 5, 1000)


def test_of_many_sources_the_rest_is_summed_up_and_no_query_more_is_asked() -> None:
    read("source-0", START)
    SourceUsage.objects.create(day=DAY.first, source="source-0", calls=1)
    with CaptureQueriesContext(connection) as few:
        reads_of(DAY), calls_of(DAY)
    for number in range(1, MOST_SOURCES + 2):
        read(f"source-{number}", START)
        SourceUsage.objects.create(day=DAY.first, source=f"source-{number}", calls=1)
    with CaptureQueriesContext(connection) as many:
        reads, calls = reads_of(DAY), calls_of(DAY)
    assert len(many) == len(few) == 4
    assert (len(reads.sources), reads.other_sources, reads.reads) == (
        MOST_SOURCES,
        2,
        (MOST_SOURCES + 2) * 10,
    )
    assert (len(calls.sources), calls.other_sources, calls.calls) == (MOST_SOURCES, 2, MOST_SOURCES + 2)


def test_a_day_without_any_is_empty() -> None:
    assert reads_of(DAY).sources == ()
    assert calls_of(DAY).sources == ()
