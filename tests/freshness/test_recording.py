"""What a refresh leaves in the database: not at a reader's cost, and not lost while the database is away."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from string import ascii_uppercase
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError, connection, transaction
from django.utils import timezone
from pytest_django import Settings

import hotdata
from hotdata.exceptions import NotReady
from hotdata.freshness import flights, recording
from hotdata.freshness.recording import MAX_WAITING, Record
from hotdata.freshness.refresh import refresh
from hotdata.models import ApiCall, SourceUsage
from hotdata.models.hotkeys import Guest
from hotdata.models.usage import day_of
from project.demo.upstream import DemoUpstream
from tests.builders import make_source, unsaved_call
from tests.threads import PATIENCE, eventually, in_thread

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("clear_cache")]


@contextmanager
def calls_locked() -> Iterator[None]:
    """Nobody can write calls in this block; they can be read."""
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():  # on SQLite, this alone is the lock of all that writes
            if connection.vendor == "postgresql":
                connection.cursor().execute("LOCK TABLE hotdata_apicall IN EXCLUSIVE MODE")
            held.set()
            assert release.wait(PATIENCE)

    holding = in_thread(hold)
    assert held.wait(PATIENCE)
    try:
        yield
    finally:
        release.set()
        holding.result(PATIENCE)


@pytest.fixture
def patient(settings: Settings) -> float:
    """Readers would wait for so many seconds."""
    settings.HOTDATA_READ_PATIENCE = 30
    return 30.0


def a_record(key: str = "AAPL") -> Record:
    return Record(source="stock", calls=[unsaved_call(keys=key)])


def on_record() -> list[str]:
    return sorted(ApiCall.objects.values_list("keys", flat=True))


def test_readers_wait_for_the_upstream_and_not_for_the_record(demo: DemoUpstream, patient: float) -> None:
    """However many there are: the threads that fetch aren't used up by it."""
    make_source(name="stock", base_url=demo.url, key_policy="any")
    keys = [f"K{letter}" for letter in ascii_uppercase]
    assert len(keys) > flights.FETCHES
    with calls_locked():
        begun = time.monotonic()
        for key in keys:
            assert hotdata.get("stock", key).value["symbol"] == key
        assert time.monotonic() - begun < patient / 3
        assert on_record() == []
    eventually(lambda: on_record() == keys)


def test_who_reads_what_can_not_be_fetched_is_told_before_that_is_on_record(
    demo: DemoUpstream, patient: float
) -> None:
    make_source(name="stock", base_url=demo.url, key_policy="any")
    demo.set_fault("/stocks", "500")
    with calls_locked():
        begun = time.monotonic()
        with pytest.raises(NotReady):
            hotdata.get("stock", "AAPL")
        assert time.monotonic() - begun < patient / 3
    eventually(lambda: on_record() == ["AAPL"])


def test_what_can_not_be_written_waits_and_is_written_with_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    with failing(monkeypatch, OperationalError("The server is away.")) as tries:
        recording.write_later(a_record("A"))
        eventually(lambda: tries == [1] and not recording._recorder._writing)
    assert on_record() == []
    recording.write_later(a_record("B"))
    eventually(lambda: on_record() == ["A", "B"])


def test_what_waits_is_tried_again_without_a_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with failing(monkeypatch, OperationalError("The server is away.")) as tries:
        recording.write_later(a_record("A"))
        eventually(lambda: tries == [1] and not recording._recorder._writing)
        recording.retry()
        eventually(lambda: tries == [1, 1] and not recording._recorder._writing)
    recording.retry()
    eventually(lambda: on_record() == ["A"])
    recording.retry()


def test_what_no_database_takes_is_given_up_and_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with failing(monkeypatch, IntegrityError("It is not to be.")) as tries:
        recording.write_later(a_record("A"))
        eventually(lambda: tries == [1] and not recording._recorder._writing)
    recording.write_later(a_record("B"))
    eventually(lambda: on_record() == ["B"])
    assert "records.lost count=1" in caplog.text


def test_no_more_waits_than_there_is_room_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with failing(monkeypatch, OperationalError("The server is away.")):
        for number in range(MAX_WAITING + 5):
            recording.write_later(a_record(f"{number:04}"))
        eventually(lambda: not recording._recorder._writing)
        assert len(recording._recorder._waiting) == MAX_WAITING
    recording.retry()
    eventually(lambda: len(on_record()) == MAX_WAITING)
    assert on_record()[0] == "0005"
    eventually(lambda: "records.lost" in caplog.text)
    said = [record.getMessage() for record in caplog.records if "records." in record.getMessage()]
    assert said == [said[0], "records.lost count=5"]
    assert said[0].startswith("records.waiting count=")


def test_a_record_is_written_as_a_whole() -> None:
    good, bad = unsaved_call(keys="A"), unsaved_call(keys="B", outcome="impossible")
    with pytest.raises(IntegrityError):
        Record(source="stock", calls=[good, bad]).write()
    assert on_record() == []


def test_what_a_run_could_not_write_is_written_with_the_next_record(
    demo: DemoUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_source(name="stock", base_url=demo.url)
    with failing(monkeypatch, OperationalError("The server is away.")):
        with pytest.raises(OperationalError, match="away"):
            refresh(source, ["AAPL"], run_id=7)
        eventually(lambda: recording._recorder._waiting and not recording._recorder._writing)
    a_record("B").write()
    eventually(lambda: on_record() == ["AAPL", "B"])
    assert ApiCall.objects.get(keys="AAPL").run_id == 7


def test_what_was_rolled_back_can_be_written_although_others_have_written_since() -> None:
    make_source(name="stock")
    guest = Guest(placeholders={}, kept_until=timezone.now())
    record = Record(source="stock", calls=[unsaved_call(keys="A")], guests={"A": guest})
    with connection.execute_wrapper(no_guests), pytest.raises(OperationalError):
        record.write()
    a_record("B").write()
    record.write()
    assert on_record() == ["A", "B"]


def no_guests(execute: Callable[..., Any], sql: str, *args: Any) -> Any:
    if "hotkey" in sql:
        raise OperationalError("The disk is full.")
    return execute(sql, *args)


@contextmanager
def failing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> Iterator[list[int]]:
    """Each try to write fails with `error` in this block; gives one item for each."""
    tries: list[int] = []

    def fail(records: Any) -> None:
        tries.append(len(records))
        raise error

    with monkeypatch.context() as broken:
        broken.setattr(recording, "_write", fail)
        yield tries


def usage() -> list[tuple[Any, ...]]:
    found = SourceUsage.objects.order_by("day", "source")
    return list(found.values_list("day", "source", "calls", "failed_calls", "size"))


def test_calls_are_counted_by_the_day_on_which_they_began(settings: Settings) -> None:
    settings.TIME_ZONE = "Asia/Shanghai"
    late = datetime(2026, 10, 31, 15, 59, 59, 999_999, tzinfo=UTC)
    calls = [
        unsaved_call(started_at=late, duration=timedelta(minutes=1), size=10),
        unsaved_call(started_at=late, outcome="failed", size=5),
        unsaved_call(started_at=late + timedelta(microseconds=1), outcome="not_modified"),
        unsaved_call("news", started_at=late),
    ]
    Record(source="stock", calls=calls).write()
    assert usage() == [
        (date(2026, 10, 31), "news", 1, 0, 0),
        (date(2026, 10, 31), "stock", 2, 1, 15),
        (date(2026, 11, 1), "stock", 1, 0, 0),
    ]


def test_what_was_rolled_back_is_counted_once_when_it_is_written() -> None:
    make_source(name="stock")
    guest = Guest(placeholders={}, kept_until=timezone.now())
    record = Record(source="stock", calls=[unsaved_call()], guests={"A": guest})
    with connection.execute_wrapper(no_guests), pytest.raises(OperationalError):
        record.write()
    assert usage() == []
    record.write()
    assert [row[2] for row in usage()] == [1]


def test_what_a_reader_has_fetched_is_counted(demo: DemoUpstream, patient: float) -> None:
    make_source(name="stock", base_url=demo.url, key_policy="any")
    hotdata.get("stock", "AAPL")
    eventually(usage)
    call = ApiCall.objects.get()
    assert usage() == [(day_of(call.started_at), "stock", 1, 0, call.size)]
    assert call.size > 0
