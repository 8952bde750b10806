"""Sheets: rows as CSV that spreadsheets open, and that does nothing in them.

Cells that a spreadsheet would take for a formula begin with an apostrophe. So do parts of cells that it would take for
cells of their own: where people write decimals with a comma, Excel takes semicolons for what is between cells, and then
the quotes around a cell for a part of its text, in which each line break begins another row.

The text is UTF-8 with a byte order mark, without which Excel takes it for something else. Times are ISO 8601 with their
offset, durations are seconds, and decimals have all their digits and no exponent.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.utils import timezone

MARK = "\ufeff"
"""What a file begins with."""
FORMULA = re.compile(r"\A *(?=[=+\-@\t\r\n＝＋－＠])")
INNER_FORMULA = re.compile(r"([;\t\r\n][ \"]*)(?=[=+\-@＝＋－＠])")


def lines(rows: Iterable[Sequence[Any]]) -> str:
    """The lines of `rows` in a file."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows([cell(value) for value in row] for row in rows)
    return text.getvalue()


def cell(value: Any) -> Any:
    """`value` as it stands in the file."""
    match value:
        case None:
            return ""
        case datetime():
            return timezone.localtime(value).isoformat()
        case timedelta():
            return value.total_seconds()
        case Decimal():
            return format(value, "f")
        case str():
            harmless = INNER_FORMULA.sub(r"\1'", value)
            return f"'{harmless}" if FORMULA.match(value) else harmless
    return value
