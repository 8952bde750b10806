"""The letter of a statement: its totals, what it corrects, what each source came to, and its lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _

from hotdata.models import Statement
from hotdata.models.prices import Kind
from hotdata.models.statements import Total, Totals
from hotdata.reporting.amounts import Amount
from hotdata.reporting.letters import Bar, Chart, Column, Figure, Letter, Part, Section, Tone, Unit, said
from hotdata.reporting.periods import DAY, Length, parse
from hotdata.tiers import EXACT

MOST_LINES = 50
"""Of each kind, in a mail: all are on the statement's page, and in its CSV."""
MOST_BARS = 20


def letter(statement: Statement) -> Letter:
    """The statement in words of the active language."""
    totals, corrected = total_figures(statement.totals), statement.corrected()
    return Letter(
        title=_("Statement %(number)s") % {"number": statement},
        gist=", ".join(total.said for total in totals),
        intro=list(_intro(statement, corrected)),
        figures=totals,
        chart=_chart(statement),
        sections=[
            *([] if corrected is None else [_difference_table(statement, corrected)]),
            _lines_table(statement, Kind.CALLS),
            _lines_table(statement, Kind.READS),
        ],
    )


def total_figures(totals: Sequence[Total]) -> list[Figure]:
    """Totals, each under the name of its kind."""
    return [
        Figure(
            label=str(Kind(total["kind"]).label),
            value=Amount(amount=Decimal(total["amount"]), currency=total["currency"]),
            unit=Unit.MONEY,
        )
        for total in totals
    ]


def difference(statement: Statement, corrected: Statement) -> list[Figure]:
    """How much more `statement` comes to than the one that it corrects; amounts may be negative."""
    return total_figures(Totals(statement.totals).minus(Totals(corrected.totals)).to_json())


def _intro(statement: Statement, corrected: Statement | None) -> Iterator[str]:
    month = parse(statement.month, Length.MONTH)
    yield _("From %(first)s to %(last)s (%(zone)s), by what was on record on %(issued)s.") % {
        "first": month.first.isoformat(),
        "last": (month.after - DAY).isoformat(),
        "zone": timezone.get_default_timezone_name(),
        "issued": said(statement.issued_at, Unit.MOMENT),
    }
    if corrected is not None:
        yield _("It corrects %(number)s, and takes its place.") % {"number": corrected}
    if not statement.lines.exists():
        yield _("Nothing was used in this month.")


def _chart(statement: Statement) -> Chart | None:
    """What sources came to, the dearest first. What is of another kind or currency can't stand beside it: so it shows
    the kind and currency in which most sources cost something.
    """
    sums: dict[tuple[str, str], dict[str, Decimal]] = {}
    priced = statement.lines.exclude(amount=None).order_by("pk")
    amounts: Any = priced.values_list("kind", "currency", "source", "amount")
    for kind, currency, source, amount in amounts.iterator():
        of = sums.setdefault((kind, currency), {})
        if amount:
            of[source] = EXACT.add(of.get(source, Decimal(0)), amount)
    if not sums:
        return None
    (kind, currency), by_source = max(sums.items(), key=lambda item: len(item[1]))
    dearest = sorted(by_source.items(), key=lambda item: (-item[1], item[0]))[:MOST_BARS]
    return Chart(
        title=_("%(kind)s by source, in %(currency)s") % {"kind": Kind(kind).label, "currency": currency},
        parts=[Part(label=currency, tone=Tone.PLAIN)],
        bars=[Bar(label=said(source, Unit.SOURCE), values=(amount,)) for source, amount in dearest],
    )


def _difference_table(statement: Statement, corrected: Statement) -> Section:
    return Section(
        name="difference",
        title=_("Against %(number)s") % {"number": corrected},
        columns=[Column(label=_("Figure")), Column(label=_("Difference"), unit=Unit.MONEY)],
        rows=[[figure.label, figure.value] for figure in difference(statement, corrected)],
        empty=_("It comes to the same in all."),
    )


def _lines_table(statement: Statement, kind: Kind) -> Section:
    """The lines of one kind; left out if there are none."""
    lines = statement.lines.filter(kind=kind)
    first = list(lines[:MOST_LINES])
    is_reads = kind == Kind.READS
    return Section(
        name=kind.value,
        title=str(kind.label),
        columns=[
            Column(label=_("Source"), unit=Unit.SOURCE),
            *([Column(label=_("Token"))] if is_reads else []),
            Column(label=_("Amount"), unit=Unit.MONEY),
            Column(label=_("Reads") if is_reads else _("Calls"), unit=Unit.COUNT),
            Column(label=_("Failed"), unit=Unit.COUNT),
            Column(label=_("Size"), unit=Unit.BYTES),
            Column(label=_("Charged"), unit=Unit.COUNT),
            Column(label=_("Prices")),
        ],
        rows=[
            [
                line.source,
                *([line.token] if is_reads else []),
                None if line.amount is None else Amount(amount=line.amount, currency=line.currency),
                line.count,
                line.failed,
                line.size,
                line.charged if line.tiers else None,
                line.tiers or _("no price"),
            ]
            for line in first
        ],
        more=lines.count() - len(first),
    )
