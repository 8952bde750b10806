"""The letter of a statement, as it is mailed."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal

import pytest
from django.utils.translation import override
from pytest_django import Settings

from hotdata.models import Delivery, SourceUsage, Statement, TokenUsage
from hotdata.reporting import statement_letter
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
    return Delivery.objects.filter(subject__startswith=f"hotdata: Statement {statement}").latest("id")


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
    assert mail.subject == "hotdata: Statement 2026-10/1: 2,449.13 USD"
    for said in (mail.text, mail.html):
        assert "From 2026-10-01 to 2026-10-31 (UTC)" in said
        assert "Calls of the upstream by source, in USD" in said
        assert "stock" in said
        assert "1,234,567" in said
        assert "first 10,000 free, then 0.002" in said
        assert "2,449.13 USD" in said
        assert "no price" in said


def test_nobody_gets_one_where_nobody_is_named(settings: Settings) -> None:
    settings.HOTDATA_REPORT_MAIL = []
    issue_statement()
    assert not Delivery.objects.exists()


def test_a_month_without_usage_says_so() -> None:
    mail = mail_of(issue_statement())
    assert mail.subject == "hotdata: Statement 2026-10/1"
    assert "Nothing was used in this month." in mail.text
    assert "Nothing was used in this month." in mail.html


def test_a_correction_says_what_it_changes() -> None:
    make_prices("stock", tiers="1")
    make_usage(calls=10)
    issue_statement()
    make_prices("stock", tiers="0.25", valid_from="2026-10")
    mail = mail_of(issue_statement(correct=True))
    assert "It corrects 2026-10/1, and takes its place." in mail.text
    assert "* Calls of the upstream: Difference -7.50 USD" in mail.text
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
    monkeypatch.setattr(statement_letter, "MOST_LINES", 3)
    for number in range(4):
        make_usage(f"source-{number}")
    mail = mail_of(issue_statement())
    assert "1 row more is left out here." in mail.text
    assert "source-2" in mail.html
    assert "source-3" not in mail.html + mail.text


def test_it_is_in_the_language_of_the_site_whoever_asks_for_it(settings: Settings) -> None:
    settings.LANGUAGE_CODE = "de"
    SourceUsage.add([SourceUsage(day=DAY, source="stock", calls=1, size=1234)])
    with override("en"):
        issue_statement()
    assert "Size 1,2 KB" in Delivery.objects.latest("id").text


def test_its_chart_is_of_what_can_be_compared_with_the_dearest_first() -> None:
    make_prices("stock", tiers="0.01")
    make_prices("news", tiers="0.02")
    make_prices("free", tiers="0")
    make_prices("weather", tiers="100", currency="JPY")
    make_prices("stock", kind="reads", tiers="1")
    for source in ("stock", "news", "free", "weather", "unpriced"):
        make_usage(source, 1_000)
    TokenUsage.add([TokenUsage(day=DAY, source="stock", token="shop", reads=5)])
    chart = statement_letter.letter(issue_statement()).chart
    assert chart is not None
    assert (chart.title, chart.parts[0].label) == ("Calls of the upstream by source, in USD", "USD")
    assert [(bar.label, *bar.values) for bar in chart.bars] == [("news", Decimal(20)), ("stock", Decimal(10))]


def test_the_reads_of_all_tokens_are_one_bar_of_the_chart() -> None:
    make_prices("stock", kind="reads", tiers="0.5")
    TokenUsage.add([TokenUsage(day=DAY, source="stock", token=token, reads=3) for token in ("app", "shop")])
    chart = statement_letter.letter(issue_statement()).chart
    assert chart is not None
    assert [(bar.label, *bar.values) for bar in chart.bars] == [("stock", Decimal(3))]


def test_where_nothing_costs_anything_there_is_no_chart() -> None:
    make_usage()
    statement = issue_statement()
    assert statement_letter.letter(statement).chart is None
    assert "<svg" not in mail_of(statement).html
    make_prices("stock", tiers="0")
    assert "<svg" not in mail_of(issue_statement(correct=True)).html


def test_amounts_beyond_the_digits_of_a_float_are_exact_in_words_and_can_be_drawn() -> None:
    make_prices("stock", tiers="999999999999.000000000001", currency="KWD")
    make_usage(calls=10**17 + 1)
    mail = mail_of(issue_statement())
    assert "99,999,999,999,900,001,000,000,099,999.000 KWD" in mail.text
    assert "<svg" in mail.html
