"""Kinds: what `makereport` and the tasks can make of a period, by name."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Protocol

from django.utils.translation import gettext_lazy

from hotdata.reporting import daily, weekly
from hotdata.reporting.billing import StatementKind
from hotdata.reporting.orders import Again, Made, Order
from hotdata.reporting.periods import Length, Period, last_complete
from hotdata.reporting.reports import ReportKind


class Kind(Protocol):
    """Something that is made of a period, once."""

    @property
    def name(self) -> str: ...

    @property
    def title(self) -> Any: ...

    @property
    def length(self) -> Length: ...

    @property
    def again(self) -> Again:
        """The one way in which it follows what is on record later."""

    def make(self, period: Period, order: Order) -> Made:
        """Make it, or leave the one that is there. Raises HotdataError, with a sentence."""

    def missing(self, now: datetime) -> list[Period]:
        """The periods that are over, and of which it was not made in time, oldest first."""


DAILY = ReportKind(
    name="daily_report",
    title=gettext_lazy("Daily report"),
    length=Length.DAY,
    shape=daily.Daily,
    collect=daily.collect,
    letter=daily.letter,
)
WEEKLY = ReportKind(
    name="weekly_report",
    title=gettext_lazy("Weekly report"),
    length=Length.WEEK,
    shape=weekly.Weekly,
    collect=weekly.collect,
    letter=weekly.letter,
)
MONTHLY = StatementKind(name="monthly_billing", title=gettext_lazy("Statement of a month"))
REPORTS: dict[str, ReportKind] = {kind.name: kind for kind in (DAILY, WEEKLY)}
"""Those whose result is a `Report`."""
KINDS: dict[str, Kind] = {**REPORTS, MONTHLY.name: MONTHLY}
"""All of them."""


def make_missing(kind: Kind, *, by: str, now: datetime) -> Iterator[Made]:
    """Make it of all periods of which it is missing, oldest first."""
    for period in kind.missing(now):
        yield kind.make(period, Order(by=by, now=now))


def settles_in(kind: Kind, now: datetime) -> timedelta:
    """How long it takes until it can be made of the last period that is over; nothing, or less, if it can be now."""
    return last_complete(kind.length, now).settled - now
