"""What is read with each token: counted exactly, at no reader's cost, and not lost while the database is away."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.db import DatabaseError, IntegrityError, OperationalError
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from hotdata.api import usage
from hotdata.models import ApiToken, TokenUsage
from hotdata.models.tokens import USE_NOTED_EACH
from tests.builders import bearer, make_source, make_token, rest, store
from tests.freshness.conftest import redis_down
from tests.processes import PythonProcess
from tests.threads import PATIENCE, eventually, in_thread

__all__ = ["redis_down"]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("clear_cache")]

READ = "/api/hot/stock/AAPL"

CHILD = """
import django, signal, sys
django.setup()
from hotdata.api import usage
from hotdata.models import ApiToken
how, name = sys.argv[1:]
usage.FLUSH_INTERVAL = 0.05 if how == "waits" else 1000
token = ApiToken.objects.get(name=name)
for _ in range(1000):
    usage.count(token, "stock", reads=2, failed=1, size=10)
usage.note_use(token)
print("counted", flush=True)
if how != "ends":
    signal.pause()
"""


@pytest.fixture
def token(clear_cache: None) -> Any:
    make_source(name="stock", pinned=("AAPL", "MSFT"))
    store(value=7, hash="1a2b")
    return make_token()


def read(token: Any, path: str = READ, method: str = "get", **headers: str) -> Any:
    return getattr(Client(), method)(path, headers={**bearer(token), **headers})


def on_record() -> list[tuple[Any, ...]]:
    """What is on record: token, source, reads, failed reads, size."""
    usage.flush()
    return list(TokenUsage.objects.values_list("token", "source", "reads", "failed_reads", "size"))


# What is counted


def test_what_is_read_with_a_token_is_counted_with_the_size_of_the_answers(token: Any) -> None:
    size = sum(len(read(token).content) for _ in range(3))
    assert on_record() == [("ci", "stock", 3, 0, size)]


def test_several_keys_are_several_reads_each_key_one(token: Any) -> None:
    answer = read(token, "/api/hot/stock?key=AAPL&key=TSLA&key=AAPL&key=%00")
    assert set(answer.json()["errors"]) == {"TSLA", "\x00"}
    assert on_record() == [("ci", "stock", 3, 2, len(answer.content))]


def test_reads_that_get_nothing_are_failed_reads(token: Any) -> None:
    rest("stock", "MSFT")
    answers = [read(token, f"/api/hot/stock/{key}") for key in ("MSFT", "TSLA", "%00")]
    assert [answer.status_code for answer in answers] == [503, 404, 404]
    assert on_record() == [("ci", "stock", 3, 3, sum(len(answer.content) for answer in answers))]


def test_reads_while_redis_is_away_are_counted(token: Any, redis_down: None) -> None:
    assert read(token).status_code == 503
    assert [row[:4] for row in on_record()] == [("ci", "stock", 1, 1)]


def test_an_answer_without_a_body_has_no_size(token: Any) -> None:
    read(token, method="head")
    assert read(token, **{"If-None-Match": 'W/"1a2b"'}).status_code == 304
    assert on_record() == [("ci", "stock", 2, 0, 0)]


def test_a_source_that_somebody_made_up_makes_no_row(token: Any) -> None:
    for path in ("/api/hot/made-up/AAPL", "/api/hot/made-up?key=AAPL", "/api/hot/made-up/%00", "/api/hot/"):
        assert read(token, path).status_code == 404
    assert on_record() == []


def test_what_is_not_a_read_is_not_counted(token: Any, settings: Settings) -> None:
    Client().get(READ)
    read(token, "/api/hot/stock")  # without a key
    read(token, method="post")
    read(token, "/api/freshness/stock")
    settings.HOTDATA_RATE_LIMIT = "1/day"
    assert read(token, "/api/hot/").status_code == 404
    assert read(token).status_code == 429
    token.revoke(by="root", now=timezone.now())
    read(token)
    assert on_record() == []


def test_days_are_those_of_the_site(token: Any, settings: Settings) -> None:
    settings.TIME_ZONE = "Asia/Shanghai"
    with time_machine.travel(datetime(2026, 11, 25, 15, 59, 59, tzinfo=UTC), tick=False) as clock:
        usage.count(token, "stock", reads=1, failed=0, size=5)
        clock.shift(timedelta(seconds=1))
        usage.count(token, "stock", reads=1, failed=0, size=5)
    usage.flush()
    assert list(TokenUsage.objects.order_by("day").values_list("day", "reads")) == [
        (date(2026, 11, 25), 1),
        (date(2026, 11, 26), 1),
    ]


def test_more_subjects_than_fit_into_a_statement_are_all_counted(
    token: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "MOST_ROWS", 3)
    for number in range(10):
        usage.count(token, f"source-{number}", reads=1, failed=0, size=1)
    assert len(on_record()) == 10


# The last use


def test_the_last_use_is_noted_and_only_once_a_minute(token: Any) -> None:
    used = timezone.now() + timedelta(days=1)
    with time_machine.travel(used, tick=False) as clock:
        read(token)
        clock.shift(timedelta(seconds=10))
        read(token)
        usage.flush()
        token.refresh_from_db()
        assert token.last_used_at == used + timedelta(seconds=10)
        clock.shift(USE_NOTED_EACH - timedelta(seconds=1))
        read(token)
        assert not usage._tally._uses
        clock.shift(timedelta(seconds=1))
        read(token)
        assert list(usage._tally._uses) == [token.pk]


def test_a_token_that_is_refused_is_not_used(token: Any) -> None:
    token.revoke(by="root", now=timezone.now())
    read(token)
    usage.flush()
    assert ApiToken.objects.get().last_used_at is None


# Together, and at nobody's cost


def test_nothing_that_is_counted_at_the_same_time_is_lost(token: Any) -> None:
    """Reads go on while counts are written, by two who write."""
    ended = threading.Event()

    def count() -> None:
        for _ in range(5_000):
            usage.count(token, "stock", reads=2, failed=1, size=3)

    def flush() -> None:
        while not ended.is_set():
            usage.flush()

    counting = [in_thread(count) for _ in range(4)]
    flushing = [in_thread(flush) for _ in range(2)]
    for done in counting:
        done.result(PATIENCE)
    ended.set()
    for done in flushing:
        done.result(PATIENCE)
    assert on_record() == [("ci", "stock", 40_000, 20_000, 60_000)]


def test_a_reader_does_not_wait_for_what_is_being_written(
    token: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing, release = threading.Event(), threading.Event()
    add = TokenUsage.add

    def slowly(days: Any) -> None:
        writing.set()
        assert release.wait(PATIENCE)
        add(days)

    monkeypatch.setattr(TokenUsage, "add", slowly)
    read(token)
    flushing = in_thread(usage.flush)
    assert writing.wait(PATIENCE)
    assert read(token).status_code == 200
    release.set()
    flushing.result(PATIENCE)
    assert on_record()[0][2] == 2


def test_a_process_that_reads_writes_by_itself_every_few_seconds(
    token: Any, child_environment: dict[str, str]
) -> None:
    with child("waits", child_environment) as process:
        process.wait_for("counted")
        eventually(lambda: on_record() == [("ci", "stock", 2000, 1000, 10_000)])
        eventually(lambda: ApiToken.objects.get().last_used_at is not None)


def test_a_process_that_ends_writes_what_it_has_counted(
    token: Any, child_environment: dict[str, str]
) -> None:
    with child("ends", child_environment) as process:
        eventually(lambda: process.ended)
        assert on_record() == [("ci", "stock", 2000, 1000, 10_000)], process.output
        assert ApiToken.objects.get().last_used_at is not None


def test_a_process_that_is_killed_loses_what_it_has_counted_and_nothing_else(
    token: Any, child_environment: dict[str, str]
) -> None:
    usage.count(token, "stock", reads=1, failed=0, size=1)
    with child("lingers", child_environment) as process:
        process.wait_for("counted")
        process.send(signal.SIGKILL)
        eventually(lambda: process.ended)
    assert on_record() == [("ci", "stock", 1, 0, 1)]


def child(how: str, environment: dict[str, str]) -> PythonProcess:
    return PythonProcess(["-c", CHILD, how, "ci"], environment)


# The database away


def test_what_can_not_be_written_is_kept_and_written_once(
    token: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    read(token)
    with failing(monkeypatch, OperationalError("The server is away.")):
        for _ in range(3):
            usage.flush()
    read(token)
    assert [row[:4] for row in on_record()] == [("ci", "stock", 2, 0)]
    said = [record.getMessage() for record in caplog.records if "usage." in record.getMessage()]
    assert said[0] == "usage.waiting error='The server is away.'"
    assert len(said) == 1 or said[1:] == ["usage.written"], "an outage is said once"


def test_of_several_statements_only_those_that_failed_are_tried_again(
    token: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "MOST_ROWS", 1)
    add, added = TokenUsage.add, []

    def fail_at_the_second(days: Any) -> None:
        added.append(days)
        if len(added) == 2:
            raise OperationalError("The server is away.")
        add(days)

    for source in ("a", "b", "c"):
        usage.count(token, source, reads=1, failed=0, size=1)
    with monkeypatch.context() as broken:
        broken.setattr(TokenUsage, "add", fail_at_the_second)
        usage.flush()
    assert sorted(on_record()) == [("ci", source, 1, 0, 1) for source in ("a", "b", "c")]


def test_what_no_database_takes_is_given_up(token: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    read(token)
    with failing(monkeypatch, IntegrityError("It is not to be.")), pytest.raises(IntegrityError):
        usage.flush()
    assert on_record() == []


@contextmanager
def failing(monkeypatch: pytest.MonkeyPatch, error: DatabaseError) -> Iterator[None]:
    def fail(days: Any) -> None:
        raise error

    with monkeypatch.context() as broken:
        broken.setattr(TokenUsage, "add", fail)
        yield
