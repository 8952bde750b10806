"""Queries that are compiled once give what the query set itself gives."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, models
from django.db.models import Count
from django.test.utils import CaptureQueriesContext

from hotdata.models import Job, Run
from hotdata.models.prepared import STAND_INS, Prepared
from hotdata.models.runs import State
from tests.builders import make_job, make_run

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)

pytestmark = pytest.mark.django_db


def ready_by(now: datetime) -> models.QuerySet[Run]:
    return Run.objects.filter(ready_at__lte=now).order_by("ready_at")


def test_other_values_give_other_rows() -> None:
    job = make_job()
    runs = [make_run(job, ready_at=NOW + second * SECOND) for second in range(3)]
    prepared: Prepared[Run] = Prepared(Run, ready_by, datetime)
    for number in (1, 3, 2):
        assert list(prepared.instances(NOW + (number - 1) * SECOND)) == runs[:number]


def test_rows_are_whole_instances_that_can_be_saved() -> None:
    made = make_job(title="Quotes", jitter=SECOND, params={"days": 1}, starts_at=NOW)
    prepared: Prepared[Job] = Prepared(Job, lambda name: Job.objects.filter(name=name), str)
    [job] = prepared.instances(made.name)
    shown = {field.name: getattr(job, field.name) for field in Job._meta.concrete_fields}
    stored = Job.objects.get(pk=made.pk)
    assert shown == {field.name: getattr(stored, field.name) for field in Job._meta.concrete_fields}
    job.title = "Prices"
    job.save()
    assert Job.objects.get(pk=made.pk).title == "Prices"


def test_what_is_deferred_is_read_when_it_is_asked_for() -> None:
    made = make_job(title="Quotes")
    prepared: Prepared[Job] = Prepared(Job, lambda: Job.objects.defer("title"))
    [job] = prepared.instances()
    assert job.get_deferred_fields() == {"title"}
    assert job.title == made.title


def test_columns_come_as_tuples_and_one_value_may_stand_in_several_places() -> None:
    job = make_job()
    make_run(job, task="a", node="a")
    make_run(job, task="a", node="b")

    def build(text: str, number: int) -> models.QuerySet[Run, Any]:
        runs = Run.objects.filter(task=text, node=text, attempt=number).order_by()
        return runs.values("job").annotate(all=Count("id"))

    prepared: Prepared[Run] = Prepared(Run, build, str, int)
    assert prepared.tuples("a", 0) == [(job.name, 1)]
    assert prepared.tuples("a", 1) == prepared.tuples("b", 0) == []


def test_a_value_that_looks_like_sql_is_a_value() -> None:
    make_job()
    prepared: Prepared[Job] = Prepared(Job, lambda name: Job.objects.filter(name=name), str)
    assert list(prepared.instances("' OR ''='")) == []


def test_the_number_of_values_must_be_right() -> None:
    prepared: Prepared[Run] = Prepared(Run, ready_by, datetime)
    with pytest.raises(ValueError, match="shorter"):
        prepared.instances()


def test_what_a_query_has_of_its_own_stays_as_it_is() -> None:
    run = make_run(make_job(), state=State.RUNNING)
    prepared: Prepared[Run] = Prepared(Run, lambda node: Run.objects.active().filter(node=node), str)
    assert [found.pk for found in prepared.instances(run.node)] == [run.pk]
    assert list(prepared.instances(State.RUNNING.value)) == []


def test_it_is_compiled_once() -> None:
    built = []

    def build(now: datetime) -> models.QuerySet[Run]:
        built.append(now)
        return ready_by(now)

    prepared: Prepared[Run] = Prepared(Run, build, datetime)
    with CaptureQueriesContext(connection) as asked:
        for second in range(3):
            list(prepared.instances(NOW + second * SECOND))
    assert len(asked) == 3
    assert built == [STAND_INS[datetime]]
