"""What is locked while rows are deleted, and what becomes of a batch that takes too long."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.db.models import QuerySet
from django.utils import timezone

from hotdata.models import ApiCall
from hotdata.retention import sweep as sweeping
from hotdata.retention.pace import LIMIT, Pace
from hotdata.retention.sweep import sweep
from tests.builders import make_call

THEN = timezone.now() - timedelta(days=100)


def swept(pace: Pace) -> int:
    return sweep(ApiCall.objects.order_by(), by="started_at", pace=pace, deleted=lambda count: None)


@pytest.mark.django_db(transaction=True)
@pytest.mark.only_on("postgres")
def test_a_batch_that_takes_too_long_is_ended_by_the_database_and_tried_again_smaller() -> None:
    held = make_call(started_at=THEN)
    for number in range(20):
        make_call(started_at=THEN + timedelta(seconds=number))
    locked, sizes, release = threading.Event(), [], threading.Event()

    def hold() -> None:
        with transaction.atomic():
            ApiCall.objects.select_for_update().get(pk=held.pk)
            locked.set()
            release.wait(30)
        connection.close()

    def sleep(seconds: float) -> None:
        sizes.append(pace.size)
        if len(sizes) == 2:
            release.set()
            holder.join()

    pace = Pace(sleep=sleep)
    holder = threading.Thread(target=hold)
    holder.start()
    locked.wait(30)
    assert swept(pace) == 21
    assert sizes[0] == 25  # a quarter of the first batch
    assert sizes[1] == 6


@pytest.mark.django_db(transaction=True)
@pytest.mark.only_on("postgres")
def test_nothing_of_the_bounds_outlives_the_batch() -> None:
    make_call(started_at=THEN)
    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit = on")
        swept(Pace())
        cursor.execute("SELECT current_setting('statement_timeout'), current_setting('synchronous_commit')")
        assert cursor.fetchone() == ("0", "on")


@pytest.mark.django_db
@pytest.mark.only_on("postgres")
def test_the_database_ends_what_takes_longer_than_a_batch_may() -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        sweeping._bound("default")
        cursor.execute("SELECT current_setting('statement_timeout')")
        assert cursor.fetchone() == (f"{LIMIT * 1000:.0f}ms",)


@pytest.mark.django_db
def test_an_error_that_no_smaller_batch_mends_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    make_call(started_at=THEN)

    def fail(using: str) -> None:
        raise OperationalError("the disk is full")

    monkeypatch.setattr(sweeping, "_bound", fail)
    with pytest.raises(OperationalError, match="the disk is full"):
        swept(Pace(sleep=lambda seconds: None))
    assert ApiCall.objects.exists()


@pytest.mark.django_db
def test_a_batch_that_always_takes_too_long_is_given_up_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    make_call(started_at=THEN)
    rests: list[float] = []

    def fail(using: str) -> None:
        raise OperationalError("canceling statement due to statement timeout")

    monkeypatch.setattr(sweeping, "_bound", fail)
    monkeypatch.setattr(sweeping, "_took_too_long", lambda error: True)
    with pytest.raises(OperationalError, match="statement timeout"):
        swept(Pace(sleep=rests.append))
    assert len(rests) == sweeping.MOST_FAILURES
    assert rests == sorted(rests)


@pytest.mark.django_db
def test_the_time_of_a_batch_is_that_of_its_locks_and_shapes_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By a clock that moves a millisecond for each row, and an hour while a transaction waits for its turn."""
    for number in range(600):
        make_call(started_at=THEN + timedelta(seconds=number))
    moment = [0.0]
    sizes: list[int] = []
    bound, delete = sweeping._bound, QuerySet._raw_delete

    def wait(using: str) -> None:
        moment[0] += 3600
        bound(using)

    def take_time(rows: QuerySet[Any], using: str) -> int:
        count = delete(rows, using)
        moment[0] += count * 0.001
        sizes.append(count)
        return count

    monkeypatch.setattr(sweeping, "_bound", wait)
    monkeypatch.setattr(QuerySet, "_raw_delete", take_time)
    assert swept(Pace(clock=lambda: moment[0], sleep=lambda seconds: None)) == 600
    assert sizes[0] == 100
    assert {19, 20} >= set(sizes[1:-1])  # as many as take 20 ms
