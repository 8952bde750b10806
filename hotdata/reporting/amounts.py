"""Amounts: money in one currency, exactly."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from hotdata.currencies import rounded
from hotdata.figures import grouped
from hotdata.tiers import EXACT


class Amount(msgspec.Struct, frozen=True, kw_only=True):
    """So much of a currency. As text it has all its digits: ``1,234.50 USD``."""

    amount: Decimal
    currency: str

    def __str__(self) -> str:
        return f"{grouped(self.amount)} {self.currency}"


def trimmed(amount: Decimal, currency: str) -> Amount:
    """An amount without zeros at its end, but for those of the currency's smallest unit."""
    whole = rounded(amount, currency)
    return Amount(amount=whole if whole == amount else amount.normalize(EXACT), currency=currency)
