"""Making reports: one of each kind and period, whoever makes it and however often, and mailed once.

The figures are worked out first, which may take a while. Then one transaction puts the report on record and posts its
mail: what is on record was mailed, and what was mailed is on record, whenever the process dies. Of two that make the
same report at once, the unique constraint lets one win, and the other one's figures are dropped.

A report is made of a period that is over, since it is made once. What clean-up has deleted since then can't be counted
again: making it again never replaces it by one that counts fewer records, unless told to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

import msgspec
from django.db import transaction
from django.utils.translation import gettext as _

from hotdata.conf import conf
from hotdata.exceptions import ReportRefused
from hotdata.models import Report
from hotdata.reporting import periods
from hotdata.reporting.letters import Letter
from hotdata.reporting.mailing import post_letter
from hotdata.reporting.orders import Again, Made, Order
from hotdata.reporting.periods import Length, Period, containing, local

CATCH_UP = 7
"""So many periods are made up for that nobody made in time."""


class Figures(Protocol):
    """What a report says, as it is on record: a frozen struct of msgspec with a ``version``."""

    @property
    def records(self) -> int:
        """How many records it counts, of those that clean-up deletes."""


@dataclass(frozen=True, kw_only=True)
class ReportKind:
    """A kind of report: how it is worked out, and how it is read."""

    name: str
    title: Any
    length: Length
    shape: type[Any]
    collect: Callable[[Period, datetime], Any]
    letter: Callable[[Any, Period], Letter]
    again: Again = Again.REMAKE

    def make(self, period: Period, order: Order) -> Made:
        """Make the report of `period`, or leave the one that is there. Raises NotOver and ReportRefused."""
        report, done = make(self, period, order)
        said = f"{report} was there already, made {local(report.made_at):%Y-%m-%d %H:%M}."
        if order.mail:
            said += " It is mailed once more."
        if done:
            said = f"{report} was made{' again' if report.remade_at else ''}: {self.read(report).subject}."
        return Made(name=str(report), said=said, done=done, read=lambda: report.data)

    def missing(self, now: datetime) -> list[Period]:
        """The periods since the latest report, `CATCH_UP` at most; on a new site the last one."""
        made = Report.objects.filter(kind=self.name).order_by("-first")
        latest = made.values_list("first", flat=True).first()
        return periods.missing(self.length, after=latest, now=now, most=CATCH_UP)

    def read(self, report: Report) -> Letter:
        """The report as people read it, in the active language. Raises msgspec.ValidationError for another version."""
        figures: Any = msgspec.convert(report.data, self.shape)
        return self.letter(figures, containing(report.first, self.length))


def make(kind: ReportKind, period: Period, order: Order) -> tuple[Report, bool]:
    """The report of `kind` and `period`, and whether it was made, or made again, just now.

    Raises NotOver and ReportRefused.
    """
    periods.refuse_unfinished(period, order.now)
    there = Report.objects.filter(kind=kind.name, first=period.first).first()
    if there is not None and not order.remake:
        if order.mail:
            _post(kind, there, order.now)
        return there, False
    figures: Figures = kind.collect(period, order.now)
    fields: dict[str, Any] = {
        "data": msgspec.json.decode(msgspec.json.encode(figures)),
        "records": figures.records,
        "complete": _is_kept_since(period.start, order.now),
    }
    with transaction.atomic():
        report, new = Report.objects.get_or_create(
            kind=kind.name,
            first=period.first,
            defaults={
                **fields,
                "after": period.after,
                "period": period.name,
                "made_at": order.now,
                "made_by": order.by[:150],
            },
        )
        if not new and not order.remake:
            return report, False
        if not new:
            _replace(report, fields, order)
        if new if order.mail is None else order.mail:
            _post(kind, report, order.now)
    return report, True


def _is_kept_since(start: datetime, now: datetime) -> bool:
    """Whether clean-up leaves the records alone that reports count, from `start` on."""
    retention = conf().retention
    kinds = (retention.runs, retention.calls, retention.freshness, retention.usage)
    ages = [days for days in kinds if days is not None]
    return not ages or start >= now - timedelta(days=min(ages))


def _replace(report: Report, fields: dict[str, Any], order: Order) -> None:
    if not report.replace(**fields, by=order.by, now=order.now, force=order.force):
        raise ReportRefused(
            _(
                "%(report)s counts %(records)s records, and only %(left)s of them are left: clean-up has deleted the "
                "others. It stays as it is, unless you force it."
            )
            % {"report": report, "records": f"{report.records:,}", "left": f"{fields['records']:,}"}
        )
    report.refresh_from_db()


def _post(kind: ReportKind, report: Report, now: datetime) -> None:
    post_letter(report, lambda: kind.read(report), now=now)
