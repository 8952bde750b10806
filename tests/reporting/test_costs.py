"""What the calls of a period cost: to the last digit, and so that the days of a month add up to its statement."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from django.db import connection
from django.db.models import Sum
from django.test.utils import CaptureQueriesContext

from hotdata.currencies import rounded
from hotdata.models import PriceList, SourceUsage, TokenUsage
from hotdata.reporting.amounts import Amount
from hotdata.reporting.costs import cost_of
from hotdata.reporting.periods import Length, Period, containing, parse
from tests.builders import issue_statement, make_prices

pytestmark = pytest.mark.django_db

ONE_DAY = timedelta(days=1)
OCTOBER = parse("2026-10", Length.MONTH)


def use(day: str | date, source: str = "stock", **counts: int) -> None:
    SourceUsage.add([SourceUsage(day=date.fromisoformat(str(day)), source=source, **counts)])


def cost(name: str, length: Length = Length.DAY) -> list[str] | None:
    amounts = cost_of(parse(name, length))
    return None if amounts is None else [str(amount) for amount in amounts]


def days_of(period: Period) -> list[Period]:
    days = (period.after - period.first).days
    return [containing(period.first + number * ONE_DAY, Length.DAY) for number in range(days)]


def test_a_day_costs_what_it_adds_to_its_month() -> None:
    make_prices("stock", tiers="first 1,000 free, next 1,000 at 0.01, then 0.002")
    for day in ("2026-10-01", "2026-10-02", "2026-10-03", "2026-10-04"):
        use(day, calls=800)
    days = [cost(f"2026-10-0{day}") for day in (1, 2, 3, 4, 5)]
    assert days == [["0.00 USD"], ["6.00 USD"], ["4.80 USD"], ["1.60 USD"], []]


def test_a_new_month_begins_with_its_first_tier_and_a_week_over_its_end_adds_up_both() -> None:
    make_prices("stock", tiers="first 10 free, then 1")
    for day in ("2026-09-01", "2026-09-30", "2026-10-01", "2026-10-31"):
        use(day, calls=25)
    assert [cost("2026-09-30"), cost("2026-10-01")] == [["25.00 USD"], ["15.00 USD"]]
    assert cost("2026-W40", Length.WEEK) == ["40.00 USD"]  # from Monday, September 28
    assert cost("2026-09", Length.MONTH) == ["40.00 USD"]


def test_each_month_has_its_own_prices() -> None:
    make_prices("stock", tiers="1", valid_from="2026-09")
    make_prices("stock", tiers="2", currency="EUR", valid_from="2026-10")
    use("2026-09-30", calls=1)
    use("2026-10-01", calls=1)
    assert cost("2026-W40", Length.WEEK) == ["2.00 EUR", "1.00 USD"]


def test_nothing_is_rounded() -> None:
    make_prices("stock", tiers="0.000000000001")
    make_prices("yen", tiers="0.25", currency="JPY")
    use("2026-10-01", calls=3)
    use("2026-10-01", "yen", calls=400)
    assert cost("2026-10-01") == ["100 JPY", "0.000000000003 USD"]


def test_failed_calls_cost_what_the_price_list_says() -> None:
    make_prices("stock", tiers="first 1 free, then 1", failed_charged=False)
    use("2026-10-01", calls=5, failed_calls=5)
    use("2026-10-02", calls=5, failed_calls=2)
    assert [cost("2026-10-01"), cost("2026-10-02")] == [["0.00 USD"], ["2.00 USD"]]


def test_what_has_no_price_is_left_out_and_where_nothing_has_one_the_cost_is_not_known() -> None:
    use("2026-10-01", calls=5)
    assert cost("2026-10-01") is None
    make_prices("news", kind="reads")
    assert cost("2026-10-01") is None
    make_prices("news", valid_from="2026-11")
    assert cost("2026-10-01") is None
    make_prices("news", valid_from="2026-10")
    assert cost("2026-10-01") is None, "none of what was called has a price"
    assert cost("2026-10-02") == [], "nothing was called"
    use("2026-10-01", "news", calls=5)
    assert cost("2026-10-01") == ["0.05 USD"]


def test_reads_are_no_cost() -> None:
    make_prices("stock", kind="reads", tiers="1")
    make_prices("stock", tiers="1")
    TokenUsage.add([TokenUsage(day=date(2026, 10, 1), token="shop", source="stock", reads=9)])
    assert cost("2026-10-01") == []


def test_the_days_of_a_month_add_up_to_its_statement() -> None:
    make_prices("stock", tiers="first 1,000 free, next 2,000 at 0.0137, then 0.00211")
    make_prices("news", tiers="0.000333", failed_charged=False)
    make_prices("weather", tiers="first 50 at 1.5, then free", currency="JPY")
    for number, day in enumerate(days_of(OCTOBER)):
        use(day.first, calls=137 + 7 * number, failed_calls=number)
        use(day.first, "news", calls=31 * number, failed_calls=number)
        use(day.first, "weather", calls=3)
        use(day.first, "unpriced", calls=3)
    for source in ("stock", "news", "weather"):
        use("2026-09-30", source, calls=5_000)
        use("2026-11-01", source, calls=5_000)
    sums: dict[str, Decimal] = {}
    for day in days_of(OCTOBER):
        for amount in cost_of(day) or ():
            sums[amount.currency] = sums.get(amount.currency, Decimal(0)) + amount.amount
    assert {amount.currency: amount.amount for amount in cost_of(OCTOBER) or ()} == sums
    statement = issue_statement("2026-10")
    exact: dict[str, Decimal] = {}
    for line in statement.lines.exclude(amount=None):
        alone = _cost_of(line.source)
        assert line.amount == rounded(alone.amount, alone.currency), "rounded once, as a line"
        exact[alone.currency] = exact.get(alone.currency, Decimal(0)) + alone.amount
    assert exact == sums


def _cost_of(source: str) -> Amount:
    """What the calls of one source cost in October, worked out without its days."""
    prices = PriceList.objects.get(source=source)
    usage = SourceUsage.objects.filter(source=source, day__gte=OCTOBER.first, day__lt=OCTOBER.after)
    sums: Any = usage.aggregate(calls=Sum("calls"), failed=Sum("failed_calls"))
    return Amount(amount=prices.cost(sums["calls"], sums["failed"]), currency=prices.currency)


def test_no_query_more_is_asked_for_more_sources() -> None:
    for number in range(30):
        make_prices(f"source-{number}")
        use("2026-10-01", f"source-{number}", calls=1)
    with CaptureQueriesContext(connection) as queries:
        assert cost("2026-W40", Length.WEEK) == ["0.30 USD"]
    assert len(queries) == 4


def test_an_amount_comes_back_from_a_record_digit_by_digit() -> None:
    amount = Amount(amount=Decimal("12345678901234567890.000000000001"), currency="USD")
    assert msgspec.convert(msgspec.json.decode(msgspec.json.encode(amount)), Amount) == amount
    assert str(amount) == "12,345,678,901,234,567,890.000000000001 USD"
