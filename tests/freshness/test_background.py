from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

import hotdata
from hotdata.exceptions import CacheUnavailable
from hotdata.freshness import background, entries, flights, hotkeys, meters, wants
from hotdata.models import Source
from project.demo.upstream import DemoUpstream
from tests.builders import make_source, store
from tests.freshness.conftest import OwnRedis
from tests.threads import PATIENCE, eventually, in_thread

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("clear_cache")]

KEYS = [f"K{letter}" for letter in "ABCDEFGH"]
NEVER = "00:00-00:01 UTC sun"
BATCHED: dict[str, Any] = {
    "batch_size": 100,
    "batch_path": "/stocks",
    "batch_query": {"symbols": "{keys}"},
    "batch_items": "quotes",
    "batch_key": "symbol",
}


def stocks(demo: DemoUpstream, **fields: Any) -> Source:
    return make_source(**({"name": "stock", "base_url": demo.url} | fields))


def read_stale(*keys: str) -> None:
    """Read `keys`, of which each is stale."""
    for key in keys:
        store(key=key, value="old", age=600, soft_ttl=300)
        assert hotdata.get("stock", key).state == "stale"


def turn() -> None:
    """What the background does when there is news; returns when that is done."""
    background.see_to(wants.pending())
    for pool in flights._airport.pools.values():
        pool.shutdown()
    flights._airport.pools.clear()


def value(key: str) -> Any:
    return entries.read("stock", key).value


# Stale keys, with nobody to serve wishes


def test_what_is_stale_is_refreshed_for_its_next_readers(demo: DemoUpstream) -> None:
    stocks(demo)
    read_stale("AAPL")
    turn()
    entry = hotdata.get("stock", "AAPL")
    assert (entry.value["symbol"], entry.state) == ("AAPL", "fresh")


def test_what_is_stale_is_refreshed_once_for_all_its_readers(demo: DemoUpstream) -> None:
    stocks(demo)
    demo.latency = timedelta(seconds=0.2)
    read_stale("AAPL")
    reading = [in_thread(lambda: hotdata.get("stock", "AAPL").state) for _ in range(50)]
    assert {future.result(PATIENCE) for future in reading} == {"stale"}
    background.see_to(wants.pending())
    background.see_to([("stock", "AAPL")])  # as another process does
    turn()
    assert [served.key for served in demo.requests] == ["AAPL"]


def test_stale_keys_are_refreshed_together_in_batches(demo: DemoUpstream) -> None:
    stocks(demo, **BATCHED)
    read_stale(*KEYS)
    turn()
    assert len(demo.requests) == 1
    assert all(value(key)["symbol"] == key for key in KEYS)


def test_a_wish_for_what_was_refreshed_meanwhile_makes_no_call(demo: DemoUpstream) -> None:
    stocks(demo)
    read_stale("AAPL")
    store(value="new")
    turn()
    assert demo.requests == []


@pytest.mark.parametrize("fields", [{"enabled": False}, {"windows": NEVER}])
def test_what_is_switched_off_or_rests_is_not_refreshed(demo: DemoUpstream, fields: dict[str, Any]) -> None:
    stocks(demo, **fields)
    read_stale("AAPL")
    turn()
    assert demo.requests == []


def test_a_refresh_that_fails_leaves_the_old_value_and_is_not_tried_again_at_once(demo: DemoUpstream) -> None:
    stocks(demo)
    demo.set_fault("/stocks", "500")
    read_stale("AAPL")
    for _ in range(3):
        background.see_to([("stock", "AAPL")])
        turn()
    assert len(demo.requests) == 1
    assert value("AAPL") == "old"


def test_a_source_that_is_gone_or_broken_does_not_stop_the_others(demo: DemoUpstream) -> None:
    stocks(demo)
    make_source(name="broken", base_url=demo.url, path="/no/placeholder")
    Source.objects.filter(name="broken").update(windows="none")
    read_stale("AAPL")
    background.see_to([("gone", "AAPL"), ("broken", "AAPL")])
    turn()
    assert value("AAPL")["symbol"] == "AAPL"


# Stale keys, with somebody to serve wishes


def test_wishes_are_handed_on_to_who_serves_them(demo: DemoUpstream) -> None:
    stocks(demo)
    wants.announce()
    read_stale("AAPL", "MSFT")
    turn()
    assert demo.requests == []
    assert {source: sorted(keys) for source, keys in wants.take(10).items()} == {"stock": ["AAPL", "MSFT"]}


def test_fresh_reads_wish_for_nothing(demo: DemoUpstream) -> None:
    stocks(demo)
    store()
    hotdata.get("stock", "AAPL")
    assert wants.pending() == []


# Counts


def test_a_flush_that_fails_keeps_what_was_counted(own_redis: OwnRedis) -> None:
    make_source(name="stock")
    read_stale("AAPL")
    own_redis.stop()
    with pytest.raises(CacheUnavailable):
        background.flush()
    assert hotkeys._tally.counts == {("stock", "AAPL"): 1}
    assert meters._tally.counts


# The thread


def test_the_first_read_starts_the_thread_and_the_next_ones_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun = []
    monkeypatch.setattr(background._Background, "_run", lambda self: begun.append(self))
    background._background.started = False
    store()
    reading = [in_thread(lambda: hotdata.get("stock", "AAPL")) for _ in range(20)]
    for future in reading:
        future.result(PATIENCE)
    eventually(lambda: begun)
    assert len(begun) == 1
