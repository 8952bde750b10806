"""Making reports: one of each kind and period, whoever makes it and however often, and mailed once.

The figures are worked out first, which may take a while. Then one transaction puts the report on record and posts its
mail: what is on record was mailed, and what was mailed is on record, whenever the process dies. Of two that make the
same report at once, the unique constraint lets one win, and the other one's figures are dropped.

A report is made of a period that is over, since it is made once. What clean-up has deleted since then can't be counted
again: making it again never replaces it by one that counts fewer records, unless told to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

import msgspec
from django.conf import settings
from django.db import transaction
from django.urls import NoReverseMatch, reverse
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from hotdata.conf import conf
from hotdata.exceptions import ReportRefused
from hotdata.models import Report
from hotdata.outbox.posting import post_mail
from hotdata.reporting.letters import Letter, as_html, as_text
from hotdata.reporting.periods import Length, Period, containing, last_complete

SETTLING = timedelta(minutes=1)
"""After the end of a period its last records may not be there yet."""
CATCH_UP = 7
"""So many periods are made up for that nobody made in time."""


class Figures(Protocol):
    """What a report says, as it is on record: a frozen struct of msgspec with a ``version``."""

    @property
    def records(self) -> int:
        """How many records it counts, of those that clean-up deletes."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """How something is to be made."""

    by: str
    now: datetime
    remake: bool = False
    """Replace what is there, unless the new one counts fewer records,"""
    force: bool = False
    """or even then."""
    mail: bool | None = None
    """None: only what is new."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """What came of an order."""

    name: str
    said: str
    """One sentence."""
    done: bool
    """Whether anything was made; else it was there already."""
    data: Any
    """As JSON."""


@dataclass(frozen=True, kw_only=True)
class ReportKind:
    """A kind of report: how it is worked out, and how it is read."""

    name: str
    title: Any
    length: Length
    shape: type[Any]
    collect: Callable[[Period, datetime], Any]
    letter: Callable[[Any, Period], Letter]

    def make(self, period: Period, order: Order) -> Made:
        """Make the report of `period`, or leave the one that is there. Raises ReportRefused."""
        report, done = make(self, period, order)
        said = f"{report} was there already, made {timezone.localtime(report.made_at):%Y-%m-%d %H:%M}."
        if done:
            said = f"{report} was made{' again' if report.remade_at else ''}: {self.read(report).subject}."
        return Made(name=str(report), said=said, done=done, data=report.data)

    def read(self, report: Report) -> Letter:
        """The report as people read it, in the active language. Raises msgspec.ValidationError for another version."""
        figures: Any = msgspec.convert(report.data, self.shape)
        return self.letter(figures, containing(report.first, self.length))


def make(kind: ReportKind, period: Period, order: Order) -> tuple[Report, bool]:
    """The report of `kind` and `period`, and whether it was made, or made again, just now. Raises ReportRefused."""
    refuse_unfinished(period, order.now)
    there = Report.objects.filter(kind=kind.name, first=period.first).first()
    if there is not None and not order.remake:
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


def make_missing(kind: ReportKind, *, by: str, now: datetime) -> Iterator[Made]:
    """Make the reports since the latest one, oldest first, at most `CATCH_UP` of them; the very first is of the last
    period that is over.
    """
    for period in missing(kind, now):
        yield kind.make(period, Order(by=by, now=now))


def missing(kind: ReportKind, now: datetime) -> list[Period]:
    """The periods that are over, and were not reported yet, oldest first."""
    latest = Report.objects.filter(kind=kind.name).order_by("-first").values_list("first", flat=True).first()
    period = last_complete(kind.length, now)
    periods: list[Period] = []
    while len(periods) < (1 if latest is None else CATCH_UP) and (latest is None or period.first > latest):
        periods.append(period)
        period = period.before
    return periods[::-1]


def settles_in(kind: ReportKind, now: datetime) -> timedelta:
    """How long it takes until the last period that is over can be reported; nothing, or less, if it can be now."""
    return last_complete(kind.length, now).end + SETTLING - now


def refuse_unfinished(period: Period, now: datetime) -> None:
    """Raise ReportRefused unless `period` is over, and all that happened in it is on record."""
    if now < period.end + SETTLING:
        over = timezone.localtime(period.end + SETTLING)
        raise ReportRefused(
            f"{period.name} is not over, or its last records may not be there yet: "
            f"a report of it can be made from {over:%Y-%m-%d %H:%M %Z} on."
        )


def _is_kept_since(start: datetime, now: datetime) -> bool:
    """Whether clean-up leaves the records alone that reports count, from `start` on."""
    retention = conf().retention
    ages = [days for days in (retention.runs, retention.calls, retention.freshness) if days is not None]
    return not ages or start >= now - timedelta(days=min(ages))


def _replace(report: Report, fields: dict[str, Any], order: Order) -> None:
    if not report.replace(**fields, by=order.by, now=order.now, force=order.force):
        raise ReportRefused(
            f"{report} counts {report.records:,} records, and only {fields['records']:,} of them are left: clean-up "
            "has deleted the others. It stays as it is, unless you force it."
        )
    report.refresh_from_db()


def _post(kind: ReportKind, report: Report, now: datetime) -> None:
    """Post the report to all whom the settings name, in the site's language."""
    if not conf().report_mail:
        return
    with translation.override(settings.LANGUAGE_CODE):
        letter, link = kind.read(report), link_to(report)
        post_mail(
            conf().report_mail,
            about="report",
            subject=f"hotdata: {letter.subject}",
            text=as_text(letter, link=link),
            html=as_html(letter, link=link, link_text=_("Open the report in the admin")),
            now=now,
        )


def link_to(report: Report) -> str:
    """The address of the report's page; nothing where the settings don't say where people reach the site."""
    if not conf().site_url:
        return ""
    try:
        page = reverse("admin:hotdata_report_change", args=[report.pk])
    except NoReverseMatch:  # a site without the admin
        return ""
    return conf().site_url.rstrip("/") + page
