"""The mail with a statement."""

from __future__ import annotations

import re
from datetime import date

import pytest
from django.utils.translation import get_language, override
from pytest_django import Settings

from hotdata.models import Delivery, SourceUsage, Statement, TokenUsage
from hotdata.reporting import statement_mail
from tests.builders import issue_statement, make_prices

pytestmark = pytest.mark.django_db

DAY = date(2026, 10, 15)
HOSTILE = '<img src=x onerror="alert(1)">\r\nBcc: eve@example.com'


@pytest.fixture(autouse=True)
def _recipients(settings: Settings) -> None:
    settings.HOTDATA_REPORT_MAIL = ["ada@example.com", "bob@example.com"]


def make_usage(source: str = "stock", calls: int = 1_234_567) -> None:
    SourceUsage.add([SourceUsage(day=DAY, source=source, calls=calls)])


def mail_of(statement: Statement) -> Delivery:
    return Delivery.objects.filter(subject__startswith=f"Statement {statement}").latest("id")


def test_each_recipient_gets_one_that_says_all() -> None:
    make_prices("stock", tiers="first 10,000 free, then 0.002")
    make_usage()
    make_usage("news", 5)
    statement = issue_statement()
    issue_statement()
    assert [(mail.recipient, mail.about) for mail in Delivery.objects.order_by("id")] == [
        ("ada@example.com", "statement"),
        ("bob@example.com", "statement"),
    ]
    mail = mail_of(statement)
    assert mail.subject == "Statement 2026-10/1: 2,449.13 USD"
    for said in (mail.text, mail.html):
        assert "Calls of stock" in said
        assert "1,234,567, 0 failed, 0 bytes" in said
        assert "first 10,000 free, then 0.002" in said
        assert "2,449.13 USD" in said
        assert "no price" in said
    assert 'bgcolor="#3158d8"' in mail.html


def test_nobody_gets_one_where_nobody_is_named(settings: Settings) -> None:
    settings.HOTDATA_REPORT_MAIL = []
    issue_statement()
    assert not Delivery.objects.exists()


def test_a_month_without_usage_says_so() -> None:
    mail = mail_of(issue_statement())
    assert mail.subject == "Statement 2026-10/1"
    assert "Nothing was used in this month." in mail.text
    assert "Nothing was used in this month." in mail.html


def test_a_correction_says_what_it_changes() -> None:
    make_prices("stock", tiers="1")
    make_usage(calls=10)
    issue_statement()
    make_prices("stock", tiers="0.25", valid_from="2026-10")
    mail = mail_of(issue_statement(correct=True))
    assert "It corrects 2026-10/1, and takes its place." in mail.text
    assert "Difference:\nCalls of the upstream: -7.50 USD" in mail.text
    assert "-7.50" in mail.html


def test_what_is_hostile_stays_text() -> None:
    TokenUsage.add([TokenUsage(day=DAY, source="stock", token=HOSTILE, reads=1)])
    mail = mail_of(issue_statement())
    assert "<img" not in mail.html
    assert "&lt;img" in mail.html
    assert not re.search(r"^Bcc", mail.text, re.MULTILINE)


def test_it_loads_nothing_from_anywhere(settings: Settings) -> None:
    settings.HOTDATA_SITE_URL = "https://hot.example.com/"
    make_usage()
    statement = issue_statement()
    mail = mail_of(statement)
    page = f"https://hot.example.com/admin/hotdata/statement/{statement.pk}/change/"
    assert page in mail.text
    assert re.findall(r'(?:src|href|url)\s*[=(]\s*"?([^")]+)', mail.html) == [page]
    assert "<script" not in mail.html


def test_a_long_statement_is_cut_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statement_mail, "MOST_LINES", 3)
    for number in range(4):
        make_usage(f"source-{number}")
    mail = mail_of(issue_statement())
    assert "first 3 lines" in mail.text
    assert "source-2" in mail.html
    assert "source-3" not in mail.html + mail.text


def test_it_is_in_the_language_of_the_site_whoever_asks_for_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.LANGUAGE_CODE = "zh-hans"
    spoken: list[str | None] = []

    def render(template: str, facts: object) -> str:
        spoken.append(get_language())
        return ""

    monkeypatch.setattr(statement_mail, "render_to_string", render)
    with override("en"):
        issue_statement()
    assert spoken == ["zh-hans"]
