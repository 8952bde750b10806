"""Statements in the admin: seen, taken along as CSV, corrected and sent again; never edited."""

from __future__ import annotations

import csv
import io
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from pytest_django import Settings

from hotdata.admin import statement_export
from hotdata.models import Delivery, SourceUsage, Statement, TokenUsage
from tests.builders import Staff, issue_statement, make_prices

pytestmark = pytest.mark.django_db

DAY = date(2026, 10, 15)
LIST = "/admin/hotdata/statement/"


def use(source: str = "stock", calls: int = 12_345) -> None:
    SourceUsage.add([SourceUsage(day=DAY, source=source, calls=calls, failed_calls=5, size=2048)])


@pytest.fixture
def statement() -> Statement:
    make_prices("stock", tiers="first 10,000 free, then 0.002")
    use()
    return issue_statement("2026-10")


def page_of(statement: Statement, what: str = "change") -> str:
    return f"{LIST}{statement.pk}/{what}/"


def rows(answer: Any) -> list[dict[str, str]]:
    text = b"".join(answer.streaming_content).decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_a_page_says_what_the_statement_does(admin_client: Client, statement: Statement) -> None:
    page = admin_client.get(page_of(statement)).content.decode()
    for said in (
        "Statement 2026-10/1",
        "12,345",
        "first 10,000 free, then 0.002",
        "4.69 USD",
        "monthly_billing",
        "Send again",
    ):
        assert said in page
    assert "Issue a correction" not in page
    assert "comes to something else" not in page


def test_the_list_has_totals_and_says_which_one_holds(admin_client: Client, statement: Statement) -> None:
    use()
    issue_statement("2026-10", correct=True)
    page = admin_client.get(LIST).content.decode()
    assert "Calls of the upstream: 4.69 USD" in page
    assert page.count("Corrected") == page.count("Holds") == 1


def test_late_usage_is_said_and_can_be_corrected(admin_client: Client, statement: Statement) -> None:
    use(calls=100)
    page = admin_client.get(page_of(statement)).content.decode()
    assert "comes to something else" in page
    assert "Issue a correction" in page
    answer = admin_client.post(page_of(statement, "correct"), follow=True)
    page = answer.content.decode()
    correction = Statement.objects.get(revision=2)
    assert answer.redirect_chain[-1][0] == page_of(correction)
    assert correction.issued_by == "root"
    assert "Statement 2026-10/2" in page
    assert "0.20 USD" in page  # more than before
    assert LogEntry.objects.get().change_message == "Issued as a correction of 2026-10/1."
    earlier = admin_client.get(page_of(statement)).content.decode()
    assert "holds no more" in earlier
    assert page_of(correction) in earlier
    assert "Issue a correction" not in earlier


def test_where_nothing_has_changed_nothing_is_issued(admin_client: Client, statement: Statement) -> None:
    page = admin_client.post(page_of(statement, "correct"), follow=True).content.decode()
    assert "there is nothing to correct" in page
    assert Statement.objects.count() == 1


def test_a_statement_is_sent_again(admin_client: Client, statement: Statement, settings: Settings) -> None:
    settings.HOTDATA_REPORT_MAIL = ["ada@example.com"]
    page = admin_client.post(page_of(statement, "send"), follow=True).content.decode()
    assert "on its way to 1 recipient." in page
    assert Delivery.objects.get().subject == "hotdata: Statement 2026-10/1: 4.69 USD"
    settings.HOTDATA_REPORT_MAIL = []
    page = admin_client.post(page_of(statement, "send"), follow=True).content.decode()
    assert "HOTDATA_REPORT_MAIL" in page
    assert Delivery.objects.count() == 1


@pytest.mark.parametrize("action", ["correct", "send"])
def test_only_who_may_issue_acts_and_only_by_post(
    staff: Staff, statement: Statement, settings: Settings, action: str
) -> None:
    settings.HOTDATA_REPORT_MAIL = ["ada@example.com"]
    use()
    address = page_of(statement, action)
    assert staff("view_statement").post(address).status_code == 403
    assert staff("issue_statement").post(address).status_code == 403  # who may not see it, either
    assert staff("view_statement", "issue_statement", check_csrf=True).post(address).status_code == 403
    allowed = staff("view_statement", "issue_statement")
    assert allowed.get(address).status_code == 405
    assert (Statement.objects.count(), Delivery.objects.count()) == (1, 0)
    assert allowed.post(address).status_code == 302
    assert (Statement.objects.count(), Delivery.objects.count()) == (2 if action == "correct" else 1, 1)


@pytest.mark.parametrize("what", ["change", "delete"])
def test_nobody_edits_or_deletes_a_statement(admin_client: Client, statement: Statement, what: str) -> None:
    assert admin_client.post(page_of(statement, what), {"post": "yes"}).status_code == 403
    assert admin_client.post(f"{LIST}add/", {"number": "x"}).status_code == 403
    selected = {"action": "delete_selected", "_selected_action": statement.pk, "post": "yes"}
    admin_client.post(LIST, selected)
    assert Statement.objects.get() == statement


def test_the_csv_has_every_line_to_the_last_digit(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statement_export, "PIECE", 2)
    make_prices("stock", tiers="0.000001", currency="KWD")
    make_prices("news", kind="reads", tiers="0")
    use(calls=10**15)
    for token in ("=cmd|' /C calc'!A0", "@shop", "app"):
        TokenUsage.add([TokenUsage(day=DAY, source="news", token=token, reads=3)])
    use("weather", calls=1)
    statement = issue_statement()
    answer = admin_client.get(page_of(statement, "csv"))
    assert answer["Content-Disposition"] == 'attachment; filename="statement-2026-10-1.csv"'
    found = rows(answer)
    assert [row["statement"] for row in found] == ["2026-10/1"] * 5
    assert found[0]["amount"] == "1000000000.000"
    assert Decimal(found[0]["amount"]) == Decimal(10**9)
    assert found[0]["count"] == "1000000000000000"
    assert (found[1]["source"], found[1]["amount"], found[1]["currency"]) == ("weather", "", "")
    assert sorted(row["token"] for row in found[2:]) == ["'=cmd|' /C calc'!A0", "'@shop", "app"]
    assert [row["amount"] for row in found[2:]] == ["0.00"] * 3


def test_the_csv_is_for_those_who_see_the_statement(staff: Staff, statement: Statement) -> None:
    assert staff("view_job").get(page_of(statement, "csv")).status_code == 403
    assert staff("view_statement").get(page_of(statement, "csv")).status_code == 200


def test_a_long_statement_is_cut_on_its_page_and_says_so(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hotdata.admin.statements.MOST_LINES", 2)
    for source in ("a", "b", "c"):
        use(source)
    page = admin_client.get(page_of(issue_statement())).content.decode()
    assert "first 2 lines" in page
    assert page.count('<th scope="row">') == 2


def test_hostile_names_stay_text(admin_client: Client) -> None:
    TokenUsage.add([TokenUsage(day=DAY, source="news", token="<script>x</script>", reads=3)])
    page = admin_client.get(page_of(issue_statement())).content.decode()
    assert "<script>x" not in page
    assert "&lt;script&gt;x" in page


def test_the_list_leads_to_what_statements_are_made_of(staff: Staff) -> None:
    page = staff("view_statement", "view_sourceusage").get(LIST).content.decode()
    assert "/admin/hotdata/sourceusage/" in page
    assert "/admin/hotdata/pricelist/" not in page
