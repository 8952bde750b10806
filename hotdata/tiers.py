"""Tiers: what so many units cost when the price of one goes by how many there were before it.

Read and written as ``first 10,000 free, next 90,000 at 0.002, then 0.001``. All is exact: no float takes part, and
nothing is rounded here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import (
    Context,
    Decimal,
    DivisionByZero,
    FloatOperation,
    Inexact,
    InvalidOperation,
    Overflow,
    Rounded,
)

from django.utils.translation import gettext as _

from hotdata.exceptions import BadPrice

MOST_TIERS = 20
LARGEST_COUNT = 10**18
"""Of units, where a tier ends."""
PRICE_DIGITS = 12
"""Of a price, before the point and after it."""
MAX_TEXT = 1000

EXACT = Context(
    prec=100, traps=[DivisionByZero, FloatOperation, Inexact, InvalidOperation, Overflow, Rounded]
)
"""Enough digits for any count at any price; what would be rounded is an error. (The default has 28 digits.)"""

COUNT = r"[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+"
AMOUNT = r"[0-9]+(?:\.[0-9]+)?"
PART = re.compile(
    rf"(?:(?P<which>first|next) (?P<count>{COUNT}) |(?P<then>then) )?(?:(?P<free>free)|(?:at )?(?P<price>{AMOUNT}))"
)
BETWEEN = re.compile(r", |,(?=[fnt])")  # a comma inside a number has no space behind it


@dataclass(frozen=True, kw_only=True)
class Tier:
    """The units after those of the tier before it, up to the one with the number `up_to`; the last one has no end."""

    up_to: int | None
    price: Decimal
    """Of one unit."""


@dataclass(frozen=True, kw_only=True)
class Tiers:
    """Prices of all units from the first one on: tier follows tier without a gap. Raises BadPrice when it is made."""

    tiers: tuple[Tier, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.tiers) <= MOST_TIERS:
            raise _refusal(_("There must be between 1 and %(n)d tiers.") % {"n": MOST_TIERS})
        before = 0
        for tier in self.tiers[:-1]:
            if tier.up_to is None or not before < tier.up_to <= LARGEST_COUNT:
                raise _refusal(_("Each tier but the last one must end, after the one before it has."))
            before = tier.up_to
        if self.tiers[-1].up_to is not None:
            raise _refusal(_("Nothing says what comes after the last tier: end with “then” and a price."))
        for tier in self.tiers:
            _check_price(tier.price)

    @classmethod
    def parse(cls, text: str) -> Tiers:
        """What `text` says; raises BadPrice."""
        if len(text) > MAX_TEXT:
            raise _refusal(_("At most %(n)d characters.") % {"n": MAX_TEXT})
        parts = BETWEEN.split(" ".join(text.split()).lower().rstrip("."))
        return cls(tiers=tuple(_tiers(parts)))

    def __str__(self) -> str:
        """In words that `parse` takes, always the same ones for the same prices."""
        before, parts = 0, []
        for tier in self.tiers:
            if tier.up_to is not None:
                which = "next" if before else "first"
                price = "free" if not tier.price else f"at {plain(tier.price)}"
                parts.append(f"{which} {tier.up_to - before:,} {price}")
                before = tier.up_to
            else:
                price = plain(tier.price) if tier.price else "free"
                parts.append(f"then {price}" if before else price)
        return ", ".join(parts)

    def amount(self, count: int) -> Decimal:
        """What `count` units cost, exactly."""
        total = Decimal(0)
        for units, tier in self._shares(count):
            total = EXACT.add(total, EXACT.multiply(Decimal(units), tier.price))
        return total

    def _shares(self, count: int) -> Iterator[tuple[int, Tier]]:
        """How many of `count` units each tier has."""
        before = 0
        for tier in self.tiers:
            end = count if tier.up_to is None else min(count, tier.up_to)
            yield max(end - before, 0), tier
            before = end


def plain(number: Decimal) -> str:
    """`number` in digits, without an exponent and without zeros at its end."""
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _tiers(parts: Iterable[str]) -> Iterator[Tier]:
    before, ended = 0, False
    for place, part in enumerate(parts):
        read = PART.fullmatch(part)
        if read is None:
            raise _refusal(
                _(
                    "%(part)s can't be read. Write tiers as “first 10,000 free, next 90,000 at 0.002, then 0.001”, "
                    "or one price for all; with a point before the decimals."
                )
                % {"part": repr(part)}
            )
        if ended:
            raise _refusal(_("“%(part)s” comes after the tier without an end.") % {"part": part})
        _check_order(read, is_first=place == 0)
        price = Decimal(read["price"] or 0)
        if read["which"]:
            before += int(read["count"].replace(",", ""))
            yield Tier(up_to=before, price=price)
        else:
            ended = True
            yield Tier(up_to=None, price=price)


def _check_order(read: re.Match[str], *, is_first: bool) -> None:
    if is_first and (read["which"] == "next" or read["then"]):
        raise _refusal(
            _("“%(part)s” can't come first: begin with “first”, or with a price.") % {"part": read[0]}
        )
    if not is_first and not (read["which"] == "next" or read["then"]):
        raise _refusal(_("“%(part)s” can only come first: go on with “next” or “then”.") % {"part": read[0]})


def _check_price(price: Decimal) -> None:
    if not price.is_finite() or price.is_signed():
        raise _refusal(_("A price must be a number of at least 0."))
    if price >= 10**PRICE_DIGITS or EXACT.remainder(price.scaleb(PRICE_DIGITS, EXACT), Decimal(1)):
        raise _refusal(
            _("A price may have %(n)d digits before the point and as many after it.") % {"n": PRICE_DIGITS}
        )


def _refusal(message: str) -> BadPrice:
    return BadPrice("tiers", message)
