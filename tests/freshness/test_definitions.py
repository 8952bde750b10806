from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import OperationalError
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from hotdata.exceptions import UnknownSource
from hotdata.freshness import definitions
from hotdata.freshness.definitions import definition_of
from hotdata.models import Key, Source
from hotdata.models.hotkeys import Guest, note_guests
from tests.builders import make_source
from tests.threads import PATIENCE, eventually, in_thread

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clear_cache")]

in_threads = pytest.mark.django_db(transaction=True)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic time, as the only item, for a test to move."""
    clock = [1000.0]
    monkeypatch.setattr(definitions, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    return clock


def is_unknown(name: str) -> bool:
    try:
        definition_of(name)
    except UnknownSource:
        return True
    return False


# Which keys are served


@pytest.mark.parametrize(
    ("policy", "served"),
    [("pinned", {"pinned"}), ("pattern", {"pinned", "AAPL"}), ("any", {"pinned", "AAPL", "other", "北京"})],
)
def test_the_keys_that_are_served_are_those_of_the_policy(policy: str, served: set[str]) -> None:
    make_source(name="stock", pinned=("pinned",), key_policy=policy, key_pattern="[A-Z]{1,5}")
    definition = definition_of("stock")
    assert {key for key in ("pinned", "AAPL", "other", "北京") if definition.serves(key)} == served


@pytest.mark.parametrize("policy", ["pinned", "pattern"])
def test_guests_are_served_until_their_entries_are_gone(policy: str) -> None:
    make_source(name="stock", key_policy=policy, key_pattern="[A-Z]{1,5}")
    hour, now = timedelta(hours=1), timezone.now()
    until = {"guest": now + hour, "former": now - hour}
    note_guests("stock", {key: Guest(placeholders={}, kept_until=end) for key, end in until.items()}, now)
    definition = definition_of("stock")
    assert definition.serves("guest")
    assert not definition.serves_by_itself("guest")
    assert not definition.serves("former")
    assert not definition.serves("stranger")


def test_a_pattern_that_is_none_matches_nothing() -> None:
    make_source(name="stock", pinned=("pinned",), key_policy="pattern", key_pattern="x")
    Source.objects.update(key_pattern="(")
    definition = definition_of("stock")
    assert definition.serves("pinned")
    assert not definition.serves("x")


@pytest.mark.parametrize(
    ("fields", "refreshed"),
    [
        ({}, True),
        ({"enabled": False}, False),
        ({"windows": "09:00-17:00 UTC"}, True),
        ({"windows": "13:00-17:00 UTC"}, False),
        ({"windows": "no window"}, False),
    ],
)
def test_a_source_that_is_off_or_rests_or_is_broken_is_not_refreshed(
    fields: dict[str, Any], refreshed: bool
) -> None:
    make_source(name="stock", **fields)
    assert definition_of("stock").is_refreshed_at(datetime(2026, 6, 1, 12, tzinfo=UTC)) == refreshed


# How often that is looked up


def test_a_definition_is_looked_up_once_a_second(
    now: list[float], django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    make_source(name="stock")
    definition_of("stock")
    with django_assert_num_queries(0):
        for _ in range(100):
            definition_of("stock")
    now[0] += definitions.KEPT
    with django_assert_num_queries(3):  # the source, its pinned keys, and its guests
        for _ in range(100):
            definition_of("stock")


def test_strangers_who_ask_for_a_thousand_sources_make_one_query_a_second(
    now: list[float], django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for second in range(3):
        now[0] += definitions.KEPT
        with django_assert_num_queries(1):
            assert all(is_unknown(f"nothing-{second}-{number}") for number in range(1000))
    assert len(definitions._known._found) == 1


@pytest.mark.parametrize("name", ["", "Stock", "stock ", "\x00", "../stock", "x" * 10_000, "\ud800"])
def test_a_name_that_can_be_no_source_is_unknown(name: str) -> None:
    make_source(name="stock")
    assert is_unknown(name)


@in_threads
def test_threads_that_know_nothing_wait_for_the_one_that_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    make_source(name="stock")
    looked, look_up = [], definitions._look_up

    def slow(name: str) -> Any:
        looked.append(name)
        eventually(lambda: len(waiting) == 50)
        return look_up(name)

    monkeypatch.setattr(definitions, "_look_up", slow)
    waiting = []
    for _ in range(50):
        waiting.append(in_thread(lambda: definition_of("stock").source.name))
    assert {future.result(PATIENCE) for future in waiting} == {"stock"}
    assert looked == ["stock"]


@in_threads
def test_while_one_thread_looks_the_others_take_what_was_known(
    monkeypatch: pytest.MonkeyPatch, now: list[float]
) -> None:
    make_source(name="stock")
    known = definition_of("stock")
    now[0] += definitions.KEPT
    looked = []

    def slow(name: str) -> None:
        looked.append(name)
        eventually(lambda: done)

    monkeypatch.setattr(definitions, "_look_up", slow)
    done: list[bool] = []
    looking = in_thread(lambda: is_unknown("stock"))
    eventually(lambda: looked)
    assert all(definition_of("stock") is known for _ in range(100))
    done.append(True)
    assert looking.result(PATIENCE)
    assert is_unknown("stock")
    assert looked == ["stock"]


def test_a_database_that_fails_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    make_source(name="stock")

    def fail(name: str) -> None:
        raise OperationalError

    with monkeypatch.context() as broken:
        broken.setattr(definitions, "_look_up", fail)
        with pytest.raises(OperationalError):
            definition_of("stock")
    assert definition_of("stock").source.name == "stock"


@in_threads
def test_a_database_that_is_away_takes_nothing_away_from_what_was_known(
    monkeypatch: pytest.MonkeyPatch, now: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    make_source(name="stock")
    known, asked = definition_of("stock"), []

    def fail(name: str) -> None:
        asked.append(name)
        raise OperationalError("The server is away.")

    with monkeypatch.context() as broken:
        broken.setattr(definitions, "_look_up", fail)
        for _ in range(3):
            now[0] += definitions.KEPT
            assert all(definition_of("stock") is known for _ in range(100))
    assert asked == ["stock"] * 3, "once a second"
    now[0] += definitions.KEPT
    assert definition_of("stock") is not known
    said = [record.getMessage().split()[0] for record in caplog.records if "database" in record.getMessage()]
    assert said == ["definitions.database_away", "definitions.database_back"]


# Edits


def test_an_edit_in_this_process_is_known_at_once() -> None:
    assert is_unknown("stock")
    source = make_source(name="stock")
    assert not definition_of("stock").serves("AAPL")
    Key.objects.create(source=source, key="AAPL")
    assert definition_of("stock").serves("AAPL")
    source.pinned.get().delete()
    assert not definition_of("stock").serves("AAPL")
    source.delete()
    assert is_unknown("stock")


def test_an_edit_elsewhere_is_known_within_a_second(now: list[float]) -> None:
    make_source(name="stock")
    definition_of("stock")
    assert is_unknown("news")
    Source.objects.update(name="news")
    now[0] += definitions.KEPT
    assert is_unknown("stock")
    assert definition_of("news").source.name == "news"


def test_what_was_looked_up_before_an_edit_is_not_known_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    source, look_up = make_source(name="stock"), definitions._look_up

    def overtaken(name: str) -> Any:
        found = look_up(name)
        source.title = "edited"
        source.save()
        return found

    with monkeypatch.context() as slow:
        slow.setattr(definitions, "_look_up", overtaken)
        assert definition_of("stock").source.title == ""
    assert definition_of("stock").source.title == "edited"
