"""A statement as CSV: all its lines, with amounts to the last digit."""

from __future__ import annotations

from collections.abc import Iterator

from hotdata.models import Statement
from hotdata.models.statements import LINE
from hotdata.pages import sheets

PIECE = 1_000
COLUMNS = ("statement", "month", "issued_at", *LINE)


def export(statement: Statement) -> Iterator[str]:
    """The file in pieces, the columns' names first. Each piece is a query of its own, as nothing changes meanwhile."""
    yield sheets.MARK + sheets.lines([COLUMNS])
    head = (statement.number, statement.month, statement.issued_at)
    last = 0
    while piece := list(statement.lines.filter(pk__gt=last).values_list("pk", *LINE).order_by("pk")[:PIECE]):
        yield sheets.lines([(*head, *line) for _, *line in piece])
        last = piece[-1][0]
