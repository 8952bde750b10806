from __future__ import annotations

import time
from datetime import timedelta
from types import SimpleNamespace

import pytest
from redis import Redis

from hotdata.exceptions import CacheUnavailable
from hotdata.freshness import wants
from tests.freshness.conftest import OwnRedis
from tests.threads import PATIENCE, eventually, in_thread

pytestmark = pytest.mark.usefixtures("clear_cache")


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic time, as the only item, for a test to move."""
    clock = [1000.0]
    monkeypatch.setattr(wants, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    return clock


# In a process


def test_a_key_is_asked_for_once_a_second_however_many_ask(now: list[float]) -> None:
    assert [wants.ask("stock", "AAPL") for _ in range(100)].count(True) == 1
    assert wants.ask("stock", "MSFT")
    assert wants.ask("news", "AAPL")
    now[0] += wants.ASK_AGAIN
    assert [wants.ask("stock", "AAPL") for _ in range(100)].count(True) == 1


def test_threads_that_ask_at_the_same_time_ask_once() -> None:
    asked = [in_thread(lambda: wants.ask("stock", "AAPL")) for _ in range(50)]
    assert [future.result(PATIENCE) for future in asked].count(True) == 1
    assert wants.pending() == [("stock", "AAPL")]


def test_a_process_that_has_just_booted_asks(now: list[float]) -> None:
    now[0] = 0.1
    assert wants.ask("stock", "AAPL")


def test_what_is_pending_is_handed_over_once() -> None:
    wants.ask("stock", "AAPL")
    wants.ask("stock", "北京")
    assert wants.pending() == [("stock", "AAPL"), ("stock", "北京")]
    assert wants.pending() == []


def test_a_process_remembers_only_so_many_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wants, "MAX_ASKED", 10)
    for number in range(25):
        wants.ask("stock", f"K{number}")
    assert len(wants._asked.at) <= 10


# In Redis


def test_a_wish_is_there_once_however_many_processes_have_it() -> None:
    for _ in range(3):
        wants.hand_on([("stock", "AAPL"), ("news", "AAPL"), ("stock", "北京")])
    taken = wants.take(10)
    assert {source: sorted(keys) for source, keys in taken.items()} == {
        "stock": ["AAPL", "北京"],
        "news": ["AAPL"],
    }
    assert wants.take(10) == {}


def test_the_oldest_wishes_are_taken_first_and_the_others_later() -> None:
    for key in ("B", "A", "C"):
        wants.hand_on([("stock", key)])
    wants.hand_on([("stock", "B")])
    assert wants.take(2) == {"stock": ["B", "A"]}
    assert wants.take(2) == {"stock": ["C"]}


def test_of_many_who_serve_each_wish_goes_to_one() -> None:
    wants.hand_on([("stock", f"K{number}") for number in range(200)])
    takers = [in_thread(lambda: wants.take(7).get("stock", [])) for _ in range(40)]
    taken = [key for future in takers for key in future.result(PATIENCE)]
    assert len(taken) == len(set(taken)) == 200


def test_redis_holds_only_so_many_wishes(monkeypatch: pytest.MonkeyPatch, redis: Redis) -> None:
    monkeypatch.setattr(wants, "MAX_ASKED", 10)
    wants.hand_on([("stock", "first")])
    wants.hand_on([("stock", f"K{number}") for number in range(50)])
    assert redis.zcard("hd:1:want") == 10
    assert "first" in wants.take(50)["stock"]


def test_who_waits_for_wishes_is_woken_by_one() -> None:
    waiting = in_thread(lambda: wants.wait(0.4) or wants.wait(0.4) or wants.wait(0.4))
    wants.hand_on([("stock", "AAPL")])
    assert waiting.result(PATIENCE) == {"stock": ["AAPL"]}
    assert wants.wait(0.01) == {}


def test_no_wishes_ask_no_redis(redis_down: None) -> None:
    wants.hand_on([])


# Who serves them


def test_wishes_are_served_until_that_is_withdrawn() -> None:
    assert not wants.are_served()
    wants.announce()
    assert wants.are_served()
    wants.withdraw()
    assert not wants.are_served()


def test_who_serves_no_more_without_a_word_is_known_by_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wants, "SIGN_LASTS", timedelta(seconds=0.2))
    begun = time.monotonic()
    wants.announce()
    eventually(lambda: not wants.are_served())
    assert time.monotonic() - begun >= 0.2


def test_a_redis_that_was_stopped_is_told_as_such_but_to_who_leaves(own_redis: OwnRedis) -> None:
    wants.announce()
    own_redis.stop()
    for operation in (
        wants.announce,
        wants.are_served,
        lambda: wants.take(1),
        lambda: wants.wait(0.1),
        lambda: wants.hand_on([("stock", "AAPL")]),
    ):
        with pytest.raises(CacheUnavailable):
            operation()
    wants.withdraw()
