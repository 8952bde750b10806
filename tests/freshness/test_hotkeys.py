"""Which keys are read most: counted for nothing, bounded everywhere, and not forgotten with Redis."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from redis import Redis

from hotdata.exceptions import CacheUnavailable
from hotdata.freshness import background, hotkeys
from hotdata.freshness.hotkeys import BUCKETS, MAX_COUNTED, MAX_MEMBERS, hot_reads, hottest
from hotdata.keys import MAX_LENGTH
from hotdata.models import HotKey
from hotdata.models.hotkeys import (
    SLIGHTEST,
    Guest,
    forget_old,
    guest_keys,
    guests,
    note_guests,
    remember,
    remembered,
)
from tests.builders import caches_at, make_source
from tests.freshness.conftest import OwnRedis
from tests.freshness.hostile import closed_port
from tests.threads import PATIENCE, in_thread

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clear_cache")]

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
BUCKET = hotkeys.BUCKET
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
"""The beginning of a bucket, as each fifth minute is."""

READ_IN_A_CHILD = """
import os, sys, django
django.setup()
from hotdata.freshness import hotkeys
hotkeys.note("stock", "AAPL")
hotkeys._tally.lock.acquire()
child = os.fork()
if child == 0:
    hotkeys.note("stock", "MSFT")
    os._exit(list(hotkeys._tally.counts) != [("stock", "MSFT")])
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.fixture(autouse=True)
def _nobody_else_flushes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The background of this process may run since an earlier test."""
    monkeypatch.setattr(background, "flush", lambda: None)


def read_at(moment: datetime, **times: int) -> None:
    """Read keys of the source ``stock``, so many times each, and flush."""
    with time_machine.travel(moment, tick=False):
        for key, count in times.items():
            for _ in range(count):
                hotkeys.note("stock", key)
        hotkeys.flush()


def counted() -> int:
    return sum(hotkeys._tally.counts.values())


@contextmanager
def redis_away(settings: Any) -> Iterator[None]:
    caches = settings.CACHES
    settings.CACHES = caches_at(f"redis://{closed_port()}/0")
    yield
    settings.CACHES = caches


# What is hot


def test_a_key_that_is_read_evenly_has_its_true_rate() -> None:
    for bucket in range(BUCKETS):
        read_at(NOON + bucket * BUCKET, AAPL=50, MSFT=10)
    rates = hottest("stock", now=NOON + BUCKETS * BUCKET - timedelta(microseconds=1), limit=10)
    assert rates == pytest.approx({"AAPL": 10, "MSFT": 2})


def test_the_most_read_come_first_and_no_more_than_are_asked_for() -> None:
    for bucket in range(2):
        read_at(NOON + bucket * BUCKET, A=1, B=3, C=2, D=4)
    now = NOON + BUCKET + MINUTE
    assert list(hottest("stock", now=now, limit=3)) == ["D", "B", "C"]
    assert hottest("stock", now=now, limit=0) == {}


def test_of_keys_that_are_read_as_often_the_one_read_lately_is_hotter() -> None:
    read_at(NOON, before=20, lately=1)
    read_at(NOON + 3 * BUCKET, before=1, lately=20)
    rates = hottest("stock", now=NOON + 3 * BUCKET + MINUTE, limit=10)
    assert rates["lately"] > 5 * rates["before"] > 0


def test_reads_count_half_as_much_with_each_bucket_that_begins() -> None:
    read_at(NOON, AAPL=64)
    read_at(NOON + BUCKET, AAPL=64)
    at = [hottest("stock", now=NOON + buckets * BUCKET, limit=1)["AAPL"] for buckets in range(2, BUCKETS - 1)]
    assert at == pytest.approx([at[0] / 2**number for number in range(len(at))])


def test_a_key_must_have_been_read_in_two_buckets() -> None:
    read_at(NOON, once=1000, twice=1)
    read_at(NOON + BUCKET, twice=1)
    assert list(hottest("stock", now=NOON + BUCKET + MINUTE, limit=10)) == ["twice"]


def test_what_was_read_half_an_hour_ago_is_forgotten() -> None:
    read_at(NOON, AAPL=10)
    read_at(NOON + BUCKET, AAPL=10)
    assert hottest("stock", now=NOON + BUCKETS * BUCKET, limit=10) == {}


def test_sources_are_counted_apart() -> None:
    for bucket in range(2):
        with time_machine.travel(NOON + bucket * BUCKET, tick=False):
            hotkeys.note("stock", "AAPL")
            hotkeys.note("news", "北京")
            hotkeys.flush()
    now = NOON + BUCKET + MINUTE
    assert list(hottest("stock", now=now, limit=10)) == ["AAPL"]
    assert list(hottest("news", now=now, limit=10)) == ["北京"]
    assert hottest("weather", now=now, limit=10) == {}


# Scans


def test_a_scan_makes_no_key_hot_and_is_held_within_bounds(redis: Redis) -> None:
    for bucket in range(BUCKETS - 1):
        read_at(NOON + bucket * BUCKET, AAPL=10, MSFT=5)
    with time_machine.travel(NOON + (BUCKETS - 1) * BUCKET, tick=False):
        hotkeys.note("stock", "AAPL")
        for number in range(50_000):
            hotkeys.note("stock", f"scanned-{number}")
            assert len(hotkeys._tally.counts) <= MAX_COUNTED
            if number % 9_000 == 0:
                hotkeys.flush()
        hotkeys.flush()
    assert max(redis.zcard(name) for name in redis.scan_iter("*:h:*")) == MAX_MEMBERS
    assert list(hottest("stock", now=NOON + BUCKETS * BUCKET - MINUTE, limit=1000)) == ["AAPL", "MSFT"]


def test_a_key_that_is_read_again_and_again_keeps_its_place_in_a_full_bucket(redis: Redis) -> None:
    with time_machine.travel(NOON, tick=False):
        for flush in range(3):
            for number in range(MAX_COUNTED - 1):
                hotkeys.note("stock", f"{flush}-{number}")
            hotkeys.note("stock", "zzz")
            hotkeys.flush()
    (bucket,) = redis.scan_iter("*:h:*")
    assert redis.zscore(bucket, "zzz") == 3


def test_buckets_are_forgotten_by_redis_when_nobody_reads_them_any_more(redis: Redis) -> None:
    read_at(NOON, AAPL=1)
    (bucket,) = redis.scan_iter("*:h:*")
    assert BUCKETS * BUCKET < timedelta(milliseconds=redis.pttl(bucket)) < HOUR


# What it costs


def test_a_noted_read_costs_no_redis_command(own_redis: OwnRedis) -> None:
    hotkeys.flush()
    own_redis.client.config_resetstat()
    for number in range(1000):
        hotkeys.note("stock", f"{number % 50}")
    commands = own_redis.client.info("commandstats")
    assert {name for name in commands if "config" not in name and "info" not in name} == set()
    assert counted() == 1000


def test_nothing_is_flushed_when_nothing_was_read(settings: Any) -> None:
    with redis_away(settings):
        hotkeys.flush()


def test_what_is_read_of_the_buckets_is_bounded(own_redis: OwnRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    read_at(NOON, AAPL=1)
    own_redis.client.config_resetstat()
    hottest("stock", now=NOON, limit=100)
    commands = own_redis.client.info("commandstats")
    assert commands["cmdstat_zrevrange"]["calls"] == BUCKETS
    assert {name for name in commands if "config" not in name and "info" not in name} == {"cmdstat_zrevrange"}


def test_threads_that_count_together_lose_no_read() -> None:
    def read() -> None:
        for number in range(10_000):
            hotkeys.note("stock", f"{number % 7}")

    for done in [in_thread(read) for _ in range(8)]:
        done.result(PATIENCE)
    assert counted() == 80_000


def test_a_flush_in_the_midst_of_reads_loses_none(redis: Redis) -> None:
    def read() -> None:
        for _ in range(10_000):
            hotkeys.note("stock", "AAPL")

    reading = [in_thread(read) for _ in range(4)]
    while not all(done.done() for done in reading):
        hotkeys.flush()
    for done in reading:
        done.result(PATIENCE)
    hotkeys.flush()
    assert sum(redis.zscore(name, "AAPL") for name in redis.scan_iter("*:h:*")) == 40_000


def test_a_forked_process_counts_for_itself() -> None:
    command = [sys.executable, "-c", READ_IN_A_CHILD]
    assert subprocess.run(command, env=dict(os.environ), timeout=PATIENCE).returncode == 0


# Redis away


def test_counts_survive_an_outage(settings: Any, redis: Redis) -> None:
    hotkeys.note("stock", "AAPL")
    with redis_away(settings):
        with pytest.raises(CacheUnavailable):
            hotkeys.flush()
        hotkeys.note("stock", "AAPL")
        hotkeys.note("stock", "MSFT")
    hotkeys.flush()
    (bucket,) = redis.scan_iter("*:h:*")
    assert dict(redis.zrange(bucket, 0, -1, withscores=True)) == {b"AAPL": 2, b"MSFT": 1}
    assert counted() == 0


def test_an_outage_does_not_lift_the_bound(settings: Any) -> None:
    with redis_away(settings):
        for flush in range(3):
            for number in range(MAX_COUNTED // 2):
                hotkeys.note("stock", f"{flush}-{number}")
            with pytest.raises(CacheUnavailable):
                hotkeys.flush()
    assert len(hotkeys._tally.counts) == MAX_COUNTED


def test_an_unreachable_redis_is_told_as_such(settings: Any) -> None:
    with redis_away(settings):
        for look in (hottest, hot_reads, hotkeys.snapshot):
            with pytest.raises(CacheUnavailable):
                look("stock", now=NOON, limit=10)


# The snapshot


def test_what_is_hot_survives_the_loss_of_redis_and_of_every_process(
    own_redis: OwnRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    for bucket in range(3):
        read_at(NOON + bucket * BUCKET, AAPL=50, MSFT=10)
    now = NOON + 3 * BUCKET
    before = hot_reads("stock", now=now, limit=10)
    hotkeys.snapshot("stock", now=now, limit=10)
    own_redis.client.flushall()
    monkeypatch.setattr(hotkeys, "_tally", hotkeys._Tally())
    assert hottest("stock", now=now, limit=10) == {}
    assert hot_reads("stock", now=now, limit=10) == before
    assert list(before) == ["AAPL", "MSFT"]


def test_a_snapshot_after_a_flush_of_redis_keeps_what_is_remembered_decaying(redis: Redis) -> None:
    remember("stock", {"AAPL": 8.0}, NOON)
    for minutes in range(0, 61, 5):
        hotkeys.snapshot("stock", now=NOON + minutes * MINUTE, limit=10)
    assert hot_reads("stock", now=NOON + HOUR, limit=10) == pytest.approx({"AAPL": 2.0})


def test_a_snapshot_holds_no_more_than_are_asked_for() -> None:
    for bucket in range(2):
        read_at(NOON + bucket * BUCKET, A=1, B=3, C=2)
    hotkeys.snapshot("stock", now=NOON + BUCKET + MINUTE, limit=2)
    assert list(remembered("stock", NOON + BUCKET + MINUTE)) == ["B", "C"]


def test_of_redis_and_the_snapshot_the_one_that_says_more_is_believed() -> None:
    for bucket in range(2):
        read_at(NOON + bucket * BUCKET, both=100, counted=10)
    now = NOON + BUCKET + MINUTE
    rates = hottest("stock", now=now, limit=10)
    remember("stock", {"both": 1.0, "remembered": 3.0}, now)
    assert hot_reads("stock", now=now, limit=10) == rates | {"remembered": 3.0}
    remember("stock", {"both": 1000.0}, now)
    assert hot_reads("stock", now=now, limit=10)["both"] == 1000.0
    assert list(hot_reads("stock", now=now, limit=1)) == ["both"]


def test_what_is_remembered_halves_each_half_hour_and_is_gone_after_a_day() -> None:
    remember("stock", {"AAPL": 1e20, "北京": 4.0}, NOON)
    assert remembered("stock", NOON) == {"AAPL": 1e20, "北京": 4.0}
    assert remembered("stock", NOON + HOUR)["北京"] == pytest.approx(1.0)
    assert list(remembered("stock", NOON + 23 * HOUR)) == ["AAPL"]
    assert remembered("stock", NOON + 24 * HOUR) == {}


def test_a_key_that_is_read_less_than_once_a_day_is_not_remembered() -> None:
    remember("stock", {"often": 1.0, "seldom": SLIGHTEST / 2}, NOON)
    assert remembered("stock", NOON) == {"often": 1.0}
    assert remembered("stock", NOON + 6 * HOUR) == {}


def test_a_node_whose_clock_is_behind_remembers_the_rates_as_they_were() -> None:
    remember("stock", {"AAPL": 4.0}, NOON)
    assert remembered("stock", NOON - HOUR) == {"AAPL": 4.0}


def test_the_longest_key_is_remembered() -> None:
    remember("stock", {"中" * MAX_LENGTH: 4.0}, NOON)
    assert remembered("stock", NOON) == {"中" * MAX_LENGTH: 4.0}


def test_what_is_remembered_replaces_what_was_known_of_the_source_and_of_no_other() -> None:
    remember("news", {"general": 4.0}, NOON)
    remember("stock", {"AAPL": 4.0, "MSFT": 4.0}, NOON)
    remember("stock", {"AAPL": 8.0, "TSLA": 2.0}, NOON + MINUTE)
    assert remembered("stock", NOON + MINUTE) == {"AAPL": 8.0, "TSLA": 2.0}
    assert list(remembered("news", NOON + MINUTE)) == ["general"]
    remember("stock", {}, NOON + MINUTE)
    assert remembered("stock", NOON + MINUTE) == {}


def test_nothing_is_written_while_nothing_much_changed(django_assert_num_queries: Any) -> None:
    keys = {f"K{number}": 4.0 for number in range(100)}
    remember("stock", keys, NOON)
    for later in (keys, dict.fromkeys(keys, 5.0), keys | {"new": 1.0}):
        with django_assert_num_queries(1):
            remember("stock", later, NOON + MINUTE)
    remember("stock", dict.fromkeys(keys, 8.0), NOON + MINUTE)
    assert set(HotKey.objects.values_list("reads_per_minute", "seen_at")) == {(8.0, NOON + MINUTE)}


def test_a_steady_rate_is_written_before_it_has_decayed_much() -> None:
    for minute in range(60):
        remember("stock", {"AAPL": 4.0}, NOON + minute * MINUTE)
        assert remembered("stock", NOON + minute * MINUTE)["AAPL"] > 4.0 / 1.6


def test_rows_of_sources_that_are_gone_are_deleted_after_a_day() -> None:
    remember("gone", {"AAPL": 4.0}, NOON)
    remember("stock", {"AAPL": 4.0}, NOON + 25 * HOUR)
    forget_old(NOON + 25 * HOUR)
    assert list(HotKey.objects.values_list("source", flat=True)) == ["stock"]


# Guests


def guest(until: datetime = NOON + HOUR, **placeholders: str) -> Guest:
    return Guest(placeholders=placeholders, kept_until=until)


def test_a_guest_is_remembered_with_what_it_was_asked_for_with_until_its_entry_is_gone() -> None:
    noted = {"北京:06-01": guest(latitude="39.9"), "AAPL": guest(NOON + 40 * timedelta(days=1))}
    note_guests("stock", noted, NOON)
    assert guests("stock", NOON) == noted
    assert guests("stock", NOON + HOUR).keys() == {"AAPL"}
    assert guests("news", NOON) == {}
    assert guests("stock", NOON, ["AAPL", "MSFT"]) == {"AAPL": noted["AAPL"]}
    assert guest_keys("stock", NOON) == ["AAPL", "北京:06-01"]
    assert guest_keys("stock", NOON + HOUR) == ["AAPL"]


def test_a_guest_that_is_refreshed_is_remembered_as_it_is_now() -> None:
    note_guests("stock", {"AAPL": guest(of="old"), "MSFT": guest()}, NOON)
    note_guests("stock", {"AAPL": guest(NOON + 2 * HOUR, of="new")}, NOON + MINUTE)
    assert guests("stock", NOON) == {"AAPL": guest(NOON + 2 * HOUR, of="new"), "MSFT": guest()}


def test_a_guest_is_not_hot_by_itself_and_one_that_is_read_is_both() -> None:
    note_guests("stock", {"AAPL": guest(), "MSFT": guest()}, NOON)
    assert remembered("stock", NOON) == {}
    remember("stock", {"AAPL": 4.0, "TSLA": 2.0}, NOON)
    assert remembered("stock", NOON) == {"AAPL": 4.0, "TSLA": 2.0}
    assert guests("stock", NOON) == {"AAPL": guest(), "MSFT": guest()}
    note_guests("stock", {"AAPL": guest(of="new")}, NOON)
    assert remembered("stock", NOON) == {"AAPL": 4.0, "TSLA": 2.0}


def test_no_more_guests_are_known_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hotdata.models.hotkeys.MAX_GUESTS", 2)
    note_guests("stock", {f"K{number}": guest(NOON + number * HOUR) for number in range(1, 5)}, NOON)
    assert list(guests("stock", NOON)) == ["K4", "K3"]
    remember("stock", {"AAPL": 4.0}, NOON)
    assert sorted(HotKey.objects.values_list("key", flat=True)) == ["AAPL", "K3", "K4"]


def test_guests_are_forgotten_when_their_entries_or_their_sources_are_gone() -> None:
    make_source(name="stock")
    day = timedelta(days=1)
    note_guests("stock", {"stays": guest(NOON + 3 * day), "goes": guest(NOON + day)}, NOON)
    note_guests("gone", {"goes": guest(NOON + 3 * day)}, NOON)
    forget_old(NOON + 2 * day)
    assert list(HotKey.objects.values_list("source", "key")) == [("stock", "stays")]
    forget_old(NOON + 4 * day)
    assert not HotKey.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_guests_that_are_noted_while_what_is_read_is_remembered_all_stay() -> None:
    make_source(name="stock")

    def note(writer: int) -> None:
        for turn in range(10):
            keys = [f"G{writer}-{turn}", *(f"shared-{number}" for number in range(20))]
            note_guests("stock", dict.fromkeys(keys if writer % 2 else keys[::-1], guest()), NOON)

    def read() -> None:
        for turn in range(10):
            remember("stock", {f"K{number}": float(1 + 10 * (turn % 2)) for number in range(30)}, NOON)

    for done in [in_thread(lambda writer=writer: note(writer)) for writer in range(3)] + [in_thread(read)]:
        done.result(PATIENCE)
    noted = {f"G{writer}-{turn}" for writer in range(3) for turn in range(10)}
    assert guests("stock", NOON).keys() == noted | {f"shared-{number}" for number in range(20)}
    assert len(remembered("stock", NOON)) == 30


@pytest.mark.django_db(transaction=True)
def test_processes_that_remember_at_once_leave_the_whole_set_of_one() -> None:
    make_source(name="stock")
    sets = [{f"K{number}": float(1 + writer) for number in range(writer, 60)} for writer in range(6)]

    def write(writer: int) -> None:
        for turn in range(5):
            remember("stock", sets[writer], NOON + (turn * 6 + writer) * timedelta(seconds=1))

    for done in [in_thread(lambda writer=writer: write(writer)) for writer in range(6)]:
        done.result(PATIENCE)
    found = dict(HotKey.objects.values_list("key", "reads_per_minute"))
    assert any(known.items() <= found.items() for known in sets)
    assert len(found) <= 60
