from __future__ import annotations

import contextlib
import json
import logging
import socket
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from django.db import OperationalError, connection
from django.utils import timezone
from redis import Redis

from hotdata import registry
from hotdata.exceptions import (
    BadSource,
    CacheUnavailable,
    RunCancelled,
    UnknownTask,
    UpstreamForbidden,
)
from hotdata.execution.runner import execute
from hotdata.freshness import absences, entries
from hotdata.freshness.outcomes import Refreshed, RefreshFailed
from hotdata.freshness.refresh import refresh
from hotdata.freshness.upstream import gate_of, upstream_of
from hotdata.models import ApiCall, Run, Source
from hotdata.models.hotkeys import guests
from hotdata.models.runs import State
from project.demo.upstream import DemoUpstream
from tests.builders import NODE, make_job, make_run, make_source, store
from tests.freshness.conftest import OwnRedis
from tests.freshness.hostile import Behaviour, HostileUpstream, whole

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clear_cache")]

PATIENCE = 10  # seconds
SECRETS = {"HOTDATA_SECRET_ONE": "5ec2e7-one", "HOTDATA_SECRET_TWO": "5ec2e7-two"}
SECRET = "5ec2e7"
Outcome = ApiCall.Outcome


def stocks(demo: DemoUpstream, **fields: Any) -> Source:
    return make_source(**({"name": "stock", "base_url": demo.url} | fields))


def hostile_source(hostile: HostileUpstream, **fields: Any) -> Source:
    """A source whose keys are the names of what its upstream does."""
    return make_source(**({"name": "stock", "base_url": hostile.url(""), "path": "/{key}"} | fields))


def value(key: str) -> Any:
    stored = entries.read("stock", key)
    return None if stored is None else stored.value


def failure(source: Source, *keys: str, **options: Any) -> RefreshFailed:
    with pytest.raises(RefreshFailed) as caught:
        refresh(source, keys, **options)
    return caught.value


def raw(redis: Redis) -> dict[bytes, bytes]:
    """All entries, as they are."""
    return {name: redis.get(name) for name in redis.scan_iter("hd:1:e:*")}


# What a refresh does


def test_a_refresh_stores_what_the_upstream_answers(demo: DemoUpstream) -> None:
    source = stocks(demo, soft_ttl=timedelta(minutes=2), hard_ttl=timedelta(hours=3))
    result = refresh(source, ["AAPL", "MSFT"])
    assert result == Refreshed(source="stock", asked=2, refreshed=2, calls=2)
    stored = entries.read("stock", "AAPL")
    assert stored.value["symbol"] == "AAPL"
    assert 108 <= stored.soft_expiry - stored.fetched_at <= 120, "shorter by a tenth at most"
    assert 0.9 * 3 * 3600 <= stored.hard_expiry - stored.fetched_at <= 3 * 3600
    assert (stored.unchanged, stored.size) == (0, len(msgspec.json.encode(stored.value)))
    assert stored.fetched_at == ApiCall.objects.get(keys="AAPL").started_at.timestamp()
    assert stored.changed_at == stored.fetched_at


def test_what_is_fetched_together_becomes_stale_and_goes_apart(demo: DemoUpstream) -> None:
    source = stocks(demo, soft_ttl=timedelta(minutes=2), hard_ttl=timedelta(hours=3))
    keys = [f"S{letter}" for letter in "ABCDEFGH"]
    refresh(source, keys)
    stored = entries.read_many("stock", keys).values()
    assert len({round(each.soft_expiry - each.fetched_at, 2) for each in stored}) > len(keys) / 2
    assert len({round(each.hard_expiry - each.fetched_at, 2) for each in stored}) > len(keys) / 2


def test_keys_are_asked_for_once_each_in_their_one_form(demo: DemoUpstream) -> None:
    result = refresh(stocks(demo, path="/weather/{key}"), ["北京", "北京", "caf\u00e9", "cafe\u0301"])
    assert result.asked == 2
    assert len(demo.requests) == 2


def test_no_keys_are_no_calls(demo: DemoUpstream) -> None:
    assert refresh(stocks(demo), []) == Refreshed(source="stock", asked=0)
    assert demo.requests == []


def test_many_keys_are_asked_for_in_batches(demo: DemoUpstream) -> None:
    source = stocks(
        demo,
        batch_size=4,
        batch_path="/stocks",
        batch_query={"symbols": "{keys}"},
        batch_items="quotes",
        batch_key="symbol",
    )
    keys = [f"K{letter}" for letter in "ABCDEFGHIJ"]
    assert refresh(source, keys) == Refreshed(source="stock", asked=10, refreshed=10, calls=3)
    assert sorted(len(served.key.split(",")) for served in demo.requests) == [2, 4, 4]
    assert {key: stored.value["symbol"] for key, stored in entries.read_many("stock", keys).items()} == {
        key: key for key in keys
    }


def test_progress_is_reported_up_to_the_last_key(demo: DemoUpstream) -> None:
    reports: list[tuple[int, int]] = []
    refresh(stocks(demo), ["A", "B", "C"], progress=lambda done, total: reports.append((done, total)))
    assert reports == sorted(reports)
    assert reports[-1] == (3, 3)


def test_what_is_not_modified_is_renewed_and_keeps_its_value(demo: DemoUpstream) -> None:
    demo.clock = lambda: datetime(2026, 3, 14, 12, tzinfo=UTC)
    source = stocks(demo)
    refresh(source, ["AAPL"])
    first = entries.read("stock", "AAPL")
    result = refresh(source, ["AAPL"])
    second = entries.read("stock", "AAPL")
    assert [served.status for served in demo.requests] == [200, 304]
    assert (result.refreshed, result.unchanged) == (1, 1)
    assert second.value == first.value
    assert second.etag == first.etag != ""
    assert second.fetched_at > first.fetched_at
    assert second.hard_expiry - second.fetched_at >= 0.9 * source.hard_ttl.total_seconds()
    assert second.changed_at == first.changed_at
    assert (first.unchanged, second.unchanged) == (0, 1)
    assert second.hash == first.hash != ""
    assert list(ApiCall.objects.values_list("outcome", flat=True)) == [Outcome.NOT_MODIFIED, Outcome.OK]


def test_a_changed_value_is_known_by_its_time_of_change(demo: DemoUpstream) -> None:
    moment = datetime(2026, 3, 14, 12, tzinfo=UTC)
    demo.clock = lambda: moment
    source = stocks(demo)
    refresh(source, ["AAPL"])
    moment += timedelta(hours=1)
    result = refresh(source, ["AAPL"])
    stored = entries.read("stock", "AAPL")
    assert (result.refreshed, result.unchanged) == (1, 0)
    assert stored.changed_at == stored.fetched_at


def test_a_node_whose_clock_is_ahead_keeps_nobody_else_out(demo: DemoUpstream) -> None:
    store("stock", "AAPL", "from the future", age=-3600)
    assert refresh(stocks(demo), ["AAPL"]) == Refreshed(source="stock", asked=1, refreshed=1, calls=1)
    assert value("AAPL")["symbol"] == "AAPL"


def test_a_malformed_key_fails_alone_and_asks_nobody(demo: DemoUpstream) -> None:
    result = refresh(stocks(demo, max_failed_share=0.9), ["AAPL", "a/b", "..", "x" * 5000, "a\nb"])
    assert (result.asked, result.refreshed, result.failures) == (5, 1, 4)
    assert "can't contain '/'" in result.failed["a/b"]
    assert [served.key for served in demo.requests] == ["AAPL"]


def test_a_slow_answer_does_not_overwrite_one_that_was_asked_for_later(settings: Any) -> None:
    def slow(upstream: HostileUpstream, peer: socket.socket, target: str) -> bool:
        store("stock", "slow", "asked for later")
        peer.sendall(whole(b'"asked for earlier"'))
        return True

    with serving(settings, slow=slow) as upstream:
        result = refresh(hostile_source(upstream), ["slow"])
    assert (result.refreshed, result.outrun) == (0, 1)
    assert value("slow") == "asked for later"


# What else a key is asked for with


def test_a_key_is_asked_for_with_what_was_pinned_with_it(demo: DemoUpstream) -> None:
    source = stocks(demo, path="/{area}/{key}")
    for key, area in (("北京", "weather"), ("AAPL", "stocks")):
        source.pinned.create(key=key, placeholders={"area": area})
    assert refresh(source, ["北京", "AAPL"]).refreshed == 2
    assert {served.path for served in demo.requests} == {"/weather/北京", "/stocks/AAPL"}


@pytest.mark.parametrize("placeholders", [{}, {"other": "stocks"}, {"area": ".."}, {"area": "a\r\nb"}])
def test_a_key_that_lacks_what_it_is_asked_for_with_fails_alone_and_asks_nobody(
    demo: DemoUpstream, placeholders: dict[str, str]
) -> None:
    source = stocks(demo, path="/{area}/{key}", max_failed_share=0.7)
    source.pinned.create(key="AAPL", placeholders={"area": "stocks"})
    source.pinned.create(key="MSFT", placeholders=placeholders)
    result = refresh(source, ["MSFT", "AAPL", "not-pinned"])
    assert (result.asked, result.refreshed, result.failures) == (3, 1, 2)
    assert "{area}" in result.failed["MSFT"]
    assert result.failed["not-pinned"] == (
        "UpstreamForbidden: This key brings nothing for {area}: it is not pinned with it."
    )
    assert [served.path for served in demo.requests] == ["/stocks/AAPL"]


def test_a_key_that_is_not_pinned_is_asked_for_again_with_what_was_given_for_it(demo: DemoUpstream) -> None:
    source = stocks(demo, path="/{area}/{key}")
    refresh(source, ["北京"], placeholders={"北京": {"area": "weather", "else": "unused"}})
    assert entries.read("stock", "北京").placeholders == {"area": "weather"}
    assert refresh(source, ["北京"]).refreshed == 1
    assert [served.path for served in demo.requests] == ["/weather/北京"] * 2


@pytest.mark.parametrize("policy", ["pinned", "pattern", "any"])
def test_a_guest_is_asked_for_again_with_what_was_given_for_it_when_redis_has_lost_it(
    demo: DemoUpstream, redis: Redis, policy: str
) -> None:
    source = stocks(demo, path="/{area}/{key}", key_policy=policy, key_pattern=".+")
    refresh(source, ["北京"], placeholders={"北京": {"area": "weather", "else": "unused"}})
    redis.flushdb()
    assert refresh(source, ["北京"]).refreshed == 1
    assert [served.path for served in demo.requests] == ["/weather/北京"] * 2


@pytest.mark.parametrize(
    ("fields", "noted"),
    [
        ({}, ["AAPL", "MSFT"]),
        ({"key_policy": "pattern", "key_pattern": "A.*"}, ["MSFT"]),
        ({"key_policy": "pattern", "key_pattern": "A.*|M.*"}, []),
        ({"key_policy": "any"}, []),
    ],
)
def test_what_the_source_does_not_serve_by_itself_is_its_guest_as_long_as_its_entry(
    demo: DemoUpstream, fields: dict[str, Any], noted: list[str]
) -> None:
    source = stocks(demo, **fields)
    source.pinned.create(key="TSLA")
    demo.set_fault("/stocks/BAD", "500")
    assert refresh(source, ["AAPL", "MSFT", "TSLA", "BAD"]).refreshed == 3
    known = guests("stock", timezone.now())
    assert sorted(known) == noted
    for key, guest in known.items():
        assert guest.kept_until.timestamp() == pytest.approx(entries.read("stock", key).hard_expiry, abs=1e-3)


def test_what_is_given_comes_before_what_was_pinned_and_that_before_what_was_stored(
    demo: DemoUpstream,
) -> None:
    source = stocks(demo, query={"exchange": "{exchange}"})
    given = {"AAPL": {"exchange": "given"}}
    refresh(source, ["AAPL"], placeholders={"AAPL": {"exchange": "stored"}})
    source.pinned.create(key="AAPL", placeholders={"exchange": "pinned"})
    refresh(source, ["AAPL"])
    refresh(source, ["AAPL"], placeholders=given)
    assert [served.target.partition("=")[2] for served in demo.requests] == ["stored", "pinned", "given"]


def test_another_address_is_not_asked_for_on_condition(demo: DemoUpstream) -> None:
    demo.clock = lambda: datetime(2026, 3, 14, 12, tzinfo=UTC)
    source = stocks(demo, query={"exchange": "{exchange}"})
    pinned = source.pinned.create(key="AAPL", placeholders={"exchange": "NYSE"})
    refresh(source, ["AAPL"])
    refresh(source, ["AAPL"])
    pinned.placeholders = {"exchange": "NASDAQ"}
    pinned.save()
    refresh(source, ["AAPL"])
    assert [served.status for served in demo.requests] == [200, 304, 200]


# The definition


def test_an_edited_definition_is_followed(demo: DemoUpstream) -> None:
    source = stocks(demo, path="/stocks/{key}")
    refresh(source, ["AAPL"])
    Source.objects.filter(pk=source.pk).update(path="/news/{key}", value="topic")
    refresh(Source.objects.get(pk=source.pk), ["technology"])
    assert [served.path for served in demo.requests] == ["/stocks/AAPL", "/news/technology"]
    assert value("technology") == "technology"


def test_an_edited_value_is_followed_although_the_upstream_has_nothing_new(demo: DemoUpstream) -> None:
    demo.clock = lambda: datetime(2026, 3, 14, 12, tzinfo=UTC)
    source = stocks(demo)
    refresh(source, ["AAPL"])
    source.value = "symbol"
    source.save()
    refresh(source, ["AAPL"])
    assert value("AAPL") == "AAPL"


def test_a_definition_that_cannot_be_used_is_an_error_without_a_call(demo: DemoUpstream) -> None:
    for fields, error in (
        ({"path": "no slash"}, BadSource),
        ({"base_url": "http://10.0.0.1"}, BadSource),
        ({"fetcher": "nothing"}, UnknownTask),
        ({"secret_headers": {"X-API-Key": "HOTDATA_SECRET_ABSENT"}}, UpstreamForbidden),
    ):
        source = stocks(demo, name=f"bad-{error.__name__}-{len(str(fields))}", **fields)
        with pytest.raises(error):
            refresh(source, ["AAPL"])
    assert demo.requests == []
    assert not ApiCall.objects.exists()


# Failures


BAD_ANSWERS = [
    "html",
    "half",
    "half-chunked",
    "empty",
    "null",
    "large",
    "chunks",
    "bomb",
    "silent",
    "dripped-body",
    "moved",
    "404",
    "429",
    "500",
    "garbage",
    "reset",
    "hang-up",
]


def answers(response: bytes) -> Behaviour:
    def behaviour(upstream: HostileUpstream, peer: socket.socket, target: str) -> bool:
        peer.sendall(response)
        return True

    return behaviour


BEHAVIOURS = {
    "empty": answers(whole(b"")),
    "null": answers(whole(b"null")),
    "moved": answers(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/ok\r\nContent-Length: 1\r\n\r\n1"),
    "404": answers(whole(b"1", status="404 Not Found")),
    "429": answers(whole(b"1", status="429 Too Many", headers="Retry-After: 7\r\n")),
    "503": answers(whole(b"1", status="503 Unavailable", headers="Retry-After: 40\r\n")),
    "500": answers(whole(b"1", status="500 Broken")),
}


@contextlib.contextmanager
def serving(settings: Any, **behaviours: Behaviour) -> Any:
    with HostileUpstream(behaviours=BEHAVIOURS | behaviours) as upstream:
        settings.HOTDATA_ALLOW_PRIVATE = [upstream.address]
        yield upstream


@pytest.mark.parametrize("answer", BAD_ANSWERS)
def test_a_bad_answer_leaves_the_good_entry_as_it_is(settings: Any, redis: Redis, answer: str) -> None:
    store("stock", answer, "good", age=600, soft_ttl=300, etag='"1"')
    before = raw(redis)
    with serving(settings) as upstream:
        error = failure(hostile_source(upstream, timeout=timedelta(seconds=0.5)), answer)
    assert list(error.result.failed) == [answer]
    assert raw(redis) == before != {}
    assert len(upstream.requests) == 1, "asked again, or elsewhere"
    call = ApiCall.objects.get()
    assert (call.outcome, call.keys) == (Outcome.FAILED, answer)
    assert call.error


def test_a_bad_answer_without_a_good_entry_stores_nothing(settings: Any, redis: Redis) -> None:
    with serving(settings) as upstream:
        failure(hostile_source(upstream), "html", "empty", "404")
    assert raw(redis) == {}


def test_a_bad_key_does_not_stop_the_others(settings: Any) -> None:
    keys = ["ok", "html", "500", "half", *(f"good-{number}" for number in range(6))]
    good = dict.fromkeys(keys[4:], answers(whole()))
    with serving(settings, **good) as upstream:
        result = refresh(hostile_source(upstream), keys)
    assert (result.asked, result.refreshed, result.failures, result.calls) == (10, 7, 3, 10)
    assert set(result.failed) == {"html", "500", "half"}
    assert all("Upstream" in why for why in result.failed.values())
    assert entries.read_many("stock", keys).keys() == set(keys) - {"html", "500", "half"}


def test_one_key_that_the_upstream_refuses_does_not_stop_its_batch(settings: Any) -> None:
    """Halving finds it: a batch of sixteen costs a few calls more, and not sixteen."""

    def batch(upstream: HostileUpstream, peer: socket.socket, target: str) -> bool:
        keys = target.rpartition("=")[2].split(",")
        if "BAD" in keys:
            peer.sendall(whole(b"no such symbol", status="404 Not Found"))
        else:
            items = json.dumps([{"s": key, "p": 1} for key in keys]).encode()
            peer.sendall(whole(items))
        return True

    def single(upstream: HostileUpstream, peer: socket.socket, target: str) -> bool:
        bad = target.endswith("BAD")
        peer.sendall(whole(b"1", status="404 Not Found") if bad else whole(b'{"p": 1}'))
        return True

    keys = [*(f"K{number}" for number in range(15)), "BAD"]
    with serving(settings, batch=batch, single=single) as upstream:
        source = hostile_source(
            upstream,
            path="/single/{key}",
            batch_path="/batch",
            batch_query={"symbols": "{keys}"},
            batch_key="s",
            batch_size=16,
            value="p",
        )
        result = refresh(source, keys)
    assert (result.refreshed, list(result.failed)) == (15, ["BAD"])
    assert result.calls == len(upstream.requests) == 9
    assert absences.known("stock", "BAD")


# What is absent


@pytest.mark.parametrize(("status", "is_absent"), [("404", True), ("429", False), ("500", False)])
def test_only_what_an_upstream_says_does_not_exist_is_absent(
    settings: Any, status: str, is_absent: bool
) -> None:
    with serving(settings) as upstream:
        failure(hostile_source(upstream), status)
    assert absences.known("stock", status) == is_absent


def test_what_has_a_value_is_not_absent(settings: Any) -> None:
    store("stock", "404", "good", age=600, soft_ttl=300)
    with serving(settings) as upstream:
        failure(hostile_source(upstream), "404")
    assert not absences.known("stock", "404")
    assert value("404") == "good"


def test_without_a_time_for_it_nothing_is_absent(settings: Any) -> None:
    with serving(settings) as upstream:
        failure(hostile_source(upstream, absent_ttl=None), "404")
    assert not absences.known("stock", "404")


# The gate


def test_a_refresh_waits_for_its_budget_and_takes_no_more(demo: DemoUpstream) -> None:
    source = stocks(demo, calls_per_minute=1200, burst=2)
    assert refresh(source, [f"K{letter}" for letter in "ABCDEFGH"]).refreshed == 8
    times = sorted(served.at for served in demo.requests)
    # After the first two, one each 50 ms; but the first has a connection to make, and may arrive late.
    assert times[-1] - times[0] >= timedelta(seconds=5 * 0.05 - 0.1)


def test_what_the_gate_does_not_let_through_in_time_is_postponed_without_a_call(demo: DemoUpstream) -> None:
    source = stocks(demo, calls_per_minute=1, burst=1, max_failed_share=0)
    postponed: dict[str, timedelta] = {}
    result = refresh(source, ["AAPL", "MSFT"], patience=timedelta(0), postponed=postponed.__setitem__)
    assert result == Refreshed(source="stock", asked=2, refreshed=1, calls=1, postponed=1)
    (delay,) = postponed.values()
    assert timedelta(seconds=50) < delay <= timedelta(seconds=61)
    assert {served.key for served in demo.requests} | postponed.keys() == {"AAPL", "MSFT"}


def test_a_refresh_of_which_all_is_postponed_says_when_to_try_again(demo: DemoUpstream) -> None:
    source = stocks(demo, calls_per_minute=1, burst=1)
    refresh(source, ["AAPL"])
    error = failure(source, "AAPL", "MSFT", patience=timedelta(0))
    assert (error.result.failures, error.result.postponed, error.permanent) == (0, 2, False)
    assert timedelta(seconds=50) < error.retry_after <= timedelta(seconds=61)
    assert str(error).startswith("0 of 2 keys of stock failed and 2 were postponed: GateClosed: ")


def test_of_the_keys_that_were_tried_no_more_may_fail_than_the_source_tolerates(settings: Any) -> None:
    with serving(settings) as upstream:
        source = hostile_source(upstream, calls_per_minute=1, burst=1, max_failed_share=0.5)
        error = failure(source, "404", "500", "html", patience=timedelta(0))
    assert (error.result.failures, error.result.postponed) == (1, 2)


def test_an_upstream_that_wants_to_be_left_alone_is(settings: Any) -> None:
    with serving(settings) as upstream:
        source = hostile_source(upstream)
        failure(source, "429")
        error = failure(source, "ok")
        assert len(upstream.requests) == 1
    assert timedelta(seconds=5) < error.retry_after <= timedelta(seconds=7)


def test_an_upstream_that_is_down_is_asked_a_few_times_only(settings: Any) -> None:
    with serving(settings) as upstream:
        source = hostile_source(upstream, breaker_failures=3, concurrency=1)
        for _ in range(10):
            failure(source, "500")
        assert len(upstream.requests) == 3


@pytest.mark.parametrize("answer", ["404", "null", "html"])
def test_one_bad_key_does_not_close_the_gate_for_the_others(settings: Any, answer: str) -> None:
    with serving(settings) as upstream:
        source = hostile_source(upstream, breaker_failures=2)
        for _ in range(4):
            failure(source, answer)
        assert refresh(source, ["ok"]).refreshed == 1


def test_a_call_that_is_over_has_left_the_gate(demo: DemoUpstream) -> None:
    source = stocks(demo, concurrency=2)
    refresh(source, [f"K{letter}" for letter in "ABCDEFGH"])
    state = gate_of(source).look()
    assert (state.calls, state.under_way, state.breaker) == (8, 0, "closed")


# What the source's rules say


@pytest.mark.parametrize(
    "rules",
    [
        {"value_kind": "array"},
        {"required": ["volume"]},
        {"bounds": {"price": [None, 0]}},
        {"max_bytes": 10},
    ],
)
def test_a_value_against_the_rules_never_replaces_a_good_one(
    demo: DemoUpstream, rules: dict[str, Any]
) -> None:
    store("stock", "AAPL", "good", age=600, soft_ttl=300)
    error = failure(stocks(demo, **rules), "AAPL")
    assert error.result.failed["AAPL"].startswith("UpstreamPayload: ")
    assert value("AAPL") == "good"
    assert ApiCall.objects.get().outcome == Outcome.FAILED


def test_a_value_by_the_rules_is_stored(demo: DemoUpstream) -> None:
    rules = {"value_kind": "object", "required": ["price"], "bounds": {"price": [0, 1e6]}, "max_bytes": 1000}
    assert refresh(stocks(demo, **rules), ["AAPL"]).refreshed == 1


def test_a_value_that_is_nested_to_death_does_not_stop_the_others(settings: Any) -> None:
    deep = {f"deep-{depth}": answers(whole(b"[" * depth + b"]" * depth)) for depth in range(800, 1000, 8)}
    with serving(settings, **deep) as upstream:
        result = refresh(hostile_source(upstream, max_failed_share=1), [*deep, "ok"])
    assert value("ok") == {"price": 1}
    assert result.refreshed + result.failures == len(deep) + 1


@pytest.mark.parametrize(
    ("bad", "share", "fails"),
    [
        (1, 0.5, False),
        (5, 0.5, False),
        (6, 0.5, True),
        (1, 0.0, True),
        (0, 0.0, False),
        (9, 1.0, False),
        (10, 1.0, True),
    ],
)
def test_a_refresh_fails_when_more_fail_than_the_source_tolerates(
    settings: Any, bad: int, share: float, fails: bool
) -> None:
    keys = [f"key-{number}" for number in range(10)]
    behaviours = {key: answers(whole()) for key in keys[bad:]}
    with serving(settings, **behaviours) as upstream:
        source = hostile_source(upstream, max_failed_share=share)
        result = failure(source, *keys).result if fails else refresh(source, keys)
    assert (result.failures, result.refreshed, result.calls) == (bad, 10 - bad, 10)
    assert ApiCall.objects.count() == 10


def test_a_failed_refresh_tells_what_failed_and_why(settings: Any) -> None:
    with serving(settings) as upstream:
        error = failure(hostile_source(upstream, path="/status/{key}"), "404", "500")
    assert str(error).startswith("2 of 2 keys of stock failed: ")
    assert error.result.failed["404"] == "UpstreamStatus: The upstream answered 404."
    assert not error.permanent


def test_a_refresh_that_only_met_refusals_is_not_tried_again(settings: Any) -> None:
    with serving(settings) as upstream:
        assert failure(hostile_source(upstream), "404", "moved").permanent


@pytest.mark.parametrize(("answer", "seconds"), [("429", 7), ("503", 40)])
def test_a_failed_refresh_waits_for_as_long_as_was_asked_for(
    settings: Any, answer: str, seconds: int
) -> None:
    with serving(settings) as upstream:
        assert failure(hostile_source(upstream), answer).retry_after == timedelta(seconds=seconds)


def test_the_reasons_of_a_thousand_failures_are_kept_short(settings: Any) -> None:
    keys = [f"nothing-{number}" for number in range(150)]
    with serving(settings) as upstream:
        result = failure(hostile_source(upstream, concurrency=32), *keys).result
    assert (result.failures, len(result.failed)) == (150, 100)


def test_an_error_text_that_no_database_takes_does_no_harm() -> None:
    def fetch(keys: Sequence[str]) -> Any:
        raise ValueError("a NUL \x00 and half a character \ud800")

    registry.fetcher(name="nul_fetcher")(fetch)
    try:
        error = failure(make_source(name="stock", fetcher="nul_fetcher"), "AAPL")
    finally:
        registry.fetchers.remove("nul_fetcher")
    assert "ValueError" in error.result.failed["AAPL"]
    assert "ValueError" in ApiCall.objects.get().error


def test_a_fetcher_is_followed_like_any_upstream() -> None:
    registry.fetcher(name="dict_fetcher")(lambda keys: {"AAPL": {"price": 1}, "MSFT": ValueError("broken")})
    try:
        source = make_source(name="stock", fetcher="dict_fetcher", batch_size=10, max_failed_share=0.9)
        result = refresh(source, ["AAPL", "MSFT", "TSLA"])
    finally:
        registry.fetchers.remove("dict_fetcher")
    assert (result.refreshed, result.calls) == (1, 1)
    assert result.failed.keys() == {"MSFT", "TSLA"}
    assert value("AAPL") == {"price": 1}


# Cut off


def test_the_time_that_is_left_of_the_run_shortens_the_timeout(hostile: HostileUpstream) -> None:
    begun = time.monotonic()
    error = failure(hostile_source(hostile, timeout=timedelta(seconds=60)), "silent", time_left=lambda: 0.3)
    assert "UpstreamTimeout" in error.result.failed["silent"]
    assert time.monotonic() - begun < 30


def test_calls_that_wait_for_their_turn_get_what_is_left_then(hostile: HostileUpstream) -> None:
    source = hostile_source(hostile, path="/silent/{key}", timeout=timedelta(seconds=60), concurrency=1)
    deadline = time.monotonic() + 0.5
    begun = time.monotonic()
    failure(source, *"ABCDEFGH", time_left=lambda: max(0.0, deadline - time.monotonic()))
    assert time.monotonic() - begun < 30
    assert len(hostile.requests) == 1


def test_a_refresh_that_is_cut_off_has_stored_what_had_arrived(hostile: HostileUpstream) -> None:
    def cut_off(done: int, total: int) -> None:
        if done:
            raise RunCancelled("Enough.")

    begun = time.monotonic()
    with pytest.raises(RunCancelled):
        refresh(hostile_source(hostile, timeout=timedelta(seconds=40)), ["ok", "silent"], progress=cut_off)
    assert time.monotonic() - begun < 20, "it waited for what was cut off"
    assert value("ok") == {"price": 1}
    assert ApiCall.objects.get(outcome=Outcome.OK).keys == "ok"


def test_a_refresh_that_is_cut_off_makes_no_further_calls(hostile: HostileUpstream) -> None:
    def cut_off(done: int, total: int) -> None:
        raise RunCancelled("Enough.")

    keys = [f"key-{number}" for number in range(50)]
    source = hostile_source(hostile, path="/ok/{key}", concurrency=1)
    with pytest.raises(RunCancelled):
        refresh(source, keys, progress=cut_off)
    upstream = upstream_of(source)
    (last,) = upstream.batches(["last"])
    assert upstream.submit(last, None, lambda: source.timeout).result(PATIENCE)
    assert ApiCall.objects.count() <= len(hostile.requests) < 50
    # A call that ended in the moment of the cut is on record, though what it brought is not stored.
    assert entries.read_many("stock", keys).keys() <= set(ApiCall.objects.values_list("keys", flat=True))


def test_progress_can_cut_off_while_nothing_arrives(hostile: HostileUpstream) -> None:
    begun = time.monotonic()

    def cut_off(done: int, total: int) -> None:
        if time.monotonic() - begun > 0.3:
            raise RunCancelled("Enough.")

    with pytest.raises(RunCancelled):
        refresh(hostile_source(hostile, timeout=timedelta(seconds=40)), ["silent"], progress=cut_off)
    assert time.monotonic() - begun < 20


# Redis


def test_without_redis_no_call_is_made(demo: DemoUpstream, redis_down: None) -> None:
    with pytest.raises(CacheUnavailable):
        refresh(stocks(demo), ["AAPL"])
    assert demo.requests == []
    assert not ApiCall.objects.exists()


def test_when_redis_dies_in_the_middle_the_calls_are_on_record(settings: Any, own_redis: OwnRedis) -> None:
    def fatal(upstream: HostileUpstream, peer: socket.socket, target: str) -> bool:
        own_redis.stop()
        peer.sendall(whole())
        return True

    with serving(settings, fatal=fatal) as upstream:
        source = hostile_source(upstream)
        with pytest.raises(CacheUnavailable):
            refresh(source, ["fatal"], run_id=7)
    assert list(ApiCall.objects.values_list("keys", "run_id")) == [("fatal", 7)]


def test_when_redis_dies_the_calls_that_are_under_way_are_waited_for_and_put_on_record(
    settings: Any, own_redis: OwnRedis
) -> None:
    both_there = threading.Barrier(2)

    def fatal(upstream: HostileUpstream, peer: socket.socket, target: str) -> bool:
        both_there.wait(PATIENCE)
        own_redis.stop()
        peer.sendall(whole())
        return True

    def late(upstream: HostileUpstream, peer: socket.socket, target: str) -> bool:
        both_there.wait(PATIENCE)
        upstream.stopped.wait(1)
        peer.sendall(whole())
        return True

    with serving(settings, fatal=fatal, late=late) as upstream, pytest.raises(CacheUnavailable):
        refresh(hostile_source(upstream), ["fatal", "late"])
    assert set(ApiCall.objects.values_list("keys", "outcome")) == {
        ("fatal", Outcome.OK),
        ("late", Outcome.OK),
    }


# Runs and records


def test_calls_are_on_record_while_the_refresh_goes_on(
    hostile: HostileUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hotdata.freshness.refresh.RECORD_INTERVAL", 0.0)

    def cut_off(done: int, total: int) -> None:
        if ApiCall.objects.filter(keys="ok", run_id=7).exists():
            raise RunCancelled

    source = hostile_source(hostile, timeout=timedelta(seconds=40))
    with pytest.raises(RunCancelled):
        refresh(source, ["ok", "silent"], progress=cut_off, run_id=7)
    assert ApiCall.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_calls_that_could_not_be_recorded_on_the_way_are_recorded_at_the_end(
    demo: DemoUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hotdata.freshness.refresh.RECORD_INTERVAL", 0.0)
    errors = [OperationalError("The server is away.")]

    def stumble(execute: Any, sql: str, *args: Any) -> Any:
        if errors and sql.startswith("INSERT"):
            raise errors.pop()
        return execute(sql, *args)

    source = stocks(demo)
    with connection.execute_wrapper(stumble):
        assert refresh(source, ["AAPL", "MSFT"]).calls == 2
    assert not errors
    assert ApiCall.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_a_run_refreshes_and_its_calls_know_it(demo: DemoUpstream) -> None:
    stocks(demo)
    run = run_of(source="stock", keys=["AAPL", "MSFT"])
    assert run.state == State.SUCCEEDED
    assert run.result["refreshed"] == 2
    assert (run.progress_done, run.progress_total) == (2, 2)
    assert set(ApiCall.objects.values_list("run_id", flat=True)) == {run.id}


@pytest.mark.django_db(transaction=True)
def test_a_failed_run_shows_what_was_refreshed(demo: DemoUpstream) -> None:
    stocks(demo, max_failed_share=0)
    run = run_of(source="stock", keys=["AAPL", "nothing"])
    assert run.state == State.FAILED
    assert (run.result["refreshed"], list(run.result["failed"])) == (1, ["nothing"])
    assert run.error.startswith("RefreshFailed: 1 of 2 keys of stock failed")


def run_of(**params: Any) -> Run:
    """A run of `refresh_source` from its beginning to its record."""
    run = make_run(make_job(task="refresh_source", params=params), node=NODE)
    execute(run.id, NODE)
    return Run.objects.get(pk=run.id)


def repeats(upstream: HostileUpstream, peer: socket.socket, target: str) -> bool:
    """The whole request as text: an upstream that says which key it didn't like."""
    peer.sendall(whole(f"Not {SECRETS['HOTDATA_SECRET_ONE']}: {target}".encode()))
    return True


def redirects(upstream: HostileUpstream, peer: socket.socket, target: str) -> bool:
    peer.sendall(
        f"HTTP/1.1 302 Found\r\nLocation: https://elsewhere.example{target}\r\nContent-Length: 0\r\n\r\n".encode()
    )
    return True


@pytest.mark.django_db(transaction=True)
def test_no_secret_and_no_query_string_is_on_record_or_in_a_log(
    settings: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, redis: Redis
) -> None:
    for name, secret in SECRETS.items():
        monkeypatch.setenv(name, secret)
    caplog.set_level(logging.DEBUG)
    # But for the answer after which nobody is asked any more.
    keys = [*(answer for answer in BAD_ANSWERS if answer != "429"), "ok"]
    keys += ["repeats", "redirects", "broken-headers", "zipped"]
    with serving(settings, repeats=repeats, redirects=redirects) as upstream:
        hostile_source(
            upstream,
            timeout=timedelta(seconds=0.5),
            max_failed_share=0,
            query={"public": "query-string"},
            secret_query={"token": "HOTDATA_SECRET_ONE"},
            secret_headers={"X-API-Key": "HOTDATA_SECRET_TWO"},
        )
        run = run_of(source="stock", keys=keys)
        places = {upstream.url(f"/{key}") for key in keys}
    sent = "".join(upstream.requests)
    assert all(secret in sent for secret in SECRETS.values())
    assert (run.state, ApiCall.objects.count()) == (State.FAILED, len(keys))
    written = [
        *rows_of(ApiCall),
        *rows_of(Run),
        *(record.getMessage() for record in caplog.records),
        caplog.text,
    ]
    written += [repr(raw(redis))]
    for text in written:
        assert SECRET not in text
        assert "query-string" not in text
        assert "token=" not in text
    assert {call.url for call in ApiCall.objects.all()} == places


def rows_of(model: Any) -> list[str]:
    """Every column of every row, as the database has it."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {model._meta.db_table}")
        return [repr(row) for row in cursor.fetchall()]
