from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings
from redis import Redis

import hotdata
from hotdata.exceptions import CacheUnavailable, NotReady, ReadError, UnknownKey
from hotdata.freshness import entries, flights, leases, meters, planner
from hotdata.freshness.entries import Entry
from hotdata.freshness.fetching import REST, Fetch
from hotdata.freshness.meters import Served
from hotdata.freshness.outcomes import FAILURES_SHOWN, RefreshFailed
from hotdata.models import ApiCall, Source
from project.demo.upstream import DemoUpstream
from tests.builders import make_source, store
from tests.freshness.conftest import OwnRedis
from tests.threads import PATIENCE, eventually, in_thread

# What is kept fresh is in Redis: which database there is beside it has no say.
pytestmark = [
    pytest.mark.only_on("sqlite"),
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("clear_cache"),
]

READERS = 50
SLOW = timedelta(seconds=0.2)


def stocks(demo: DemoUpstream, **fields: Any) -> Source:
    return make_source(**({"name": "stock", "base_url": demo.url, "key_policy": "any"} | fields))


def news(demo: DemoUpstream, **fields: Any) -> Source:
    return make_source(name="news", base_url=demo.url, path="/news/{key}", key_policy="any", **fields)


def outcome(key: str = "AAPL", source: str = "stock") -> Entry | ReadError:
    try:
        return hotdata.get(source, key)
    except ReadError as error:
        return error


def outcomes(readers: int = READERS, key: str = "AAPL") -> list[Entry | ReadError]:
    """What so many readers at the same time get."""
    reading = [in_thread(lambda: outcome(key)) for _ in range(readers)]
    return [future.result(PATIENCE) for future in reading]


def asked(demo: DemoUpstream) -> list[str]:
    return sorted(served.key for served in demo.requests)


def served(how: Served) -> int:
    """How many reads of the source were served so."""
    meters.flush()
    now = datetime.now(UTC)
    counted = meters.measured("stock", since=now - timedelta(minutes=5), until=now)
    return sum(measures.served[how] for measures in counted.values())


# One call for all


def test_readers_of_a_key_that_nobody_has_fetched_share_one_call(demo: DemoUpstream) -> None:
    stocks(demo)
    demo.latency = SLOW
    found = outcomes()
    assert {entry.value["symbol"] for entry in found} == {"AAPL"}
    assert {(entry.state, entry.last_known) for entry in found} == {("fresh", False)}
    assert asked(demo) == ["AAPL"]
    eventually(lambda: ApiCall.objects.count() == 1)
    assert served(Served.MISS) == READERS


def test_the_lease_is_free_after_the_fetch(demo: DemoUpstream) -> None:
    stocks(demo)
    outcome()
    eventually(lambda: leases.look("stock", "AAPL")[0] == "free")


def test_a_reader_waits_for_what_another_process_fetches(demo: DemoUpstream) -> None:
    stocks(demo)
    leases.acquire_each("stock", ["AAPL"], lasts=timedelta(minutes=1))
    reading = [in_thread(outcome) for _ in range(10)]
    eventually(lambda: flights._airport.flights)
    store(value="theirs")
    assert {future.result(PATIENCE).value for future in reading} == {"theirs"}
    assert asked(demo) == []


def test_a_reader_fetches_when_the_lease_of_another_process_has_expired(demo: DemoUpstream) -> None:
    stocks(demo)
    leases.acquire_each("stock", ["AAPL"], lasts=timedelta(seconds=0.2))
    assert outcome().value["symbol"] == "AAPL"
    assert asked(demo) == ["AAPL"]


def test_several_missing_keys_are_fetched_together_in_batches(demo: DemoUpstream) -> None:
    stocks(
        demo,
        batch_size=10,
        batch_path="/stocks",
        batch_query={"symbols": "{keys}"},
        batch_items="quotes",
        batch_key="symbol",
    )
    found = hotdata.get_many("stock", [f"K{letter}" for letter in "ABCDEFGH"])
    assert all(entry.value["symbol"] == key for key, entry in found.items())
    assert len(demo.requests) == 1


def test_what_one_fetches_while_another_does_is_not_fetched_twice(demo: DemoUpstream) -> None:
    source = stocks(demo)
    fetch = Fetch(source=source, patience=SLOW)
    ours = fetch.acquire(["AAPL"])
    store(age=1)
    assert fetch.run(ours) is None
    assert asked(demo) == []
    assert leases.look("stock", "AAPL")[0] == "free"


# Patience


def test_a_readers_patience_ends_before_the_fetch_does(demo: DemoUpstream, settings: Settings) -> None:
    settings.HOTDATA_READ_PATIENCE = 0.2
    stocks(demo, timeout=timedelta(seconds=5))
    demo.latency = timedelta(seconds=0.8)
    begun = time.monotonic()
    found = outcomes(10)
    waited = time.monotonic() - begun
    assert {type(error) for error in found} == {NotReady}
    assert all(error.retry_after > timedelta(0) for error in found)
    eventually(lambda: entries.read("stock", "AAPL"))
    assert waited < time.monotonic() - begun
    assert asked(demo) == ["AAPL"]
    assert outcome().value["symbol"] == "AAPL"
    assert served(Served.ERROR) == 10


def test_nobody_waits_longer_than_the_patience_for_many_keys(demo: DemoUpstream, settings: Settings) -> None:
    settings.HOTDATA_READ_PATIENCE = 1
    stocks(demo, timeout=timedelta(seconds=2))
    demo.set_fault("/stocks", "hang")
    keys = [f"K{number}" for number in range(40)]
    begun = time.monotonic()
    found = hotdata.get_many("stock", keys)
    assert time.monotonic() - begun < len(keys) / 4, "it waited for each in turn"
    assert {type(answer) for answer in found.values()} == {NotReady}
    demo.stop()


# Replicas


@pytest.fixture
def lagging(own_redis: OwnRedis, settings: Settings, redis: Redis) -> None:
    """The caches are in a Redis with a replica that has heard of nothing."""
    replica = settings.REDIS_URL
    settings.CACHES = {
        alias: {**cache, "LOCATION": [own_redis.url, replica]} for alias, cache in settings.CACHES.items()
    }


def test_what_a_replica_has_not_heard_of_is_not_fetched_again(demo: DemoUpstream, lagging: None) -> None:
    stocks(demo)
    demo.latency = SLOW
    assert {entry.value["symbol"] for entry in outcomes()} == {"AAPL"}
    assert outcome().value["symbol"] == "AAPL"
    assert hotdata.get_many("stock", ["AAPL"])["AAPL"].value["symbol"] == "AAPL"
    assert asked(demo) == ["AAPL"]


def test_a_plan_goes_by_what_was_written_and_not_by_a_replica(demo: DemoUpstream, lagging: None) -> None:
    source = stocks(demo)
    source.pinned.create(key="AAPL")
    store()
    assert planner.due_keys(source, timezone.now()) == []
    assert entries.read("stock", "AAPL", replica=True) is None


# What fails


def test_a_key_that_hangs_keeps_no_value_from_who_reads_several(
    demo: DemoUpstream, settings: Settings
) -> None:
    """Another process has fetched the second while the first used up all the time."""
    settings.HOTDATA_READ_PATIENCE = 0.5
    stocks(demo)
    leases.acquire_each("stock", ["HANGS", "AAPL"], lasts=timedelta(minutes=1))
    reading = in_thread(lambda: hotdata.get_many("stock", ["HANGS", "AAPL"]))
    eventually(lambda: "HANGS" in {key for _, key in flights._airport.flights})
    store("stock", "AAPL", "there")
    found = reading.result(PATIENCE)
    assert isinstance(found["HANGS"], NotReady)
    assert found["AAPL"].value == "there"


def test_who_has_read_a_key_before_need_not_wait_when_redis_has_lost_it(
    demo: DemoUpstream, redis: Redis
) -> None:
    stocks(demo)
    store("stock", "AAPL", "old", age=10)
    hotdata.get("stock", "AAPL")
    demo.set_fault("/stocks", "500")
    redis.flushdb()
    for entry in (hotdata.get("stock", "AAPL"), hotdata.get_many("stock", ["AAPL"])["AAPL"]):
        assert (entry.value, entry.last_known) == ("old", True)
    assert served(Served.LAST_KNOWN) == 2
    demo.clear()
    redis.flushdb()
    hotdata.get("stock", "AAPL")
    eventually(lambda: not hotdata.get("stock", "AAPL").last_known)
    assert hotdata.get("stock", "AAPL").value != "old"


def test_a_fetch_that_fails_is_made_once_for_all_who_wait(demo: DemoUpstream) -> None:
    stocks(demo)
    demo.set_fault("/stocks", "500")
    found = outcomes()
    assert {type(error) for error in found} == {NotReady}
    assert all(timedelta(0) < error.retry_after <= REST for error in found)
    assert asked(demo) == ["AAPL"]
    assert isinstance(outcome(), NotReady)
    assert asked(demo) == ["AAPL"]


def test_after_its_rest_a_key_that_failed_is_fetched_again(
    demo: DemoUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    stocks(demo)
    monkeypatch.setattr(flights, "Fetch", lambda **how: Fetch(**how, rest=timedelta(seconds=1)))
    demo.set_fault("/stocks", "500", count=1)
    assert isinstance(outcome(), NotReady)
    eventually(lambda: isinstance(outcome(), Entry))
    assert asked(demo) == ["AAPL", "AAPL"]


def test_a_key_rests_for_as_long_as_the_upstream_asks(demo: DemoUpstream) -> None:
    stocks(demo)
    demo.set_fault("/stocks", "429", retry_after=20)
    assert timedelta(seconds=15) < outcome().retry_after <= timedelta(seconds=20)


def test_all_keys_that_failed_rest_however_many(demo: DemoUpstream) -> None:
    source = stocks(demo, concurrency=64)
    demo.set_fault("/stocks", "500")
    fetch = Fetch(source=source, patience=timedelta(seconds=5))
    keys = [f"K{number}" for number in range(FAILURES_SHOWN + 20)]
    with pytest.raises(RefreshFailed):
        fetch.run(fetch.acquire(keys))
    assert leases.free("stock", keys) == []


def test_a_bad_key_does_not_have_the_good_ones_rest(demo: DemoUpstream) -> None:
    source = stocks(demo)
    demo.set_fault("/stocks/BAD", "500")
    fetch = Fetch(source=source, patience=timedelta(seconds=5))
    fetch.run(fetch.acquire(["BAD", "AAPL", "MSFT"]))
    assert leases.free("stock", ["BAD", "AAPL", "MSFT"]) == ["AAPL", "MSFT"]


def test_a_definition_that_can_not_be_used_is_said_once_and_keeps_nobody_waiting(
    demo: DemoUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    stocks(demo, path="/no/placeholder")
    with caplog.at_level(logging.WARNING, "hotdata"):
        found = outcomes()
    assert {type(error) for error in found} == {NotReady}
    assert [record.getMessage().split()[0] for record in caplog.records] == ["flight.failed"]


def test_an_upstream_that_hangs_holds_up_no_other(demo: DemoUpstream) -> None:
    hanging = stocks(demo, timeout=timedelta(seconds=30), concurrency=2)
    news(demo)
    demo.set_fault("/stocks", "hang")
    for number in range(2 * flights.FETCHES):
        flights.start(hanging, [f"K{number}"])
    assert outcome("technology", "news").value["topic"] == "technology"
    demo.stop()


def test_a_fetch_that_waited_until_its_lease_expired_makes_no_call(demo: DemoUpstream) -> None:
    source = stocks(demo)
    late = leases.acquire_each("stock", ["AAPL"], lasts=timedelta(milliseconds=1))
    with pytest.raises(RefreshFailed, match="No time was left"):
        Fetch(source=source, patience=SLOW).run(late)
    assert asked(demo) == []


@pytest.mark.parametrize("call", [outcome, lambda: hotdata.get_many("stock", ["AAPL", "MSFT"])])
def test_a_redis_that_is_lost_in_mid_fetch_ends_the_waiting(
    demo: DemoUpstream, own_redis: OwnRedis, call: Callable[[], object]
) -> None:
    stocks(demo)
    demo.latency = timedelta(seconds=0.5)
    reading = in_thread(call)
    demo.wait_for(1)
    own_redis.stop()
    with pytest.raises(CacheUnavailable):
        reading.result(PATIENCE)


# Who gets nothing fetched


@pytest.mark.parametrize(
    "fields", [{"key_policy": "pinned"}, {"key_policy": "pattern", "key_pattern": "[A-Z]+"}]
)
def test_a_stranger_leaves_no_trace(demo: DemoUpstream, redis: Any, fields: dict[str, Any]) -> None:
    stocks(demo, **fields)
    for number in range(100):
        assert isinstance(outcome(f"stranger-{number}"), UnknownKey)
        assert isinstance(outcome("AAPL", f"stranger-{number}"), ReadError)
    answers = hotdata.get_many("stock", [f"stranger-{number}" for number in range(100)])
    assert {type(answer) for answer in answers.values()} == {UnknownKey}
    assert asked(demo) == []
    assert meters._tally.counts == {}
    assert redis.dbsize() == 0
    assert not flights._airport.pools


def test_a_key_that_matches_the_pattern_is_fetched_when_it_is_first_read(demo: DemoUpstream) -> None:
    stocks(demo, key_policy="pattern", key_pattern="[A-Z]{1,5}")
    assert outcome("TSLA").value["symbol"] == "TSLA"
    assert isinstance(outcome("TOOLONG"), UnknownKey)
    assert asked(demo) == ["TSLA"]


def test_a_source_that_is_switched_off_serves_what_it_has_and_fetches_nothing(demo: DemoUpstream) -> None:
    stocks(demo, enabled=False)
    store(key="MSFT")
    assert outcome("MSFT").value == 1
    assert isinstance(outcome("AAPL"), NotReady)
    assert asked(demo) == []
