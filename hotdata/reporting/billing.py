"""Billing: what a month's usage comes to by the price lists, issued as a statement; once, and corrected by another one.

Usage is summed up by the database, and lines go through memory in batches. Whoever is quicker issues: of two processes
that do so at once one inserts the number, and the other finds it taken and gives back what is there.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import islice, zip_longest
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import QuerySet, Sum

from hotdata.conf import conf
from hotdata.exceptions import NotOver
from hotdata.models import PriceList, SourceUsage, Statement, StatementLine, TokenUsage
from hotdata.models.prices import Kind
from hotdata.models.statements import Totals
from hotdata.outbox.posting import post_mail
from hotdata.reporting import statement_mail
from hotdata.reporting.periods import Length, Period, last_complete, parse

BATCH = 500
"""Lines in memory at a time."""
MOST_MISSING = 24
"""Months that are issued at once when nobody has issued any for long."""


def issue(period: Period, *, now: datetime, by: str = "", correct: bool = False) -> tuple[Statement, bool]:
    """The statement of a month, and whether it was issued just now. Who is to have it by mail gets it once.

    It is issued if there is none; with `correct`, also if what is on record now comes to something else than the
    latest one says. Raises NotOver.
    """
    assert period.length == Length.MONTH
    if now < period.end:
        raise NotOver(f"{period.name} isn't over yet: a statement is of a whole month.")
    latest = Statement.objects.latest_of(period.name)
    if latest is not None and not (correct and differs(latest)):
        return latest, False
    try:
        with transaction.atomic():
            return _issue(period, revision=latest.revision + 1 if latest else 1, now=now, by=by), True
    except IntegrityError:
        quicker = Statement.objects.latest_of(period.name)
        if quicker is None or quicker == latest:
            raise  # it is about something else
        return quicker, False


def issue_missing(now: datetime, *, by: str = "") -> list[Statement]:
    """Issue last month's statement, and those that are missing between the latest one and it; those that are new."""
    issued = (issue(period, now=now, by=by) for period in missing(now))
    return [statement for statement, is_new in issued if is_new]


def missing(now: datetime) -> list[Period]:
    """The months after the latest one that has a statement, up to the last one: `MOST_MISSING` at most."""
    period = last_complete(Length.MONTH, now)
    latest = Statement.objects.order_by("-month").values_list("month", flat=True).first()
    if latest is None:
        return [period]
    months: list[Period] = []
    while period.name > latest and len(months) < MOST_MISSING:
        months.insert(0, period)
        period = period.before
    return months


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
                line.charge(found.tiers, found.currency, failed_charged=found.failed_charged)
            yield line


def _sums(
    usage: QuerySet[Any], period: Period, *of: str, count: str, failed: str
) -> Iterator[dict[str, Any]]:
    """What the days of `period` come to, for each of what usage is `of`, in that order."""
    days = usage.filter(day__gte=period.first, day__lt=period.after).order_by(*of)
    sums = days.values(*of).annotate(count=Sum(count), failed=Sum(failed), bytes=Sum("size"))
    rows: Iterator[dict[str, Any]] = sums.iterator(BATCH)
    return rows


def _issue(period: Period, *, revision: int, now: datetime, by: str) -> Statement:
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
        issued_by=by,
        totals=totals.to_json(),
    )
    post(statement, now)
    return statement


def post(statement: Statement, now: datetime) -> int:
    """Post it to all whom the settings name, in the caller's transaction; return how many they are."""
    mail = statement_mail.write(statement)
    posted = post_mail(
        conf().report_mail,
        about="statement",
        subject=mail.subject,
        text=mail.text,
        html=mail.html,
        now=now,
    )
    return len(posted)
