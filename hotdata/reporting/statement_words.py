"""Statements in words: totals and amounts, as mail and pages show them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from hotdata.models import Statement
from hotdata.models.prices import Kind
from hotdata.models.statements import Total, Totals


@dataclass(frozen=True, kw_only=True)
class ShownTotal:
    """A total in words."""

    label: str
    amount: str
    currency: str

    def __str__(self) -> str:
        return f"{self.label}: {self.amount} {self.currency}"


def difference(statement: Statement, corrected: Statement) -> list[Total]:
    """How much more `statement` comes to than the one that it corrects; amounts may be negative."""
    return Totals(statement.totals).minus(Totals(corrected.totals)).to_json()


def shown_totals(totals: Sequence[Total]) -> list[ShownTotal]:
    return [
        ShownTotal(
            label=str(Kind(total["kind"]).label),
            amount=grouped(Decimal(total["amount"])),
            currency=total["currency"],
        )
        for total in totals
    ]


def grouped(number: int | Decimal) -> str:
    """`number` with all its digits, in groups of three: 1,234.50."""
    return format(Decimal(number), ",f")
