"""Tiers: read from words, and worked out to the last digit."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hotdata.currencies import DIGITS, check_currency, rounded
from hotdata.exceptions import BadPrice
from hotdata.tiers import LARGEST_COUNT, MOST_TIERS, Tier, Tiers

PRICES = st.decimals(min_value=0, max_value=10**12 - 1, places=12)
ENDS = st.lists(st.integers(1, LARGEST_COUNT), max_size=MOST_TIERS - 1, unique=True).map(sorted)
HUGE = 10**15


@st.composite
def any_tiers(draw: Any, ends: Any = ENDS, prices: Any = PRICES) -> Tiers:
    found = [Tier(up_to=end, price=draw(prices)) for end in draw(ends)]
    return Tiers(tiers=(*found, Tier(up_to=None, price=draw(prices))))


FEW = any_tiers(st.lists(st.integers(1, 60), max_size=4, unique=True).map(sorted), PRICES)


def price_of_unit(tiers: Tiers, number: int) -> Decimal:
    return next(tier.price for tier in tiers.tiers if tier.up_to is None or number <= tier.up_to)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("first 10,000 free, then 0.002", "first 10,000 free, then 0.002"),
        ("First 10000 free,  THEN 0.0020.", "first 10,000 free, then 0.002"),
        ("first 10,000 free,then at 0.002", "first 10,000 free, then 0.002"),
        ("first 1,000 0.5, next 5 free, then 1", "first 1,000 at 0.5, next 5 free, then 1"),
        (
            "first 10 at 1.50, next 1,000,000 at 100, then free",
            "first 10 at 1.5, next 1,000,000 at 100, then free",
        ),
        ("0.002", "0.002"),
        ("at 10", "10"),
        ("free", "free"),
        ("0.000000000001", "0.000000000001"),
    ],
)
def test_words_are_read_and_brought_into_one_form(text: str, canonical: str) -> None:
    assert str(Tiers.parse(text)) == canonical


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "'' can't be read. Write tiers as"),
        ("0,002", "'0,002' can't be read"),
        ("1,000", "'1,000' can't be read"),
        ("first 10,00 free, then 1", "'first 10,00 free' can't be read"),
        ("first ten free, then 1", "'first ten free' can't be read"),
        ("first 10 free, then -1", "'then -1' can't be read"),
        ("first 10 free, then NaN", "'then nan' can't be read"),
        ("first 10 free, then 1e5", "'then 1e5' can't be read"),
        ("first 1０ free, then 1", "can't be read"),
        ("first 10 free", "Nothing says what comes after the last tier"),
        ("first 10 free, next 5 at 1", "Nothing says what comes after the last tier"),
        ("first 0 free, then 1", "Each tier but the last one must end, after the one before it has."),
        ("first 10 free, next 0 at 1, then 2", "Each tier but the last one must end"),
        (f"first {10**18 + 1} free, then 1", "Each tier but the last one must end"),
        ("next 10 free, then 1", "“next 10 free” can't come first"),
        ("then 1", "“then 1” can't come first"),
        ("first 10 free, first 20 at 1, then 2", "“first 20 at 1” can only come first"),
        ("first 10 free, 1", "“1” can only come first"),
        ("0.1, then 2", "“then 2” comes after the tier without an end"),
        ("first 10 free, then 1, then 2", "“then 2” comes after the tier without an end"),
        ("1" * 13, "12 digits before the point"),
        ("0." + "0" * 12 + "1", "12 digits before the point"),
        ("1" * 1001, "At most 1000 characters"),
        (", ".join(["first 1 free", *["next 1 at 1"] * 20, "then 2"]), "between 1 and 20 tiers"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(text: str, said: str) -> None:
    with pytest.raises(BadPrice) as refused:
        Tiers.parse(text)
    assert said in str(refused.value)
    assert refused.value.field == "tiers"


@pytest.mark.parametrize(
    "tiers",
    [
        [],
        [(10, "1")],
        [(None, "1"), (None, "2")],
        [(10, "1"), (10, "2"), (None, "3")],
        [(10, "1"), (9, "2"), (None, "3")],
        [(0, "1"), (None, "2")],
        [(-1, "1"), (None, "2")],
        *[[(None, price)] for price in ("NaN", "sNaN", "Infinity", "-1", "-0.0", "1e12", "1e-13")],
    ],
)
def test_gaps_overlaps_and_odd_prices_are_refused_where_they_are_made(tiers: list[Any]) -> None:
    with pytest.raises(BadPrice):
        Tiers(tiers=tuple(Tier(up_to=up_to, price=Decimal(price)) for up_to, price in tiers))


@given(any_tiers())
def test_words_say_all(tiers: Tiers) -> None:
    assert Tiers.parse(str(tiers)) == tiers
    assert str(Tiers.parse(str(tiers))) == str(tiers)


@given(FEW, st.integers(0, 100))
def test_an_amount_is_the_sum_of_each_units_price(tiers: Tiers, count: int) -> None:
    naive = sum((Fraction(price_of_unit(tiers, number)) for number in range(1, count + 1)), Fraction(0))
    assert Fraction(tiers.amount(count)) == naive


@given(any_tiers(), st.integers(0, HUGE), st.integers(0, HUGE))
@example(Tiers.parse("999999999999.999999999999"), HUGE, HUGE)
def test_huge_counts_are_exact_and_more_never_costs_less(tiers: Tiers, count: int, more: int) -> None:
    before, naive = 0, Fraction(0)
    for tier in tiers.tiers:
        end = count if tier.up_to is None else min(count, tier.up_to)
        naive += (end - before) * Fraction(tier.price)
        before = end
    assert Fraction(tiers.amount(count)) == naive
    assert tiers.amount(count + more) >= tiers.amount(count)


@given(any_tiers(), st.integers(0, HUGE), st.sampled_from(sorted(DIGITS)))
def test_rounding_moves_an_amount_by_half_a_unit_at_most(tiers: Tiers, count: int, currency: str) -> None:
    exact = Fraction(tiers.amount(count))
    assert abs(Fraction(rounded(tiers.amount(count), currency)) - exact) <= Fraction(
        1, 2 * 10 ** DIGITS[currency]
    )


def test_the_example_of_the_book() -> None:
    tiers = Tiers.parse("first 10,000 free, then 0.002")
    assert [tiers.amount(count) for count in (0, 10_000, 10_001, 12_345)] == [
        0,
        0,
        Decimal("0.002"),
        Decimal("4.690"),
    ]


@pytest.mark.parametrize(
    ("amount", "currency", "shown"),
    [
        ("4.685", "USD", "4.69"),
        ("4.6849999999", "USD", "4.68"),
        ("0.005", "EUR", "0.01"),
        ("0", "EUR", "0.00"),
        ("0.5", "JPY", "1"),
        ("2.5", "JPY", "3"),
        ("1234567890123456789012345678901234.4999", "JPY", "1234567890123456789012345678901234"),
        ("0.0005", "KWD", "0.001"),
    ],
)
def test_an_amount_is_rounded_to_the_smallest_unit_a_half_up(amount: str, currency: str, shown: str) -> None:
    assert format(rounded(Decimal(amount), currency), "f") == shown


def test_currencies_are_those_of_iso_4217() -> None:
    assert len(DIGITS) > 150
    assert all(len(code) == 3 and code.isupper() for code in DIGITS)
    assert check_currency(" eur ") == "EUR"
    for text in ("", "EURO", "XXX", "€", "E" * 1000):
        with pytest.raises(BadPrice, match="no currency"):
            check_currency(text)
