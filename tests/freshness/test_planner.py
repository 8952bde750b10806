from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from hotdata.exceptions import BadSource, CacheUnavailable
from hotdata.freshness import entries, hotkeys, planner
from hotdata.freshness.planner import BUDGET_SHARE, Plan, PlannedKey
from hotdata.models import Key, Source
from hotdata.models.hotkeys import Guest, note_guests, remember
from tests.builders import make_source, make_stored, store
from tests.freshness.conftest import OwnRedis

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clear_cache")]

PINNED = ("TSLA", "AAPL", "北京", "MSFT")
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)  # a Monday, 08:00 in New York
NEW_YORK = "09:30-16:00 America/New_York mon-fri"
OPENING = datetime(2026, 6, 1, 13, 30, tzinfo=UTC)
NEVER_GONE = 9e9

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)


@pytest.fixture
def source() -> Source:
    return make_source(name="stock", pinned=PINNED)


def stock(*, pinned: tuple[str, ...] = (), **fields: Any) -> Source:
    """A source whose keys are fresh for five minutes: refreshed each 30 s at most, and each 255 s at least."""
    return make_source(name="stock", pinned=pinned, key_policy="any", **fields)


def read(**per_minute: float) -> None:
    """Let the keys of the source have been read so often."""
    remember("stock", per_minute, NOW)


def fetch(key: str, *, ago: timedelta, fresh_for: timedelta = 5 * MINUTE, unchanged: int = 0) -> None:
    """Let `key` have been fetched that long before `NOW`."""
    at = NOW.timestamp() - ago.total_seconds()
    store(
        key=key,
        fetched_at=at,
        soft_expiry=at + fresh_for.total_seconds(),
        hard_expiry=NEVER_GONE,
        unchanged=unchanged,
    )


def planned(source: Source, now: datetime = NOW) -> dict[str, PlannedKey]:
    return {planned.key: planned for planned in planner.plan(source, now).keys}


def rate(key: PlannedKey) -> float:
    return MINUTE / key.interval


# The hot set


def test_the_hot_set_is_what_is_pinned_in_the_order_of_pinning(source: Source) -> None:
    make_source(name="news", pinned=("general",))
    assert planner.hot_set(source) == list(PINNED)


def test_what_is_read_most_is_hot_beside_what_is_pinned() -> None:
    remember("stock", {"B": 3, "C": 7, "A": 1, "P": 9}, timezone.now())
    assert planner.hot_set(stock(pinned=("Q", "P"), hot_keys=2)) == ["Q", "P", "C", "B"]


def test_reads_that_are_counted_in_redis_make_keys_hot(monkeypatch: pytest.MonkeyPatch) -> None:
    for ago in (6 * MINUTE, 0 * MINUTE):
        at = (timezone.now() - ago).timestamp()
        monkeypatch.setattr("hotdata.freshness.hotkeys.time.time", lambda at=at: at)
        hotkeys.note("stock", "A")
        hotkeys.flush()
    assert planner.hot_set(stock()) == ["A"]


def test_without_redis_the_hot_set_is_what_was_read_most_lately(redis_down: None) -> None:
    remember("stock", {"B": 3, "C": 7, "A": 1}, timezone.now())
    assert planner.hot_set(stock(pinned=("P",), hot_keys=2)) == ["P", "C", "B"]


# What is due


def test_a_source_without_pinned_keys_and_readers_has_nothing_due() -> None:
    empty = planner.plan(make_source(), NOW)
    assert (empty.keys, empty.calls_per_minute, empty.next_due, empty.due(NOW)) == ((), 0, None, [])


def test_what_was_never_fetched_is_due(source: Source) -> None:
    assert planner.due_keys(source, timezone.now()) == list(PINNED)
    assert {key.why for key in planned(source).values()} == {"not fetched yet"}


def test_what_is_stale_is_due_and_what_is_fresh_is_not(source: Source) -> None:
    store(key="AAPL", age=10, soft_ttl=60)
    store(key="MSFT", age=10, soft_ttl=60)
    store(key="TSLA", age=61, soft_ttl=60)
    assert planner.due_keys(source, timezone.now()) == ["TSLA", "北京"]


def test_a_key_is_due_when_its_interval_has_passed() -> None:
    source = stock(pinned=("A",))
    fetch("A", ago=10 * SECOND)
    (key,) = planned(source).values()
    due_at = NOW - 10 * SECOND + source.longest_interval
    assert (key.fetched_at, key.interval, key.due_at) == (
        NOW - 10 * SECOND,
        source.longest_interval,
        due_at,
    )
    assert planner.plan(source, NOW).next_due == due_at
    assert planner.due_keys(source, due_at - SECOND) == []
    assert planner.due_keys(source, due_at) == ["A"]


def test_what_is_due_first_comes_first() -> None:
    source = stock(pinned=("A", "B", "C"))
    fetch("A", ago=5 * MINUTE)
    fetch("C", ago=6 * MINUTE)
    assert planner.due_keys(source, NOW) == ["C", "A", "B"]


def test_what_is_stored_but_neither_pinned_nor_read_is_not_due(source: Source) -> None:
    store(key="GOOGL", age=600, soft_ttl=60)
    assert "GOOGL" not in planner.due_keys(source, timezone.now())


def test_entries_of_another_source_do_not_count(source: Source) -> None:
    store("news", "AAPL")
    assert "AAPL" in planner.due_keys(source, timezone.now())


def test_a_value_of_a_node_whose_clock_is_ahead_does_not_rest_until_then() -> None:
    source = stock(pinned=("A",))
    fetch("A", ago=-2 * HOUR)
    assert planner.due_keys(source, NOW) == ["A"]


def test_a_hot_key_that_the_source_does_not_serve_is_kept_fresh_but_not_brought_back() -> None:
    source = make_source(name="stock", key_policy="pattern", key_pattern="[A-Z]")
    read(A=1, stored=1, gone=1)
    fetch("stored", ago=MINUTE)
    assert planned(source).keys() == {"A", "stored"}


def test_a_guest_that_redis_has_lost_is_due_until_its_time_is_over() -> None:
    source = make_source(name="stock", pinned=("A",))
    fetch("A", ago=SECOND)
    fetch("stored", ago=HOUR)
    until = {"stored": NOW + HOUR, "lost": NOW + HOUR, "read": NOW + HOUR, "over": NOW}
    note_guests(
        "stock", {key: Guest(placeholders={}, kept_until=end) for key, end in until.items()}, NOW - HOUR
    )
    read(read=4, over=4)
    keys = planned(source)
    assert keys.keys() == {"A", "lost", "read"}
    assert (keys["lost"].due_at, keys["lost"].why) == (NOW, "fetched by a task, and lost since")
    assert (keys["lost"].pinned, keys["lost"].interval) == (False, source.longest_interval)
    assert planner.due_keys(source, NOW) == ["read", "lost"]


def test_of_many_guests_that_redis_has_lost_so_many_are_due_as_a_minute_can_bring() -> None:
    source = make_source(name="stock", pinned=("A",), calls_per_minute=3, batch_size=2)
    fetch("A", ago=SECOND)
    until = {f"K{number}": NOW + number * HOUR for number in range(1, 11)}
    note_guests("stock", {key: Guest(placeholders={}, kept_until=end) for key, end in until.items()}, NOW)
    kept_longest = ["K10", "K9", "K8", "K7", "K6", "K5"]
    assert planned(source).keys() == {"A", *kept_longest}
    for key in kept_longest:
        fetch(key, ago=SECOND)
    assert planned(source).keys() == {"A", "K4", "K3", "K2", "K1"}


def test_an_unreachable_redis_is_told_as_such(source: Source, redis_down: None) -> None:
    with pytest.raises(CacheUnavailable):
        planner.due_keys(source, timezone.now())


# How often


def test_the_more_a_key_is_read_the_more_often_it_is_refreshed() -> None:
    source = stock(calls_per_minute=2, hot_keys=2)
    read(A=4, B=1)
    keys = planned(source)
    assert rate(keys["A"]) == pytest.approx(2 * rate(keys["B"]))
    assert (keys["A"].reads_per_minute, keys["A"].weight, keys["A"].pinned) == (4, 1, False)


def test_a_read_counts_as_much_as_the_weight_of_its_key() -> None:
    source = stock(pinned=("A", "B"), calls_per_minute=2)
    Key.objects.filter(key="A").update(weight=4)
    read(A=1, B=1)
    keys = planned(source)
    assert rate(keys["A"]) == pytest.approx(2 * rate(keys["B"]))
    assert (keys["A"].weight, keys["A"].pinned) == (4, True)


def test_a_plan_takes_four_fifths_of_the_budget() -> None:
    read(**{f"K{number}": float(number) for number in range(1, 101)})
    plan = planner.plan(stock(calls_per_minute=60), NOW)
    assert plan.budget == BUDGET_SHARE * 60 == 48
    assert plan.calls_per_minute == pytest.approx(48)
    assert sum(rate(key) for key in plan.keys) == pytest.approx(48)


def test_with_budget_for_all_a_key_that_is_read_has_the_shortest_interval_and_others_the_longest() -> None:
    source = stock(pinned=("A", "B"))
    read(A=0.5)
    keys = planned(source)
    assert keys["A"].interval == source.shortest_interval
    assert keys["B"].interval == source.longest_interval


def test_a_maximum_age_gives_way_to_the_budget() -> None:
    source = stock(pinned=("A", "B", "C", "D"), calls_per_minute=1, max_age=MINUTE)
    plan = planner.plan(source, NOW)
    assert plan.calls_per_minute == pytest.approx(BUDGET_SHARE)
    assert {key.interval for key in plan.keys} == {5 * MINUTE}


def test_a_value_that_stays_the_same_is_refreshed_less_often_up_to_the_longest_interval() -> None:
    source = stock(pinned=("A",))
    read(A=10)
    intervals = []
    for unchanged in (0, 1, 2, 5, 6, 10**6):
        fetch("A", ago=timedelta(0), unchanged=unchanged)
        intervals.append(planned(source)["A"].interval / source.shortest_interval)
    longest = source.longest_interval / source.shortest_interval
    assert intervals == pytest.approx([1, 1.5, 2.25, 1.5**5, longest, longest])


def test_what_a_value_that_stays_the_same_saves_goes_to_the_others() -> None:
    source = stock(calls_per_minute=2, refresh_after=SECOND)
    read(A=1, B=1)
    before = planned(source)
    assert rate(before["A"]) == pytest.approx(0.8)
    fetch("A", ago=timedelta(0), unchanged=1)
    fetch("B", ago=timedelta(0))
    after = planned(source)
    assert rate(after["B"]) == pytest.approx(1.5 * rate(after["A"]))
    assert rate(after["A"]) + rate(after["B"]) == pytest.approx(1.6)


# Before it is stale


def test_a_pinned_key_is_due_before_it_is_stale() -> None:
    """Such as after the time for which values are fresh was edited."""
    fetch("A", ago=MINUTE, fresh_for=2 * MINUTE)
    key = planned(stock(pinned=("A",)))["A"]
    assert (key.due_at, key.why) == (NOW + MINUTE, "before it is stale")


def test_a_key_that_is_not_pinned_may_become_stale() -> None:
    source = stock(calls_per_minute=1, hot_keys=3)
    read(A=1, B=1, C=1)
    fetch("A", ago=MINUTE, fresh_for=2 * MINUTE)
    assert planned(source)["A"].due_at > NOW + MINUTE


def test_a_maximum_age_above_the_time_that_values_are_fresh_is_taken_at_its_word() -> None:
    source = stock(pinned=("A",), max_age=HOUR)
    fetch("A", ago=MINUTE)
    assert planned(source)["A"].due_at == NOW + 59 * MINUTE


def test_a_pinned_key_becomes_stale_when_the_budget_does_not_suffice() -> None:
    source = stock(pinned=("A", *(f"K{number}" for number in range(9))), calls_per_minute=1)
    fetch("A", ago=timedelta(0))
    assert planned(source)["A"].due_at == NOW + 12.5 * MINUTE


# Batches


def batches(**fields: Any) -> Source:
    return stock(batch_size=3, batch_path="/stocks", batch_query={"symbols": "{keys}"}, **fields)


def test_a_batch_counts_as_one_call() -> None:
    read(**{f"K{number}": 1.0 for number in range(6)})
    plan = planner.plan(batches(calls_per_minute=3, refresh_after=SECOND), NOW)
    assert plan.calls_per_minute == pytest.approx(2.4)
    assert sum(rate(key) for key in plan.keys) == pytest.approx(3 * 2.4)


def test_a_few_keys_in_large_batches_are_refreshed_no_more_often_than_there_are_calls() -> None:
    read(A=100, B=1)
    plan = planner.plan(batches(calls_per_minute=1, refresh_after=SECOND), NOW)
    assert plan.calls_per_minute == pytest.approx(0.8)
    assert {key.interval for key in plan.keys} == {1.25 * MINUTE}


def test_a_maximum_age_gives_way_where_there_are_too_few_calls_for_it() -> None:
    plan = planner.plan(batches(pinned=("A",), calls_per_minute=1, max_age=MINUTE), NOW)
    assert plan.calls_per_minute == pytest.approx(0.8)
    assert {key.interval for key in plan.keys} == {1.25 * MINUTE}


def test_the_last_batch_is_filled_with_keys_that_are_due_soon() -> None:
    source = batches(pinned=("A", "B", "C", "D"))
    for key, ago in {"A": 260, "B": 200, "C": 210, "D": 220}.items():
        fetch(key, ago=ago * SECOND)
    assert planner.due_keys(source, NOW) == ["A", "D", "C"]


def test_a_key_is_not_refreshed_early_while_most_of_its_interval_is_left() -> None:
    source = batches(pinned=("A", "B", "C"))
    for key, ago in {"A": 260, "B": 127, "C": 128}.items():
        fetch(key, ago=ago * SECOND)
    assert planner.due_keys(source, NOW) == ["A", "C"]


def test_a_key_is_not_refreshed_early_before_it_may_be_refreshed_at_all() -> None:
    source = batches(pinned=("A", "B"), refresh_after=200 * SECOND)
    fetch("A", ago=260 * SECOND)
    fetch("B", ago=199 * SECOND)
    assert planner.due_keys(source, NOW) == ["A"]
    assert planner.due_keys(source, NOW + SECOND) == ["A", "B"]


def test_no_key_is_refreshed_early_when_none_is_due() -> None:
    source = batches(pinned=("A", "B"))
    fetch("A", ago=250 * SECOND)
    fetch("B", ago=240 * SECOND)
    assert planner.due_keys(source, NOW) == []


def test_a_full_batch_is_not_filled_up() -> None:
    source = batches(pinned=("A", "B", "C", "D"))
    for key, ago in {"A": 260, "B": 260, "C": 260, "D": 250}.items():
        fetch(key, ago=ago * SECOND)
    assert planner.due_keys(source, NOW) == ["A", "B", "C"]


def test_without_batches_nothing_is_refreshed_early() -> None:
    source = stock(pinned=("A", "B"))
    fetch("A", ago=260 * SECOND)
    fetch("B", ago=250 * SECOND)
    assert planner.due_keys(source, NOW) == ["A"]


# Refresh windows


def test_outside_of_its_windows_a_source_rests_until_the_next_opening() -> None:
    source = stock(pinned=("A", "B"), windows=NEW_YORK)
    fetch("A", ago=HOUR)
    plan = planner.plan(source, NOW)
    assert {key.due_at for key in plan.keys} == {plan.next_due} == {OPENING}
    assert plan.due(NOW) == []
    assert {key.why for key in plan.keys} == {"rests until Mon 09:30 America/New_York (refresh window)"}


def test_at_the_opening_all_that_rested_is_due() -> None:
    source = stock(pinned=("A", "B"), windows=NEW_YORK)
    fetch("A", ago=HOUR)
    assert planner.due_keys(source, OPENING - SECOND) == []
    assert planner.due_keys(source, OPENING) == ["A", "B"]


def test_what_would_be_due_after_the_closing_rests_until_the_next_opening() -> None:
    source = stock(pinned=("A", "B"), windows=NEW_YORK)
    closing = datetime(2026, 6, 5, 20, tzinfo=UTC)  # Friday
    for key, before in {"A": 254 * SECOND, "B": 256 * SECOND}.items():
        fetch(key, ago=NOW - (closing - before))
    keys = planned(source, closing - 10 * SECOND)
    assert keys["B"].due_at == closing - SECOND
    assert keys["A"].due_at == datetime(2026, 6, 8, 13, 30, tzinfo=UTC)
    assert keys["A"].why == "rests until Mon 09:30 America/New_York (refresh window)"


def test_an_opening_is_told_in_the_zone_of_its_window() -> None:
    source = stock(pinned=("A",), windows=f"{NEW_YORK}; 21:15-22:00 Asia/Shanghai mon")
    assert planned(source)["A"].why == "rests until Mon 21:15 Asia/Shanghai (refresh window)"


def test_what_rests_fills_no_batch() -> None:
    source = batches(pinned=("A", "B"), windows="00:00-12:01 UTC")
    fetch("A", ago=260 * SECOND)
    fetch("B", ago=190 * SECOND)  # due at 12:01:05
    assert planner.due_keys(source, NOW) == ["A"]


def test_windows_that_are_none_are_told_as_such(source: Source) -> None:
    Source.objects.update(windows="office hours")
    source.refresh_from_db()
    with pytest.raises(BadSource) as told:
        planner.plan(source, NOW)
    assert told.value.field == "windows"
    assert planner.hot_set(source) == list(PINNED)


# Why


@pytest.mark.parametrize(
    ("fields", "reads", "unchanged", "why"),
    [
        ({}, 0, 0, "at least every 4.25 min (before it is stale)"),
        ({"max_age": 90 * SECOND}, 0, 0, "at least every 90 s (maximum age)"),
        ({}, 12, 0, "read 12 times a minute: every 30 s"),
        ({}, 1 / 30, 0, "read twice an hour: every 30 s"),
        ({}, 1 / 1440, 0, "read once a day: every 30 s"),
        ({"refresh_after": HOUR, "max_age": 5 * HOUR}, 2345, 0, "read 2,345 times a minute: every 60 min"),
        ({}, 12, 1, "unchanged for 1 refresh: every 45 s instead of 30 s"),
        ({}, 12, 5, "unchanged for 5 refreshes: every 3.8 min instead of 30 s"),
        ({}, 12, 1000, "unchanged for 1,000 refreshes: every 4.25 min"),
        ({}, 0, 5, "at least every 4.25 min (before it is stale)"),
        (
            {"calls_per_minute": 1, "refresh_after": SECOND},
            4,
            0,
            "read 4 times a minute: every 106 s, as often as the budget allows",
        ),
        (
            {"calls_per_minute": 1, "max_age": MINUTE},
            12,
            0,
            "the budget allows no more: every 2.5 min instead of 60 s",
        ),
    ],
)
def test_each_key_says_why_it_is_refreshed_when(
    fields: dict[str, Any], reads: float, unchanged: int, why: str
) -> None:
    source = stock(pinned=("A", "B"), **fields)
    read(A=reads)
    fetch("A", ago=SECOND, unchanged=unchanged)
    assert planned(source)["A"].why == why


# What a plan costs


def test_a_plan_asks_redis_twice_and_the_database_three_times(
    own_redis: OwnRedis, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    read(A=1, B=2)
    source = make_source(name="stock", pinned=("C", "D"), key_policy="pattern", key_pattern="[A-Z]")
    planner.plan(source, NOW)  # connects
    own_redis.client.config_resetstat()
    with django_assert_num_queries(3):
        planner.plan(source, NOW)
    asked = own_redis.client.info("commandstats")
    assert asked["cmdstat_mget"]["calls"] == 1
    assert asked["cmdstat_zrevrange"]["calls"] == hotkeys.BUCKETS  # in one pipeline
    assert {name.split("|")[0] for name in asked} == {"cmdstat_mget", "cmdstat_zrevrange", "cmdstat_config"}


def test_the_work_of_a_plan_grows_no_faster_than_its_keys() -> None:
    few, many = seconds_for(200), seconds_for(2_000)
    assert many < 25 * few


def seconds_for(count: int) -> float:
    """How long a plan of so many keys takes, at best."""
    name = f"of-{count}"
    source = make_source(name=name, calls_per_minute=60, hot_keys=count, key_policy="any", windows=NEW_YORK)
    keys = [f"K{number}" for number in range(count)]
    remember(name, {key: 1000.0 / number for number, key in enumerate(keys, 1)}, OPENING)
    at = OPENING.timestamp()
    entries.write(
        [
            make_stored(name, key, fetched_at=at - 10, soft_expiry=at + 300, hard_expiry=NEVER_GONE)
            for key in keys
        ]
    )
    return min(seconds(lambda: planner.plan(source, OPENING)) for _ in range(3))


def seconds(function: Callable[[], Plan]) -> float:
    began = time.thread_time()
    function()
    return time.thread_time() - began
