"""What a list of runs has found, as CSV: streamed, in pieces along the list's own way, for as many rows as are sane."""

from __future__ import annotations

from collections.abc import Iterator

from django.utils.translation import gettext as _

from hotdata.observing.finding import Found
from hotdata.pages import sheets

MOST = 100_000
"""Rows of one file. It takes some ten seconds, and is what spreadsheets open without complaint."""
PIECE = 1_000

COLUMNS = (
    "id", "job", "task", "state", "cause", "requested_by", "scheduled_for", "coalesced", "created_at", "started_at",
    "finished_at", "duration", "attempt", "node", "progress_done", "progress_total", "cancel_requested_by", "error",
    "reason",
)  # fmt: skip


def export(found: Found, most: int = MOST) -> Iterator[str]:
    """The lines of the file, the columns' names first. A last one says so when there were more than `most` rows.

    Each piece is a query of its own: no transaction stays open while somebody's line is slow.
    """
    yield sheets.MARK + sheets.lines([COLUMNS])
    last, left = None, most
    while left:
        following = found.rows if last is None else found.after(last)
        piece = list(following.values_list(*COLUMNS)[: min(PIECE, left)])
        yield sheets.lines(piece)
        if len(piece) < min(PIECE, left):
            return
        left -= len(piece)
        last = piece[-1][0]
    if found.after(last).exists():
        text = _("Cut after %(n)s rows. For what is older, filter the list by time.")
        yield sheets.lines([[text % {"n": f"{most:,}"}]])
