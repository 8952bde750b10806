from __future__ import annotations

import time
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.conf import settings

import hotdata
from hotdata.exceptions import CacheUnavailable, NotReady, UnknownKey, UnknownSource
from hotdata.freshness import reads, redis
from hotdata.freshness.entries import Entry
from hotdata.keys import MAX_LENGTH
from tests.builders import make_source, rest, store
from tests.threads import PATIENCE, eventually, in_thread
from tools.redis_server import RedisServer

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clear_cache")]

BAD_KEYS = [
    "",
    ".",
    "..",
    "a/b",
    "a\\b",
    "a\nb",
    "\x00",
    "\u200b",
    "\u2028",
    "\ud800",
    "x" * (MAX_LENGTH + 1),
]


@pytest.fixture(autouse=True)
def _source() -> None:
    make_source(name="stock", pinned=("AAPL", "MSFT", "北京"))


# One key


def test_a_fresh_entry_is_returned_with_its_age() -> None:
    stored = store(value={"price": 1.5}, age=30, hash="d1ge57")
    entry = reads.get("stock", "AAPL")
    assert (entry.source, entry.key, entry.value, entry.state) == ("stock", "AAPL", {"price": 1.5}, "fresh")
    assert entry.fetched_at == datetime.fromtimestamp(stored.fetched_at, UTC)
    assert 30 <= entry.age < 40
    assert entry.etag == "d1ge57"
    assert 29 < entry.fresh_for <= 30
    assert 3500 < entry.kept_for <= 3570
    assert not entry.last_known
    assert not entry.fetched_now


def test_a_stale_entry_is_returned_and_says_so() -> None:
    store(value="old", age=600, soft_ttl=300)
    entry = reads.get("stock", "AAPL")
    assert (entry.value, entry.state) == ("old", "stale")
    assert entry.age >= 600


def test_a_value_that_is_false_is_a_value() -> None:
    store(value=0)
    assert reads.get("stock", "AAPL").value == 0


def test_a_key_that_was_fetched_by_name_is_served_although_it_is_not_pinned() -> None:
    store(key="TSLA")
    assert reads.get("stock", "TSLA").key == "TSLA"


def test_a_read_asks_no_database(django_assert_num_queries) -> None:
    store()
    with django_assert_num_queries(0):
        reads.get("stock", "AAPL")
        reads.get_many("stock", ["AAPL"])


def test_both_spellings_of_a_character_are_one_key() -> None:
    store(key="caf\u00e9")
    assert reads.get("stock", unicodedata.normalize("NFD", "café")).key == "caf\u00e9"


def test_a_pinned_key_without_an_entry_is_not_ready_and_says_when_to_ask_again() -> None:
    rest("stock", "北京")
    with pytest.raises(NotReady, match="'北京'") as caught:
        reads.get("stock", "北京")
    assert (caught.value.source, caught.value.key) == ("stock", "北京")
    assert caught.value.retry_after > timedelta(0)


def test_a_source_that_does_not_exist_is_unknown() -> None:
    with pytest.raises(UnknownSource, match="'nothing'"):
        reads.get("nothing", "AAPL")


def test_a_key_that_a_source_does_not_serve_is_unknown() -> None:
    make_source(name="news", pinned=("TSLA",))
    with pytest.raises(UnknownKey, match="doesn't serve 'TSLA'"):
        reads.get("stock", "TSLA")


@pytest.mark.parametrize("key", BAD_KEYS, ids=ascii)
def test_a_malformed_key_is_unknown(key: str) -> None:
    with pytest.raises(UnknownKey):
        reads.get("stock", key)


def test_an_unreachable_redis_is_told_as_such(redis_down: None) -> None:
    with pytest.raises(CacheUnavailable):
        reads.get("stock", "AAPL")


# Several keys


def test_several_keys_are_answered_each_for_itself() -> None:
    store(key="AAPL", value=1)
    store(key="北京", value=2, age=600, soft_ttl=300)
    rest("stock", "MSFT")
    answers = reads.get_many("stock", ["AAPL", "北京", "MSFT", "TSLA", "a/b", ""])
    assert set(answers) == {"AAPL", "北京", "MSFT", "TSLA", "a/b", ""}
    assert (answers["AAPL"].value, answers["AAPL"].state) == (1, "fresh")
    assert (answers["北京"].value, answers["北京"].state) == (2, "stale")
    assert isinstance(answers["MSFT"], NotReady)
    assert all(isinstance(answers[key], UnknownKey) for key in ("TSLA", "a/b", ""))


def test_several_spellings_of_a_key_are_each_answered() -> None:
    store(key="caf\u00e9")
    answers = reads.get_many("stock", ["caf\u00e9", "cafe\u0301"])
    assert [type(answer) for answer in answers.values()] == [Entry, Entry]


def test_many_missing_keys_cost_as_many_queries_as_one(django_assert_num_queries) -> None:
    rest("stock", "AAPL")
    with django_assert_num_queries(4):
        reads.get_many("stock", ["AAPL", *(str(number) for number in range(99))])


@pytest.mark.parametrize("keys", [["AAPL"], ["AAPL", "a/b"], ["a/b"]])
def test_several_keys_of_a_source_that_does_not_exist_are_one_error(keys: list[str]) -> None:
    with pytest.raises(UnknownSource):
        reads.get_many("nothing", keys)


def test_no_keys_get_no_answers() -> None:
    assert reads.get_many("stock", []) == {}


def test_several_keys_from_an_unreachable_redis_are_one_error(redis_down: None) -> None:
    with pytest.raises(CacheUnavailable):
        reads.get_many("stock", ["AAPL", "a/b"])


# Redis is away


@pytest.mark.parametrize("take_away", [RedisServer.stop, RedisServer.freeze])
def test_while_redis_is_away_what_was_read_last_is_served_and_says_so(
    moody_redis: RedisServer, take_away: Callable[[RedisServer], None]
) -> None:
    store(value="fresh")
    store(key="MSFT", value="old", age=600, soft_ttl=300)
    before = reads.get_many("stock", ["AAPL", "MSFT"])
    take_away(moody_redis)
    entry = reads.get("stock", "AAPL")
    assert (entry.value, entry.state, entry.last_known) == ("fresh", "fresh", True)
    after = reads.get_many("stock", ["AAPL", "MSFT", "北京", "stranger"])
    assert [after[key].last_known for key in ("AAPL", "MSFT")] == [True, True]
    assert (after["MSFT"].value, after["MSFT"].state) == ("old", "stale")
    assert [(entry.etag, entry.fetched_at) for entry in before.values()] == [
        (after[key].etag, after[key].fetched_at) for key in before
    ]
    assert isinstance(after["北京"], NotReady)
    assert isinstance(after["stranger"], UnknownKey)
    with pytest.raises(CacheUnavailable):
        reads.get("stock", "北京")


def test_what_was_read_last_is_served_until_its_hard_expiry(moody_redis: RedisServer) -> None:
    stored = store(soft_ttl=1, hard_ttl=60)
    reads.get("stock", "AAPL")
    moody_redis.stop()
    with time_machine.travel(stored.hard_expiry - 1, tick=False):
        assert reads.get("stock", "AAPL").state == "stale"
    with time_machine.travel(stored.hard_expiry, tick=False), pytest.raises(CacheUnavailable):
        reads.get("stock", "AAPL")


def test_what_redis_has_counts_again_as_soon_as_it_is_back(moody_redis: RedisServer) -> None:
    store(value="old")
    reads.get("stock", "AAPL")
    moody_redis.freeze()
    assert reads.get("stock", "AAPL").last_known
    moody_redis.thaw()
    eventually(lambda: not reads.get("stock", "AAPL").last_known)


@pytest.mark.django_db(transaction=True)
def test_a_redis_that_hangs_costs_a_process_one_timeout_a_second_at_most(moody_redis: RedisServer) -> None:
    timeout = settings.CACHES["hotdata"]["OPTIONS"]["SOCKET_TIMEOUT"]
    store()
    reads.get("stock", "AAPL")
    moody_redis.freeze()
    assert reads.get("stock", "AAPL").last_known
    begun = time.monotonic()

    def read_for_two_seconds() -> list[float]:
        took = []
        while (at := time.monotonic()) < begun + 2:
            assert reads.get("stock", "AAPL").last_known
            took.append(time.monotonic() - at)
        return took

    reading = [in_thread(read_for_two_seconds) for _ in range(4)]
    took = [each for future in reading for each in future.result(PATIENCE)]
    waited = sum(each >= timeout for each in took)
    assert 1 <= waited <= (time.monotonic() - begun) / redis.REST
    assert len(took) > 100 * waited


# The package's own face


def test_the_package_offers_both_reads() -> None:
    store(value=7)
    assert hotdata.get("stock", "AAPL").value == 7
    assert hotdata.get_many("stock", ["AAPL"])["AAPL"].value == 7
