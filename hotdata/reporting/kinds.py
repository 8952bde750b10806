"""Kinds: what `makereport` and the tasks can make of a period, by name."""

from __future__ import annotations

from typing import Any, Protocol

from django.utils.translation import gettext_lazy

from hotdata.reporting import daily, weekly
from hotdata.reporting.periods import Length, Period
from hotdata.reporting.reports import Made, Order, ReportKind


class Kind(Protocol):
    """Something that is made of a period, once."""

    @property
    def name(self) -> str: ...

    @property
    def title(self) -> Any: ...

    @property
    def length(self) -> Length: ...

    def make(self, period: Period, order: Order) -> Made:
        """Make it, or leave the one that is there. Raises HotdataError, with a sentence."""


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
REPORTS: dict[str, ReportKind] = {kind.name: kind for kind in (DAILY, WEEKLY)}
"""Those whose result is a `Report`."""
KINDS: dict[str, Kind] = {**REPORTS}
"""All of them."""
