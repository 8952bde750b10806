"""Strips of a day: a job's runs by the half hour as a row of cells, so that what happened at once stands in line."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from hotdata.models.runs import State
from hotdata.observing.activity import Tally
from hotdata.pages import charts
from hotdata.pages.charts import Cell
from hotdata.pages.words import FAILED, MUTED, OK, RUNNING, WARN, Look


class DayStrips:
    """The strips of one page, which all begin at the same times."""

    def __init__(self, starts: Sequence[datetime]) -> None:
        self._clocks = [clock(start) for start in starts]
        # Most tallies are like many others, and to put one into words takes longer than to draw it.
        self._said: dict[frozenset[tuple[State, int]], tuple[Look, str]] = {}

    def draw(self, tallies: Sequence[Tally], label: str) -> SafeString:
        """`tallies` by bucket, oldest first."""
        cells = [
            self._cell(tally, at) if tally.counts else EMPTY
            for tally, at in zip(tallies, self._clocks, strict=True)
        ]
        return charts.strip(cells, label)

    def _cell(self, tally: Tally, at: str) -> Cell:
        known = frozenset(tally.counts.items())
        if known not in self._said:
            self._said[known] = look_of(tally), says(tally)
        look, words = self._said[known]
        return Cell(look=look, label=f"{at} {words}")


EMPTY = Cell()


def look_of(tally: Tally) -> Look:
    """All that was attempted failed, some of it did, or none; or what there was was not even attempted."""
    if tally.failed:
        return WARN if tally.succeeded else FAILED
    if tally.succeeded:
        return OK
    return RUNNING if tally.active else MUTED


def says(tally: Tally) -> str:
    """What the runs of a tally came to, in words; the bad ones first."""
    parts = [
        ngettext("%(n)d failed", "%(n)d failed", tally.failed) % {"n": tally.failed} if tally.failed else "",
        ngettext("%(n)d succeeded", "%(n)d succeeded", tally.succeeded) % {"n": tally.succeeded}
        if tally.succeeded
        else "",
        ngettext("%(n)d missed or skipped", "%(n)d missed or skipped", tally.passed_over)
        % {"n": tally.passed_over}
        if tally.passed_over
        else "",
        ngettext("%(n)d cancelled", "%(n)d cancelled", tally.cancelled) % {"n": tally.cancelled}
        if tally.cancelled
        else "",
        ngettext("%(n)d under way", "%(n)d under way", tally.active) % {"n": tally.active}
        if tally.active
        else "",
    ]
    return " · ".join(part for part in parts if part) or _("no runs")


def clock(moment: datetime) -> str:
    """The time of day, in the site's zone."""
    return f"{timezone.localtime(moment):%H:%M}"
