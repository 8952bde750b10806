"""Billing: what a month's usage comes to by the price lists, issued as a statement; once, and corrected by another one.

Usage is summed up by the database, and lines go through memory in batches. Whoever is quicker issues: of two processes
that do so at once one inserts the number, and the other finds it taken and gives back what is there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice, zip_longest
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import QuerySet, Sum

from hotdata.models import PriceList, SourceUsage, Statement, StatementLine, TokenUsage
from hotdata.models.history import MAX_NAME
from hotdata.models.prices import Kind
from hotdata.models.statements import LINE, Totals
from hotdata.reporting import periods, statement_letter
from hotdata.reporting.mailing import post_letter
from hotdata.reporting.orders import Again, Made, Order
from hotdata.reporting.periods import Length, Period, local, parse

BATCH = 500
"""Lines in memory at a time."""
CATCH_UP = 24
"""Months that are issued at once when nobody has issued any for long."""


@dataclass(frozen=True, kw_only=True)
class StatementKind:
    """The kind of what is issued of a month."""

    name: str
    title: Any
    length: Length = Length.MONTH
    again: Again = Again.CORRECT

    def make(self, period: Period, order: Order) -> Made:
        """Issue the statement of `period`, or leave the one that is there. Raises NotOver."""
        mail_new = order.mail is not False
        statement, is_new = issue(period, now=order.now, by=order.by, correct=order.correct, mail=mail_new)
        said = f"Statement {statement} was there already, issued {local(statement.issued_at):%Y-%m-%d %H:%M}."
        if is_new:
            said = f"{statement_letter.letter(statement).subject} was issued."
        elif order.mail:
            post(statement, order.now)
            said += " It is mailed once more."
        name = f"{self.name} {statement}"
        return Made(name=name, said=said, done=is_new, read=lambda: to_json(statement))

    def missing(self, now: datetime) -> list[Period]:
        """The months since the latest one that has a statement, `CATCH_UP` at most; on a new site the last one."""
        latest = Statement.objects.order_by("-month").values_list("month", flat=True).first()
        after = None if latest is None else parse(latest, self.length).first
        return periods.missing(self.length, after=after, now=now, most=CATCH_UP)


def issue(
    period: Period, *, now: datetime, by: str = "", correct: bool = False, mail: bool = True
) -> tuple[Statement, bool]:
    """The statement of a month, and whether it was issued just now. Who is to have it by mail gets it once.

    It is issued if there is none; with `correct`, also if what is on record now comes to something else than the
    latest one says. Raises NotOver.
    """
    assert period.length == Length.MONTH
    periods.refuse_unfinished(period, now)
    latest = Statement.objects.latest_of(period.name)
    if latest is not None and not (correct and differs(latest)):
        return latest, False
    try:
        with transaction.atomic():
            revision = latest.revision + 1 if latest else 1
            return _issue(period, revision=revision, now=now, by=by, mail=mail), True
    except IntegrityError:
        quicker = Statement.objects.latest_of(period.name)
        if quicker is None or quicker == latest:
            raise  # it is about something else
        return quicker, False


def differs(statement: Statement) -> bool:
    """Whether what is on record now comes to something else: there was late usage, or prices were edited."""
    said = statement.lines.order_by("kind", "source", "token").iterator(BATCH)
    worked_out = lines_of(parse(statement.month, Length.MONTH))
    return any(
        line is None or now is None or line.facts != now.facts for line, now in zip_longest(said, worked_out)
    )


def lines_of(period: Period) -> Iterator[StatementLine]:
    """What a month comes to as it is on record, by kind, source and token. Nothing is written."""
    prices = PriceList.objects.of_month(period.name)
    calls = _sums(SourceUsage.objects.all(), period, "source", count="calls", failed="failed_calls")
    reads = _sums(TokenUsage.objects.all(), period, "source", "token", count="reads", failed="failed_reads")
    for kind, sums in ((Kind.CALLS, calls), (Kind.READS, reads)):
        for row in sums:
            line = StatementLine(
                kind=kind.value,
                source=row["source"],
                token=row.get("token", ""),
                count=row["count"],
                failed=row["failed"],
                size=row["bytes"],
                charged=0,
            )
            found = prices.get((line.kind, line.source))
            if found is not None:
                line.charge(found)
            yield line


def _sums(
    usage: QuerySet[Any], period: Period, *of: str, count: str, failed: str
) -> Iterator[dict[str, Any]]:
    """What the days of `period` come to, for each of what usage is `of`, in that order."""
    days = usage.filter(day__gte=period.first, day__lt=period.after).order_by(*of)
    sums = days.values(*of).annotate(count=Sum(count), failed=Sum(failed), bytes=Sum("size"))
    rows: Iterator[dict[str, Any]] = sums.iterator(BATCH)
    return rows


def _issue(period: Period, *, revision: int, now: datetime, by: str, mail: bool) -> Statement:
    number = Statement.number_of(period.name, revision)
    totals = Totals()
    lines = lines_of(period)
    while batch := list(islice(lines, BATCH)):
        for line in batch:
            line.statement_id = number
            totals.add(line)
        StatementLine.objects.bulk_create(batch)
    # Last: it seals its lines.
    statement = Statement.objects.create(
        number=number,
        month=period.name,
        revision=revision,
        issued_at=now,
        issued_by=by[:MAX_NAME],
        totals=totals.to_json(),
    )
    if mail:
        post(statement, now)
    return statement


def post(statement: Statement, now: datetime) -> int:
    """Post it to all whom the settings name; return how many they are."""
    return post_letter(
        statement, lambda: statement_letter.letter(statement), now=now, most=statement_letter.MOST_LINES
    )


def to_json(statement: Statement) -> dict[str, Any]:
    """All that it says; amounts as text."""
    lines = [dict(zip(LINE, line.facts, strict=True)) for line in statement.lines.iterator(BATCH)]
    return {
        "number": statement.number,
        "month": statement.month,
        "revision": statement.revision,
        "issued_at": statement.issued_at,
        "issued_by": statement.issued_by,
        "totals": statement.totals,
        "lines": lines,
    }
