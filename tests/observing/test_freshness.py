"""How fresh what readers get is: over minutes, over hours, against its objective, and after Redis has forgotten."""

from __future__ import annotations

import json
import math
import types
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.utils import timezone
from redis import Redis

import hotdata
from hotdata.exceptions import CacheUnavailable, UnknownSource
from hotdata.freshness import background, meters
from hotdata.freshness.meters import Served
from hotdata.models import ApiCall, FreshnessHour, Source
from hotdata.observing.freshness import Objective, freshness_of, roll_up
from tests.builders import make_call, make_source, store

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clear_cache")]

SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=seconds) for seconds in (1, 60, 3600, 86_400))
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _nobody_else_flushes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The background of this process may run since an earlier test."""
    monkeypatch.setattr(background, "flush", lambda: None)


@pytest.fixture
def source() -> Source:
    return make_source(name="stock", pinned=("AAPL", "MSFT"), calls_per_minute=600)


@pytest.fixture
def five_past_noon() -> Iterator[datetime]:
    """Now, as long as the test lasts."""
    now = NOON + 5 * MINUTE
    with time_machine.travel(now, tick=False):
        yield now


def served_at(
    moment: datetime, served: Served = Served.FRESH, age: float | None = 1.0, *, times: int = 1
) -> None:
    """Reads of the source ``stock`` that Redis knows of."""
    with time_machine.travel(moment, tick=False):
        for _ in range(times):
            meters.note("stock", served, age)
        meters.flush()


def called_at(moment: datetime, *, ok: bool = True) -> None:
    with time_machine.travel(moment, tick=False):
        meters.note_call("stock", ok=ok)
        meters.flush()


def hours() -> dict[datetime, int]:
    """The reads of each hour in the database."""
    return {row.hour: row.fresh for row in FreshnessHour.objects.filter(source="stock")}


# The last hour


@pytest.mark.usefixtures("source", "five_past_noon")
def test_reads_are_shared_out_by_how_they_were_served() -> None:
    for number, served in enumerate(Served, 1):
        served_at(NOON, served, None if served == Served.ERROR else 10.0**number, times=6 - number)
    found = freshness_of("stock")
    assert found.reads == 15
    assert found.shares == pytest.approx(
        {"fresh": 5 / 15, "stale": 4 / 15, "last_known": 3 / 15, "miss": 2 / 15, "error": 1 / 15}
    )
    assert (found.p50, found.p99) == pytest.approx((100.0, 10_000.0))


@pytest.mark.usefixtures("source")
def test_the_last_hour_is_sixty_minutes_of_which_the_present_one_is_the_last(
    five_past_noon: datetime,
) -> None:
    served_at(five_past_noon - 60 * MINUTE, times=100)
    served_at(five_past_noon - 59 * MINUTE)
    with time_machine.travel(five_past_noon + 30 * SECOND, tick=False):
        meters.note("stock", Served.FRESH, 1.0)
        meters.flush()
        found = freshness_of("stock")
    assert found.reads == 2
    assert found.since == five_past_noon - 59 * MINUTE
    assert found.until == five_past_noon + 30 * SECOND
    assert found.budget == 60 * 600


@pytest.mark.usefixtures("source")
@pytest.mark.parametrize(
    ("over", "minutes"), [(SECOND, 1), (MINUTE, 1), (61 * SECOND, 2), (timedelta(0), 1), (48 * HOUR, 2880)]
)
def test_any_other_time_is_whole_minutes_too(five_past_noon: datetime, over: timedelta, minutes: int) -> None:
    with time_machine.travel(five_past_noon + SECOND, tick=False):
        found = freshness_of("stock", over=over)
    assert found.since == five_past_noon - (minutes - 1) * MINUTE
    assert found.budget == 600 * minutes


@pytest.mark.usefixtures("five_past_noon")
def test_calls_are_told_with_the_budget() -> None:
    make_source(name="stock", calls_per_minute=10)
    called_at(NOON)
    called_at(NOON, ok=False)
    found = freshness_of("stock", over=10 * MINUTE)
    assert (found.calls, found.failed_calls, found.budget) == (2, 1, 90)


@pytest.mark.usefixtures("source")
def test_the_last_success_is_the_latest_call_that_did_not_fail() -> None:
    assert freshness_of("stock").last_success is None
    now = timezone.now()
    make_call("stock", started_at=now - 3 * MINUTE)
    make_call("stock", started_at=now - 2 * MINUTE, outcome=ApiCall.Outcome.NOT_MODIFIED, status=304)
    make_call("stock", started_at=now - MINUTE, outcome=ApiCall.Outcome.FAILED)
    make_call("news", started_at=now)
    assert freshness_of("stock").last_success == now - 2 * MINUTE


@pytest.mark.usefixtures("source")
def test_of_the_hot_keys_the_oldest_is_told_and_how_many_are_missing() -> None:
    found = freshness_of("stock")
    assert (found.oldest_hot_key, found.missing_hot_keys) == (None, 2)
    store(key="AAPL", age=30)
    store(key="TSLA", age=300)
    found = freshness_of("stock")
    assert found.oldest_hot_key.key == "AAPL"
    assert found.oldest_hot_key.age == pytest.approx(30, abs=5)
    assert found.missing_hot_keys == 1
    found = freshness_of("stock", hot=iter(["AAPL", "TSLA", "AAPL"]))
    assert (found.oldest_hot_key.key, found.missing_hot_keys) == ("TSLA", 0)


@pytest.mark.usefixtures("source")
def test_a_source_that_nobody_reads_has_no_shares_and_no_ages() -> None:
    found = freshness_of("stock")
    assert (found.reads, found.calls, found.p50, found.p99) == (0, 0, None, None)
    assert set(found.shares.values()) == {None}


def test_a_source_that_does_not_exist_is_told_as_such() -> None:
    with pytest.raises(UnknownSource):
        freshness_of("nothing")


@pytest.mark.usefixtures("source", "redis_down")
def test_an_unreachable_redis_is_told_as_such() -> None:
    with pytest.raises(CacheUnavailable):
        freshness_of("stock")
    with pytest.raises(CacheUnavailable):
        roll_up(timezone.now())


def test_the_package_offers_it_by_calling_the_package_of_that_name() -> None:
    make_source(name="stock")
    found = hotdata.freshness("stock", over=10 * MINUTE)
    assert (found.source, found.until - found.since <= 10 * MINUTE) == ("stock", True)
    assert isinstance(hotdata.freshness, types.ModuleType)


# The objective


def objective(met_share: float | None, share: float = 0.99) -> Objective:
    return Objective(age=MINUTE, share=share, met_share=met_share)


@pytest.mark.parametrize(
    ("met_share", "left"), [(None, 1), (1.0, 1), (0.995, 0.5), (0.99, 0), (0.98, -1), (0.0, -99)]
)
def test_the_error_budget_is_what_may_still_miss_the_objective(met_share: float | None, left: float) -> None:
    assert objective(met_share).budget_left == pytest.approx(left, abs=1e-9)


def test_where_no_read_may_miss_the_objective_one_that_does_is_infinitely_too_much() -> None:
    assert objective(1.0, share=1.0).budget_left == 1
    assert objective(None, share=1.0).budget_left == 1
    assert objective(0.999, share=1.0).budget_left == -math.inf


@pytest.mark.usefixtures("five_past_noon")
def test_the_reads_are_held_against_the_sources_objective() -> None:
    make_source(name="stock", objective_age=MINUTE, objective_share=0.9)
    served_at(NOON, age=10.0, times=95)
    served_at(NOON, Served.STALE, age=100.0, times=4)
    served_at(NOON, Served.ERROR, age=None, times=1)
    found = freshness_of("stock").objective
    assert (found.age, found.share, found.met_share) == (MINUTE, 0.9, 0.95)
    assert found.budget_left == pytest.approx(0.5)


@pytest.mark.usefixtures("source")
def test_a_source_without_an_objective_has_none() -> None:
    assert freshness_of("stock").objective is None


# As JSON


@pytest.mark.usefixtures("five_past_noon")
def test_it_is_told_as_json_with_times_as_the_site_shows_them() -> None:
    make_source(name="stock", pinned=("北京",), objective_age=MINUTE, calls_per_minute=600)
    served_at(NOON, age=10.0)
    called_at(NOON)
    make_call("stock", started_at=NOON)
    store(key="北京", age=65, hard_ttl=1e9)
    with timezone.override("Asia/Kolkata"):
        told = json.loads(json.dumps(freshness_of("stock").to_json()))
    assert told == {
        "source": "stock",
        "since": "2026-11-23T16:36:00+05:30",
        "until": "2026-11-23T17:35:00+05:30",
        "reads": 1,
        "shares": {"fresh": 1.0, "stale": 0.0, "last_known": 0.0, "miss": 0.0, "error": 0.0},
        "p50": pytest.approx(10.0),
        "p99": pytest.approx(10.0),
        "oldest_hot_key": {"key": "北京", "age": 65.0},
        "missing_hot_keys": 0,
        "last_success": "2026-11-23T17:30:00+05:30",
        "calls": 1,
        "failed_calls": 0,
        "budget": 59 * 600,
        "objective": {"age": 60.0, "share": 0.99, "met_share": 1.0, "budget_left": 1.0},
    }


def test_what_is_not_known_and_minus_infinity_are_null() -> None:
    make_source(name="stock")
    told = freshness_of("stock").to_json()
    for name in ("p50", "p99", "oldest_hot_key", "last_success", "objective"):
        assert told[name] is None
    assert objective(0.5, share=1.0).to_json()["budget_left"] is None


# Rolled up


@pytest.mark.usefixtures("source")
def test_hours_that_are_over_are_written_and_the_present_one_is_not(five_past_noon: datetime) -> None:
    served_at(NOON - HOUR, age=10.0, times=2)
    served_at(NOON - SECOND, Served.MISS, age=None)
    called_at(NOON - SECOND, ok=False)
    served_at(NOON)
    assert roll_up(five_past_noon) == 1
    row = FreshnessHour.objects.get()
    assert (row.source, row.hour) == ("stock", NOON - HOUR)
    assert (row.fresh, row.stale, row.last_known, row.misses, row.errors) == (2, 0, 0, 1, 0)
    assert (row.calls, row.failed_calls) == (1, 1)
    assert (len(row.ages), sum(row.ages), row.ages[20]) == (69, 2, 2)


@pytest.mark.usefixtures("source")
def test_rolling_up_again_writes_nothing(five_past_noon: datetime) -> None:
    served_at(NOON - HOUR)
    assert [roll_up(five_past_noon) for _ in range(3)] == [1, 0, 0]
    assert hours() == {NOON - HOUR: 1}


@pytest.mark.usefixtures("source")
def test_what_is_flushed_late_is_added_by_the_next_roll_up(five_past_noon: datetime) -> None:
    for back in (3, 4):
        served_at(NOON - back * HOUR)
    roll_up(five_past_noon)
    for back in (3, 4):
        served_at(NOON - back * HOUR)
    assert roll_up(five_past_noon) == 1
    assert hours() == {NOON - 3 * HOUR: 2, NOON - 4 * HOUR: 1}, (
        "only the last three hours are looked at again"
    )


@pytest.mark.usefixtures("source")
def test_all_hours_that_redis_still_has_are_caught_up_with(five_past_noon: datetime) -> None:
    for back in range(60):
        served_at(NOON - back * HOUR)
    assert roll_up(five_past_noon) == 47
    assert min(hours()) == NOON - 47 * HOUR


@pytest.mark.usefixtures("source")
def test_a_flushed_redis_takes_nothing_from_what_was_written(five_past_noon: datetime, redis: Redis) -> None:
    served_at(NOON - HOUR, times=5)
    roll_up(five_past_noon)
    redis.flushdb()
    served_at(NOON - HOUR)
    assert roll_up(five_past_noon) == 0
    assert hours() == {NOON - HOUR: 5}


def test_each_source_is_rolled_up_and_what_is_no_source_is_not(five_past_noon: datetime) -> None:
    make_source(name="stock")
    make_source(name="news", enabled=False)
    with time_machine.travel(NOON - HOUR, tick=False):
        for name in ("stock", "news", "gone"):
            meters.note(name, Served.FRESH, 1.0)
        meters.flush()
    assert roll_up(five_past_noon) == 2
    assert set(FreshnessHour.objects.values_list("source", flat=True)) == {"stock", "news"}


# Longer than Redis remembers


@pytest.mark.usefixtures("source")
def test_more_than_two_days_are_whole_hours_from_the_database_and_the_latest_from_redis(
    five_past_noon: datetime,
) -> None:
    for days in (1, 2, 3, 4):
        moment = NOON - days * DAY
        served_at(moment, times=10**days // 10)
        with time_machine.travel(moment + HOUR, tick=False):
            roll_up(moment + HOUR)
    served_at(NOON, Served.STALE, age=1000.0)
    found = freshness_of("stock", over=3 * DAY)
    assert found.since == NOON - 3 * DAY
    assert found.reads == 1 + 10 + 100 + 1
    assert found.budget == (72 * 60 + 5) * 600
    assert (found.p50, found.p99) == pytest.approx((1.0, 1.0))


@pytest.mark.usefixtures("source", "five_past_noon")
def test_no_read_counts_twice_that_is_in_redis_and_in_the_database(redis: Redis) -> None:
    served_at(NOON - HOUR, times=3)
    roll_up(NOON + 5 * MINUTE)
    assert freshness_of("stock", over=2 * HOUR).reads == freshness_of("stock", over=3 * DAY).reads == 3


@pytest.mark.usefixtures("source", "five_past_noon")
def test_after_a_flush_of_redis_whole_hours_are_known_from_the_database(redis: Redis) -> None:
    served_at(NOON - HOUR, times=3)
    roll_up(NOON + 5 * MINUTE)
    redis.flushdb()
    served_at(NOON)
    assert freshness_of("stock", over=2 * HOUR).reads == 4
