"""Exact decimals: numbers that are kept digit by digit.

SQLite makes a float of what is declared as a decimal, and so keeps some fifteen digits. Here the digits travel as text;
sums are for Python to work out.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from django.db import models

if TYPE_CHECKING:
    Text = models.CharField[Decimal | None, Decimal | None]
else:
    Text = models.CharField  # which is generic to mypy only


class ExactDecimalField(Text):
    """A `Decimal` with all its digits, also those zeros after the point that say how exact it is."""

    def from_db_value(self, value: str | None, expression: Any, connection: Any) -> Decimal | None:
        return None if value is None else Decimal(value)

    def to_python(self, value: Any) -> Decimal | None:
        return value if value is None or isinstance(value, Decimal) else Decimal(value)

    def get_prep_value(self, value: Any) -> str | None:
        number = self.to_python(value)
        return None if number is None else format(number, "f")
