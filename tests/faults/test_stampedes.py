"""Many readers in several processes, and an upstream whose log is the only truth about the calls that were made."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from pytest_django import Settings

from hotdata.exceptions import CacheUnavailable
from hotdata.freshness import entries, leases, wants
from hotdata.freshness.fetching import Fetch
from hotdata.models import Source
from project.demo.upstream import DemoUpstream
from tests.builders import make_source, store
from tests.faults.readers import Order, Readers, all_outcomes, readers
from tests.freshness.conftest import close_upstreams
from tests.freshness.test_refresher import Serving
from tests.threads import eventually
from tools.redis_server import RedisServer

# What is kept fresh is in Redis: which database there is beside it has no say.
pytestmark = [
    pytest.mark.only_on("sqlite"),
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("clear_cache"),
]

PROCESSES, THREADS = 4, 50
READERS = PROCESSES * THREADS
SLOW = timedelta(seconds=1)  # the upstream takes half of that at least


@pytest.fixture
def demo(settings: Settings) -> Iterator[DemoUpstream]:
    with DemoUpstream(latency=SLOW) as upstream:
        settings.HOTDATA_ALLOW_PRIVATE = [f"127.0.0.1:{upstream.port}"]
        yield upstream
        close_upstreams()


@pytest.fixture
def environment(child_environment: dict[str, str], demo: DemoUpstream) -> dict[str, str]:
    return {**child_environment, "HOTDATA_ALLOW_PRIVATE": f"127.0.0.1:{demo.port}"}


def stocks(demo: DemoUpstream, **fields: Any) -> Source:
    return make_source(**({"name": "stock", "base_url": demo.url, "key_policy": "any"} | fields))


def order(key: str = "AAPL", *, threads: int = THREADS, rounds: int = 1) -> Order:
    return Order(source="stock", key=key, threads=threads, rounds=rounds)


def asked(demo: DemoUpstream) -> list[str]:
    return sorted(served.key for served in demo.requests)


def is_fresh(key: str = "AAPL") -> bool:
    stored = entries.read("stock", key)
    return stored is not None and stored.soft_expiry > time.time()


@contextmanager
def a_refresher(serves: bool) -> Iterator[None]:
    if not serves:
        yield
        return
    working = Serving()
    eventually(wants.are_served)
    try:
        yield
    finally:
        working.end()


with_and_without_scheduler = pytest.mark.parametrize("served", [True, False], ids=["served", "unserved"])


@pytest.mark.slow
@with_and_without_scheduler
def test_readers_of_a_missing_key_make_one_call_and_all_get_its_value(
    demo: DemoUpstream, environment: dict[str, str], served: bool
) -> None:
    stocks(demo)
    with readers(environment, PROCESSES) as fleet, a_refresher(served):
        for process in fleet:
            process.begin(order())
        reports = [process.report() for process in fleet]
    assert all_outcomes(reports) == {"fresh AAPL": READERS}
    assert asked(demo) == ["AAPL"]


@pytest.mark.slow
@with_and_without_scheduler
def test_readers_of_a_stale_key_make_one_call_and_none_of_them_waits_for_it(
    demo: DemoUpstream, environment: dict[str, str], served: bool
) -> None:
    demo.latency = 2 * SLOW
    stocks(demo)
    store(key="WARM")  # what is imported and connected at a process's first read
    store(value="old", age=600, soft_ttl=300)
    with readers(environment, PROCESSES) as fleet, a_refresher(served):
        for process in fleet:
            process.read(order("WARM"))
        for process in fleet:
            process.begin(order(rounds=20))
        reports = [process.report() for process in fleet]
        eventually(is_fresh)
        after = fleet[0].read(order(threads=1))
    assert all_outcomes(reports) == {"stale old": READERS * 20}
    assert after.outcomes == {"fresh AAPL": 1}
    assert asked(demo) == ["AAPL"]
    (call,) = demo.requests
    assert call.duration is not None
    took = call.duration.total_seconds()
    assert max(report.slowest for report in reports) < took
    assert max(report.typical for report in reports) < took / 10


@pytest.mark.parametrize(
    ("take_away", "give_back"),
    [(RedisServer.stop, RedisServer.start), (RedisServer.freeze, RedisServer.thaw)],
)
def test_a_process_whose_redis_was_away_refreshes_again(
    demo: DemoUpstream,
    environment: dict[str, str],
    moody_redis: RedisServer,
    take_away: Callable[[RedisServer], None],
    give_back: Callable[[RedisServer], None],
) -> None:
    demo.latency = timedelta(0)
    stocks(demo)
    with readers({**environment, "REDIS_URL": moody_redis.url}) as (process,):
        store(value="old")
        assert process.read(order()).outcomes == {"fresh old": THREADS}
        take_away(moody_redis)
        assert process.read(order()).outcomes == {"last known fresh old": THREADS}
        give_back(moody_redis)
        eventually(are_wishes_unserved)
        store(value="old", soft_ttl=0.001)
        eventually(lambda: process.read(order()).outcomes == {"fresh AAPL": THREADS})
    assert asked(demo) == ["AAPL"]


def are_wishes_unserved() -> bool:
    """Redis is there; nobody keeps data fresh but the readers."""
    try:
        return not wants.are_served()
    except CacheUnavailable:
        return False


def read_while_it_refreshes(process: Readers, key: str) -> bool:
    """Whether the threads got the old value of `key`, all but those that come when the new one is there already."""
    outcomes = process.read(order(key)).outcomes
    late = outcomes.get(f"fresh {key}", 0)
    return 0 < outcomes["stale old"] == THREADS - late


def test_a_forked_process_reads_as_any_other(demo: DemoUpstream, environment: dict[str, str]) -> None:
    demo.latency = timedelta(0)
    stocks(demo)
    store(value="old", age=600, soft_ttl=300)
    store(key="TSLA", value="old", age=600, soft_ttl=300)
    with readers(environment) as (process,):
        assert process.read(order("MSFT")).outcomes == {"fresh MSFT": THREADS}
        assert read_while_it_refreshes(process, "AAPL")
        eventually(is_fresh)
        process.fork()
        assert process.read(order("AMZN")).outcomes == {"fresh AMZN": THREADS}
        assert read_while_it_refreshes(process, "TSLA")
        eventually(lambda: is_fresh("TSLA"))
    assert asked(demo) == ["AAPL", "AMZN", "MSFT", "TSLA"]


def test_who_is_killed_in_mid_fetch_is_followed_by_another_within_its_lease(
    demo: DemoUpstream, environment: dict[str, str]
) -> None:
    environment["HOTDATA_READ_PATIENCE"] = "0.5"
    source = stocks(demo, timeout=timedelta(seconds=0.5))
    lasts = Fetch(source=source, patience=timedelta(seconds=0.5)).longest
    demo.set_fault("/stocks", "hang", count=1)
    demo.latency = timedelta(0)
    with readers(environment, 2) as (killed, other):
        killed.begin(order(threads=1))
        demo.wait_for(1)
        killed.kill()
        begun = time.monotonic()
        assert leases.look("stock", "AAPL")[0] == "held"
        eventually(lambda: other.read(order(threads=1)).outcomes == {"fresh AAPL": 1})
        assert time.monotonic() - begun < lasts.total_seconds() + 2
    assert asked(demo) == ["AAPL", "AAPL"]
