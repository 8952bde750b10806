"""How sources stand, all of them at once."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from hotdata.freshness import absences, meters, planner
from hotdata.freshness.meters import Served
from hotdata.freshness.upstream import gate_of
from hotdata.models import ApiCall, Source
from hotdata.observing.entries import KeyState, key_states, other_key, search
from hotdata.observing.sources import Standing, Standings, standings
from tests.builders import make_call, make_source, store

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clear_cache")]

MINUTE = timedelta(minutes=1)
NEVER = "00:00-00:01 UTC sun"


def standing(source: Source) -> Standing:
    return standings([source], timezone.now()).by_source[source.name]


def states(source: Source, *keys: str) -> dict[str, KeyState]:
    plan = planner.plan(Source.objects.prefetch_related("pinned").get(pk=source.pk), timezone.now())
    planned = [found for found in plan.keys if not keys or found.key in keys]
    return {found.key: found for found in key_states(source.name, planned, timezone.now())}


# Sources


def test_a_source_stands_by_its_gate_its_calls_its_reads_and_its_keys() -> None:
    source = make_source(
        name="stock", pinned=("AAPL", "MSFT", "TSLA"), calls_per_minute=30, objective_age=MINUTE
    )
    gate_of(source).enter(hold=MINUTE)
    make_call(duration=timedelta(milliseconds=100))
    make_call(outcome=ApiCall.Outcome.FAILED)
    for age in (1, 1, 1, 600):
        meters.note("stock", Served.FRESH, age)
    meters.flush()
    store(key="AAPL", age=10)
    store(key="MSFT", age=2000)
    found = standing(source)
    assert found.gate is not None
    assert (found.gate.calls, found.gate.budget, found.gate.under_way) == (1, 30, 1)
    assert (found.traffic.calls, found.traffic.failed) == (2, 1)
    assert found.reads is not None
    assert found.reads.reads == 4
    assert found.objective is not None
    assert found.objective.met_share == 0.75
    assert found.hot is not None
    assert (found.hot.count, found.hot.missing, found.hot.overdue) == (3, 1, 1)
    assert found.hot.oldest is not None
    assert found.hot.oldest.key == "MSFT"
    assert not found.rests


def test_a_source_that_was_never_used_stands_there_all_the_same() -> None:
    found = standing(make_source())
    assert found.gate is not None
    assert found.gate.breaker == "closed"
    assert found.hot is not None
    assert (found.hot.count, found.hot.oldest, found.objective) == (0, None, None)


@pytest.mark.parametrize("fields", [{"enabled": False}, {"windows": NEVER}, {"windows": "nonsense"}])
def test_a_source_that_is_not_refreshed_now_rests(fields: dict[str, object]) -> None:
    assert standing(make_source(**fields)).rests


def test_without_redis_the_database_tells_what_it_knows(redis_down: None) -> None:
    source = make_source(name="stock", pinned=("AAPL",))
    make_call()
    found = standings([source], timezone.now())
    assert "Redis" in found.away
    stock = found.by_source["stock"]
    assert stock.traffic.calls == 1
    assert (stock.gate, stock.reads, stock.hot) == (None, None, None)


def test_many_sources_cost_as_many_queries_as_one(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    sources = [make_source(pinned=("A", "B")) for _ in range(20)]
    with django_assert_num_queries(2):
        assert len(standings(sources, timezone.now()).by_source) == 20
    with django_assert_num_queries(0):
        assert standings([], timezone.now()) == Standings()


# Keys


def test_a_key_is_fresh_stale_missing_or_absent() -> None:
    source = make_source(name="stock", pinned=("FRESH", "STALE", "MISSING", "ABSENT"))
    store(key="FRESH", age=5)
    store(key="STALE", age=100)
    absences.note("stock", "ABSENT", MINUTE)
    found = states(source)
    assert {key: state.state for key, state in found.items()} == {
        "FRESH": "fresh",
        "STALE": "stale",
        "MISSING": "missing",
        "ABSENT": "absent",
    }
    assert found["STALE"].age is not None
    assert 99 < found["STALE"].age.total_seconds() < 160
    assert found["MISSING"].age is None


def test_a_key_that_has_expired_and_is_still_there_is_expired() -> None:
    source = make_source(name="stock", pinned=("AAPL",))
    store(key="AAPL", age=5)
    planned = planner.plan(source, timezone.now()).keys
    (found,) = key_states("stock", planned, timezone.now() + timedelta(hours=2))
    assert found.state == "expired"


def test_planned_keys_are_found_by_a_part_of_them_whatever_its_case() -> None:
    source = make_source(name="stock", pinned=("AAPL", "aabc", "北京", "上海"))
    plan = planner.plan(source, timezone.now())
    assert {planned.key for planned in search(plan, "aa")} == {"AAPL", "aabc"}
    assert [planned.key for planned in search(plan, "京")] == ["北京"]
    assert len(search(plan, "")) == 4


def test_a_key_that_is_not_kept_hot_is_found_by_its_name_if_anything_is_known_of_it() -> None:
    source, now = make_source(name="stock", pinned=("AAPL",)), timezone.now()
    plan = planner.plan(source, now)
    store(key="TSLA", age=5)
    store(key="AAPL", age=5)
    absences.note("stock", "NOWHERE", MINUTE)
    found = other_key("stock", "TSLA", plan, now)
    assert found is not None
    assert (found.state, found.planned) == ("fresh", None)
    absent = other_key("stock", "NOWHERE", plan, now)
    assert absent is not None
    assert absent.state == "absent"
    for text in ("AAPL", "unknown", "a/b", ""):
        assert other_key("stock", text, plan, now) is None
