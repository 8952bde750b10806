from __future__ import annotations

from datetime import timedelta

import pytest
from redis import Redis

import hotdata
from hotdata.exceptions import CacheUnavailable, NotReady, UnknownKey
from hotdata.freshness import absences, entries
from project.demo.upstream import DemoUpstream
from tests.builders import make_source, store
from tests.freshness.conftest import OwnRedis
from tests.threads import eventually

pytestmark = pytest.mark.usefixtures("clear_cache")

LONG = "中" * 128
MINUTE = timedelta(minutes=1)

# No symbol has a digit: the demo upstream says 404.
NOWHERE = "N0WHERE"

in_threads = pytest.mark.django_db(transaction=True)


def test_what_is_absent_is_known_for_as_long_and_no_longer() -> None:
    absences.note("stock", "AAPL", timedelta(seconds=0.1))
    absences.note("stock", LONG, MINUTE)
    assert absences.known("stock", "AAPL")
    assert absences.among("stock", ["MSFT", LONG]) == {LONG}
    assert not absences.known("news", "AAPL")
    eventually(lambda: not absences.known("stock", "AAPL"))


def test_a_redis_that_was_stopped_is_told_as_such(own_redis: OwnRedis) -> None:
    own_redis.stop()
    with pytest.raises(CacheUnavailable):
        absences.note("stock", "AAPL", MINUTE)
    with pytest.raises(CacheUnavailable):
        absences.known("stock", "AAPL")


@in_threads
def test_a_key_that_the_upstream_does_not_have_is_asked_for_once(demo: DemoUpstream) -> None:
    make_source(name="stock", base_url=demo.url, key_policy="any")
    for _ in range(3):
        with pytest.raises(UnknownKey, match="has nothing for 'N0WHERE'"):
            hotdata.get("stock", NOWHERE)
    assert len(demo.requests) == 1
    assert isinstance(hotdata.get_many("stock", [NOWHERE])[NOWHERE], UnknownKey)
    assert len(demo.requests) == 1


@in_threads
def test_what_was_absent_is_asked_for_again_after_its_time(demo: DemoUpstream, redis: Redis) -> None:
    make_source(name="stock", base_url=demo.url, key_policy="any", absent_ttl=timedelta(seconds=0.1))
    demo.set_fault("/stocks", "404", count=1)
    with pytest.raises(UnknownKey):
        hotdata.get("stock", "AAPL")
    eventually(lambda: not absences.known("stock", "AAPL"))
    redis.delete("hd:1:l:stock:AAPL")  # the rest of a key that failed, which is over later than this
    assert hotdata.get("stock", "AAPL").value["symbol"] == "AAPL"
    assert len(demo.requests) == 2


@in_threads
@pytest.mark.parametrize("fault", ["429", "500", "503", "html", "empty", "half", "reset", "redirect"])
def test_an_error_that_may_pass_is_no_absence(demo: DemoUpstream, fault: str) -> None:
    make_source(name="stock", base_url=demo.url, key_policy="any")
    demo.set_fault("/stocks", fault)
    with pytest.raises(NotReady):
        hotdata.get("stock", "AAPL")
    assert not absences.known("stock", "AAPL")


@in_threads
def test_without_a_time_for_it_nothing_is_remembered_as_absent(demo: DemoUpstream) -> None:
    make_source(name="stock", base_url=demo.url, key_policy="any", absent_ttl=None)
    with pytest.raises(NotReady):
        hotdata.get("stock", NOWHERE)
    assert not absences.known("stock", NOWHERE)


@in_threads
def test_what_is_absent_does_not_stand_in_the_way_of_a_value() -> None:
    make_source(name="stock", key_policy="any")
    absences.note("stock", "AAPL", MINUTE)
    store()
    assert hotdata.get("stock", "AAPL").value == 1
    assert entries.read("stock", "AAPL") is not None
