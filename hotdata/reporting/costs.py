"""What the calls of a period cost, by the price lists of its months.

Tiers are of a month: what a day costs hangs on the days before it. So it is what the month had come to at its end, less
what it had come to at its beginning. The days of a month add up to it, and nothing is rounded: only a statement is.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any

from django.db.models import Q, Sum

from hotdata.models import PriceList, SourceUsage
from hotdata.models.prices import Kind
from hotdata.reporting.amounts import Amount, trimmed
from hotdata.reporting.periods import Length, Period, containing
from hotdata.tiers import EXACT


def cost_of(period: Period) -> tuple[Amount, ...] | None:
    """What the upstreams' calls of `period` cost, by currency; nothing of any where none was called.

    Calls of sources without a price are left out; None where that leaves nothing, or there are no prices at all. Two
    queries for each month that has days in it.
    """
    sums: dict[str, Decimal] = {}
    has_prices = was_called = False
    for month in _months(period):
        prices = PriceList.objects.filter(kind=Kind.CALLS).of_month(month.name)
        has_prices = has_prices or bool(prices)
        for source, before, until in _calls(month, max(period.first, month.first), period.after):
            was_called, found = True, prices.get((Kind.CALLS, source))
            if found is not None:
                cost = EXACT.subtract(found.cost(*until), found.cost(*before))
                sums[found.currency] = EXACT.add(sums.get(found.currency, Decimal(0)), cost)
    if not sums and (was_called or not has_prices):
        return None
    return tuple(trimmed(amount, currency) for currency, amount in sorted(sums.items()))


def _months(period: Period) -> Iterator[Period]:
    month = containing(period.first, Length.MONTH)
    while month.first < period.after:
        yield month
        month = containing(month.after, Length.MONTH)


def _calls(month: Period, first: date, after: date) -> Iterator[tuple[str, tuple[int, int], tuple[int, int]]]:
    """By source, the calls of `month` and how many of them failed: before the day `first`, and before `after`.

    Of those sources that were called in between.
    """
    days = SourceUsage.objects.filter(day__gte=month.first, day__lt=min(after, month.after)).order_by()
    earlier = Q(day__lt=first)
    rows: Any = days.values_list("source").annotate(
        calls_before=Sum("calls", filter=earlier, default=0),
        failed_before=Sum("failed_calls", filter=earlier, default=0),
        calls_until=Sum("calls"),
        failed_until=Sum("failed_calls"),
    )
    for source, calls_before, failed_before, calls_until, failed_until in rows.iterator():
        if calls_until > calls_before:
            yield source, (calls_before, failed_before), (calls_until, failed_until)
