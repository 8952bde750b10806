from __future__ import annotations

import threading
import time
from datetime import timedelta

import pytest
from redis import Redis

from hotdata import registry
from hotdata.exceptions import CacheUnavailable, UpstreamTimeout
from hotdata.freshness import absences, demands, entries, leases
from hotdata.freshness.outcomes import RefreshFailed
from hotdata.models import ApiCall, Source
from project.demo.upstream import DemoUpstream
from tests.builders import make_source, rest, store
from tests.freshness.test_refresher import NEVER, asked, serving, stocks
from tests.threads import PATIENCE, eventually, in_thread

# What is demanded is in Redis: which database there is beside it has no say.
pytestmark = [
    pytest.mark.only_on("sqlite"),
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("clear_cache"),
]


def value(key: str) -> object:
    stored = entries.read("stock", key)
    return None if stored is None else stored.value


def is_new(key: str) -> bool:
    return value(key) not in ("old", None)


# What is demanded


def test_a_demand_is_taken_once_and_oldest_first() -> None:
    demands.put("stock", ["AAPL", "北京"])
    demands.put("news", ["AAPL"])
    demands.put("stock", ["AAPL"])
    taken = demands.take(10)
    assert {source: sorted(keys) for source, keys in taken.items()} == {
        "stock": ["AAPL", "北京"],
        "news": ["AAPL"],
    }
    assert demands.take(10) == {}


def test_redis_holds_only_so_many_demands_and_not_for_long(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demands, "MOST", 10)
    demands.put("stock", [f"K{number}" for number in range(50)])
    assert redis.zcard("hd:1:demand") == 10
    assert 0 < redis.ttl("hd:1:demand") <= demands.LASTS.total_seconds()


def test_no_demand_asks_no_redis(redis_down: None) -> None:
    demands.put("stock", [])


def test_without_redis_a_demand_is_refused(redis_down: None) -> None:
    with pytest.raises(CacheUnavailable):
        demands.put("stock", ["AAPL"])


# Served by who keeps data fresh


def test_a_key_is_fetched_although_it_is_fresh_or_has_no_entry(demo: DemoUpstream) -> None:
    stocks(demo)
    store(key="AAPL", value="old")
    with serving():
        demands.put("stock", ["AAPL", "MSFT"])
        eventually(lambda: is_new("AAPL") and is_new("MSFT"))
    assert asked(demo) == ["AAPL", "MSFT"]


def test_a_key_is_fetched_although_its_source_rests(demo: DemoUpstream) -> None:
    stocks(demo, windows=NEVER)
    with serving():
        demands.put("stock", ["AAPL"])
        eventually(lambda: is_new("AAPL"))


def test_a_key_is_fetched_although_it_failed_or_was_absent_a_moment_ago(demo: DemoUpstream) -> None:
    stocks(demo)
    rest("stock", "AAPL")
    absences.note("stock", "MSFT", timedelta(minutes=1))
    with serving():
        demands.put("stock", ["AAPL", "MSFT"])
        eventually(lambda: is_new("AAPL") and is_new("MSFT"))


def test_a_key_that_is_being_fetched_is_not_fetched_twice(demo: DemoUpstream) -> None:
    leases.acquire_each("stock", ["AAPL"], lasts=timedelta(minutes=1))
    demands.put("stock", ["AAPL"])
    assert leases.look("stock", "AAPL")[0] == "held"


def test_more_than_the_gate_lets_through_at_once_comes_one_turn_after_the_other(demo: DemoUpstream) -> None:
    stocks(demo, burst=2)
    keys = [f"K{letter}" for letter in "ABCDEFG"]
    with serving():
        demands.put("stock", keys)
        eventually(lambda: all(is_new(key) for key in keys))
    assert asked(demo) == keys


def test_a_source_that_is_switched_off_is_left_alone(demo: DemoUpstream) -> None:
    stocks(demo, enabled=False)
    stocks(demo, name="news")
    with serving():
        demands.put("stock", ["AAPL"])
        demands.put("news", ["MSFT"])
        eventually(lambda: asked(demo))
    assert asked(demo) == ["MSFT"]


def test_a_key_that_fails_is_tried_once_by_a_demand(demo: DemoUpstream) -> None:
    stocks(demo)
    demo.set_fault("/stocks/AAPL", "500")
    with serving():
        demands.put("stock", ["AAPL"])
        eventually(lambda: leases.look("stock", "AAPL")[0] == "resting")
        leases.end_rests("stock", ["AAPL"])
        demands.put("stock", ["MSFT"])
        eventually(lambda: is_new("MSFT"))
    assert asked(demo) == ["AAPL", "MSFT"]


# Waiting for it


def test_who_waits_is_told_when_the_new_value_is_there() -> None:
    old = store(value="old", age=5)
    waiting = in_thread(
        lambda: demands.await_newer("stock", "AAPL", old.fetched_at, patience=timedelta(seconds=PATIENCE))
    )
    store(value="new")
    assert waiting.result(PATIENCE)


def test_who_waits_is_told_as_soon_as_it_failed() -> None:
    rest("stock", "AAPL")
    begun = time.monotonic()
    assert not demands.await_newer("stock", "AAPL", 0.0, patience=timedelta(seconds=PATIENCE))
    assert time.monotonic() - begun < PATIENCE / 2


def test_nobody_waits_for_longer_than_their_patience() -> None:
    assert not demands.await_newer("stock", "AAPL", 0.0, patience=timedelta(seconds=0.1))


# Fetched here


def test_a_fresh_key_is_fetched_here_and_the_call_is_on_record(demo: DemoUpstream) -> None:
    source = stocks(demo)
    store(key="AAPL", value="old")
    refreshed = demands.fetch_here(source, "AAPL")
    assert refreshed is not None
    assert refreshed.refreshed == 1
    assert is_new("AAPL")
    assert ApiCall.objects.get().keys == "AAPL"
    assert leases.look("stock", "AAPL")[0] == "free"


def test_a_key_that_rests_or_was_absent_is_fetched_here(demo: DemoUpstream) -> None:
    source = stocks(demo)
    rest("stock", "AAPL")
    absences.note("stock", "AAPL", timedelta(minutes=1))
    demands.fetch_here(source, "AAPL")
    assert is_new("AAPL")


def test_what_somebody_else_fetches_is_not_fetched_here(demo: DemoUpstream) -> None:
    source = stocks(demo)
    leases.acquire_each("stock", ["AAPL"], lasts=timedelta(minutes=1))
    assert demands.fetch_here(source, "AAPL") is None
    assert asked(demo) == []


def test_a_failure_here_is_told_and_the_value_stays(demo: DemoUpstream) -> None:
    source = stocks(demo)
    store(key="AAPL", value="old")
    demo.set_fault("/stocks", "500")
    with pytest.raises(RefreshFailed, match="500"):
        demands.fetch_here(source, "AAPL")
    assert value("AAPL") == "old"


def test_an_upstream_that_hangs_holds_nobody_up_for_long(
    demo: DemoUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demands, "LONGEST_HERE", timedelta(seconds=0.2))
    source = stocks(demo, timeout=timedelta(minutes=5))
    demo.set_fault("/stocks", "hang")
    begun = time.monotonic()
    with pytest.raises(RefreshFailed):
        demands.fetch_here(source, "AAPL")
    assert time.monotonic() - begun < PATIENCE / 2
    assert Source.objects.get().timeout == timedelta(minutes=5)


def test_a_fetcher_that_hangs_holds_nobody_up_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demands, "LONGEST_HERE", timedelta(seconds=0.1))
    monkeypatch.setattr(demands, "PATIENCE", timedelta(seconds=0.1))
    over = threading.Event()
    registry.fetcher(name="hangs")(lambda keys: over.wait(PATIENCE) and {})
    try:
        with pytest.raises(UpstreamTimeout):
            demands.fetch_here(make_source(name="stock", fetcher="hangs"), "AAPL")
    finally:
        over.set()
        registry.fetchers.remove("hangs")
