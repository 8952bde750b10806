"""Usage: counts that add up, whoever adds them and when."""

from __future__ import annotations

import importlib
import threading
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace

import pytest
from django.apps import apps
from django.db import connection, transaction
from django.utils import timezone
from pytest_django import Settings

from hotdata.models import CallTotal, SourceUsage, TokenUsage
from hotdata.models.usage import day_of
from tests.builders import make_call

DAY = date(2026, 11, 25)


def usage(source: str = "stock", **counts: int) -> SourceUsage:
    return SourceUsage(day=DAY, source=source, **counts)


@pytest.mark.django_db
def test_what_is_added_is_summed_up_by_day_and_subject() -> None:
    SourceUsage.add([usage(calls=2, size=10), usage("news", calls=1), usage(calls=3, failed_calls=1)])
    SourceUsage.add([usage(calls=1)])
    assert list(SourceUsage.objects.values_list("source", "calls", "failed_calls", "size")) == [
        ("news", 1, 0, 0),
        ("stock", 6, 1, 10),
    ]


@pytest.mark.django_db
def test_nothing_adds_nothing() -> None:
    TokenUsage.add([])
    assert not TokenUsage.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_what_is_rolled_back_was_not_added() -> None:
    with transaction.atomic():
        SourceUsage.add([usage(calls=2)])
        transaction.set_rollback(True)
    assert not SourceUsage.objects.exists()
    assert not CallTotal.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_nobody_who_adds_at_the_same_time_is_lost() -> None:
    def add() -> None:
        try:
            for _ in range(20):
                SourceUsage.add([usage("news", calls=1), usage(calls=1)])
        finally:
            connection.close()

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for model in (SourceUsage, CallTotal):
        assert set(model.objects.values_list("source", "calls")) == {("news", 80), ("stock", 80)}


@pytest.mark.django_db
def test_all_days_of_a_source_add_up_to_its_total() -> None:
    SourceUsage.add([usage(calls=2, size=10), SourceUsage(day=date(2026, 11, 26), source="stock", calls=1)])
    SourceUsage.add([usage("news", calls=1), usage(calls=3, failed_calls=1)])
    assert list(CallTotal.objects.values_list("source", "calls", "failed_calls", "size")) == [
        ("stock", 6, 1, 10),
        ("news", 1, 0, 0),
    ]


@pytest.mark.django_db
def test_what_was_counted_before_there_were_totals_is_added_up_by_the_update() -> None:
    SourceUsage.add([usage("stock", calls=2), usage("news", calls=1)])
    SourceUsage.add([SourceUsage(day=date(2026, 11, 26), source="stock", calls=3, failed_calls=1, size=7)])
    added_up = list(CallTotal.objects.values_list("source", "calls", "failed_calls", "size"))
    CallTotal.objects.all().delete()
    update = importlib.import_module("hotdata.migrations.0013_totals_of_calls")
    update.add_up(apps, SimpleNamespace(connection=connection))
    assert list(CallTotal.objects.values_list("source", "calls", "failed_calls", "size")) == added_up
    assert added_up == [("news", 1, 0, 0), ("stock", 5, 1, 7)]


def test_a_day_is_one_of_the_sites_zone(settings: Settings) -> None:
    settings.TIME_ZONE = "Asia/Shanghai"
    assert day_of(datetime(2026, 11, 25, 16, 0, tzinfo=UTC)) == date(2026, 11, 26)


def test_a_day_is_the_same_whatever_zone_a_request_has_put_on() -> None:
    with timezone.override("Asia/Shanghai"):
        assert day_of(datetime(2026, 11, 25, 16, 0, tzinfo=UTC)) == date(2026, 11, 25)


@pytest.mark.django_db
def test_calls_that_were_on_record_before_are_counted_by_the_update(settings: Settings) -> None:
    settings.TIME_ZONE = "Asia/Shanghai"
    midnight = datetime(2026, 11, 24, 16, tzinfo=UTC)
    for started_at, outcome in [
        (midnight - timedelta(seconds=1), "failed"),
        (midnight, "ok"),
        (midnight, "not_modified"),
        (midnight, "failed"),
        (midnight + timedelta(days=1), "ok"),
    ]:
        make_call(started_at=started_at, outcome=outcome, size=7)
    SourceUsage.add([SourceUsage(day=date(2026, 11, 26), source="stock", calls=1, size=7)])  # exact already
    update = importlib.import_module("hotdata.migrations.0011_usage_of_calls_on_record")
    update.count_calls(apps, SimpleNamespace(connection=connection))
    rows = SourceUsage.objects.order_by("day")
    assert list(rows.values_list("day", "calls", "failed_calls", "size")) == [
        (date(2026, 11, 24), 1, 1, 7),
        (date(2026, 11, 25), 3, 1, 21),
        (date(2026, 11, 26), 1, 0, 7),
    ]
