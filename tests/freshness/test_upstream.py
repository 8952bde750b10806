from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import date, timedelta
from typing import Any

import pytest
from redis import Redis

from hotdata import registry
from hotdata.exceptions import (
    BadSource,
    CacheUnavailable,
    UnknownTask,
    UpstreamError,
    UpstreamForbidden,
    UpstreamPayload,
    UpstreamStatus,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from hotdata.execution.context import CurrentRun, current_run, entered
from hotdata.freshness.replies import COOLDOWN, Reply
from hotdata.freshness.upstream import gate_of, upstream_of
from hotdata.models import ApiCall, Source
from project.demo.upstream import DemoUpstream
from tests.builders import make_stored
from tests.freshness.conftest import close_upstreams
from tests.freshness.hostile import HostileUpstream, closed_port, whole
from tests.threads import eventually


def nested(depth: int) -> list[Any]:
    """A list in a list in a list, so deep."""
    outer: list[Any] = []
    for _ in range(depth):
        outer = [outer]
    return outer


# Sources are built here and not saved: nothing in this file needs a database.
pytestmark = pytest.mark.usefixtures("known_gate")

PATIENCE = timedelta(seconds=10)
Outcome = ApiCall.Outcome


@pytest.fixture
def known_gate(clear_cache: None, redis: Redis) -> None:
    """The gate of all sources here is open, and known to Redis: the records need not be asked."""
    redis.hset("hd:1:g:tested", "last", 0)


def source_at(url: str, path: str = "/{key}", **fields: Any) -> Source:
    return Source(name="tested", base_url=url, path=path, **fields)


def ask(source: Source, *keys: str, timeout: timedelta = PATIENCE, **known: Any) -> Reply:
    """One call for `keys`, with what is already `known`."""
    upstream = upstream_of(source)
    (request,) = upstream.batches(keys)
    stored = make_stored("tested", keys[0], **known) if known else None
    return upstream.submit(request, stored, lambda: timeout).result(PATIENCE.total_seconds())


def error_of(reply: Reply) -> UpstreamError:
    """The error that all keys of `reply` share."""
    (error,) = set(reply.values.values())
    assert isinstance(error, UpstreamError)
    assert reply.call.outcome == Outcome.FAILED
    assert reply.call.error == f"{type(error).__name__}: {error}"
    return error


class Answering(HostileUpstream):
    """An upstream whose answer below ``/answer`` is the given one; sources may ask it."""

    def __init__(self, settings: Any, body: bytes, headers: bytes = b"", status: bytes = b"200 OK") -> None:
        head = b"HTTP/1.1 %b\r\n%bContent-Length: %d\r\n\r\n" % (status, headers, len(body))

        def answer(upstream: HostileUpstream, peer: Any, target: str) -> bool:
            peer.sendall(head + body)
            return True

        super().__init__(behaviours={"answer": answer})
        self._settings = settings

    def __enter__(self) -> Answering:
        super().__enter__()
        self._settings.HOTDATA_ALLOW_PRIVATE = [self.address]
        return self


# One key


def test_an_answer_is_a_value_and_a_call(demo: DemoUpstream) -> None:
    reply = ask(source_at(demo.url, "/stocks/{key}", value="symbol"), "AAPL")
    assert reply.values == {"AAPL": "AAPL"}
    assert reply.etag
    call = reply.call
    assert (call.source, call.keys, call.url) == ("tested", "AAPL", f"{demo.url}/stocks/AAPL")
    assert (call.outcome, call.status, call.error) == (Outcome.OK, 200, "")
    assert call.size > 0
    assert call.started_at == reply.started_at
    assert timedelta(0) < call.duration < PATIENCE


def test_a_key_is_quoted_as_a_whole_segment(demo: DemoUpstream) -> None:
    assert ask(source_at(demo.url, "/weather/{key}", value="city"), "北京").values == {"北京": "北京"}
    reply = ask(source_at(demo.url, "/weather/{key}"), "%2e%2e?x#y")
    assert demo.requests[-1].target == "/weather/%252e%252e%3Fx%23y"
    assert error_of(reply).status == 404


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 422])
def test_a_refusal_is_permanent(hostile: HostileUpstream, status: int) -> None:
    error = error_of(ask(source_at(hostile.url("/status")), str(status)))
    assert isinstance(error, UpstreamStatus)
    assert (error.status, error.permanent) == (status, True)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_failure_that_may_pass_is_not_permanent(hostile: HostileUpstream, status: int) -> None:
    reply = ask(source_at(hostile.url("/status")), str(status))
    assert not error_of(reply).permanent
    assert reply.call.status == status


@pytest.mark.parametrize("status", [429, 503])
def test_how_long_to_wait_is_taken_from_the_answer_and_put_on_record(
    hostile: HostileUpstream, status: int
) -> None:
    source = source_at(hostile.url("/status"), query={"Retry-After": "7"})
    reply = ask(source, str(status))
    assert error_of(reply).retry_after == reply.call.cooldown == timedelta(seconds=7)


@pytest.mark.parametrize(("status", "cooldown"), [(429, COOLDOWN), (503, None)])
def test_who_is_asked_too_much_and_does_not_say_how_long_to_wait_is_left_alone_for_a_moment(
    hostile: HostileUpstream, status: int, cooldown: timedelta | None
) -> None:
    assert ask(source_at(hostile.url("/status")), str(status)).call.cooldown == cooldown


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        ("html", UpstreamPayload),
        ("half", UpstreamUnreachable),
        ("half-chunked", UpstreamUnreachable),
        ("large", UpstreamPayload),
        ("chunks", UpstreamPayload),
        ("bomb", UpstreamPayload),
        ("badly-zipped", UpstreamPayload),
        ("redirect", UpstreamForbidden),
        ("garbage", UpstreamUnreachable),
        ("reset", UpstreamUnreachable),
        ("hang-up", UpstreamUnreachable),
    ],
)
def test_an_answer_that_cannot_be_used_is_an_error(
    hostile: HostileUpstream, behaviour: str, error: type[UpstreamError]
) -> None:
    assert type(error_of(ask(source_at(hostile.url("")), behaviour))) is error


@pytest.mark.parametrize(("behaviour", "status"), [("redirect", 302), ("large", 200)])
def test_the_status_of_an_answer_that_is_refused_is_on_record(
    hostile: HostileUpstream, behaviour: str, status: int
) -> None:
    reply = ask(source_at(hostile.url("")), behaviour)
    assert (reply.call.outcome, reply.call.status) == (Outcome.FAILED, status)


def test_a_server_error_is_an_outage_whatever_is_wrong_with_its_body(settings: Any) -> None:
    for body, headers in (
        (b"this is no gzip", b"Content-Encoding: gzip\r\n"),
        (b"brotli", b"Content-Encoding: br\r\n"),
        (b"x" * 6_000_000, b""),
    ):
        for status, is_outage in ((b"500 Down", True), (b"200 OK", False), (b"404 Gone", False)):
            with Answering(settings, body, headers, status) as upstream:
                reply = ask(source_at(upstream.url("")), "answer")
            assert isinstance(error_of(reply), UpstreamPayload)
            assert reply.is_outage == is_outage


@pytest.mark.parametrize("behaviour", ["silent", "silent-body", "dripped-headers", "dripped-body"])
def test_an_answer_that_does_not_end_is_a_timeout(hostile: HostileUpstream, behaviour: str) -> None:
    reply = ask(source_at(hostile.url("")), behaviour, timeout=timedelta(seconds=0.3))
    assert isinstance(error_of(reply), UpstreamTimeout)
    assert timedelta(seconds=0.3) <= reply.call.duration < timedelta(seconds=2)
    assert reply.call.status is None


def test_an_upstream_that_is_down_is_unreachable(settings: Any) -> None:
    address = closed_port()
    settings.HOTDATA_ALLOW_PRIVATE = [address]
    assert isinstance(error_of(ask(source_at(f"http://{address}"), "AAPL")), UpstreamUnreachable)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"price": 1',
        b"nothing",
        b'{"price": NaN}',
        b'{"price": "\xff"}',
        b"\xef\xbb\xbf{}",
        b"[" * 50_000,
    ],
    ids=lambda body: repr(body[:20]),
)
def test_a_body_that_is_not_json_is_an_error(settings: Any, body: bytes) -> None:
    with Answering(settings, body) as upstream:
        assert isinstance(error_of(ask(source_at(upstream.url("")), "answer")), UpstreamPayload)


@pytest.mark.parametrize(
    "body", [b"null", b"{}", b"[]", b'""', b'{"price": null}', b'{"other": 1}', b"[1]", b"1"]
)
def test_an_answer_without_the_value_is_an_error(settings: Any, body: bytes) -> None:
    with Answering(settings, body) as upstream:
        source = source_at(upstream.url(""), value="price")
        assert "nothing at 'price'" in str(error_of(ask(source, "answer")))


def test_a_value_may_be_a_hundred_levels_deep_and_no_more(settings: Any) -> None:
    for depth, error in ((99, False), (100, True), (900, True)):
        with Answering(settings, json.dumps(nested(depth)).encode()) as upstream:
            reply = ask(source_at(upstream.url("")), "answer")
            assert isinstance(reply.values["answer"], UpstreamPayload) == error


@pytest.mark.parametrize("value", [0, False, -1, 0.0, "x", [0], {"a": None}])
def test_a_value_may_be_anything_but_nothing(settings: Any, value: Any) -> None:
    with Answering(settings, json.dumps(value).encode()) as upstream:
        assert ask(source_at(upstream.url("")), "answer").values == {"answer": value}


@pytest.mark.parametrize("expression", ["length(price)", "ceil(to_number('nan'))", "sort_by(@, &price)"])
def test_an_expression_that_does_not_fit_the_answer_is_an_error(settings: Any, expression: str) -> None:
    with Answering(settings, b'{"price": 1}') as upstream:
        source = source_at(upstream.url(""), value=expression)
        assert isinstance(error_of(ask(source, "answer")), UpstreamPayload)


def test_an_answer_that_repeats_a_secret_does_not_put_it_on_record(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOTDATA_SECRET_TEST", "5ec2e7")
    with Answering(settings, b"Bad key 5ec2e7!") as upstream:
        source = source_at(upstream.url(""), secret_headers={"X-API-Key": "HOTDATA_SECRET_TEST"})
        assert "5ec2e7" not in str(error_of(ask(source, "answer")))


@pytest.mark.parametrize("behaviour", ["html", "large", "half", "badly-zipped", "unknown"])
def test_an_error_holds_nothing_of_the_answer(hostile: HostileUpstream, behaviour: str) -> None:
    reply = ask(source_at(hostile.url("")), behaviour)
    link: BaseException | None = error_of(reply)
    while link is not None:
        assert link.__traceback__ is None, "its frames hold the body"
        link = link.__cause__ or link.__context__


# What is known already


def test_what_is_known_is_asked_for_on_condition(hostile: HostileUpstream) -> None:
    reply = ask(
        source_at(hostile.url("")), "not-modified", etag='"1"', last_modified="Sat, 01 Jan 2000 00:00:00 GMT"
    )
    assert 'If-None-Match: "1"\r\n' in hostile.requests[0]
    assert "If-Modified-Since: Sat, 01 Jan 2000 00:00:00 GMT\r\n" in hostile.requests[0]
    assert (reply.not_modified, reply.etag) == (True, '"1"')
    assert (reply.call.outcome, reply.call.status) == (Outcome.NOT_MODIFIED, 304)


def test_without_a_known_value_nothing_is_asked_on_condition(hostile: HostileUpstream) -> None:
    ask(source_at(hostile.url("")), "ok")
    ask(source_at(hostile.url("")), "ok", etag="")
    assert not [head for head in hostile.requests if "\r\nIf-" in head]


def test_not_modified_for_a_key_that_nothing_is_known_of_is_an_error(hostile: HostileUpstream) -> None:
    error = error_of(ask(source_at(hostile.url("")), "not-modified"))
    assert error.status == 304


@pytest.mark.parametrize("etag", [b'"\x80"', b'"' + b"x" * 198 + b' "', b'"a\tb"', b'"\xe9"', b'"x"\xa0'])
def test_an_etag_that_cannot_be_sent_back_does_no_harm(settings: Any, etag: bytes) -> None:
    with Answering(settings, b"1", b"ETag: " + etag + b"\r\n") as upstream:
        source = source_at(upstream.url(""))
        first = ask(source, "answer")
        assert ask(source, "answer", etag=first.etag, value=1).values == {"answer": 1}


# Batches


def batched(url: str, **fields: Any) -> Source:
    values = {
        "batch_size": 3,
        "batch_path": "/stocks",
        "batch_query": {"symbols": "{keys}"},
        "batch_items": "quotes",
        "batch_key": "symbol",
        "value": "symbol",
    }
    return source_at(url, "/stocks/{key}", **(values | fields))


def test_several_keys_are_one_call(demo: DemoUpstream) -> None:
    reply = ask(batched(demo.url), "AAPL", "MSFT", "TSLA")
    assert reply.values == {"AAPL": "AAPL", "MSFT": "MSFT", "TSLA": "TSLA"}
    assert [served.target for served in demo.requests] == ["/stocks?symbols=AAPL,MSFT,TSLA"]
    assert (reply.call.keys, reply.call.url) == ("AAPL,MSFT,TSLA", f"{demo.url}/stocks")


def test_a_batch_is_no_larger_than_the_source_says(demo: DemoUpstream) -> None:
    keys = [f"K{letter}" for letter in "ABCDEFG"]
    requests = upstream_of(batched(demo.url)).batches(keys)
    assert [len(request.keys) for request in requests] == [3, 3, 1]
    assert [key for request in requests for key in request.keys] == keys


def test_a_key_with_a_comma_is_asked_for_alone(demo: DemoUpstream) -> None:
    requests = upstream_of(batched(demo.url)).batches(["A,B", "AAPL", "MSFT"])
    assert [request.keys for request in requests] == [("A,B",), ("AAPL", "MSFT")]


def test_a_key_that_the_batch_left_out_fails_alone(demo: DemoUpstream) -> None:
    reply = ask(batched(demo.url), "AAPL", "nothing")
    assert reply.values["AAPL"] == "AAPL"
    assert isinstance(reply.values["nothing"], UpstreamPayload)
    assert reply.call.outcome == Outcome.OK
    assert "UpstreamPayload" in reply.call.error


def test_a_batch_may_be_a_mapping(demo: DemoUpstream) -> None:
    source = source_at(
        demo.url,
        "/news/{key}",
        batch_size=3,
        batch_path="/news",
        batch_query={"topics": "{keys}"},
        batch_items="topics",
        value="topic",
    )
    assert ask(source, "general", "business").values == {"general": "general", "business": "business"}


@pytest.mark.parametrize(
    "fields", [{"batch_items": "nothing"}, {"batch_key": ""}, {"batch_items": "length(@.quotes[0].price)"}]
)
def test_a_batch_whose_items_are_not_found_fails_all_its_keys(
    demo: DemoUpstream, fields: dict[str, str]
) -> None:
    assert isinstance(error_of(ask(batched(demo.url, **fields), "AAPL", "MSFT")), UpstreamPayload)


def test_an_item_that_does_not_fit_fails_alone(settings: Any) -> None:
    body = b'{"items": [{"id": "A", "price": [1]}, {"id": "B", "price": 1}, 7, null, {"id": {"deep": 1}}]}'
    fields = {"batch_path": "/answer", "batch_items": "items", "batch_key": "id", "value": "length(price)"}
    with Answering(settings, body) as upstream:
        reply = ask(batched(upstream.url(""), **fields), "A", "B")
    assert reply.values["A"] == 1
    assert isinstance(reply.values["B"], UpstreamPayload)


# Fetchers


FetchedBy = Callable[[Callable[[Sequence[str]], Any]], Source]


@pytest.fixture
def fetched_by() -> Iterator[FetchedBy]:
    """Makes a source whose fetcher is the given function."""
    names: list[str] = []

    def make(function: Callable[[Sequence[str]], Any]) -> Source:
        names.append(f"fetcher_of_the_test_{len(names)}")
        registry.fetcher(name=names[-1])(function)
        return Source(name="tested", fetcher=names[-1], batch_size=10)

    yield make
    close_upstreams()
    for name in names:
        registry.fetchers.remove(name)


def test_a_fetcher_returns_values_by_key(fetched_by: FetchedBy) -> None:
    asked = []

    def fetch(keys: Sequence[str]) -> dict[str, Any]:
        asked.append(keys)
        return {key: {"name": key, "at": date(2026, 1, 31)} for key in keys} | {"unasked": 1}

    reply = ask(fetched_by(fetch), "A", "北京")
    assert asked == [["A", "北京"]]
    assert reply.values == {key: {"name": key, "at": "2026-01-31"} for key in ("A", "北京")}
    assert (reply.call.outcome, reply.call.status, reply.call.url) == (Outcome.OK, None, "")


@pytest.mark.parametrize(
    "bad",
    [
        None,
        object(),
        ValueError("broken"),
        {"a": object()},
        {(1, 2): 3},
        "\ud800",
        nested(100_000),
        UpstreamPayload("Nothing."),
        {},
        [],
        "",
    ],
    ids=lambda bad: f"{type(bad).__name__}",
)
def test_a_key_whose_value_cannot_be_used_fails_alone(fetched_by: FetchedBy, bad: Any) -> None:
    reply = ask(fetched_by(lambda keys: {"good": 1, "bad": bad}), "good", "bad")
    assert reply.values["good"] == 1
    assert isinstance(reply.values["bad"], UpstreamError)
    assert reply.call.outcome == Outcome.OK


def test_a_key_that_a_fetcher_leaves_out_fails_alone(fetched_by: FetchedBy) -> None:
    reply = ask(fetched_by(lambda keys: {"good": 1}), "good", "bad")
    assert isinstance(reply.values["bad"], UpstreamPayload)


@pytest.mark.parametrize("returned", [None, [], 1, "text"])
def test_a_fetcher_that_returns_no_mapping_fails_all_keys(fetched_by: FetchedBy, returned: Any) -> None:
    assert "AttributeError" in str(error_of(ask(fetched_by(lambda keys: returned), "A", "B")))


def test_a_fetcher_that_raises_fails_all_keys(fetched_by: FetchedBy) -> None:
    def fetch(keys: Sequence[str]) -> Any:
        raise ZeroDivisionError("broken")

    error = error_of(ask(fetched_by(fetch), "A", "B"))
    assert str(error) == "The fetcher fetcher_of_the_test_0 raised ZeroDivisionError: broken"
    assert not error.permanent


def test_a_fetcher_may_raise_an_upstream_error_of_its_own(fetched_by: FetchedBy) -> None:
    def fetch(keys: Sequence[str]) -> Any:
        raise UpstreamStatus("Too many.", status=429, retry_after=timedelta(seconds=3))

    assert error_of(ask(fetched_by(fetch), "A")).retry_after == timedelta(seconds=3)


def test_an_upstream_error_for_one_key_keeps_its_facts(fetched_by: FetchedBy) -> None:
    busy = UpstreamStatus("Too many.", status=429, retry_after=timedelta(seconds=3))
    assert ask(fetched_by(lambda keys: {"good": 1, "bad": busy}), "good", "bad").values["bad"] is busy


def test_an_error_that_is_no_upstreams_fault_is_not_taken_for_one(fetched_by: FetchedBy) -> None:
    def fetch(keys: Sequence[str]) -> Any:
        raise CacheUnavailable("Redis is down.")

    with pytest.raises(CacheUnavailable):
        ask(fetched_by(fetch), "A")


def test_a_fetcher_is_part_of_the_run_that_asks(fetched_by: FetchedBy) -> None:
    run = CurrentRun(id=7)
    with entered(run):
        assert ask(fetched_by(lambda keys: {"A": current_run().id}), "A").values == {"A": 7}


# Definitions


def test_a_source_keeps_its_upstream_while_its_definition_stays(demo: DemoUpstream) -> None:
    assert upstream_of(source_at(demo.url)) is upstream_of(source_at(demo.url, title="Renamed"))


@pytest.mark.parametrize(
    "change",
    [
        {"path": "/news/{key}"},
        {"value": "price"},
        {"headers": {"X-Test": "1"}},
        {"query": {"a": "b"}},
        {"concurrency": 3},
        {"timeout": timedelta(seconds=5)},
        {"batch_size": 2, "batch_path": "/{keys}"},
    ],
    ids=str,
)
def test_a_changed_definition_gets_a_new_upstream(demo: DemoUpstream, change: dict[str, Any]) -> None:
    before = upstream_of(source_at(demo.url))
    assert upstream_of(source_at(**({"url": demo.url} | change))) is not before


def test_a_changed_setting_gets_a_new_upstream(demo: DemoUpstream, settings: Any) -> None:
    before = upstream_of(source_at(demo.url))
    settings.HOTDATA_UPSTREAM_MAX_BYTES = 5
    assert upstream_of(source_at(demo.url)) is not before
    assert "larger than 5 bytes" in str(error_of(ask(source_at(demo.url, "/stocks/{key}"), "AAPL")))


def test_a_definition_that_cannot_be_used_is_an_error() -> None:
    with pytest.raises(BadSource) as caught:
        upstream_of(source_at("file:///etc/passwd"))
    assert caught.value.field == "base_url"
    with pytest.raises(UnknownTask):
        upstream_of(Source(name="tested", fetcher="nothing"))


def test_a_private_address_that_the_settings_do_not_allow_is_refused(
    hostile: HostileUpstream, settings: Any
) -> None:
    settings.HOTDATA_ALLOW_PRIVATE = []
    with pytest.raises(BadSource, match="HOTDATA_ALLOW_PRIVATE"):
        ask(source_at(hostile.url("")), "ok")
    assert hostile.requests == []


def test_a_name_that_leads_inside_is_refused(
    hostile: HostileUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = int(hostile.address.rpartition(":")[2])
    monkeypatch.setattr(
        "socket.getaddrinfo",
        lambda *args, **kwargs: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))],
    )
    error = error_of(ask(source_at(f"https://upstream.example:{port}"), "ok"))
    assert isinstance(error, UpstreamForbidden)
    assert hostile.connections == 0


def test_a_secret_that_is_not_set_is_an_error_before_any_call(hostile: HostileUpstream) -> None:
    source = source_at(hostile.url(""), secret_headers={"X-API-Key": "HOTDATA_SECRET_ABSENT"})
    with pytest.raises(UpstreamForbidden, match="HOTDATA_SECRET_ABSENT"):
        ask(source, "ok")
    assert hostile.requests == []


def test_secrets_are_looked_up_for_each_call(
    hostile: HostileUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = source_at(
        hostile.url(""),
        secret_headers={"X-API-Key": "HOTDATA_SECRET_TEST"},
        secret_query={"token": "HOTDATA_SECRET_TEST"},
    )
    for secret in ("first&1", "second"):
        monkeypatch.setenv("HOTDATA_SECRET_TEST", secret)
        assert ask(source, "ok").call.url == hostile.url("/ok")
    assert hostile.requests[0].startswith("GET /ok?token=first%261 HTTP")
    assert "X-API-Key: first&1\r\n" in hostile.requests[0]
    assert hostile.requests[1].startswith("GET /ok?token=second HTTP")


def test_a_secret_that_cannot_be_sent_is_an_error_that_does_not_show_it(
    hostile: HostileUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOTDATA_SECRET_TEST", "5ec2e7\r\nX-Injected: 1")
    source = source_at(hostile.url(""), secret_headers={"X-API-Key": "HOTDATA_SECRET_TEST"})
    with pytest.raises(BadSource) as caught:
        ask(source, "ok")
    assert "5ec2e7" not in str(caught.value)
    assert hostile.requests == []


# Many calls


def test_calls_at_a_time_are_as_many_as_the_source_allows_and_no_more(settings: Any) -> None:
    gathering = Gathering(3)
    with HostileUpstream(behaviours={"gather": gathering}) as upstream:
        settings.HOTDATA_ALLOW_PRIVATE = [upstream.address]
        tested = upstream_of(source_at(upstream.url("/gather"), concurrency=3))
        asked = [
            tested.submit(request, None, lambda: PATIENCE) for request in tested.batches(list("ABCDEFGHI"))
        ]
        assert {future.result(PATIENCE.total_seconds()).call.outcome for future in asked} == {Outcome.OK}
        close_upstreams()
    assert gathering.most == 3


class Gathering:
    """Answers when more than `expected` requests are there at a time, or else after a moment; counts the most."""

    MOMENT = 0.3  # seconds

    def __init__(self, expected: int) -> None:
        self.expected, self.here, self.most = expected, 0, 0
        self.changed = threading.Condition()

    def __call__(self, upstream: HostileUpstream, peer: socket.socket, target: str) -> bool:
        with self.changed:
            self.here += 1
            self.most = max(self.most, self.here)
            self.changed.notify_all()
            self.changed.wait_for(lambda: self.most > self.expected, self.MOMENT)
            self.here -= 1
        peer.sendall(whole())
        return True


def test_an_upstream_that_is_replaced_finishes_what_it_was_asked(demo: DemoUpstream) -> None:
    demo.latency = timedelta(seconds=0.2)
    replaced = upstream_of(source_at(demo.url, "/stocks/{key}"))
    (request,) = replaced.batches(["AAPL"])
    asked = replaced.submit(request, None, lambda: PATIENCE)
    demo.wait_for(1)
    assert upstream_of(source_at(demo.url, "/news/{key}")) is not replaced
    assert asked.result(PATIENCE.total_seconds()).values["AAPL"]["symbol"] == "AAPL"


def test_a_call_for_which_no_time_is_left_is_not_made_and_costs_no_budget(demo: DemoUpstream) -> None:
    source = source_at(demo.url, "/stocks/{key}")
    reply = ask(source, "AAPL", timeout=timedelta(0))
    assert reply.call is None
    assert isinstance(reply.values["AAPL"], UpstreamTimeout)
    assert gate_of(source).look().calls == 0
    assert demo.requests == []


def test_a_call_whose_time_ends_at_the_gate_is_not_made_and_closes_no_breaker(demo: DemoUpstream) -> None:
    source = source_at(demo.url, "/stocks/{key}", breaker_failures=1, breaker_pause=timedelta(milliseconds=1))
    gate = gate_of(source)
    gate.enter(hold=PATIENCE).leave(failed=True)
    eventually(lambda: gate.look().breaker == "half-open")
    upstream = upstream_of(source)
    (request,) = upstream.batches(["AAPL"])
    left = iter([PATIENCE, timedelta(0)])
    reply = upstream.submit(request, None, lambda: next(left)).result(PATIENCE.total_seconds())
    assert reply.call is None
    assert gate.look().breaker == "half-open"
    assert demo.requests == []


# Whoever asks


FORKED = """
import os
import django
django.setup()
from datetime import timedelta
from hotdata.freshness.upstream import upstream_of
from hotdata.models import Source

PATIENCE = timedelta(seconds=10)


def ask(key):
    upstream = upstream_of(source)
    (request,) = upstream.batches([key])
    return upstream.submit(request, None, lambda: PATIENCE).result(PATIENCE.total_seconds()).values[key]


source = Source(name="tested", base_url=os.environ["UPSTREAM"], path="/stocks/{key}", concurrency=1, value="symbol")
assert ask("AAPL") == "AAPL"
child = os.fork()
if child == 0:
    failed = 1
    try:
        failed = ask("MSFT") != "MSFT"
    finally:
        os._exit(failed)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


def test_a_process_that_was_forked_asks_with_threads_of_its_own(demo: DemoUpstream) -> None:
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "UPSTREAM": demo.url,
        "HOTDATA_ALLOW_PRIVATE": f"127.0.0.1:{demo.port}",
    }
    subprocess.run([sys.executable, "-c", FORKED], env=environment, check=True, timeout=60)
    assert [served.key for served in demo.requests] == ["AAPL", "MSFT"]


# Values that must not be stored


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("|".join(["[@,@]"] * 80), "more than 200,000 parts"),
        ("to_number('nan')", "a number that is none"),
        ("to_number('inf')", "a number that is none"),
        ('`"\\ud800"`', "not JSON"),
        ("contains(@, `1`)", "doesn't fit"),
    ],
)
def test_a_value_that_can_not_be_served_fails_its_key(settings: Any, value: str, why: str) -> None:
    with Answering(settings, b'"AAPL"') as upstream:
        assert why in str(error_of(ask(source_at(upstream.url(""), value=value), "answer")))


def test_an_upstream_that_repeats_its_secret_does_not_have_it_served(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOTDATA_SECRET_ECHOED", "s3same-open")
    with Answering(settings, b'{"you sent": "s3same-open"}') as upstream:
        assert "repeats a secret" in str(error_of(ask(source_at(upstream.url("")), "answer")))
