from __future__ import annotations

import random

import pytest
import time_machine

from hotdata.freshness import lastknown
from hotdata.freshness.lastknown import LastKnown
from tests.builders import make_stored
from tests.threads import PATIENCE, in_thread


@pytest.fixture
def known() -> LastKnown:
    return LastKnown()


def keys(known: LastKnown) -> list[str]:
    return [key for _, key in known._entries]


def test_what_was_kept_last_is_known(known: LastKnown) -> None:
    known.keep(make_stored(value="old", age=9))
    known.keep(make_stored(value="new"))
    known.keep(make_stored("news", value="other"))
    assert known.get("stock", "AAPL").value == "new"
    assert known.get("news", "AAPL").value == "other"
    assert known.get("stock", "MSFT") is None


def test_nothing_is_known_any_more_from_its_hard_expiry_on(known: LastKnown) -> None:
    stored = make_stored(soft_ttl=1, hard_ttl=60)
    known.keep(stored)
    with time_machine.travel(stored.hard_expiry - 0.5, tick=False):
        assert known.get("stock", "AAPL") == stored
    with time_machine.travel(stored.hard_expiry, tick=False):
        assert known.get("stock", "AAPL") is None


def test_of_too_many_entries_those_that_were_kept_first_are_forgotten(
    known: LastKnown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lastknown, "MAX_ENTRIES", 3)
    for key in ("A", "B", "C"):
        known.keep(make_stored(key=key, age=9))
    known.keep(make_stored(key="A"))
    known.keep(make_stored(key="D"))
    assert keys(known) == ["C", "A", "D"]


def test_of_too_many_bytes_those_that_were_kept_first_are_forgotten(
    known: LastKnown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lastknown, "MAX_BYTES", 100)
    for key in ("A", "B", "C"):
        known.keep(make_stored(key=key, size=40))
    assert keys(known) == ["B", "C"]
    known.keep(make_stored(key="D", size=100))
    assert keys(known) == ["D"]


def test_a_value_that_is_too_large_is_not_kept_nor_is_the_one_before_it(
    known: LastKnown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lastknown, "MAX_BYTES", 100)
    known.keep(make_stored(key="A", size=10, age=9))
    known.keep(make_stored(key="B", size=10))
    known.keep(make_stored(key="A", size=101))
    assert keys(known) == ["B"]
    assert known._bytes == 10


def test_threads_that_keep_at_the_same_time_leave_the_books_in_order(
    known: LastKnown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lastknown, "MAX_ENTRIES", 50)
    monkeypatch.setattr(lastknown, "MAX_BYTES", 2000)

    def work(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(500):
            known.keep(
                make_stored(key=str(chance.randrange(100)), age=chance.random(), size=chance.randrange(100))
            )
            known.get("stock", str(chance.randrange(100)))

    for future in [in_thread(lambda seed=seed: work(seed)) for seed in range(8)]:
        future.result(PATIENCE)
    assert len(known._entries) <= 50
    assert known._bytes == sum(stored.size for stored in known._entries.values()) <= 2000
