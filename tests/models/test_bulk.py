"""Many rows in one statement: the same rows that the ORM would write, on each database, or none."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import DatabaseError, DataError, IntegrityError, connection, models, transaction

from hotdata.models import ApiCall, Run, Schedule, Source, bulk
from hotdata.models.runs import Cause, State
from tests.builders import make_job, make_run, make_source

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 23, 14, 50, 3, 123456, tzinfo=UTC)
SECOND = timedelta(seconds=1)

TEXTS = [
    "",
    "plain",
    "it's",
    '"quoted"',
    "100 %",
    "%s %(x)s %%",
    "北京 🌦",
    "a\\b\\u0041",
    "new\nline\ttab",
    "e\u0301",
    "null",
]
DURATIONS = [
    None,
    timedelta(0),
    timedelta(microseconds=1),
    timedelta(microseconds=-1),
    -1.5 * SECOND,
    timedelta(days=-40, hours=3),
    timedelta(hours=23, minutes=59, seconds=59, microseconds=999_999),
    timedelta(days=100_000, microseconds=7),
]
MOMENTS = [
    None,
    NOW,
    NOW.replace(microsecond=0),
    NOW.replace(microsecond=1),
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(1, 1, 2, tzinfo=UTC),
    datetime(9999, 12, 30, 23, 59, 59, 999_999, tzinfo=UTC),
    NOW.astimezone(timezone(timedelta(hours=5, minutes=45))),
]
DOCUMENTS = [
    None,
    True,
    False,
    0,
    1,
    1.0,
    -2.5,
    0.1 + 0.2,
    2**63,
    "",
    "text",
    "100 % 'sure' \"北京\"",
    [],
    {},
    [None, [1, {"a": None}]],
    {"b": 1, "a": {"%s": "'"}},
]


@pytest.fixture(params=["one statement", "orm"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How `bulk` works: as it does here, and as it does on a database that it doesn't know."""
    if request.param == "orm":
        monkeypatch.setattr(bulk, "_supported", lambda connection: False)
    return str(request.param)


def new_run(**fields: Any) -> Run:
    values = {"job_id": "a-job", "task": "t", "cause": Cause.MANUAL, "state": State.QUEUED, "created_at": NOW}
    return Run(**(values | {"ready_at": NOW} | fields))


def written(row: models.Model) -> dict[str, Any]:
    """The row's values as they are in the database."""
    fields = [field.attname for field in row._meta.concrete_fields]
    return type(row)._default_manager.filter(pk=row.pk).values(*fields).get()


def meant(row: models.Model) -> dict[str, Any]:
    return {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}


def assert_written(rows: Sequence[models.Model]) -> None:
    for row in rows:
        there, here = written(row), meant(row)
        assert there == here
        # To Python 1, 1.0 and True are equal.
        assert as_json(there) == as_json(here)


def as_json(values: dict[str, Any]) -> str:
    return json.dumps([values.get("params"), values.get("result")], sort_keys=True)


# Insert


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("reason", TEXTS),
        ("duration", DURATIONS),
        ("started_at", MOMENTS),
        ("result", DOCUMENTS),
        ("params", DOCUMENTS[1:]),
        ("notable", [True, False]),
        ("progress_total", [None, 0, 1, 2**31 - 1]),
        ("attempt", [0, 1, 2**15 - 1]),
        ("recovers_id", [None, 1, 2**53 + 1, 2**63 - 1]),
        ("cause", [Cause.MANUAL, Cause.API, "cli"]),
    ],
)
@pytest.mark.parametrize("alone", [False, True], ids=["varying", "the same in all rows"])
def test_a_value_is_inserted_as_it_is(way: str, field: str, values: list[Any], alone: bool) -> None:
    batches = [[value, value] for value in values] if alone else [values]
    for batch in batches:
        runs = [new_run(**{field: value}) for value in batch]
        bulk.insert(runs)
        assert_written(runs)


def test_equal_numbers_of_different_types_stay_what_they_are(way: str) -> None:
    for values in ([1, True, 1.0], [0, False], [{"a": 1}, {"a": True}], [[1], [1.0]]):
        runs = [new_run(result=value) for value in values]
        bulk.insert(runs)
        assert_written(runs)


@pytest.mark.parametrize("model", [Run, ApiCall, Source])
def test_all_columns_of_a_model_are_inserted(way: str, model: type[models.Model]) -> None:
    rows: dict[Any, list[models.Model]] = {
        Run: [
            new_run(state=State.SUCCEEDED, finished_at=NOW, started_at=NOW, result={"n": n}, log="x" * n)
            for n in range(3)
        ],
        ApiCall: [
            ApiCall(
                source="stock", keys=f"K{n}", url="https://a.example/", outcome="ok", status=200 + n,
                started_at=NOW, duration=n * SECOND, size=n,
            )
            for n in range(3)
        ],
        Source: [
            Source(name=f"s{n}", query={"n": str(n)}, max_failed_share=n / 3, enabled=n == 1) for n in range(3)
        ],
    }  # fmt: skip
    bulk.insert(rows[model])
    assert_written(rows[model])


def test_a_column_that_varies_beside_constant_ones_reaches_its_own_row(way: str) -> None:
    runs = [new_run(reason="same for all", attempt=n % 3, result=n or None) for n in range(10)]
    bulk.insert(runs)
    assert_written(runs)


def test_rows_that_are_all_the_same_are_all_inserted(way: str) -> None:
    runs = [new_run() for _ in range(5)]
    bulk.insert(runs)
    assert len({run.pk for run in runs}) == Run.objects.count() == 5


def test_each_of_3000_objects_gets_the_id_of_its_own_row(way: str) -> None:
    # In an order that no column sorts by.
    runs = [new_run(reason=str(n * 7919 % 3000), requested_by=str(n % 7)) for n in range(3000)]
    bulk.insert(runs)
    there = dict(Run.objects.values_list("id", "reason"))
    assert {run.pk: run.reason for run in runs} == there
    assert [run.pk for run in runs] == sorted(there)


def test_an_inserted_object_is_as_good_as_one_that_was_saved(way: str) -> None:
    run = new_run()
    bulk.insert([run])
    run.reason = "changed"
    run.save()
    assert not run._state.adding
    assert Run.objects.get().reason == "changed"


def test_nothing_to_insert_asks_nothing_of_the_database(way: str, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        bulk.insert([])


def test_any_number_of_rows_is_one_statement(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        bulk.insert([new_run(reason=str(n)) for n in range(500)])


@pytest.mark.django_db(transaction=True)
def test_one_bad_row_leaves_none(way: str) -> None:
    job = make_job()
    twice = {"job_id": job.name, "cause": Cause.SCHEDULE, "scheduled_for": NOW}
    with pytest.raises(IntegrityError):
        bulk.insert([new_run(), new_run(**twice), new_run(**twice)])
    assert not Run.objects.exists()


def test_an_error_in_a_savepoint_leaves_what_was_written_before_and_after(way: str) -> None:
    with transaction.atomic():
        bulk.insert([new_run(reason="before")])
        with pytest.raises(IntegrityError), transaction.atomic():
            bulk.insert([new_run(reason="bad"), new_run(reason="bad", state="no such state")])
        bulk.insert([new_run(reason="after")])
    assert sorted(Run.objects.values_list("reason", flat=True)) == ["after", "before"]


def test_an_outer_transaction_takes_an_insert_back(way: str) -> None:
    def insert_and_fail() -> None:
        with transaction.atomic():
            bulk.insert([new_run()])
            raise RuntimeError("broken on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        insert_and_fail()
    assert not Run.objects.exists()


@pytest.mark.only_on("postgres")
@pytest.mark.parametrize("others", [0, 1], ids=["the same in all rows", "varying"])
def test_a_text_that_is_too_long_is_refused_and_never_cut_off(way: str, others: int) -> None:
    with pytest.raises(DataError):
        bulk.insert([new_run(requested_by="x" * 151), *[new_run() for _ in range(others)]])


# Update


@pytest.fixture
def runs() -> list[Run]:
    job = make_job()
    return [make_run(job, reason=f"run {n}") for n in range(4)]


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("reason", TEXTS[:4]),
        ("reason", TEXTS[4:8]),
        ("duration", DURATIONS[:4]),
        ("duration", DURATIONS[4:]),
        ("started_at", MOMENTS[:4]),
        ("started_at", MOMENTS[4:]),
        ("result", [1, True, 1.0, None]),
        ("result", DOCUMENTS[9:13]),
        ("notable", [True, False, True, True]),
        ("notable", [True] * 4),
        ("node", ["", "%s", "a'b", "北京"]),
        ("recovers_id", [None, 1, 2, 2**62]),
    ],
)
def test_a_value_is_updated_to_what_it_is(way: str, runs: list[Run], field: str, values: list[Any]) -> None:
    for run, value in zip(runs, values, strict=True):
        setattr(run, field, value)
    name = field.removesuffix("_id")
    assert bulk.update(runs, [name]) == {run.pk for run in runs}
    assert_written(runs)


def test_only_the_named_fields_are_written(way: str, runs: list[Run]) -> None:
    for run in runs:
        run.reason, run.log = "not written", "written"
    bulk.update(runs, ["log"])
    assert set(Run.objects.values_list("reason", "log")) == {(f"run {n}", "written") for n in range(4)}


def test_rows_that_are_not_named_stay_as_they_are(way: str, runs: list[Run]) -> None:
    runs[0].log = "written"
    bulk.update(runs[:1], ["log"])
    assert [run.log for run in Run.objects.order_by("id")] == ["written", "", "", ""]


def test_a_guard_lets_only_rows_through_that_have_one_of_its_values(way: str, runs: list[Run]) -> None:
    Run.objects.filter(pk=runs[0].pk).update(state=State.CANCELLED, finished_at=NOW)
    Run.objects.filter(pk=runs[1].pk).update(state=State.RETRYING)
    Run.objects.filter(pk=runs[2].pk).update(node="another")
    for run in runs:
        run.log = "written"
    hit = bulk.update(runs, ["log"], state=[State.QUEUED, State.RETRYING], node=[runs[3].node])
    assert hit == {runs[1].pk, runs[3].pk}
    assert [run.log for run in Run.objects.order_by("id")] == ["", "written", "", "written"]


def test_a_guard_may_stand_on_the_column_that_is_written(way: str, runs: list[Run]) -> None:
    for run in runs:
        run.state, run.started_at = State.RUNNING, NOW
    guard = {"state": (State.QUEUED,)}
    assert len(bulk.update(runs, ["state", "started_at"], **guard)) == 4
    assert bulk.update(runs, ["state", "started_at"], **guard) == set()


@pytest.mark.parametrize("attempts", [[0, 1, 2, 3], [1, 1, 1, 1]], ids=["varying", "the same in all rows"])
def test_each_row_may_be_guarded_by_a_value_of_its_own(
    way: str, runs: list[Run], attempts: list[int]
) -> None:
    for run, attempt in zip(runs, attempts, strict=True):
        Run.objects.filter(pk=run.pk).update(attempt=attempt)
        run.attempt, run.log = attempt + 1, "written"
    Run.objects.filter(pk=runs[2].pk).update(attempt=9)
    hit = bulk.update(runs, ["attempt", "log"], each={"attempt": attempts}, state=[State.QUEUED])
    assert hit == {runs[0].pk, runs[1].pk, runs[3].pk}
    assert_written([runs[0], runs[1], runs[3]])
    assert (written(runs[2])["attempt"], written(runs[2])["log"]) == (9, "")


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("reason", TEXTS[:4]),
        ("duration", DURATIONS[1:5]),
        ("ready_at", MOMENTS[4:]),
        ("notable", [True, False] * 2),
    ],
)
def test_a_row_may_be_guarded_by_a_value_of_any_type(
    way: str, runs: list[Run], field: str, values: list[Any]
) -> None:
    for run, value in zip(runs, values, strict=True):
        Run.objects.filter(pk=run.pk).update(**{field: value})
    assert bulk.update(runs, ["log"], each={field: values}) == {run.pk for run in runs}
    assert bulk.update(runs, ["log"], each={field: values[::-1]}) == set()


def test_a_guard_with_no_value_lets_nothing_through(way: str, runs: list[Run]) -> None:
    assert bulk.update(runs, ["log"], state=[]) == set()


def test_a_row_that_is_gone_is_not_among_those_hit(way: str, runs: list[Run]) -> None:
    Run.objects.filter(pk=runs[0].pk).delete()
    assert bulk.update(runs, ["log"]) == {run.pk for run in runs[1:]}


def test_a_key_may_be_a_text(way: str) -> None:
    names = ["a", "B", "Z", "b-1", "b_1", "_", "-", "10", "9", "aa", "AB"]
    for name in names:
        make_job(name=name)
    schedules = list(Schedule.objects.all())
    for schedule in schedules:
        schedule.next_run_time = NOW
    # By some of them, too: their ends are elsewhere in each order.
    for some in ([schedules[0], schedules[-1]], [row for row in schedules if row.id in "aBZ"], schedules):
        assert bulk.update(some, ["next_run_time"]) == {schedule.id for schedule in some}
    assert set(Schedule.objects.values_list("next_run_time", flat=True)) == {NOW}


@pytest.mark.django_db(transaction=True)
def test_an_update_that_breaks_a_constraint_changes_nothing(way: str) -> None:
    sources = [make_source() for _ in range(3)]
    sources[0].title = "changed"
    sources[2].concurrency = 0
    with pytest.raises(IntegrityError):
        bulk.update(sources, ["title", "concurrency"])
    assert not Source.objects.exclude(title="").exists()


def test_nothing_to_update_asks_nothing_of_the_database(way: str, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        assert bulk.update([], ["log"]) == set()


def test_any_number_of_updates_is_one_statement(runs: list[Run], django_assert_num_queries: Any) -> None:
    for number, run in enumerate(runs):
        run.log = str(number)
    with django_assert_num_queries(1):
        bulk.update(runs, ["log"])


def test_both_databases_of_the_project_are_supported() -> None:
    assert bulk._supported(connection)


@pytest.mark.only_on("postgres")
def test_what_the_database_cannot_hold_is_refused(way: str, runs: list[Run]) -> None:
    runs[0].log = "a\x00b"
    with pytest.raises((DatabaseError, ValueError)), transaction.atomic():
        bulk.update(runs, ["log"])


@pytest.mark.parametrize("field", ["progress_done", "progress_total", "notable"])
def test_a_text_where_none_belongs_is_refused(way: str, runs: list[Run], field: str) -> None:
    """SQLite would store it as it is."""
    setattr(runs[0], field, "many")
    with pytest.raises((DatabaseError, ValidationError, ValueError)), transaction.atomic():
        bulk.update(runs, [field])
    assert {written(run)[field] for run in runs} == {meant(runs[1])[field]}
