from __future__ import annotations

import time
from datetime import timedelta

import pytest
from redis import Redis

from hotdata.exceptions import CacheUnavailable
from hotdata.freshness import leases
from hotdata.freshness.leases import Lease
from tests.builders import rest
from tests.freshness.conftest import OwnRedis
from tests.threads import PATIENCE, eventually, in_thread

pytestmark = pytest.mark.usefixtures("clear_cache")

MINUTE = timedelta(minutes=1)
LONG = "中" * 128


def acquire(*keys: str, lasts: timedelta = MINUTE) -> dict[str, Lease]:
    return leases.acquire_each("stock", keys, lasts=lasts)


def state(key: str = "AAPL") -> str:
    return leases.look("stock", key)[0]


def test_of_many_who_want_a_lease_one_gets_it() -> None:
    tried = [in_thread(lambda: acquire("AAPL", LONG)) for _ in range(50)]
    taken = [future.result(PATIENCE) for future in tried]
    assert sum("AAPL" in got for got in taken) == 1
    assert sum(LONG in got for got in taken) == 1


def test_only_what_nobody_has_is_got() -> None:
    acquire("AAPL")
    assert list(acquire("AAPL", "MSFT")) == ["MSFT"]
    assert leases.acquire_each("news", ["AAPL"], lasts=MINUTE)


def test_no_keys_ask_no_redis(redis_down: None) -> None:
    assert acquire() == {}
    assert leases.free("stock", []) == []


def test_a_lease_that_was_ended_is_free_for_others() -> None:
    assert acquire("AAPL")["AAPL"].end()
    assert state() == "free"
    assert acquire("AAPL")


def test_a_lease_expires_by_itself_and_not_before_its_holder_thinks_so() -> None:
    lease = acquire("AAPL", lasts=timedelta(seconds=0.1))["AAPL"]
    assert lease.until > time.monotonic()
    eventually(lambda: state() == "free")
    assert time.monotonic() > lease.until


def test_who_has_lost_a_lease_does_not_end_that_of_the_next() -> None:
    lost = acquire("AAPL", lasts=timedelta(milliseconds=1))["AAPL"]
    eventually(lambda: state() == "free")
    acquire("AAPL")
    assert not lost.end()
    assert not lost.end(rest=MINUTE)
    assert state() == "held"


def test_a_lease_is_ended_once() -> None:
    lease = acquire("AAPL")["AAPL"]
    assert lease.end(rest=timedelta(seconds=20))
    assert not lease.end()
    assert state() == "resting"


def test_a_key_that_rests_is_nobodys_for_as_long_and_no_longer() -> None:
    lease = acquire("AAPL")["AAPL"]
    lease.end(rest=timedelta(seconds=0.2))
    assert state() == "resting"
    assert acquire("AAPL") == {}
    eventually(lambda: acquire("AAPL"))


def test_a_key_rests_for_as_long_as_it_is_told_to() -> None:
    acquire("AAPL")["AAPL"].end(rest=timedelta(days=1))
    assert timedelta(hours=23) < leases.look("stock", "AAPL")[1] <= timedelta(days=1)


def test_what_is_free_is_told_for_many_keys_in_their_order() -> None:
    acquire("held")
    rest("stock", "resting")
    assert leases.free("stock", ["B", "held", LONG, "resting", "A"]) == ["B", LONG, "A"]


def test_nothing_is_left_of_leases_that_ended(redis: Redis) -> None:
    for lease in acquire("AAPL", LONG, "北京").values():
        lease.end()
    assert redis.dbsize() == 0


def test_a_redis_that_was_stopped_is_told_as_such(own_redis: OwnRedis) -> None:
    lease = acquire("AAPL")["AAPL"]
    own_redis.stop()
    for operation in (lambda: acquire("MSFT"), lease.end, state, lambda: leases.free("stock", ["AAPL"])):
        with pytest.raises(CacheUnavailable):
            operation()
