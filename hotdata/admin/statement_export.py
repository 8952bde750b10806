"""A statement as CSV: all its lines, harmless in a spreadsheet, with amounts to the last digit.

The text is UTF-8 with a byte order mark, as of the export of runs.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from hotdata.admin.run_export import MARK, cell
from hotdata.models import Statement

PIECE = 1_000
LINE = ("kind", "source", "token", "count", "failed", "size", "charged", "tiers", "currency", "amount")
COLUMNS = ("statement", "month", "issued_at", *LINE)


def export(statement: Statement) -> Iterator[str]:
    """The file in pieces, the columns' names first. Each piece is a query of its own, as nothing changes meanwhile."""
    yield MARK + _written([COLUMNS])
    head = (statement.number, statement.month, statement.issued_at)
    last = 0
    while piece := list(statement.lines.filter(pk__gt=last).values_list("pk", *LINE).order_by("pk")[:PIECE]):
        yield _written([(*head, *line) for _, *line in piece])
        last = piece[-1][0]


def _written(rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue()


def _cell(value: Any) -> Any:
    """As in any export; a decimal number in plain digits, never with an exponent."""
    return format(value, "f") if isinstance(value, Decimal) else cell(value)
