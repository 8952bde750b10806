"""What readers got: how it is counted, how exact the ages are, and what survives an outage."""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from hotdata.exceptions import CacheUnavailable
from hotdata.freshness import background, meters
from hotdata.freshness.meters import BOUNDS, MAX_MINUTES, Measures, Served, measured
from tests.builders import caches_at
from tests.freshness.conftest import OwnRedis
from tests.freshness.hostile import closed_port
from tests.threads import PATIENCE, in_thread

pytestmark = pytest.mark.usefixtures("clear_cache")

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
WEEK = 604_800.0
ERROR = 1.26  # times, at most, that an age is told too high

AGES = st.floats(min_value=0.1, max_value=WEEK)

NOTE_IN_A_CHILD = """
import os, sys
from hotdata.freshness import meters
meters.note("stock", meters.Served.FRESH, 1.0)
meters._tally.lock.acquire()
child = os.fork()
if child == 0:
    meters.note("news", meters.Served.FRESH, 1.0)
    os._exit([source for _, source, _ in meters._rows(meters._tally.counts)] != ["news"])
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.fixture(autouse=True)
def _nobody_else_flushes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The background of this process may run since an earlier test."""
    monkeypatch.setattr(background, "flush", lambda: None)


def note_at(moment: datetime, source: str = "stock", times: int = 1, age: float | None = 1.0) -> None:
    with time_machine.travel(moment, tick=False):
        for _ in range(times):
            meters.note(source, Served.FRESH, age)


def all_measured(source: str = "stock") -> Measures:
    """Of the last hour and the next one."""
    now = datetime.now(UTC)
    return sum(measured(source, since=now - HOUR, until=now + HOUR).values(), Measures())


def measures_of(ages: Iterable[float]) -> Measures:
    """What noting reads of values of these ages comes to."""
    with patch.object(meters, "_tally", meters._Tally()) as tally:
        for age in ages:
            meters.note("stock", Served.FRESH, age)
        rows = [row for _, _, row in meters._rows(tally.take())]
    return sum(
        (Measures(served={Served.FRESH: row[0]}, ages=tuple(row[meters.FIRST_AGE :])) for row in rows),
        Measures(),
    )


@contextmanager
def redis_away(settings: Any) -> Iterator[None]:
    caches = settings.CACHES
    settings.CACHES = caches_at(f"redis://{closed_port()}/0")
    yield
    settings.CACHES = caches


# Counting


def test_what_was_noted_is_measured_after_a_flush() -> None:
    for served, times in zip(Served, (5, 4, 3, 2, 1), strict=True):
        for _ in range(times):
            meters.note("stock", served, None if served == Served.ERROR else 2.0)
    meters.note_call("stock", ok=True)
    meters.note_call("stock", ok=False)
    assert all_measured() == Measures()
    meters.flush()
    found = all_measured()
    assert found.served == {"fresh": 5, "stale": 4, "last_known": 3, "miss": 2, "error": 1}
    assert (found.reads, sum(found.ages)) == (15, 14)
    assert (found.calls, found.failed_calls) == (2, 1)
    assert found.share(Served.LAST_KNOWN) == 0.2


def test_counts_of_several_flushes_and_processes_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        monkeypatch.setattr(meters, "_tally", meters._Tally())
        for _ in range(2):
            meters.note("stock", Served.STALE, 30.0)
            meters.flush()
    assert all_measured().served[Served.STALE] == 6


def test_sources_are_measured_apart() -> None:
    meters.note("stock", Served.FRESH, 1.0)
    meters.note("news", Served.STALE, 1.0)
    meters.flush()
    assert (all_measured("stock").reads, all_measured("news").reads) == (1, 1)
    assert all_measured("weather") == Measures()


def test_several_sources_are_measured_at_once_as_they_are_one_by_one() -> None:
    note_at(NOON, "stock", times=3, age=2.0)
    note_at(NOON + 5 * MINUTE, "stock", age=90.0)
    note_at(NOON, "news")
    meters.flush()
    names, until = ["stock", "news", "weather"], NOON + HOUR
    with time_machine.travel(until, tick=False):
        totals = meters.totals(names, since=NOON, until=until)
        for name in names:
            by_minute = measured(name, since=NOON, until=until).values()
            assert totals[name] == sum(by_minute, Measures(served=dict.fromkeys(Served, 0)))
    assert [totals[name].reads for name in names] == [4, 1, 0]


def test_hours_are_what_their_minutes_come_to() -> None:
    begun = NOON - 20 * MINUTE
    for minutes, age in ((0, 1.0), (19, 2.0), (20, 3.0), (79, 4.0), (90, 5.0)):
        note_at(begun + minutes * MINUTE, age=age)
    meters.note_call("stock", ok=False)
    meters.flush()
    until = begun + 100 * MINUTE
    with time_machine.travel(until, tick=False):
        by_hour = meters.by_hour("stock", since=begun, until=until)
        minutes_of = measured("stock", since=begun, until=until)
    assert {hour: found.reads for hour, found in by_hour.items()} == {NOON - HOUR: 2, NOON: 2, NOON + HOUR: 1}
    nothing = Measures(served=dict.fromkeys(Served, 0))
    assert sum(by_hour.values(), nothing) == sum(minutes_of.values(), nothing)
    assert meters.by_hour("stock", since=until, until=begun) == {}
    assert meters.totals(["stock"], since=until, until=begun) == {"stock": nothing}


def test_a_read_counts_in_the_minute_in_which_it_was_made_whenever_it_is_flushed() -> None:
    note_at(NOON + 59 * SECOND)
    note_at(NOON + 60 * SECOND, times=2)
    with time_machine.travel(NOON + 5 * MINUTE, tick=False):
        meters.flush()
        found = measured("stock", since=NOON, until=NOON + HOUR)
    assert {minute: measures.reads for minute, measures in found.items()} == {NOON: 1, NOON + MINUTE: 2}


def test_what_is_measured_begins_with_the_minute_of_since_and_ends_before_until() -> None:
    for minute in range(5):
        note_at(NOON + minute * MINUTE)
    with time_machine.travel(NOON + HOUR, tick=False):
        meters.flush()

        def minutes(since: datetime, until: datetime) -> list[int]:
            return [(found - NOON) // MINUTE for found in measured("stock", since=since, until=until)]

        assert minutes(NOON + MINUTE, NOON + 3 * MINUTE) == [1, 2]
        assert minutes(NOON + MINUTE + 59 * SECOND, NOON + 3 * MINUTE + SECOND) == [1, 2, 3]
        assert minutes(NOON + MINUTE, NOON + MINUTE) == []
        assert minutes(NOON + MINUTE, NOON) == []


def test_minutes_are_kept_for_two_days_and_no_others_are_asked_for(redis: Redis) -> None:
    meters.note("stock", Served.FRESH, 1.0)
    meters.flush()
    (name,) = redis.scan_iter("*:m:*")
    assert 47 * HOUR < timedelta(milliseconds=redis.pttl(name)) <= 48 * HOUR
    long_ago = datetime(2000, 1, 1, tzinfo=UTC)
    assert len(measured("stock", since=long_ago, until=datetime.now(UTC) + MINUTE)) == 1


def test_threads_that_count_together_lose_no_read() -> None:
    def read() -> None:
        for _ in range(10_000):
            meters.note("stock", Served.FRESH, 3.0)

    reading = [in_thread(read) for _ in range(8)]
    while not all(done.done() for done in reading):
        meters.flush()
    for done in reading:
        done.result(PATIENCE)
    meters.flush()
    found = all_measured()
    assert found.reads == sum(found.ages) == 80_000


def test_a_forked_process_counts_for_itself() -> None:
    command = [sys.executable, "-c", NOTE_IN_A_CHILD]
    assert subprocess.run(command, env=dict(os.environ), timeout=PATIENCE).returncode == 0


# What it costs


def test_a_noted_read_costs_no_redis_command(own_redis: OwnRedis) -> None:
    meters.flush()
    own_redis.client.config_resetstat()
    for _ in range(1000):
        meters.note("stock", Served.FRESH, 1.0)
        meters.note_call("stock", ok=True)
    commands = own_redis.client.info("commandstats")
    assert {name for name in commands if "config" not in name and "info" not in name} == set()


def test_nothing_is_flushed_when_nothing_was_counted(settings: Any) -> None:
    with redis_away(settings):
        meters.flush()


def test_only_what_was_counted_is_sent(own_redis: OwnRedis) -> None:
    meters.note("stock", Served.FRESH, 1.0)
    meters.flush()
    assert own_redis.client.info("commandstats")["cmdstat_hincrby"]["calls"] == 2 + 1, "and one for ever"
    (name,) = own_redis.client.scan_iter("*:m:*")
    assert own_redis.client.hgetall(name) == {b"fresh": b"1", b"age_10": b"1"}


# Redis away


def test_counts_survive_an_outage_with_their_minutes(settings: Any) -> None:
    with redis_away(settings):
        for minute in range(MAX_MINUTES):
            note_at(NOON + minute * MINUTE, times=minute + 1)
            with pytest.raises(CacheUnavailable):
                meters.flush()
    with time_machine.travel(NOON + HOUR, tick=False):
        meters.flush()
        found = measured("stock", since=NOON, until=NOON + HOUR)
    assert [measures.reads for measures in found.values()] == list(range(1, MAX_MINUTES + 1))


@pytest.mark.parametrize("flushed", [True, False])
def test_of_a_long_outage_the_last_hour_is_kept(settings: Any, flushed: bool) -> None:
    with redis_away(settings):
        for minute in range(2 * MAX_MINUTES):
            note_at(NOON + minute * MINUTE)
            assert len(meters._tally.counts) <= MAX_MINUTES
            if flushed:
                with pytest.raises(CacheUnavailable):
                    meters.flush()
    with time_machine.travel(NOON + 2 * HOUR, tick=False):
        meters.flush()
        found = measured("stock", since=NOON, until=NOON + 2 * HOUR)
    assert min(found) == NOON + HOUR
    assert len(found) == MAX_MINUTES


def test_an_unreachable_redis_is_told_as_such(settings: Any) -> None:
    with redis_away(settings), pytest.raises(CacheUnavailable):
        measured("stock", since=NOON, until=NOON + HOUR + timedelta(days=10_000))


# Ages


def test_the_bounds_are_as_the_stored_histograms_need_them() -> None:
    assert (len(BOUNDS), BOUNDS[0], BOUNDS[10], BOUNDS[60], BOUNDS[-1]) == (69, 0.1, 1.0, 100_000.0, WEEK)
    assert all(lower < upper <= ERROR * lower for lower, upper in itertools.pairwise(BOUNDS))


@given(ages=st.lists(AGES, min_size=1, max_size=200), p=st.floats(min_value=0, max_value=100))
def test_a_percentile_is_never_too_low_and_at_most_a_quarter_too_high(ages: list[float], p: float) -> None:
    true = sorted(ages)[max(1, math.ceil(len(ages) * p / 100)) - 1]
    told = measures_of(ages).percentile(p)
    assert true <= told <= true * ERROR


@given(ages=st.lists(AGES, min_size=1, max_size=200), than=AGES)
def test_the_share_of_younger_ones_is_wrong_by_no_more_than_one_bucket(
    ages: list[float], than: float
) -> None:
    true = sum(age < than for age in ages) / len(ages)
    doubtful = sum(than / ERROR <= age <= than * ERROR for age in ages) / len(ages)
    told = measures_of(ages).younger_than(timedelta(seconds=than))
    assert abs(told - true) <= doubtful + 1e-9


@given(ages=st.lists(AGES, max_size=50), others=st.lists(AGES, max_size=50))
def test_measures_of_two_times_add_up_to_those_of_both(ages: list[float], others: list[float]) -> None:
    assert measures_of(ages) + measures_of(others) == measures_of(ages + others) + Measures()


def test_ages_that_are_spread_evenly_are_split_within_their_bucket() -> None:
    # 50.1 s and 63.1 s are bounds; 60 s lies between them.
    spread = measures_of(50.2 + number * 12.8 / 1000 for number in range(1000))
    assert spread.younger_than(60 * SECOND) == pytest.approx((60 - 50.12) / (63.1 - 50.12), abs=0.001)
    assert measures_of([50.0, 64.0]).younger_than(60 * SECOND) == 0.5


@pytest.mark.parametrize("age", [-60.0, 0.0, 1e-9])
def test_an_age_below_the_first_bound_counts_as_that(age: float) -> None:
    assert measures_of([age]).percentile(50) == 0.1


@pytest.mark.parametrize("age", [WEEK, WEEK + 1, 1e300, math.inf])
def test_an_age_above_the_last_bound_counts_as_a_week(age: float) -> None:
    assert measures_of([age]).percentile(50) == WEEK


def test_a_read_that_got_nothing_did_not_get_a_young_value() -> None:
    meters.note("stock", Served.FRESH, 1.0)
    meters.note("stock", Served.MISS, 1.0)
    meters.note("stock", Served.MISS, None)
    meters.note("stock", Served.ERROR, None)
    meters.flush()
    assert all_measured().younger_than(MINUTE) == 0.5
    assert all_measured().percentile(99) == 1.0


def test_without_reads_nothing_is_known() -> None:
    empty = Measures(calls=3)
    assert (empty.reads, empty.share(Served.FRESH)) == (0, None)
    assert (empty.percentile(50), empty.younger_than(MINUTE)) == (None, None)
