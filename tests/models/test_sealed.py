"""Statements once issued stay as they are, whoever tries by whatever way."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import F
from django.utils import timezone

from hotdata.exceptions import Sealed
from hotdata.models import SourceUsage, Statement, StatementLine
from hotdata.retention.cleanup import CleanUp, shares
from tests.builders import issue_statement, make_prices
from tests.sealing import TABLES

pytestmark = pytest.mark.django_db


@pytest.fixture
def statement() -> Statement:
    SourceUsage.add([SourceUsage(day=date(2026, 10, 5), source="stock", calls=100)])
    make_prices("stock")
    return issue_statement("2026-10")


def all_rows() -> tuple[Any, ...]:
    return tuple(Statement.objects.values_list()), tuple(StatementLine.objects.values_list())


BY_THE_MODELS: list[Callable[[], object]] = [
    lambda: Statement.objects.get().save(),
    lambda: Statement.objects.get().delete(),
    lambda: StatementLine.objects.get().save(),
    lambda: StatementLine.objects.get().delete(),
    lambda: Statement.objects.update(issued_by="x"),
    lambda: Statement.objects.all().delete(),
    lambda: StatementLine.objects.update(count=F("count") + 1),
    lambda: StatementLine.objects.all().delete(),
    lambda: Statement.objects.get().lines.update(count=1),
    lambda: StatementLine.objects.bulk_update([StatementLine.objects.get()], ["count"]),
]

NEW_LINE = {"kind": "calls", "source": "news", "count": 1, "failed": 0, "size": 0, "charged": 1}


def late_line() -> StatementLine:
    return StatementLine(statement=Statement.objects.get(), **NEW_LINE)


def again() -> Statement:
    statement = Statement.objects.get()
    statement.issued_by, statement._state.adding = "x", True
    return statement


BEHIND_THEIR_BACK: list[Callable[[], object]] = [
    lambda: Statement._base_manager.all()._raw_delete("default"),
    lambda: StatementLine._base_manager.all()._raw_delete("default"),
    lambda: super(type(Statement.objects.all()).__mro__[1], Statement.objects.all()).update(issued_by="x"),
    lambda: late_line().save(),
    lambda: StatementLine.objects.bulk_create([late_line()]),
    lambda: again().save(),
    lambda: Statement.objects.bulk_create([again()]),
    lambda: Statement.objects.bulk_create(
        [again()], update_conflicts=True, update_fields=["issued_by"], unique_fields=["number"]
    ),
]

SQL = [
    "UPDATE hotdata_statement SET issued_by = 'x'",
    "UPDATE hotdata_statement SET totals = '[]' WHERE month = '2026-10'",
    "UPDATE hotdata_statementline SET amount = '0'",
    "DELETE FROM hotdata_statement",
    "DELETE FROM hotdata_statementline",
    "INSERT INTO hotdata_statementline "
    "(statement_id, kind, source, token, count, failed, size, charged, tiers, currency) "
    "VALUES ('2026-10/1', 'calls', 'news', '', 1, 0, 0, 0, '', '')",
]
SQL_OF = {
    "postgresql": [
        "TRUNCATE hotdata_statement CASCADE",
        "TRUNCATE hotdata_statementline",
        "INSERT INTO hotdata_statement SELECT id, number, month, revision, issued_at, 'x', totals "
        "FROM hotdata_statement ON CONFLICT (number) DO UPDATE SET issued_by = 'x'",
    ],
    "sqlite": [
        "INSERT OR REPLACE INTO hotdata_statement SELECT id, number, month, revision, issued_at, 'x', totals "
        "FROM hotdata_statement",
        "INSERT OR REPLACE INTO hotdata_statement SELECT id + 1, number, month, revision, issued_at, 'x', totals "
        "FROM hotdata_statement",
        "INSERT OR REPLACE INTO hotdata_statement SELECT id + 1, 'x', month, revision, issued_at, 'x', totals "
        "FROM hotdata_statement",
        "INSERT OR REPLACE INTO hotdata_statementline SELECT * FROM hotdata_statementline",
        "UPDATE OR REPLACE hotdata_statementline SET count = 0",
    ],
}


@pytest.mark.parametrize("change", BY_THE_MODELS)
def test_the_models_refuse_every_change(statement: Statement, change: Callable[[], object]) -> None:
    before = all_rows()
    with pytest.raises(Sealed, match="a correction is a new one"), transaction.atomic():
        change()
    assert all_rows() == before


@pytest.mark.parametrize("change", BEHIND_THEIR_BACK)
def test_the_database_refuses_what_goes_past_the_models(
    statement: Statement, change: Callable[[], object]
) -> None:
    before = all_rows()
    with pytest.raises(IntegrityError), transaction.atomic():
        change()
    assert all_rows() == before


def test_the_database_refuses_every_change_by_sql(statement: Statement) -> None:
    connection.check_constraints()  # what was put off, PostgreSQL wants done before it empties a table
    before = all_rows()
    for sql in [*SQL, *SQL_OF[connection.vendor]]:
        with pytest.raises(IntegrityError, match="once issued is never changed"), transaction.atomic():
            connection.cursor().execute(sql)
        assert all_rows() == before


def test_clean_up_by_age_leaves_statements_and_usage(statement: Statement) -> None:
    before = all_rows()
    CleanUp(shares((), 1), timezone.now()).run()
    assert all_rows() == before
    assert SourceUsage.objects.count() == 1


def test_an_amount_keeps_all_its_digits(statement: Statement) -> None:
    """A column declared as decimal would be a float in SQLite."""
    SourceUsage.add([SourceUsage(day=date(2026, 9, 5), source="stock", calls=10**15 + 1)])
    make_prices("stock", valid_from="2026-09", currency="KWD", tiers="999999999999.001")
    issued = issue_statement("2026-09")
    amount = "999999999999001999999999999.001"
    assert format(StatementLine.objects.get(statement=issued).amount, "f") == amount
    assert Statement.objects.get(month="2026-09").totals == [
        {"kind": "calls", "currency": "KWD", "amount": amount}
    ]


def test_the_triggers_are_there() -> None:
    """A migration that alters one of the tables may lose them, on SQLite, without a word."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger'"
            if connection.vendor == "sqlite"
            else "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal"
        )
        names = {name for (name,) in cursor.fetchall()}
    lost_without = {
        "sqlite": {f"{table}_no_{what}" for table in TABLES for what in ("update", "delete")}
        | {"hotdata_statement_no_replace", "hotdata_statementline_in_time"},
        "postgresql": {f"{table}_{what}" for table in TABLES for what in ("sealed", "not_emptied")}
        | {"hotdata_statementline_in_time"},
    }
    assert names == lost_without[connection.vendor]
