from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError
from django.utils import timezone
from pytest_django import Settings

import hotdata
from hotdata.exceptions import CacheUnavailable, RunCancelled
from hotdata.freshness import absences, entries, leases, planner, redis, refresher, wants
from hotdata.freshness.fetching import Fetch
from hotdata.freshness.lastknown import last_known
from hotdata.freshness.leases import Lease
from hotdata.freshness.planner import Plan
from hotdata.freshness.refresh import refresh
from hotdata.freshness.refresher import Kept, Refresher
from hotdata.freshness.upstream import gate_of
from hotdata.models import ApiCall, Source
from hotdata.models.hotkeys import Guest, note_guests
from hotdata.models.sources import SourceQuerySet
from project.demo.upstream import DemoUpstream
from tests.builders import caches_at, make_source, rest, store
from tests.freshness.conftest import OwnRedis
from tests.freshness.hostile import closed_port
from tests.threads import PATIENCE, eventually, in_thread
from tools.redis_server import RedisServer

# What is kept fresh is in Redis: which database there is beside it has no say.
pytestmark = [
    pytest.mark.only_on("sqlite"),
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("clear_cache"),
]

HANGS = timedelta(seconds=20)
SOON = HANGS.total_seconds() / 2  # sooner than by waiting for what hangs, however busy the machine is
NEVER = "00:00-00:01 UTC sun"


class Serving:
    """A refresher at work in a thread, until it is told to end."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self.cancelled = False
        self.refresher = Refresher(check=self._check)
        self._thread = in_thread(lambda: self.refresher.keep_fresh(lambda: not self._over.is_set()))

    def _check(self) -> None:
        if self.cancelled:
            raise RunCancelled

    @property
    def kept(self) -> dict[str, Kept]:
        return self.refresher.kept

    def end(self) -> None:
        """Wind it down; raises what it ended with."""
        self._over.set()
        self._thread.result(PATIENCE)


@contextmanager
def serving() -> Iterator[Serving]:
    working = Serving()
    try:
        eventually(wants.are_served)
        yield working
    finally:
        working.end()


def one_turn() -> Refresher:
    """A refresher that has seen to all sources once."""
    done = Refresher(check=lambda: None)
    done.keep_fresh(lambda: False)
    return done


def stocks(demo: DemoUpstream, *pinned: str, **fields: Any) -> Source:
    return make_source(**({"name": "stock", "base_url": demo.url, "pinned": pinned} | fields))


def news(demo: DemoUpstream, *pinned: str, **fields: Any) -> Source:
    return make_source(name="news", base_url=demo.url, path="/news/{key}", pinned=pinned, **fields)


def asked(demo: DemoUpstream) -> list[str]:
    return sorted(served.key for served in demo.requests)


def is_fresh(key: str, source: str = "stock") -> bool:
    stored = entries.read(source, key)
    return stored is not None and stored.soft_expiry > time.time()


def store_stale(key: str, source: str = "stock") -> None:
    store(source, key, "old", age=600, soft_ttl=300)


def wish(*keys: str, source: str = "stock") -> None:
    wants.hand_on([(source, key) for key in keys])


# What is due, and what is wished for


def test_what_is_pinned_is_kept_fresh(demo: DemoUpstream) -> None:
    stocks(demo, "AAPL", soft_ttl=timedelta(seconds=0.5))
    with serving() as working:
        eventually(lambda: len(demo.requests) >= 3)
    assert working.kept["stock"].refreshed == working.kept["stock"].calls == len(demo.requests)
    assert ApiCall.objects.count() == len(demo.requests)


def test_a_wish_is_served_although_nothing_is_planned(demo: DemoUpstream) -> None:
    stocks(demo)
    with serving():
        for key in ("AAPL", "MSFT", "TSLA"):
            store_stale(key)
            wish(key)
            eventually(lambda key=key: is_fresh(key))
    assert asked(demo) == ["AAPL", "MSFT", "TSLA"]


def test_a_wish_for_what_was_refreshed_meanwhile_makes_no_call(demo: DemoUpstream) -> None:
    stocks(demo)
    store()
    wish("AAPL")
    one_turn()
    assert demo.requests == []


@pytest.mark.parametrize("pinned", [("AAPL",), ()], ids=["planned", "wished for"])
def test_what_another_stores_until_its_lease_is_got_is_not_fetched_again(
    demo: DemoUpstream, pinned: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    stocks(demo, *pinned)
    store_stale("AAPL")
    wish("AAPL")
    acquire = refresher.Fetch.acquire

    def overtaken(fetch: Fetch, keys: list[str]) -> dict[str, Lease]:
        store(value="theirs", age=1)  # who had the lease had begun before this turn did
        return acquire(fetch, keys)

    monkeypatch.setattr(refresher.Fetch, "acquire", overtaken)
    one_turn()
    assert demo.requests == []
    assert entries.read("stock", "AAPL").value == "theirs"


def test_a_wish_that_comes_again_and_again_makes_one_call(demo: DemoUpstream) -> None:
    stocks(demo)
    demo.latency = timedelta(seconds=0.3)
    store_stale("AAPL")
    with serving():
        while not is_fresh("AAPL"):
            wish("AAPL")
        wish("AAPL")
    assert asked(demo) == ["AAPL"]


def test_two_refreshers_fetch_each_key_once(demo: DemoUpstream) -> None:
    keys = [f"K{letter}" for letter in "ABCDEFGHIJKLMNOPQRST"]
    stocks(demo, *keys)
    demo.latency = timedelta(seconds=0.05)
    with serving(), serving():
        eventually(lambda: all(is_fresh(key) for key in keys))
    assert asked(demo) == keys


def test_a_wish_for_a_stranger_makes_no_call(demo: DemoUpstream) -> None:
    stocks(demo, key_policy="any")
    wish("AAPL")
    wish("AAPL", source="gone")
    one_turn()
    assert demo.requests == []


def test_what_a_node_fetched_whose_clock_is_ahead_is_fetched_again(demo: DemoUpstream) -> None:
    stocks(demo, "AAPL")
    store(value="from the future", age=-24 * 3600)
    one_turn()
    assert entries.read("stock", "AAPL").value["symbol"] == "AAPL"


@pytest.mark.parametrize("fields", [{"enabled": False}, {"windows": NEVER}])
def test_a_source_that_is_switched_off_or_rests_is_left_alone(
    demo: DemoUpstream, fields: dict[str, Any]
) -> None:
    stocks(demo, "AAPL", **fields)
    store_stale("AAPL")
    wish("AAPL")
    one_turn()
    assert demo.requests == []
    assert hotdata.get("stock", "AAPL").state == "stale"


def test_edits_are_followed(demo: DemoUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refresher, "LOOK_AGAIN", 0.05)
    monkeypatch.setattr(refresher, "PLAN_AGAIN", 0.05)
    source = stocks(demo, "AAPL", soft_ttl=timedelta(seconds=0.5))
    with serving():
        eventually(lambda: is_fresh("AAPL"))
        news(demo, "technology")
        eventually(lambda: is_fresh("technology", "news"))
        source.delete()
        eventually(lambda: not is_fresh("AAPL"))
        demo.clear()
        source = stocks(demo, "MSFT")
        eventually(lambda: is_fresh("MSFT"))
    assert asked(demo) == ["MSFT"]


# What goes wrong


def test_a_source_that_hangs_does_not_hold_up_another(demo: DemoUpstream) -> None:
    stocks(demo, "AAPL", timeout=HANGS)
    news(demo)
    demo.set_fault("/stocks", "hang")
    with serving():
        demo.wait_for(1)
        store_stale("technology", "news")
        begun = time.monotonic()
        wish("technology", source="news")
        eventually(lambda: is_fresh("technology", "news"))
        assert time.monotonic() - begun < SOON
        demo.stop()


@pytest.mark.parametrize(
    "broken",
    [{"path": "/no/placeholder"}, {"windows": "none"}, {"fetcher": "gone"}, {"bounds": {"[": [0, 1]}}],
)
def test_a_definition_that_is_broken_does_not_stop_the_others(
    demo: DemoUpstream, broken: dict[str, Any]
) -> None:
    stocks(demo, "AAPL", name="a-broken-one")
    Source.objects.update(**broken)
    news(demo, "technology")
    done = one_turn()
    assert asked(demo) == ["technology"]
    assert done.kept["news"].refreshed == 1
    assert done.kept["a-broken-one"].error
    assert list(done.errors) == ["a-broken-one"]


def test_a_database_that_is_away_for_a_moment_is_tried_again_soon(
    demo: DemoUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = [OperationalError("The server is away.")] * 2

    def stumble(*args: Any) -> Plan:
        if errors:
            raise errors.pop()
        return plan(*args)

    plan = planner.plan
    monkeypatch.setattr(planner, "plan", stumble)
    monkeypatch.setattr(refresher, "AWAY", 0.05)
    stocks(demo, "AAPL")
    with serving() as refreshing:
        eventually(lambda: is_fresh("AAPL"))
    assert refreshing.kept["stock"].refreshed == 1
    assert not refreshing.refresher.errors


def test_a_database_that_is_away_while_it_looks_for_sources_ends_no_run(
    demo: DemoUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = [OperationalError("The server is away.")] * 3

    def stumble(*args: Any) -> Any:
        if errors:
            raise errors.pop()
        return enabled(*args)

    enabled = SourceQuerySet.enabled
    monkeypatch.setattr(SourceQuerySet, "enabled", stumble)
    monkeypatch.setattr(refresher, "AWAY", 0.05)
    monkeypatch.setattr(refresher, "LOOK_AGAIN", 0.0)
    stocks(demo, "AAPL")
    with serving():
        eventually(lambda: is_fresh("AAPL"))
    assert not errors


def test_a_key_that_fails_is_left_alone_as_long_as_a_good_one(demo: DemoUpstream) -> None:
    stocks(demo, "AAPL", refresh_after=timedelta(minutes=3))
    demo.set_fault("/stocks", "500")
    one_turn()
    assert leases.look("stock", "AAPL")[1] > timedelta(minutes=2)


def test_many_wishes_make_few_plans(demo: DemoUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something is due that can't be fetched, and readers wish without end for what nobody may refresh."""
    plans = []
    plan = planner.plan
    monkeypatch.setattr(planner, "plan", lambda *args: plans.append(1) or plan(*args))
    stocks(demo, "AAPL")
    absences.note("stock", "AAPL", timedelta(minutes=1))
    begun = time.monotonic()
    with serving():
        for number in range(40):
            wish(f"K{number}", source="gone")
            eventually(lambda: not redis.client().zcard(redis.name("want")))
    assert 1 <= len(plans) <= 1 + (time.monotonic() - begun) / refresher.PLAN_AT_MOST


@pytest.mark.parametrize("hindered", ["resting", "held", "absent"])
def test_what_can_not_be_fetched_now_is_not_in_the_way_of_what_can(demo: DemoUpstream, hindered: str) -> None:
    stocks(demo, "FIRST", "SECOND", "THIRD", burst=1)
    if hindered == "resting":
        rest("stock", "FIRST", "SECOND")
    elif hindered == "held":
        leases.acquire_each("stock", ["FIRST", "SECOND"], lasts=timedelta(minutes=1))
    else:
        for key in ("FIRST", "SECOND"):
            absences.note("stock", key, timedelta(minutes=1))
    with serving():
        eventually(lambda: is_fresh("THIRD"))
    assert asked(demo) == ["THIRD"]


def test_a_pinned_key_that_the_upstream_does_not_have_is_asked_for_once(
    demo: DemoUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refresher, "REST", timedelta(milliseconds=1))
    stocks(demo, "N0WHERE", "AAPL", soft_ttl=timedelta(seconds=0.5))
    with serving():
        eventually(lambda: asked(demo).count("AAPL") >= 3)
    assert asked(demo).count("N0WHERE") == 1


def test_a_key_that_the_budget_has_no_room_for_has_not_failed_and_is_next(
    demo: DemoUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refresher, "PATIENCE", timedelta(0))
    source = stocks(demo, "AAPL", burst=1, calls_per_minute=60, refresh_after=timedelta(minutes=3))
    gate_of(source).enter(hold=timedelta(seconds=1))
    done = one_turn()
    assert done.kept["stock"] == Kept(postponed=1)
    assert done.errors == {}
    assert leases.look("stock", "AAPL")[1] <= timedelta(seconds=1)
    eventually(lambda: one_turn() and is_fresh("AAPL"))
    assert asked(demo) == ["AAPL"]


def test_a_key_that_fails_rests_and_keeps_its_value(
    demo: DemoUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        refresher, "REST", timedelta(minutes=1)
    )  # longer than the others take on a busy machine
    stocks(demo, "AAPL", "MSFT", soft_ttl=timedelta(seconds=0.5))
    store_stale("AAPL")
    demo.set_fault("/stocks/AAPL", "500")
    with serving() as working:
        eventually(lambda: asked(demo).count("MSFT") >= 3)
    assert asked(demo).count("AAPL") == 1
    assert working.kept["stock"].failed.keys() == {"AAPL"}
    assert entries.read("stock", "AAPL").value == "old"


# Its end


def test_it_ends_soon_and_says_that_wishes_are_served_no_more(demo: DemoUpstream) -> None:
    stocks(demo, "AAPL")
    with serving():
        eventually(lambda: is_fresh("AAPL"))
        begun = time.monotonic()
    assert time.monotonic() - begun < SOON
    assert not wants.are_served()


def test_what_is_under_way_at_the_end_is_waited_for(demo: DemoUpstream) -> None:
    stocks(demo, "AAPL")
    demo.latency = timedelta(seconds=0.4)
    with serving() as working:
        demo.wait_for(1)
    assert is_fresh("AAPL")
    assert working.kept["stock"].refreshed == 1


def test_a_run_that_is_cancelled_waits_for_no_upstream(demo: DemoUpstream) -> None:
    stocks(demo, "AAPL", timeout=HANGS)
    demo.set_fault("/stocks", "hang")
    working = Serving()
    demo.wait_for(1)
    begun = time.monotonic()
    working.cancelled = True
    with pytest.raises(RunCancelled):
        working.end()
    assert time.monotonic() - begun < SOON
    assert not wants.are_served()
    demo.stop()


# Redis


@pytest.mark.parametrize(
    ("take_away", "give_back"),
    [(RedisServer.stop, RedisServer.start), (RedisServer.freeze, RedisServer.thaw)],
)
def test_a_redis_that_was_away_finds_it_at_work(
    demo: DemoUpstream,
    moody_redis: RedisServer,
    take_away: Callable[[RedisServer], None],
    give_back: Callable[[RedisServer], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(refresher, "AWAY", 0.1)
    monkeypatch.setattr(refresher, "PATIENCE", timedelta(seconds=0.1))  # the leases that are lost expire soon
    stocks(demo, "AAPL", soft_ttl=timedelta(seconds=0.5), timeout=timedelta(seconds=0.5))
    with serving():
        eventually(lambda: demo.requests)
        take_away(moody_redis)
        eventually(lambda: not is_there())
        give_back(moody_redis)
        eventually(is_there)
        demo.clear()
        eventually(lambda: demo.requests)


def is_there() -> bool:
    try:
        entries.ping()
    except CacheUnavailable:
        return False
    return True


def test_after_a_flush_all_is_fetched_again_at_once(demo: DemoUpstream, redis: Any) -> None:
    keys = [f"K{letter}" for letter in "ABCDEFGHIJ"]
    stocks(demo, *keys)
    with serving():
        eventually(lambda: all(is_fresh(key) for key in keys))
        redis.flushdb()
        eventually(lambda: all(is_fresh(key) for key in keys), within=refresher.PLAN_AGAIN + 5)
    assert len(demo.requests) == 2 * len(keys)


def test_after_a_flush_what_a_task_fetched_is_back_at_once_and_nobody_is_told_that_it_is_not_there(
    demo: DemoUpstream, redis: Any
) -> None:
    source = stocks(demo, path="/{area}/{key}", burst=3, calls_per_minute=600)
    cities = [f"K{letter}" for letter in "ABCDEFGHIJ"]
    refresh(source, cities, placeholders={city: {"area": "stocks"} for city in cities})
    last_known.clear()
    with serving() as working:
        redis.flushdb()
        reading = in_thread(lambda: [hotdata.get("stock", city).value["symbol"] for city in cities])
        eventually(lambda: all(is_fresh(city) for city in cities), within=refresher.PLAN_AGAIN + 5)
        assert reading.result(PATIENCE) == cities
    assert len(demo.requests) == 2 * len(cities)
    assert all(kept.failures == 0 for kept in working.kept.values())


def test_a_guest_that_nobody_reads_is_not_kept_fresh(demo: DemoUpstream) -> None:
    stocks(demo)
    now = timezone.now()
    note_guests("stock", {"AAPL": Guest(placeholders={}, kept_until=now + timedelta(days=1))}, now)
    store_stale("AAPL")
    one_turn()
    assert demo.requests == []


def test_after_a_flush_no_more_is_asked_than_the_budget_allows(
    demo: DemoUpstream, redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refresher, "PATIENCE", timedelta(seconds=0.5))
    keys = [f"K{letter}" for letter in "ABCDEFGHIJKLMNOPQRST"]
    # 5 calls at once, and then one each 50 ms.
    stocks(demo, *keys, burst=5, calls_per_minute=1200)
    redis.flushdb()
    begun = time.monotonic()
    with serving() as working:
        eventually(lambda: all(is_fresh(key) for key in keys))
    assert time.monotonic() - begun >= (len(keys) - 5) * 0.05 - 0.05
    assert working.kept["stock"].failures == 0
    assert asked(demo) == keys


def test_without_redis_all_the_time_it_fails(settings: Settings, clear_cache: None) -> None:
    settings.CACHES = caches_at(f"redis://{closed_port()}/0")
    make_source(name="stock", pinned=("AAPL",))
    with pytest.raises(CacheUnavailable):
        one_turn()


def test_a_redis_that_is_lost_at_the_end_does_not_undo_what_was_kept(
    demo: DemoUpstream, own_redis: OwnRedis
) -> None:
    stocks(demo, "AAPL", soft_ttl=timedelta(seconds=0.5))
    working = Serving()
    eventually(lambda: is_fresh("AAPL"))
    demo.latency = timedelta(seconds=0.5)
    demo.clear()
    demo.wait_for(1)
    own_redis.stop()
    working.end()
    assert working.kept["stock"].refreshed >= 1
