"""What the calls of a period cost."""

from __future__ import annotations

import msgspec

from hotdata.reporting.periods import Period


class Amount(msgspec.Struct, frozen=True, kw_only=True):
    """Money, exactly: ``12.50 USD``."""

    amount: str
    currency: str

    def __str__(self) -> str:
        return f"{self.amount} {self.currency}"


def cost_of(period: Period) -> tuple[Amount, ...] | None:
    """What the upstreams' calls of `period` cost, by currency; None while no price is known."""
    return None
