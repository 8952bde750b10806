"""The daily report: what ran in a day and how it went, what readers got, and what upstreams were asked."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import msgspec
from django.utils import timezone
from django.utils.translation import gettext as _

from hotdata.reporting import tables
from hotdata.reporting.amounts import Amount
from hotdata.reporting.costs import cost_of
from hotdata.reporting.letters import Letter
from hotdata.reporting.periods import HOUR, Period, local
from hotdata.reporting.runs import Runs, runs_of
from hotdata.reporting.sources import Calls, Reads, calls_of, reads_of


class Daily(msgspec.Struct, frozen=True, kw_only=True):
    """What a day came to. ``version`` goes up when a field changes its meaning, or comes without a default."""

    version: Literal[1] = 1
    runs: Runs
    reads: Reads
    calls: Calls
    cost: tuple[Amount, ...] | None = None

    @property
    def records(self) -> int:
        """How many records it counts, of those that clean-up deletes."""
        return self.runs.records + self.reads.hours


def collect(period: Period, now: datetime) -> Daily:
    """Work the report of `period` out from the records."""
    return Daily(
        runs=runs_of(period, hours_of(period)),
        reads=reads_of(period),
        calls=calls_of(period),
        cost=cost_of(period),
    )


def letter(daily: Daily, period: Period) -> Letter:
    """The report in words of the active language."""
    return Letter(
        title=_("Daily report %(day)s") % {"day": period.name},
        gist=tables.gist(daily.runs.total),
        intro=_intro(period),
        figures=[
            *tables.runs_figures(daily.runs.total),
            *tables.sources_figures(daily.reads, daily.calls, daily.cost),
        ],
        chart=tables.runs_chart(_("Runs by hour"), _clocks(daily.runs), daily.runs),
        sections=[
            tables.failing_table(daily.runs),
            tables.jobs_table(daily.runs),
            tables.reasons_table(daily.runs),
            tables.reads_table(daily.reads, period),
            tables.calls_table(daily.calls),
        ],
    )


def hours_of(period: Period) -> Sequence[datetime]:
    """When its hours begin: 23, 24 or 25 of a day; where clocks are turned by half an hour, the last one is shorter."""
    hours, start = [], period.start
    while start < period.end:
        hours.append(start)
        start += HOUR
    return hours


def _clocks(runs: Runs) -> list[str]:
    """What the clock shows at the beginning of each slot; where it shows the same twice, with its distance to UTC."""
    starts = [local(slot.start) for slot in runs.slots]
    clocks = [f"{start:%H:%M}" for start in starts]
    return [
        f"{clock} {start:%z}" if clocks.count(clock) > 1 else clock
        for clock, start in zip(clocks, starts, strict=True)
    ]


def _intro(period: Period) -> list[str]:
    start, end = local(period.start), local(period.end)
    said = _("From %(start)s to %(end)s (%(zone)s).") % {
        "start": f"{start:%Y-%m-%d %H:%M %Z}",
        "end": f"{end:%Y-%m-%d %H:%M %Z}",
        "zone": timezone.get_default_timezone_name(),
    }
    if period.hours == 24:
        return [said]
    return [said, _("The clocks were changed: this day had %(n)s hours.") % {"n": f"{period.hours:g}"}]
