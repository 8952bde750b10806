"""The bell: heard at once, never in the way, and no worse than silence when Redis is away."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db import transaction
from pytest_django import Settings
from redis import Redis

from hotdata import bell
from hotdata.bell import Listener
from hotdata.models import ChangeCounter, Job, Lease
from tests.builders import caches_at, make_job
from tests.threads import eventually, in_thread
from tools.sockets import reserved_port

PROMPT = 4.0  # seconds; a bell takes about a millisecond, but the machine may be busy


class Ears:
    """Counts what it hears."""

    def __init__(self) -> None:
        self.heard = 0

    def __call__(self) -> None:
        self.heard += 1


@pytest.fixture
def ears() -> Ears:
    return Ears()


@pytest.fixture
def nobody_there(settings: Settings) -> Iterator[None]:
    """A Redis that can't be reached, at an address that holds a password."""
    with reserved_port(21_000) as port:
        settings.CACHES = caches_at(f"redis://:hidden-word@127.0.0.1:{port}/0")
        yield


@pytest.fixture
def bell_log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "hotdata.bell")
    return caplog


def events(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage().split()[0] for record in caplog.records if record.name == "hotdata.bell"]


def hang_up(redis: Redis) -> None:
    """Have Redis close the connections of all that listen here; other workers have other databases."""
    ours = str(redis.get_connection_kwargs()["db"])
    for client in redis.client_list(_type="pubsub"):
        if client["db"] == ours:
            redis.client_kill_filter(_id=client["id"])


def listeners(redis: Redis) -> int:
    [(_, count)] = redis.pubsub_numsub(bell._line().channel)
    return int(count)


# Ringing and hearing


def test_a_ring_is_heard_by_all_who_listen(redis: Redis, ears: Ears) -> None:
    others = Ears()
    with Listener(ears) as first, Listener(others) as second:
        eventually(lambda: first.connected and second.connected)
        eventually(lambda: ears.heard == others.heard == 1)
        bell.ring()
        eventually(lambda: ears.heard == others.heard == 2, within=PROMPT)


def test_a_new_connection_counts_as_a_ring(redis: Redis, ears: Ears) -> None:
    """Something may have been missed before."""
    with Listener(ears):
        eventually(lambda: ears.heard == 1)


def test_a_site_with_another_prefix_or_database_hears_nothing(
    redis: Redis, ears: Ears, settings: Settings
) -> None:
    ours = settings.CACHES
    with Listener(ears) as listener:
        eventually(lambda: listener.connected)
        settings.CACHES = ours | {"hotdata": ours["hotdata"] | {"KEY_PREFIX": "another-site"}}
        bell.ring()
        location = ours["hotdata"]["LOCATION"].partition("?")[0] + "?db=15"
        settings.CACHES = ours | {"hotdata": ours["hotdata"] | {"LOCATION": location}}
        bell.ring()
        settings.CACHES = ours
        bell.ring()
        eventually(lambda: ears.heard == 2, within=PROMPT)
    assert ears.heard == 2


@pytest.mark.django_db(transaction=True)
def test_who_hears_of_an_edit_finds_it(redis: Redis) -> None:
    """It rings when the edit is committed, and not before."""
    found: list[int] = []

    def look() -> None:
        found.append(in_thread(Job.objects.count).result(10))

    with Listener(look) as listener:
        eventually(lambda: listener.connected and found == [0])
        with transaction.atomic():
            make_job()
            bell.ring()  # by somebody else
            eventually(lambda: found[1:])
        eventually(lambda: len(found) == 3, within=PROMPT)
    assert found == [0, 0, 1]


@pytest.mark.django_db(transaction=True)
def test_an_edit_that_is_taken_back_rings_nothing(redis: Redis, ears: Ears) -> None:
    with Listener(ears) as listener:
        eventually(lambda: listener.connected)
        with transaction.atomic():
            ChangeCounter.bump()
            transaction.set_rollback(True)
        bell.ring()
        eventually(lambda: ears.heard == 2, within=PROMPT)
    assert ears.heard == 2


@pytest.mark.django_db(transaction=True)
def test_a_lease_that_is_given_up_rings(redis: Redis, ears: Ears) -> None:
    epoch = Lease.acquire("leader", timedelta(seconds=4))
    assert epoch
    with Listener(ears) as listener:
        eventually(lambda: listener.connected)
        Lease.release("leader", epoch)
        eventually(lambda: ears.heard == 2, within=PROMPT)


# Redis is away


def test_a_ring_that_nobody_can_hear_costs_little_raises_nothing_and_tells_no_secret(
    nobody_there: None, bell_log: pytest.LogCaptureFixture
) -> None:
    began = time.monotonic()
    for _ in range(1000):
        bell.ring()
    assert time.monotonic() - began < PROMPT
    assert events(bell_log) == ["bell.not_rung"]
    assert "hidden-word" not in bell_log.text


@pytest.mark.parametrize(
    "location", ["redis://:hidden-word@127.0.0.1:not-a-port/0", "hidden-word://nowhere", ""]
)
def test_a_bell_that_is_set_up_wrongly_raises_nothing_either(
    settings: Settings, location: str, bell_log: pytest.LogCaptureFixture
) -> None:
    settings.CACHES = caches_at(location)
    bell.ring()
    assert events(bell_log) == ["bell.not_rung"]
    assert "hidden-word" not in bell_log.text


def test_after_a_failure_the_next_try_is_made_a_while_later(
    redis: Redis,
    nobody_there: None,
    settings: Settings,
    ears: Ears,
    monkeypatch: pytest.MonkeyPatch,
    bell_log: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(bell, "QUIET", 0.1)
    bell.ring()
    there = Redis.from_url(settings.REDIS_URL)
    line = bell._line()
    monkeypatch.setattr(line, "redis", there)
    bell.ring()
    assert events(bell_log) == ["bell.not_rung"]
    until = bell._Mood.quiet_until
    eventually(lambda: time.monotonic() > until)
    bell.ring()
    assert events(bell_log) == ["bell.not_rung", "bell.rung_again"]
    there.close()


def test_a_listener_outlives_a_redis_that_hangs_up_and_says_so_once(
    redis: Redis, ears: Ears, bell_log: pytest.LogCaptureFixture
) -> None:
    with Listener(ears) as listener:
        eventually(lambda: listener.connected)
        hang_up(redis)
        eventually(lambda: ears.heard >= 2)
        eventually(lambda: events(bell_log) == ["bell.lost", "bell.found"])
        heard = ears.heard
        bell.ring()
        eventually(lambda: ears.heard > heard, within=PROMPT)


def test_a_listener_without_redis_says_so_once_and_goes_on_trying(
    nobody_there: None, ears: Ears, bell_log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bell, "BACKOFF_LONGEST", 0.02)
    with Listener(ears) as listener:
        eventually(lambda: listener._failures >= 5)
        assert not listener.connected
    assert events(bell_log) == ["bell.lost"]
    assert "hidden-word" not in bell_log.text
    assert ears.heard == 0


def test_a_connection_that_is_dead_without_a_word_is_noticed(
    redis: Redis, ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the host on the other end vanished; here the answer to the ping is lost."""
    monkeypatch.setattr(bell, "SILENCE", 0.1)
    with Listener(ears) as listener:
        eventually(lambda: listener.connected)
        monkeypatch.setattr("redis.client.PubSub.ping", lambda subscription: None)
        eventually(lambda: ears.heard >= 2)


def test_a_connection_that_is_only_quiet_is_kept(
    redis: Redis, ears: Ears, monkeypatch: pytest.MonkeyPatch, bell_log: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(bell, "SILENCE", 0.1)
    monkeypatch.setattr(bell, "LOOK_UP", 0.02)
    with Listener(ears) as listener:
        eventually(lambda: listener.connected)
        began = time.monotonic()
        eventually(lambda: time.monotonic() - began > 1)
        assert listener.connected
    assert (ears.heard, events(bell_log)) == (1, [])


def test_what_the_listener_calls_may_fail(redis: Redis, bell_log: pytest.LogCaptureFixture) -> None:
    calls: list[int] = []

    def fail_first() -> None:
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("a bug")

    with Listener(fail_first):
        eventually(lambda: len(calls) >= 2)


# The end


def test_a_listener_stops_soon_while_it_waits_for_a_ring(redis: Redis, ears: Ears) -> None:
    with Listener(ears) as listener:
        eventually(lambda: listener.connected)
        began = time.monotonic()
    assert time.monotonic() - began < PROMPT
    eventually(lambda: not listener._thread.is_alive(), within=PROMPT)


def test_a_listener_stops_soon_while_redis_is_away(nobody_there: None, ears: Ears) -> None:
    with Listener(ears) as listener:
        eventually(lambda: listener._failures >= 1)
        began = time.monotonic()
    assert time.monotonic() - began < PROMPT
    eventually(lambda: not listener._thread.is_alive(), within=PROMPT)


def test_a_listener_leaves_no_connection_behind(redis: Redis, ears: Ears) -> None:
    threads = threading.active_count()
    with Listener(ears) as listener:
        eventually(lambda: listener.connected)
        assert listeners(redis) == 1
    eventually(lambda: not listeners(redis))
    eventually(lambda: threading.active_count() <= threads)
