"""What a list of runs has found, as CSV: streamed, in pieces along the list's own way, for as many rows as are sane.

Cells that a spreadsheet would take for a formula begin with an apostrophe. The text is UTF-8 with a byte order mark,
without which Excel takes it for something else. Times are ISO 8601 with their offset, durations are seconds.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _

from hotdata.observing.finding import Found

MOST = 100_000
"""Rows of one file. It takes some ten seconds, and is what spreadsheets open without complaint."""
PIECE = 1_000
MARK = "\ufeff"
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")

COLUMNS = (
    "id", "job", "task", "state", "cause", "requested_by", "scheduled_for", "coalesced", "created_at", "started_at",
    "finished_at", "duration", "attempt", "node", "progress_done", "progress_total", "cancel_requested_by", "error",
    "reason",
)  # fmt: skip


class _Echo:
    """A file that gives back what is written."""

    def write(self, text: str) -> str:
        return text


def export(found: Found, most: int = MOST) -> Iterator[str]:
    """The lines of the file, the columns' names first. A last one says so when there were more than `most` rows.

    Each piece is a query of its own: no transaction stays open while somebody's line is slow.
    """
    write = csv.writer(_Echo()).writerow
    yield MARK + write(COLUMNS)
    last, left = None, most
    while left:
        following = found.rows if last is None else found.after(last)
        piece = list(following.values_list(*COLUMNS)[: min(PIECE, left)])
        yield "".join(write([cell(value) for value in row]) for row in piece)
        if len(piece) < min(PIECE, left):
            return
        left -= len(piece)
        last = piece[-1][0]
    if found.after(last).exists():
        text = _("Cut after %(n)s rows. For what is older, filter the list by time.")
        yield write([cell(text % {"n": f"{most:,}"})])


def cell(value: Any) -> Any:
    """`value` as it stands in the file."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return timezone.localtime(value).isoformat()
    if hasattr(value, "total_seconds"):
        return value.total_seconds()
    if isinstance(value, str):
        return "'" + value if value.lstrip(" ").startswith(FORMULA) else value
    return value
