"""The mail with a statement: plain text, and HTML that mail clients show without asking anybody for anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.template.loader import render_to_string
from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext as _
from django.utils.translation import override

from hotdata.conf import conf
from hotdata.models import Statement, StatementLine
from hotdata.models.prices import Kind
from hotdata.reporting.statement_words import ShownTotal, difference, grouped, shown_totals

MOST_LINES = 50
"""Of a mail; all are on the statement's page, and in its CSV."""
BAR = 100


@dataclass(frozen=True, kw_only=True)
class Mail:
    """What is to be sent."""

    subject: str
    text: str
    html: str


@dataclass(frozen=True, kw_only=True)
class ShownLine:
    """A line in words."""

    what: str
    counts: str
    prices: str
    amount: str
    bar: int
    """How long its bar is, of `BAR`: the dearest line of its kind and currency has the longest."""


def write(statement: Statement) -> Mail:
    """The mail with `statement`, in the site's language."""
    with override(settings.LANGUAGE_CODE):
        corrected = statement.corrected()
        found = list(statement.lines.all()[: MOST_LINES + 1])
        lines, goes_on = list(_lines(found[:MOST_LINES])), len(found) > MOST_LINES
        facts: dict[str, Any] = {
            "title": _("Statement %(number)s") % {"number": statement},
            "notes": list(_notes(statement, corrected, goes_on=goes_on)),
            "totals": shown_totals(statement.totals),
            "more": [] if corrected is None else shown_totals(difference(statement, corrected)),
            "lines": lines,
            "bar_length": BAR,
            "url": _url(statement),
        }
        return Mail(
            subject=_subject(facts["title"], facts["totals"]),
            text="\n".join(_text(**facts)),
            html=render_to_string("hotdata/mail/statement.html", facts),
        )


def _subject(title: str, totals: Sequence[ShownTotal]) -> str:
    amounts = ", ".join(f"{total.amount} {total.currency}" for total in totals)
    return f"{title}: {amounts}" if amounts else title


def _notes(statement: Statement, corrected: Statement | None, *, goes_on: bool) -> Iterator[str]:
    if corrected is not None:
        yield _("It corrects %(number)s, and takes its place.") % {"number": corrected}
    if goes_on:
        yield _("These are the first %(n)d lines. All are on the statement’s page, and in its CSV.") % {
            "n": MOST_LINES
        }
    elif not statement.lines.exists():
        yield _("Nothing was used in this month.")


def _lines(lines: Sequence[StatementLine]) -> Iterator[ShownLine]:
    dearest: dict[tuple[str, str], Decimal] = {}
    for line in lines:
        of = (line.kind, line.currency)
        dearest[of] = max(dearest.get(of, Decimal(0)), line.amount or Decimal(0))
    for line in lines:
        most = dearest[line.kind, line.currency]
        yield ShownLine(
            what=_what(line),
            counts=_counts(line),
            prices=line.tiers or _("no price"),
            amount="–" if line.amount is None else f"{grouped(line.amount)} {line.currency}",
            bar=int(BAR * line.amount / most) if line.amount and most else 0,
        )


def _what(line: StatementLine) -> str:
    if line.kind == Kind.CALLS:
        return _("Calls of %(source)s") % {"source": _on_one_line(line.source)}
    return _("Reads of %(source)s with %(token)s") % {
        "source": _on_one_line(line.source),
        "token": _on_one_line(line.token),
    }


def _counts(line: StatementLine) -> str:
    return _("%(count)s, %(failed)s failed, %(size)s bytes") % {
        "count": grouped(line.count),
        "failed": grouped(line.failed),
        "size": grouped(line.size),
    }


def _on_one_line(text: str) -> str:
    return " ".join(text.split())


def _url(statement: Statement) -> str:
    """Where its page is; empty where nobody has said where the site is, or it has no admin."""
    try:
        path = reverse("admin:hotdata_statement_change", args=[statement.pk])
    except NoReverseMatch:
        return ""
    return conf().site_url.rstrip("/") + path if conf().site_url else ""


def _text(
    *,
    title: str,
    notes: Sequence[str],
    totals: Sequence[ShownTotal],
    more: Sequence[ShownTotal],
    lines: Sequence[ShownLine],
    url: str,
    **rest: Any,
) -> Iterator[str]:
    yield title
    if notes:
        yield from ("", *notes)
    if totals:
        yield from ("", *(str(total) for total in totals))
    if more:
        yield from ("", _("Difference:"), *(str(total) for total in more))
    for line in lines:
        yield from ("", line.what, f"  {line.counts}", f"  {line.prices}: {line.amount}")
    if url:
        yield from ("", url)
