"""How upstreams answer."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import DjangoAssertNumQueries

from hotdata.models import ApiCall
from hotdata.observing.upstreams import Traffic, Upstreams, merged, upstreams
from tests.builders import make_call

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clear_cache")]

MILLISECOND, MINUTE, HOUR, DAY = (timedelta(seconds=seconds) for seconds in (0.001, 60, 3600, 86_400))
NOW = datetime(2026, 11, 23, 12, 10, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _now() -> Iterator[None]:
    with time_machine.travel(NOW, tick=False):
        yield


def called(
    source: str = "stock", ago: timedelta = MINUTE, took: timedelta = 100 * MILLISECOND, *, ok: bool = True
) -> None:
    outcome = ApiCall.Outcome.OK if ok else ApiCall.Outcome.FAILED
    make_call(source, started_at=NOW - ago, duration=took, outcome=outcome)


def see(*sources: str) -> Upstreams:
    return upstreams(sources or ("stock",), NOW)


def test_calls_are_counted_by_source_and_half_hour(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    called()
    called(ok=False)
    called(ago=HOUR)
    called("news", ago=HOUR)
    called(ago=DAY)
    make_call("stock", started_at=NOW, outcome=ApiCall.Outcome.NOT_MODIFIED, status=304)
    with django_assert_num_queries(1):
        seen = see("stock", "weather")
    assert [(traffic.calls, traffic.failed) for traffic in seen.by_source["stock"][-3:]] == [
        (1, 0),
        (0, 0),
        (3, 1),
    ]
    whole = seen.wholes["stock"]
    assert (whole.calls, whole.failed, whole.error_share) == (4, 1, 0.25)
    assert (seen.whole.calls, seen.wholes["weather"].calls) == (5, 0)


def test_the_percentiles_are_those_of_the_whole_day() -> None:
    for number in range(1, 101):
        called(ago=number * 10 * MINUTE, took=number * 10 * MILLISECOND)
    found = see().wholes["stock"]
    assert found.p50 is not None
    assert found.p95 is not None
    assert 500 * MILLISECOND <= found.p50 <= 525 * MILLISECOND
    assert 950 * MILLISECOND <= found.p95 <= 998 * MILLISECOND


def test_without_calls_there_are_no_figures() -> None:
    found = see().wholes["stock"]
    assert (found.p50, found.p95, found.error_share, found.calls) == (None, None, None, 0)


@pytest.mark.parametrize(
    "microseconds", [0, 1, 999, 1_000, 19_999, 20_000, 999_999, 1_000_000, 4_000_000_000]
)
def test_a_latency_is_at_most_five_percent_too_high(microseconds: int) -> None:
    took = timedelta(microseconds=microseconds)
    called(took=took)
    found = see().wholes["stock"].p95
    assert found is not None
    assert took < found <= max(took * 1.05, took + timedelta(microseconds=50))


@given(st.lists(st.integers(1, 10**7), min_size=1), st.floats(0.01, 1))
def test_percentiles_of_parts_add_up(bounds: list[int], part: float) -> None:
    parts = [Traffic(failed=0, latencies={bound: 1}) for bound in bounds]
    whole = merged(parts)
    found = whole.percentile(part)
    assert found is not None
    assert sum(timedelta(microseconds=bound) <= found for bound in bounds) >= part * len(bounds) - 1e-9
    assert sum(timedelta(microseconds=bound) < found for bound in bounds) < part * len(bounds)


def test_a_full_half_hour_is_counted_once() -> None:
    for _ in range(100):
        called(ago=2 * HOUR, ok=False)
    assert see().whole.failed == 100
    ApiCall.objects.all().delete()
    called()
    seen = see()
    assert (seen.whole.calls, seen.whole.failed) == (101, 100)
    assert seen.wholes["stock"].p50 == see().wholes["stock"].p50


@pytest.mark.usefixtures("redis_down")
def test_without_redis_all_are_counted_each_time() -> None:
    for _ in range(100):
        called(ago=2 * HOUR)
    assert see().whole.calls == see().whole.calls == 100
