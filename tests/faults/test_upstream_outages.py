"""An upstream is down for ten minutes, on a clock that the test moves: what readers see, and what the upstream does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta

import pytest
import time_machine
from pytest_django import Settings
from redis import Redis

import hotdata
from hotdata.freshness import background, flights, refresher, upstream, wants
from hotdata.freshness.entries import Entry
from hotdata.freshness.gate import Gate
from hotdata.freshness.refresher import Refresher
from hotdata.models import Source
from project.demo.upstream import DemoUpstream
from tests.builders import make_source
from tests.freshness.conftest import close_upstreams

# What is kept fresh is in Redis: which database there is beside it has no say.
pytestmark = [
    pytest.mark.only_on("sqlite"),
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("clear_cache"),
]

STEP = timedelta(seconds=5)
MINUTE = timedelta(minutes=1)
OUTAGE = 10 * MINUTE
MOST_PROBES = 25
KEYS = tuple(f"K{letter}" for letter in "ABCDEFGHIJKLMNOPQRST")


class Clock:
    """The time of this process, of the gates and of all that Redis lets expire. It goes on by itself, too."""

    def __init__(self, traveller: time_machine.Traveller, redis: Redis) -> None:
        self.ahead = timedelta(0)
        self._traveller = traveller
        self._redis = redis

    def advance(self, by: timedelta) -> None:
        self.ahead += by
        self._traveller.shift(by)
        names = list(self._redis.scan_iter())
        with self._redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.pttl(name)
            left = pipe.execute()
            for name, milliseconds in zip(names, left, strict=True):
                if milliseconds >= 0:
                    pipe.pexpire(name, milliseconds - by // timedelta(milliseconds=1))
            pipe.execute()


@pytest.fixture
def clock(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    gate_of = upstream.gate_of
    monkeypatch.setattr(
        upstream,
        "gate_of",
        lambda source: Gate(source.name, gate_of(source).limits, clock_offset=lambda: clock.ahead),
    )
    with time_machine.travel(datetime.now().astimezone()) as traveller:
        clock = Clock(traveller, redis)
        yield clock


@pytest.fixture
def demo(settings: Settings, clock: Clock) -> Iterator[DemoUpstream]:
    with DemoUpstream() as started:
        settings.HOTDATA_ALLOW_PRIVATE = [f"127.0.0.1:{started.port}"]
        yield started
        close_upstreams()


@pytest.fixture
def source(demo: DemoUpstream) -> Source:
    return make_source(
        name="stock",
        base_url=demo.url,
        pinned=KEYS,
        calls_per_minute=12,
        burst=4,
        concurrency=4,
        breaker_failures=5,
        breaker_pause=timedelta(seconds=30),
    )


def by_the_scheduler() -> None:
    Refresher(check=lambda: None).keep_fresh(lambda: False)


def by_the_readers() -> None:
    wants._begin_anew()  # a second has passed since they asked last
    read()
    background.see_to(wants.pending())
    for pool in flights._airport.pools.values():
        pool.shutdown()
    flights._airport.pools.clear()


def read() -> list[Entry]:
    """What is read now; no error may come of it."""
    found = hotdata.get_many("stock", KEYS).values()
    assert all(isinstance(entry, Entry) for entry in found), found
    return [entry for entry in found if isinstance(entry, Entry)]


def most_in_a_minute(demo: DemoUpstream) -> int:
    times = sorted(served.at for served in demo.requests)
    return max(sum(begun <= other < begun + MINUTE for other in times) for begun in times)


def fill(clock: Clock) -> None:
    """Fetch all keys for the first time, and let them become stale."""
    for _ in range(3 * MINUTE // STEP):
        by_the_scheduler()
        clock.advance(STEP)


def states(found: Sequence[Entry]) -> set[str]:
    return {entry.state for entry in found}


@pytest.mark.slow
@pytest.mark.parametrize(("refresh", "fault"), [(by_the_scheduler, "500"), (by_the_readers, "reset")])
def test_an_outage_of_ten_minutes_is_seen_by_no_reader_and_does_not_overrun_the_upstream(
    demo: DemoUpstream,
    source: Source,
    clock: Clock,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    refresh: Callable[[], None],
    fault: str,
) -> None:
    # Time at the gate can't be waited for on a clock that the test moves: it is the next step that tries again.
    settings.HOTDATA_READ_PATIENCE = 0.001
    monkeypatch.setattr(refresher, "PATIENCE", timedelta(0))
    fill(clock)
    assert states(read()) == {"fresh"}

    demo.clear()
    demo.set_fault("/stocks", fault)
    clock.advance(source.soft_ttl)
    for _ in range(OUTAGE // STEP):
        refresh()
        assert states(read()) == {"stale"}
        clock.advance(STEP)
    assert 0 < len(demo.requests) <= MOST_PROBES

    demo.clear()
    lasted = timedelta(0)
    while states(read()) != {"fresh"}:
        refresh()
        clock.advance(STEP)
        lasted += STEP
        assert lasted <= source.longest_interval
    assert len(demo.requests) == len(KEYS)
    assert most_in_a_minute(demo) <= source.calls_per_minute
