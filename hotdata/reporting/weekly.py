"""The weekly report: a week against the week before, day by day, and what should be looked at.

How old keys are is on no record: it is looked up when the report is made, and only in one of the week that has just
ended. A report that is made again later goes without.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, Literal

import msgspec
from django.db.models import F, Sum
from django.utils import formats, timezone
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from hotdata.exceptions import CacheUnavailable
from hotdata.models import FreshnessHour, SourceUsage
from hotdata.observing import keys
from hotdata.reporting import advice, budgets, tables
from hotdata.reporting.advice import Advice
from hotdata.reporting.amounts import Amount
from hotdata.reporting.budgets import CLOSE, Peak
from hotdata.reporting.costs import cost_of
from hotdata.reporting.letters import Column, Figure, Letter, Section, Unit
from hotdata.reporting.periods import DAY, Length, Period, containing, last_complete, local
from hotdata.reporting.runs import JobRuns, Runs, runs_of
from hotdata.reporting.sources import Calls, Reads, calls_of, reads_of

LEAST_FRESH = 10


class DayOfWeek(msgspec.Struct, frozen=True, kw_only=True):
    """What was read and asked on one day."""

    day: date
    reads: int
    calls: int
    failed_calls: int


class OldKey(msgspec.Struct, frozen=True, kw_only=True):
    """A hot key and how old its value was when the report was made, in seconds. None: it had no value."""

    source: str
    key: str
    age: float | None
    limit: float
    """How old it may be."""
    share: float | None
    """Of the limit; 1 is all of it."""


class WeekBefore(msgspec.Struct, frozen=True, kw_only=True):
    """What the week before came to."""

    total: JobRuns
    jobs: tuple[JobRuns, ...]
    """Those that the report lists, as far as they ran."""
    reads: int
    calls: int
    failed_calls: int
    cost: tuple[Amount, ...] | None = None
    records: int


class Weekly(msgspec.Struct, frozen=True, kw_only=True):
    """What a week came to. ``version`` goes up when a field changes its meaning, or comes without a default."""

    version: Literal[1] = 1
    runs: Runs
    reads: Reads
    calls: Calls
    cost: tuple[Amount, ...] | None = None
    before: WeekBefore
    days: tuple[DayOfWeek, ...]
    peaks: tuple[Peak, ...]
    advice: tuple[Advice, ...]
    looked_at: datetime | None = None
    """When the ages of keys were looked up; None: they were not, or couldn't be."""
    least_fresh: tuple[OldKey, ...] = ()

    @property
    def records(self) -> int:
        """How many records it counts, of those that clean-up deletes: of both weeks."""
        return self.runs.records + self.reads.hours + self.before.records


def collect(period: Period, now: datetime) -> Weekly:
    """Work the report of `period` out from the records."""
    runs, reads, calls = runs_of(period, _midnights(period)), reads_of(period), calls_of(period)
    oldest = _least_fresh(now) if period == last_complete(Length.WEEK, now) else None
    return Weekly(
        runs=runs,
        reads=reads,
        calls=calls,
        cost=cost_of(period),
        before=_before(period.before, {row.job for row in runs.jobs}),
        days=_days(period),
        peaks=budgets.peaks_of(period),
        advice=advice.advise(period, runs, reads, calls, now),
        looked_at=None if oldest is None else now,
        least_fresh=oldest or (),
    )


def _midnights(period: Period) -> list[datetime]:
    """When its days begin."""
    days = (period.after - period.first) // DAY
    return [containing(period.first + number * DAY, Length.DAY).start for number in range(days)]


def _before(period: Period, listed: set[str]) -> WeekBefore:
    runs, reads, calls = runs_of(period, [period.start]), reads_of(period), calls_of(period)
    return WeekBefore(
        total=runs.total,
        jobs=tuple(row for row in runs.jobs if row.job in listed),
        reads=reads.reads,
        calls=calls.calls,
        failed_calls=calls.failed,
        cost=cost_of(period),
        records=runs.records + reads.hours,
    )


def _days(period: Period) -> tuple[DayOfWeek, ...]:
    """Day by day. Two queries."""
    midnights = _midnights(period)
    reads = [0] * len(midnights)
    hours = FreshnessHour.objects.filter(hour__gte=period.start, hour__lt=period.end).order_by("hour")
    served = F("fresh") + F("stale") + F("last_known") + F("misses") + F("errors")
    for hour, n in hours.values_list("hour").annotate(n=Sum(served)):
        reads[bisect_right(midnights, hour) - 1] += n
    usage: Any = SourceUsage.objects.filter(day__gte=period.first, day__lt=period.after).order_by("day")
    calls = {
        day: sums for day, *sums in usage.values_list("day").annotate(c=Sum("calls"), f=Sum("failed_calls"))
    }
    return tuple(
        DayOfWeek(day=day, reads=n, calls=calls.get(day, (0, 0))[0], failed_calls=calls.get(day, (0, 0))[1])
        for n, day in zip(reads, (period.first + at * DAY for at in range(len(reads))), strict=True)
    )


def _least_fresh(now: datetime) -> tuple[OldKey, ...] | None:
    """The hot keys that are furthest beyond their limits, or nearest to them; None while Redis is away."""
    try:
        ages = keys.key_ages(keys.watched_sources(now), now)
    except CacheUnavailable:
        return None
    return tuple(
        OldKey(
            source=age.source.name,
            key=age.key,
            age=None if age.age is None else age.age.total_seconds(),
            limit=age.source.limit.total_seconds(),
            share=age.share,
        )
        for age in [age for age in ages if not age.source.rests][:LEAST_FRESH]
    )


# The letter


def letter(weekly: Weekly, period: Period) -> Letter:
    """The report in words of the active language."""
    labels = [_day_label(slot.start) for slot in weekly.runs.slots]
    return Letter(
        title=_("Weekly report %(week)s") % {"week": period.name},
        gist=tables.gist(weekly.runs.total),
        intro=[
            _("From Monday, %(first)s, to Sunday, %(last)s (%(zone)s), against the week before.")
            % {
                "first": period.first.isoformat(),
                "last": (period.after - DAY).isoformat(),
                "zone": timezone.get_default_timezone_name(),
            }
        ],
        figures=[
            *tables.runs_figures(weekly.runs.total),
            *tables.sources_figures(weekly.reads, weekly.calls, weekly.cost),
        ],
        chart=tables.runs_chart(_("Runs by day"), labels, weekly.runs),
        sections=[
            _advice_table(weekly),
            _comparison(weekly),
            _days_table(weekly),
            tables.failing_table(weekly.runs),
            _keys_table(weekly),
            _budgets_table(weekly),
            tables.jobs_table(weekly.runs, {row.job: row for row in weekly.before.jobs}),
            tables.reasons_table(weekly.runs),
            tables.reads_table(weekly.reads, period),
            tables.calls_table(weekly.calls),
        ],
    )


def _day_label(start: datetime) -> str:
    day = local(start)
    return f"{formats.date_format(day, 'D')} {day:%m-%d}"


def _advice_table(weekly: Weekly) -> Section:
    return Section(
        name="advice",
        title=_("Advice"),
        columns=[
            Column(label=_("About")),
            Column(label=_("Advice")),
        ],
        rows=[[_about(found), found.sentence] for found in weekly.advice],
        empty=_("There is nothing to advise."),
        note=_("Whether an answer was the same is known only where the upstream says so (304)."),
    )


def _about(found: Advice) -> Figure:
    unit = Unit.JOB if found.job else Unit.SOURCE
    return Figure(label="", value=found.job or found.source, unit=unit)


def _comparison(weekly: Weekly) -> Section:
    now, then = weekly.runs.total, weekly.before.total
    calls, before = weekly.calls, weekly.before
    compared: Sequence[tuple[str, Any, Any, Unit]] = [
        (_("Runs"), now.attempted, then.attempted, Unit.COUNT),
        (_("Success"), now.success, then.success, Unit.SHARE),
        (_("Failures"), now.failures, then.failures, Unit.COUNT),
        (_("Missed"), now.missed, then.missed, Unit.COUNT),
        (_("Skipped"), now.skipped, then.skipped, Unit.COUNT),
        (_("Reads"), weekly.reads.reads, before.reads, Unit.COUNT),
        (_("Upstream calls"), calls.calls, before.calls, Unit.COUNT),
        (_("Failed calls"), calls.failed, before.failed_calls, Unit.COUNT),
    ]
    rows = [_compared(*figure) for figure in compared]
    if weekly.cost is not None or before.cost is not None:
        rows.append([_("Cost"), tables.cost_figure(weekly.cost), tables.cost_figure(before.cost), None, None])
    return Section(
        name="comparison",
        title=_("Against the week before"),
        columns=[
            Column(label=_("Figure")),
            Column(label=_("This week"), unit=Unit.COUNT),
            Column(label=_("Week before"), unit=Unit.COUNT),
            Column(label=_("Difference"), unit=Unit.COUNT),
            Column(label=pgettext("of a figure or a state", "Change"), unit=Unit.CHANGE),
        ],
        rows=rows,
    )


def _compared(label: str, now: Any, then: Any, unit: Unit) -> list[Any]:
    known = now is not None and then is not None
    return [
        label,
        Figure(label=label, value=now, unit=unit),
        Figure(label=label, value=then, unit=unit),
        Figure(label=label, value=now - then if known else None, unit=unit),
        (now - then) / then if known and then and unit == Unit.COUNT else None,
    ]


def _days_table(weekly: Weekly) -> Section:
    return Section(
        name="days",
        title=_("Day by day"),
        columns=[
            Column(label=_("Day")),
            Column(label=_("Succeeded"), unit=Unit.COUNT),
            Column(label=_("Failed"), unit=Unit.COUNT),
            Column(label=_("Reads"), unit=Unit.COUNT),
            Column(label=_("Upstream calls"), unit=Unit.COUNT),
            Column(label=_("Failed calls"), unit=Unit.COUNT),
        ],
        rows=[
            [_day_label(slot.start), slot.succeeded, slot.failed, day.reads, day.calls, day.failed_calls]
            for slot, day in zip(weekly.runs.slots, weekly.days, strict=True)
        ],
    )


def _keys_table(weekly: Weekly) -> Section:
    no_value = Figure(label="", value=_("no value"), unit=Unit.TEXT)
    empty = _("No key is kept hot.")
    note = ""
    if weekly.looked_at is None:
        empty = _(
            "Not known: no record tells how old keys were. It is looked up when the report is first made, if Redis "
            "is there."
        )
    else:
        note = _("As they were when the report was made, at %(time)s.") % {
            "time": f"{timezone.localtime(weekly.looked_at):%Y-%m-%d %H:%M %Z}"
        }
    return Section(
        name="keys",
        title=_("Least fresh keys"),
        columns=[
            Column(label=_("Key")),
            Column(label=_("Source"), unit=Unit.SOURCE),
            Column(label=_("Age"), unit=Unit.SECONDS),
            Column(label=_("Limit"), unit=Unit.SECONDS),
            Column(label=_("Of its limit"), unit=Unit.SHARE),
        ],
        rows=[
            [old.key, old.source, no_value if old.age is None else old.age, old.limit, old.share]
            for old in weekly.least_fresh
        ],
        empty=empty,
        note=note,
    )


def _budgets_table(weekly: Weekly) -> Section:
    percent = f"{CLOSE:.0%}"
    return Section(
        name="budgets",
        title=_("Budgets close to their limits"),
        columns=[
            Column(label=_("Source"), unit=Unit.SOURCE),
            Column(label=_("Most calls in a minute"), unit=Unit.COUNT),
            Column(label=_("Budget"), unit=Unit.COUNT),
            Column(label=_("Used"), unit=Unit.SHARE),
            Column(label=_("At"), unit=Unit.MOMENT),
            Column(label=_("Minutes close to it"), unit=Unit.COUNT),
        ],
        rows=[
            [peak.source, peak.calls, peak.budget, peak.share, peak.at, peak.close_minutes]
            for peak in weekly.peaks
        ],
        empty=_("No budget was used by %(percent)s or more in any minute.") % {"percent": percent},
        note=_("Close is %(percent)s or more. By minutes of the clock, and by the calls still on record.")
        % {"percent": percent},
    )
