"""Redis loses all that it knew, by a flush or a restart, while several processes ask for more than the budget.

The upstream's log is the only truth about the calls that were made.
"""

from __future__ import annotations

import itertools
import string
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from pytest_django import Settings
from redis import Redis

from hotdata.freshness import recent
from hotdata.freshness.upstream import gate_of
from hotdata.models import ApiCall, Source
from project.demo.upstream import DemoUpstream
from tests.builders import make_source
from tests.faults.readers import Order, Readers, readers
from tests.freshness.conftest import close_upstreams
from tests.threads import eventually, in_thread
from tools.redis_server import RedisServer

# The calls are on record in the database, so it has a say.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("moody_redis"),
]

PROCESSES, THREADS = 3, 2
BUDGET = 80
SPENT = 60
TIMEOUT = timedelta(seconds=1)
SETTLED = TIMEOUT + recent.RECORDED_WITHIN  # after so long all calls are on record
MINUTE = timedelta(minutes=1)
LATENCY = timedelta(seconds=0.2)


@pytest.fixture
def demo(settings: Settings) -> Iterator[DemoUpstream]:
    with DemoUpstream(latency=LATENCY) as upstream:
        settings.HOTDATA_ALLOW_PRIVATE = [f"127.0.0.1:{upstream.port}"]
        yield upstream
        close_upstreams()


@pytest.fixture
def environment(
    child_environment: dict[str, str], demo: DemoUpstream, moody_redis: RedisServer
) -> dict[str, str]:
    return {
        **child_environment,
        "HOTDATA_ALLOW_PRIVATE": f"127.0.0.1:{demo.port}",
        "HOTDATA_READ_PATIENCE": "0.3",
        "REDIS_URL": moody_redis.url,
    }


def stocks(demo: DemoUpstream, **fields: Any) -> Source:
    values = {
        "name": "stock",
        "base_url": demo.url,
        "key_policy": "any",
        "timeout": TIMEOUT,
        "calls_per_minute": BUDGET,
        "burst": SPENT,
        "concurrency": 4,
    }
    return make_source(**(values | fields))


@contextmanager
def demand(fleet: Sequence[Readers]) -> Iterator[None]:
    """All of `fleet` ask for keys that nobody has asked for, without end."""
    letters = itertools.product(string.ascii_uppercase, repeat=4)
    keys = map("".join, letters)
    lock, over = threading.Lock(), threading.Event()

    def ask(process: Readers) -> None:
        while not over.is_set():
            with lock:
                key = next(keys)
            process.read(Order(source="stock", key=key, threads=THREADS, rounds=1))

    asking = [in_thread(lambda process=process: ask(process)) for process in fleet]
    try:
        yield
    finally:
        over.set()
        for each in asking:
            each.result(60)


def goes_on(duration: timedelta) -> None:
    """Let the demand go on, for what must not happen meanwhile."""
    time.sleep(duration.total_seconds())


def under_way(source: Source) -> int:
    return gate_of(source).look().under_way


def flush(server: RedisServer) -> None:
    with Redis.from_url(server.url) as client:
        client.flushall()


def restart(server: RedisServer) -> None:
    server.stop()
    server.start()


def most_in_a_minute(times: Sequence[datetime]) -> int:
    return max(sum(begun <= other < begun + MINUTE for other in times) for begun in times)


@pytest.mark.parametrize("lose", [flush, restart])
def test_processes_that_want_more_do_not_exceed_the_budget_when_redis_loses_what_it_knew(
    demo: DemoUpstream,
    environment: dict[str, str],
    moody_redis: RedisServer,
    lose: Callable[[RedisServer], None],
) -> None:
    stocks(demo)
    with readers(environment, PROCESSES) as fleet, demand(fleet):
        demo.wait_for(SPENT, timedelta(minutes=1))
        lose(moody_redis)
        goes_on(SETTLED + timedelta(seconds=4))  # with budget left, for a call each 0.75 s
    times = [served.at for served in demo.requests]
    assert max(times) - min(times) < MINUTE
    assert SPENT + 3 <= most_in_a_minute(times) <= BUDGET


def test_an_upstream_that_wants_to_be_left_alone_still_is_when_redis_loses_what_it_knew(
    demo: DemoUpstream, environment: dict[str, str], moody_redis: RedisServer
) -> None:
    source = stocks(demo, calls_per_minute=600)
    wished = timedelta(minutes=5)
    demo.set_fault("/stocks", "429", retry_after=int(wished.total_seconds()))
    with readers(environment, PROCESSES) as fleet, demand(fleet):
        eventually(lambda: 0 < len(demo.requests) == ApiCall.objects.count() and not under_way(source))
        before = len(demo.requests)
        flush(moody_redis)
        eventually(lambda: gate_of(source).look().cooldown > wished - MINUTE)
        goes_on(SETTLED)
    assert 0 < before == len(demo.requests) <= source.concurrency
