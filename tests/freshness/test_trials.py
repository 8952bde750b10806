from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from redis import Redis

from hotdata import registry
from hotdata.exceptions import BadSource, CacheUnavailable
from hotdata.freshness import entries, trials
from hotdata.freshness.trials import Trial, try_out
from hotdata.freshness.upstream import gate_of
from hotdata.models import ApiCall, Source
from project.demo.upstream import DemoUpstream
from tests.builders import make_source, store
from tests.freshness.hostile import HostileUpstream, whole
from tests.freshness.test_refresher import asked, stocks
from tests.threads import PATIENCE

# What is tried out is the way to an upstream, through Redis: which database there is beside it has no say.
pytestmark = [
    pytest.mark.only_on("sqlite"),
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("clear_cache"),
]

SECRET = "5ec2e7-one"
Outcome = ApiCall.Outcome


@pytest.fixture
def saying(settings: Any) -> Iterator[Callable[..., Source]]:
    """Makes a source whose upstream answers just that, whatever is asked."""
    said = [b""]

    def answer(upstream: HostileUpstream, peer: socket.socket, target: str) -> bool:
        peer.sendall(whole(said[0]))
        return True

    with HostileUpstream(behaviours={"said": answer}) as upstream:
        settings.HOTDATA_ALLOW_PRIVATE = [upstream.address]

        def make(body: bytes, **fields: Any) -> Source:
            said[0] = body
            return make_source(
                **({"name": "stock", "base_url": upstream.url(""), "path": "/said/{key}"} | fields)
            )

        yield make


def test_a_trial_shows_what_came_and_stores_nothing(demo: DemoUpstream) -> None:
    source = stocks(demo)
    trial = try_out(source, "AAPL")
    assert trial.accepted
    assert json.loads(trial.value or "")["symbol"] == "AAPL"
    assert (trial.made, trial.status, trial.error, trial.refusal) == (True, 200, "", "")
    assert trial.url == f"{demo.url}/stocks/AAPL"
    assert trial.duration is not None
    assert trial.duration > timedelta(0)
    assert trial.size > 0
    assert entries.read("stock", "AAPL") is None


def test_a_trial_asks_anew_and_changes_no_entry(demo: DemoUpstream) -> None:
    source = stocks(demo)
    before = store(value="old", etag='"1"')
    assert try_out(source, "AAPL").status == 200
    assert entries.read("stock", "AAPL") == before


def test_a_trial_is_on_record_and_in_the_gates_account(demo: DemoUpstream) -> None:
    source = stocks(demo)
    try_out(source, "AAPL")
    call = ApiCall.objects.get()
    assert (call.source, call.keys, call.outcome, call.run_id) == ("stock", "AAPL", Outcome.OK, None)
    assert gate_of(source).look().calls == 1


def test_a_trial_is_not_made_beyond_the_budget(demo: DemoUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "PATIENCE", timedelta(seconds=0.1))
    source = stocks(demo, calls_per_minute=1, burst=1)
    try_out(source, "AAPL")
    trial = try_out(source, "AAPL")
    assert not trial.made
    assert "budget" in trial.error
    assert len(asked(demo)) == ApiCall.objects.count() == 1


def test_a_value_that_breaks_a_rule_is_shown_with_what_the_rule_says(demo: DemoUpstream) -> None:
    source = stocks(demo, required=["nowhere"])
    trial = try_out(source, "AAPL")
    assert trial.value is not None
    assert not trial.accepted
    assert "nowhere" in trial.refusal
    call = ApiCall.objects.get()
    assert call.outcome == Outcome.FAILED, "as a refresh's would be"
    assert "UpstreamPayload" in call.error


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        ("status/500", "500"),
        ("html", "not JSON"),
        ("redirect", "redirects"),
        ("half", "reached"),
        ("large", "larger"),
    ],
)
def test_what_an_upstream_does_wrong_is_said(hostile: HostileUpstream, behaviour: str, said: str) -> None:
    source = make_source(name="stock", base_url=hostile.url(""), path=f"/{behaviour}", query={"k": "{key}"})
    trial = try_out(source, "AAPL")
    assert trial.made
    assert trial.value is None
    assert said in trial.error
    assert ApiCall.objects.get().outcome == Outcome.FAILED


def test_an_address_that_is_not_public_is_not_asked(settings: Any) -> None:
    settings.HOTDATA_ALLOW_PRIVATE = ["127.0.0.1:1"]
    source = make_source(name="stock", base_url="http://127.0.0.1:1")
    settings.HOTDATA_ALLOW_PRIVATE = []
    with pytest.raises(BadSource, match="https"):
        try_out(source, "AAPL")


def test_a_secret_that_is_not_set_is_said_and_nobody_is_asked(demo: DemoUpstream) -> None:
    source = stocks(demo, secret_headers={"X-API-Key": "HOTDATA_SECRET_GONE"})
    trial = try_out(source, "AAPL")
    assert not trial.made
    assert "HOTDATA_SECRET_GONE" in trial.error
    assert asked(demo) == []


def test_a_placeholder_that_is_missing_is_said(demo: DemoUpstream) -> None:
    source = stocks(demo, query={"lat": "{latitude}"})
    assert "{latitude}" in try_out(source, "AAPL").error
    assert try_out(source, "AAPL", {"latitude": "39.9"}).accepted


@pytest.mark.parametrize(
    ("secret", "body"),
    [
        (SECRET, b'{"you sent": "Bearer 5ec2e7-one!"}'),
        (SECRET, b'{"5ec2e7-one": 1}'),
        ("abcd", b'{"you sent": "abcd"}'),
        ("1234", b'{"you sent": 1234}'),
        ("12345678", b"12345678"),
        ("p\u00e4ss word", '{"you sent": "p\u00e4ss word"}'.encode()),
        ("p\u00e4ss word", b'{"you sent": "p%C3%A4ss%20word"}'),
    ],
)
def test_a_secret_that_the_upstream_repeats_is_not_shown(
    saying: Callable[..., Source], monkeypatch: pytest.MonkeyPatch, secret: str, body: bytes
) -> None:
    monkeypatch.setenv("HOTDATA_SECRET_ONE", secret)
    trial = try_out(saying(body, secret_query={"token": "HOTDATA_SECRET_ONE"}), "AAPL")
    assert trial.made
    for text in (repr(trial), ApiCall.objects.get().error, ApiCall.objects.get().url):
        assert secret not in text
        assert "%C3%A4ss" not in text


def test_a_secret_is_not_shown_because_it_stands_where_a_long_value_is_cut(
    saying: Callable[..., Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOTDATA_SECRET_ONE", "abcdefg")
    for before in range(trials.SHOWN // 2 - 30, trials.SHOWN // 2 + 5, 3):
        Source.objects.all().delete()
        body = json.dumps({"t": "x" * before + "abcdefg" + "y" * trials.SHOWN}).encode()
        value = try_out(saying(body), "AAPL").value or ""
        assert "abc" not in value
        assert "efg" not in value


def test_a_long_value_is_shown_by_its_two_ends(saying: Callable[..., Source]) -> None:
    trial = try_out(saying(json.dumps({"t": "x" * 100_000}).encode()), "AAPL")
    assert trial.accepted
    assert trial.size > 100_000
    assert len(trial.value or "") < trials.SHOWN + 100


def test_a_fetcher_that_does_not_come_back_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "LONGEST", timedelta(seconds=0.1))
    monkeypatch.setattr(trials, "PATIENCE", timedelta(seconds=0.1))
    monkeypatch.setattr(trials, "SLACK", timedelta(seconds=0.1))
    over = threading.Event()
    registry.fetcher(name="hangs")(lambda keys: over.wait(PATIENCE) and {})
    try:
        trial = try_out(make_source(name="stock", fetcher="hangs"), "AAPL")
    finally:
        over.set()
        registry.fetchers.remove("hangs")
    assert trial.made
    assert trial.value is None
    assert trial.error


def test_without_redis_nothing_is_tried(redis_down: None) -> None:
    with pytest.raises(CacheUnavailable):
        try_out(make_source(name="stock"), "AAPL")
    with pytest.raises(CacheUnavailable):
        trials.wait_for_turn("stock", "1")


# Turns


def test_a_person_has_so_many_turns_a_minute_for_each_source(redis: Redis) -> None:
    assert [trials.wait_for_turn("stock", "1") for _ in range(trials.TURNS)] == [timedelta(0)] * trials.TURNS
    for _ in range(3):
        assert timedelta(0) < trials.wait_for_turn("stock", "1") <= trials.WINDOW
    assert trials.wait_for_turn("stock", "2") == timedelta(0)
    assert trials.wait_for_turn("news", "1") == timedelta(0)
    redis.delete("hd:1:try:stock:1")  # as if the minute had passed
    assert trials.wait_for_turn("stock", "1") == timedelta(0)


def test_accepted_is_what_a_refresh_would_have_stored() -> None:
    assert Trial(key="A", made=True, value="1").accepted
    assert not Trial(key="A", made=True, value="1", refusal="no").accepted
    assert not Trial(key="A", made=True, error="no").accepted
