from __future__ import annotations

import os
import pickle
import random
import re
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from hotdata.exceptions import CacheUnavailable
from hotdata.freshness import entries
from hotdata.freshness.entries import FENCE_DIGITS, Stored
from tests.builders import make_stored, store
from tests.freshness.conftest import OwnRedis
from tests.threads import PATIENCE, eventually, in_thread
from tools.sockets import wait_until

pytestmark = pytest.mark.usefixtures("clear_cache")

ABOUT_A_SECOND = (
    4.5  # seconds: half a second, and what a busy machine adds; the client would by itself take 5
)
LONG = "a" * 128
RAW = "hd:1:e:stock:AAPL"
FENCE = b"0" * FENCE_DIGITS

OPERATIONS: dict[str, Callable[[], object]] = {
    "read": lambda: entries.read("stock", "AAPL"),
    "read_many": lambda: entries.read_many("stock", ["AAPL", "MSFT"]),
    "missing": lambda: entries.missing("stock", ["AAPL", "MSFT"]),
    "write": lambda: entries.write([make_stored()]),
    "ping": entries.ping,
}


def read() -> Stored | None:
    return entries.read("stock", "AAPL")


@contextmanager
def fails_within_about_a_second() -> Iterator[None]:
    begun = time.monotonic()
    with pytest.raises(CacheUnavailable):
        yield
    assert time.monotonic() - begun < ABOUT_A_SECOND


# Round trips


@pytest.mark.parametrize("asked_at_once", [1, 2, 1000])
def test_what_is_missing_is_told_in_the_order_of_the_question(
    monkeypatch: pytest.MonkeyPatch, asked_at_once: int
) -> None:
    monkeypatch.setattr(entries, "ASKED_AT_ONCE", asked_at_once)
    for key in ("B", "北京"):
        store(key=key)
    store("news", key="C")
    assert entries.missing("stock", ["C", "B", LONG, "北京", "A"]) == ["C", LONG, "A"]
    assert entries.missing("stock", []) == []


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        0,
        -1,
        2**63,
        2**70,
        1.5,
        1e300,
        "",
        "text",
        "中文 \U0001f600",
        'with "quotes" and \\',
        "control \x00 \n \x7f",
        [],
        {},
        [1, [2, {"a": None, "北京": [True]}]],
    ],
)
def test_a_json_value_is_read_as_it_was_written(value: Any) -> None:
    stored = store(value=value, etag='"é"', last_modified="Sat, 01 Jan 2000 00:00:00 GMT")
    found = read()
    assert found == stored
    assert type(found.value) is type(value)


@pytest.mark.parametrize(
    "key", ["AAPL", "北京", LONG, "中" * 128, "a b", "a:b", "%2e%2e", "*", "e:stock:AAPL"]
)
def test_any_key_has_an_entry_of_its_own(key: str) -> None:
    stored = store(key=key, value="mine")
    assert entries.read("stock", key) == stored
    assert entries.read_many("stock", [key, "other"]) == {key: stored}
    assert entries.read("stock", "other") is None
    assert entries.read("news", key) is None


def test_long_keys_that_begin_alike_are_two() -> None:
    store(key=LONG, value=1)
    store(key=LONG[:-1] + "b", value=2)
    assert {
        key: found.value for key, found in entries.read_many("stock", [LONG, LONG[:-1] + "b"]).items()
    } == {
        LONG: 1,
        LONG[:-1] + "b": 2,
    }


def test_a_redis_key_is_never_longer_than_a_short_text(redis: Redis) -> None:
    store(key="中" * 128)
    store(key=LONG)
    assert max(len(name) for name in redis.scan_iter()) < 120


def test_no_keys_are_read_and_written_without_redis(redis_down: None) -> None:
    assert entries.read_many("stock", []) == {}
    assert entries.write([]) == []


# Fresh and stale


def test_an_entry_is_stale_from_its_soft_expiry_on() -> None:
    stored = make_stored(age=30, soft_ttl=60)
    assert stored.entry(stored.soft_expiry - 0.001).state == "fresh"
    assert stored.entry(stored.soft_expiry).state == "stale"
    assert stored.entry(stored.fetched_at + 42).age == pytest.approx(42)


def test_an_entry_from_a_node_whose_clock_is_ahead_has_no_negative_age() -> None:
    assert make_stored(age=-60).entry(time.time()).age == 0


# The fence


def test_an_older_answer_never_overwrites_a_newer_one() -> None:
    newer = store(value="newer", age=1)
    assert entries.write([make_stored(value="older", age=2)]) == [False]
    assert read() == newer


def test_a_newer_answer_overwrites_an_older_one() -> None:
    store(value="older", age=2)
    assert store(value="newer", age=1) == read()


def test_a_write_tells_for_each_entry_whether_it_went_through() -> None:
    store(key="outrun", value="newer")
    written = entries.write(
        [make_stored(key="first"), make_stored(key="outrun", value="older", age=5), make_stored(key="last")]
    )
    assert written == [True, False, True]
    assert set(entries.read_many("stock", ["first", "outrun", "last"])) == {"first", "outrun", "last"}
    assert entries.read("stock", "outrun").value == "newer"


def test_a_thousand_racing_writers_never_put_older_over_newer() -> None:
    rivals = [make_stored(value=number, age=1000 - number) for number in range(1000)]
    chance = random.Random(7)
    rivals.sort(key=lambda rival: rival.value + chance.uniform(0, 100))  # so that most overtake some others
    writing = True

    def watch() -> list[int]:
        seen = []
        while writing:
            stored = read()
            if stored is not None:
                seen.append(stored.value)
        return seen

    watching = in_thread(watch)
    with ThreadPoolExecutor(32) as pool:
        written = list(pool.map(lambda rival: entries.write([rival])[0], rivals))
    writing = False
    seen = watching.result(PATIENCE)
    assert read().value == 999
    assert written[[rival.value for rival in rivals].index(999)]
    assert seen == sorted(seen)
    assert len(set(seen)) > 1
    assert not all(written)


# Expiry


def test_an_entry_is_kept_until_its_hard_expiry(redis: Redis) -> None:
    store(age=10, soft_ttl=5, hard_ttl=100)
    assert 89_000 < redis.pttl(RAW) <= 90_000
    assert read().entry(time.time()).state == "stale"


def test_an_entry_is_gone_after_its_hard_expiry() -> None:
    store(hard_ttl=0.1, soft_ttl=0.05)
    assert read() is not None
    assert wait_until(lambda: read() is None, timeout=5)


def test_an_entry_that_is_past_its_hard_expiry_when_it_is_written_does_not_stay() -> None:
    entries.write([make_stored(age=60, hard_ttl=30)])
    assert wait_until(lambda: read() is None, timeout=5)


# What is in Redis and is no entry


GARBAGE = [
    b"",
    b"7",
    b"0" * 20,
    b"9" * 30,
    b"\x00",
    b"x" * 19,
    b"zzzz" * 10,
    FENCE + b"{",
    FENCE + b"[]",
    FENCE + b"null",
    FENCE + b'{"source": "stock"}',
    FENCE + b'{"source": "\xff"}',
    FENCE + b"[" * 100_000,
    FENCE + b'{"value": ' + b"[" * 100_000,
    FENCE + b"\xff\xfe",
    pickle.dumps({"value": 1}),
    FENCE + pickle.dumps({"value": 1}),
]


@pytest.mark.parametrize("garbage", GARBAGE, ids=lambda garbage: repr(garbage[:24]))
def test_garbage_reads_as_missing(redis: Redis, garbage: bytes) -> None:
    redis.set(RAW, garbage)
    other = store(key="MSFT")
    assert read() is None
    assert entries.read_many("stock", ["AAPL", "MSFT"]) == {"MSFT": other}


@pytest.mark.parametrize("garbage", GARBAGE, ids=lambda garbage: repr(garbage[:24]))
def test_garbage_is_overwritten_by_the_next_answer(redis: Redis, garbage: bytes) -> None:
    redis.set(RAW, garbage)
    assert store(value="good") == read()


class Exploit:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("before", [b"", FENCE])
def test_a_pickle_in_redis_is_never_unpickled(redis: Redis, tmp_path: Path, before: bytes) -> None:
    trace = tmp_path / "unpickled"
    redis.set(RAW, before + pickle.dumps(Exploit(trace)))
    assert read() is None
    assert entries.read_many("stock", ["AAPL"]) == {}
    assert not trace.exists()
    pickle.loads(redis.get(RAW)[len(before) :])
    assert trace.exists(), "the pickle would not have shown itself"


def test_a_redis_key_of_another_type_is_no_crash(redis: Redis) -> None:
    redis.lpush(RAW, "a list")
    with pytest.raises(CacheUnavailable):
        read()


# Redis itself


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_closed_port_is_an_error_within_about_a_second(redis_down: None, operation: str) -> None:
    with fails_within_about_a_second():
        OPERATIONS[operation]()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_redis_that_hangs_is_an_error_within_about_a_second(own_redis: OwnRedis, operation: str) -> None:
    entries.ping()
    os.kill(own_redis.pid, signal.SIGSTOP)
    try:
        with fails_within_about_a_second():
            OPERATIONS[operation]()
    finally:
        os.kill(own_redis.pid, signal.SIGCONT)
    eventually(answers)


def answers() -> bool:
    try:
        entries.ping()
    except CacheUnavailable:
        return False
    return True


def refusal() -> str:
    with pytest.raises(CacheUnavailable) as caught:
        read()
    return str(caught.value)


def test_a_redis_that_hangs_costs_a_process_one_timeout_and_not_one_for_each_thread(
    own_redis: OwnRedis,
) -> None:
    entries.ping()
    os.kill(own_redis.pid, signal.SIGSTOP)
    try:
        with pytest.raises(CacheUnavailable):
            read()
        reads = [in_thread(refusal) for _ in range(50)]
        said = [finished.result(PATIENCE) for finished in reads]
        assert sum("a moment ago" in words for words in said) >= len(said) - 1, "one may try, the others not"
    finally:
        os.kill(own_redis.pid, signal.SIGCONT)
    eventually(answers)
    assert read() is None


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_redis_that_was_stopped_is_an_error_within_about_a_second(
    own_redis: OwnRedis, operation: str
) -> None:
    entries.ping()
    own_redis.stop()
    with fails_within_about_a_second():
        OPERATIONS[operation]()


def test_an_error_does_not_tell_where_redis_is(redis_down: None, settings: Any) -> None:
    with pytest.raises(CacheUnavailable) as caught:
        read()
    assert "127.0.0.1" not in str(caught.value)


def test_a_read_is_exactly_one_redis_command(own_redis: OwnRedis) -> None:
    store()
    own_redis.client.config_resetstat()
    assert read() is not None
    assert calls(own_redis) == {"cmdstat_get": 1}


def test_a_read_of_many_is_exactly_one_redis_command(own_redis: OwnRedis) -> None:
    store()
    own_redis.client.config_resetstat()
    assert len(entries.read_many("stock", ["AAPL", *map(str, range(99))])) == 1
    assert calls(own_redis) == {"cmdstat_mget": 1}


def calls(server: OwnRedis) -> dict[str, int]:
    """How often each command was called since the last reset, without those that ask for this."""
    stats = server.client.info("commandstats")
    return {
        name: found["calls"] for name, found in stats.items() if "config" not in name and "info" not in name
    }


def test_a_fence_from_the_future_keeps_nobody_out(redis: Redis) -> None:
    store("stock", "AAPL", "poison")
    (name,) = redis.keys("*")
    redis.set(name, b"9" * 20 + redis.get(name)[20:])
    store("stock", "AAPL", "good")
    assert entries.read("stock", "AAPL").value == "good"


@pytest.mark.parametrize("fetched_at", [b"1e300", b"-1e12"])
def test_an_entry_of_an_impossible_time_reads_as_missing(redis: Redis, fetched_at: bytes) -> None:
    store("stock", "AAPL", "good")
    (name,) = redis.keys("*")
    redis.set(name, re.sub(rb'"fetched_at":[0-9.]+', b'"fetched_at":' + fetched_at, redis.get(name)))
    assert entries.read("stock", "AAPL") is None
