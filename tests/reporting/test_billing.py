"""Billing: a month's usage by its prices, once, whoever issues it; and corrected by another statement."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from hotdata.exceptions import NotOver
from hotdata.freshness.recording import Record
from hotdata.models import ApiCall, Delivery, PriceList, SourceUsage, Statement, StatementLine, TokenUsage
from hotdata.models.history import edited_by
from hotdata.reporting import billing, mailing
from hotdata.reporting.billing import differs, issue
from hotdata.reporting.kinds import MONTHLY, make_missing
from hotdata.reporting.periods import SETTLING, Length, parse
from tests.builders import issue_statement, make_prices, unsaved_call
from tests.threads import in_thread

pytestmark = pytest.mark.django_db

OCTOBER = parse("2026-10", Length.MONTH)
NOW = datetime(2026, 11, 1, 3, tzinfo=UTC)


def use(source: str = "stock", day: str = "2026-10-15", **counts: int) -> None:
    SourceUsage.add([SourceUsage(day=date.fromisoformat(day), source=source, **counts)])


def read(token: str, source: str = "stock", day: str = "2026-10-15", **counts: int) -> None:
    TokenUsage.add([TokenUsage(day=date.fromisoformat(day), token=token, source=source, **counts)])


def amounts(statement: Statement) -> list[tuple[str, str, str, str]]:
    lines = statement.lines.values_list("kind", "source", "token", "amount", "currency")
    return [
        (kind, source, token, "-" if amount is None else f"{amount} {currency}")
        for kind, source, token, amount, currency in lines
    ]


def test_a_month_comes_to_what_its_days_do_by_the_tiers() -> None:
    make_prices("stock", tiers="first 10,000 free, then 0.002")
    use(day="2026-09-30", calls=99_999)
    use(day="2026-10-01", calls=9_000, failed_calls=10, size=5)
    use(day="2026-10-31", calls=3_345, size=6)
    use(day="2026-11-01", calls=99_999)
    statement = issue_statement("2026-10", by="ada")
    line = statement.lines.get()
    assert (line.count, line.failed, line.size, line.charged) == (12_345, 10, 11, 12_345)
    assert (line.tiers, line.currency, line.amount) == (
        "first 10,000 free, then 0.002",
        "USD",
        Decimal("4.69"),
    )
    assert (str(statement), statement.revision, statement.issued_by) == ("2026-10/1", 1, "ada")
    assert statement.totals == [{"kind": "calls", "currency": "USD", "amount": "4.69"}]


def test_failed_ones_are_charged_or_not() -> None:
    make_prices("stock", tiers="1", failed_charged=False)
    make_prices("news", tiers="1", failed_charged=True)
    for source in ("stock", "news"):
        use(source, calls=10, failed_calls=3)
    assert amounts(issue_statement()) == [
        ("calls", "news", "", "10.00 USD"),
        ("calls", "stock", "", "7.00 USD"),
    ]


def test_each_token_has_tiers_of_its_own() -> None:
    make_prices("stock", kind="reads", tiers="first 100 free, then 0.5", currency="EUR")
    for token in ("shop", "app"):
        read(token, day="2026-10-01", reads=60, failed_reads=1, size=7)
        read(token, day="2026-10-02", reads=60)
    read("app", "news", reads=3)
    assert amounts(issue_statement()) == [
        ("reads", "news", "app", "-"),
        ("reads", "stock", "app", "10.00 EUR"),
        ("reads", "stock", "shop", "10.00 EUR"),
    ]


def test_totals_keep_currencies_apart_and_what_is_paid_from_what_is_earned() -> None:
    make_prices("stock", tiers="0.005")
    make_prices("news", tiers="0.005")
    make_prices("weather", tiers="1", currency="JPY")
    make_prices("stock", kind="reads", tiers="1")
    for source in ("stock", "news", "weather", "unpriced"):
        use(source, calls=1)
    read("app", reads=2)
    assert issue_statement().totals == [
        {"kind": "calls", "currency": "JPY", "amount": "1"},
        {"kind": "calls", "currency": "USD", "amount": "0.02"},  # as the lines add up
        {"kind": "reads", "currency": "USD", "amount": "2.00"},
    ]


def test_the_prices_are_those_of_the_month() -> None:
    make_prices("stock", tiers="1", valid_from="2026-01")
    make_prices("stock", tiers="2", valid_from="2026-10")
    make_prices("stock", tiers="3", valid_from="2026-11")
    for month in ("2025-12", "2026-09", "2026-10", "2026-11"):
        use(day=f"{month}-15", calls=1)
    found = [
        issue_statement(month).lines.get().amount for month in ("2025-12", "2026-09", "2026-10", "2026-11")
    ]
    assert found == [None, 1, 2, 3]


def test_a_month_is_one_of_the_sites_zone_through_changes_of_clocks(settings: Settings) -> None:
    settings.TIME_ZONE = "Europe/Berlin"
    begin, end = datetime(2026, 9, 30, 22, tzinfo=UTC), datetime(2026, 10, 31, 23, tzinfo=UTC)
    moments = [begin - timedelta(microseconds=1), begin, end - timedelta(microseconds=1), end]
    Record(source="stock", calls=[unsaved_call(started_at=moment) for moment in moments]).write()
    assert issue_statement("2026-10").lines.get().count == 2
    with pytest.raises(NotOver):
        issue(OCTOBER, now=end + SETTLING - timedelta(microseconds=1))
    assert issue(OCTOBER, now=end + SETTLING, correct=True) == (Statement.objects.get(), False)


def test_a_statement_needs_no_single_calls() -> None:
    make_prices("stock")
    Record(
        source="stock", calls=[unsaved_call(started_at=NOW - timedelta(days=1)) for _ in range(300)]
    ).write()
    statement = issue_statement()
    ApiCall.objects.all().delete()
    assert not differs(statement)
    assert statement.totals == [{"kind": "calls", "currency": "USD", "amount": "3.00"}]


def test_twice_makes_one() -> None:
    use(calls=1)
    first, is_new = issue(OCTOBER, now=NOW)
    use(calls=1)
    again, is_new_again = issue(OCTOBER, now=NOW + timedelta(days=1))
    assert (is_new, is_new_again) == (True, False)
    assert again == first
    assert Statement.objects.count() == StatementLine.objects.count() == 1


def test_a_month_without_usage_has_a_statement_without_lines() -> None:
    statement = issue_statement()
    assert statement.totals == []
    assert not statement.lines.exists()


def test_a_month_that_is_not_over_has_none() -> None:
    with pytest.raises(NotOver, match=r"2026-11 is not over, .* can be made from 2026-12-01 00:01 UTC on"):
        issue(parse("2026-11", Length.MONTH), now=NOW)
    assert not Statement.objects.exists()


def test_a_correction_has_all_lines_anew_and_leaves_the_first_as_it_was() -> None:
    make_prices("stock", tiers="1")
    use(calls=1)
    use("news", calls=1)
    first = issue_statement()
    use(calls=2, failed_calls=1)
    assert differs(first)
    second, is_new = issue(OCTOBER, now=NOW, correct=True)
    assert is_new
    assert (str(second), second.corrected(), first.correction()) == ("2026-10/2", first, second)
    assert amounts(second) == [("calls", "news", "", "-"), ("calls", "stock", "", "3.00 USD")]
    assert amounts(first) == [("calls", "news", "", "-"), ("calls", "stock", "", "1.00 USD")]
    assert not differs(second)


@pytest.mark.parametrize("usage", ["stock", "weather", "a token"])
def test_late_usage_is_noticed_wherever_it_is(usage: str) -> None:
    use(calls=1)
    statement = issue_statement()
    assert not differs(statement)
    if usage == "a token":
        read("app", reads=1)
    else:
        use(usage, size=1)
    assert differs(statement)


def test_where_nothing_has_changed_there_is_no_correction() -> None:
    use(calls=1)
    first = issue_statement()
    assert issue(OCTOBER, now=NOW, correct=True) == (first, False)


def test_prices_that_were_edited_since_are_a_reason_to_correct() -> None:
    prices = make_prices("stock", tiers="1")
    use(calls=1)
    first = issue_statement()
    prices.tiers = "2"
    with edited_by("ada"):
        prices.save()
    assert differs(first)
    second = issue_statement(correct=True)
    assert [line.tiers for line in StatementLine.objects.order_by("id")] == ["1", "2"]
    assert second.totals[0]["amount"] == "2.00"
    assert list(PriceList.history.values_list("history_user_id", "tiers")) == [("ada", "2"), ("", "1")]


def test_what_was_never_issued_can_be_corrected_too() -> None:
    statement, is_new = issue(OCTOBER, now=NOW, correct=True)
    assert (str(statement), is_new) == ("2026-10/1", True)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("statements_go")
@pytest.mark.parametrize("lines", [0, 3])
def test_of_many_who_issue_at_once_one_does(settings: Settings, lines: int) -> None:
    settings.HOTDATA_REPORT_MAIL = ["ada@example.com"]
    for number in range(lines):
        use(f"source-{number}", calls=1)
    many = [in_thread(lambda: issue(OCTOBER, now=NOW)) for _ in range(6)]
    issued = [each.result(60) for each in many]
    assert sorted(is_new for _, is_new in issued) == [*[False] * 5, True]
    assert {statement.number for statement, _ in issued} == {"2026-10/1"}
    assert Statement.objects.count() == Delivery.objects.count() == 1
    assert StatementLine.objects.count() == lines
    use("source-0", calls=1)
    many = [in_thread(lambda: issue(OCTOBER, now=NOW, correct=True)) for _ in range(6)]
    assert {str(each.result(60)[0]) for each in many} == {"2026-10/2"}
    assert Statement.objects.count() == Delivery.objects.count() == 2


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("statements_go")
def test_what_fails_half_way_leaves_nothing(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.HOTDATA_REPORT_MAIL = ["ada@example.com"]
    use(calls=1)

    def fail(*args: Any, **kwargs: Any) -> None:
        raise OSError("The disk is full.")

    with monkeypatch.context() as broken:
        broken.setattr(mailing, "post_mail", fail)
        with pytest.raises(OSError, match="full"):
            issue(OCTOBER, now=NOW)
    assert not Statement.objects.exists()
    assert not StatementLine.objects.exists()
    assert issue(OCTOBER, now=NOW)[1]


def test_months_that_were_missed_are_made_up_for() -> None:
    assert [period.name for period in MONTHLY.missing(NOW)] == [
        "2026-10"
    ]  # not all since the beginning of time
    issue_statement("2026-07")
    made = [made.name for made in make_missing(MONTHLY, by="x", now=NOW)]
    assert made == ["monthly_billing 2026-08/1", "monthly_billing 2026-09/1", "monthly_billing 2026-10/1"]
    assert list(make_missing(MONTHLY, by="x", now=NOW)) == []


def test_after_a_very_long_time_only_the_latest_months_are_made_up_for() -> None:
    issue_statement("2020-01")
    periods = MONTHLY.missing(NOW)
    assert len(periods) == billing.CATCH_UP
    assert (periods[0].name, periods[-1].name) == ("2024-11", "2026-10")


def test_many_lines_take_few_statements_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(billing, "BATCH", 10)
    for number in range(35):
        read(f"token-{number:02}", reads=1)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        statement = issue_statement()
    inserts = [query for query in queries if query["sql"].startswith('INSERT INTO "hotdata_statementline"')]
    assert len(inserts) == 4
    assert [line.token for line in statement.lines.all()] == [f"token-{number:02}" for number in range(35)]
    assert not differs(statement)
