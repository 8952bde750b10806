"""How a source does, as its page shows it: its gate, figures, charts, objective and keys."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.core.paginator import Page, Paginator
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from hotdata.admin import source_words
from hotdata.exceptions import BadSource, CacheUnavailable
from hotdata.freshness import planner
from hotdata.freshness.gate import GateState
from hotdata.freshness.meters import Measures, Served
from hotdata.freshness.planner import Plan, PlannedKey
from hotdata.freshness.upstream import gate_of
from hotdata.models import ApiCall, Source
from hotdata.observing import entries, upstreams
from hotdata.observing.entries import KeyState
from hotdata.observing.freshness import Objective, measures_by_hour, objective_of
from hotdata.observing.keys import rests
from hotdata.observing.sources import Standing
from hotdata.observing.upstreams import Traffic, Upstreams
from hotdata.pages import charts, words
from hotdata.pages.charts import Column, Line, Tick, round_ticks
from hotdata.pages.strips import clock
from hotdata.pages.words import FAILED, OK

KEYS_SHOWN = 100
HOURS = 24
LABELS = 8
"""Times below a chart."""
HOUR = timedelta(hours=1)
UNITS = (
    (timedelta(days=2), timedelta(days=1)),
    (timedelta(hours=2), timedelta(hours=1)),
    (timedelta(minutes=2), timedelta(minutes=1)),
)
"""From which age on an axis counts in days, hours, minutes; below that in seconds."""


@dataclass(frozen=True, kw_only=True)
class Secret:
    """A secret that the source sends."""

    name: str
    sent_as: str
    is_set: bool
    """In the process that shows it."""


@dataclass(frozen=True, kw_only=True)
class Reads:
    """What readers got in the last day."""

    count: int
    fresh: float | None
    stale: float | None
    missed: float | None
    """Among them those that got an error, or what was last known."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """What the page of a source shows above its form."""

    source: Source
    pills: SafeString
    traffic: Traffic
    errors: SafeString | str
    last_success: datetime | None
    calls_chart: SafeString
    secrets: Sequence[Secret]
    away: str = ""
    """Why Redis told nothing. Then what follows is empty."""
    gate: GateState | None = None
    budget: SafeString | None = None
    reads: Reads | None = None
    objective: Objective | None = None
    error_budget: str = ""
    ages_chart: SafeString | None = None
    ages_legend: SafeString | None = None
    broken: str = ""
    """Why there is no plan."""
    plan: Plan | None = None
    keys: Sequence[KeyState] = ()
    page: Page | None = None
    """Which part of all planned keys that is."""
    pinned: frozenset[str] = field(default_factory=frozenset)
    searched: str = ""


def record_of(source: Source, now: datetime, *, searched: str, page: str) -> Record:
    """How `source`, as it is on record, does; of its keys those that are `searched` for, and of these one `page`."""
    calls = upstreams.upstreams([source.name], now)
    facts: dict[str, Any] = {
        "source": source,
        "traffic": calls.wholes[source.name],
        "errors": source_words.errors(calls.wholes[source.name]),
        "last_success": ApiCall.objects.last_success(source.name),
        "calls_chart": _calls_chart(calls, source.name),
        "secrets": list(_secrets(source)),
        "pinned": frozenset(source.pinned_keys()),
        "searched": searched,
    }
    try:
        facts |= _of_redis(source, now, facts["traffic"], searched, page)
    except CacheUnavailable as error:
        return Record(**facts, away=str(error), pills=_pills(source, None, facts["traffic"], now))
    return Record(**facts)


def _of_redis(source: Source, now: datetime, traffic: Traffic, searched: str, page: str) -> Mapping[str, Any]:
    state = gate_of(source).look()
    by_hour = measures_by_hour(source.name, now - HOURS * HOUR, now)
    day = sum(by_hour.values(), Measures())
    objective = objective_of(source, day)
    ages, legend = _ages_chart(by_hour, source, now)
    return {
        "pills": _pills(source, state, traffic, now),
        "gate": state,
        "budget": source_words.budget(state),
        "reads": _reads(day),
        "objective": objective,
        "error_budget": "" if objective is None else source_words.error_budget(objective),
        "ages_chart": ages,
        "ages_legend": legend,
        **_planned(source, now, searched, page),
    }


def _planned(source: Source, now: datetime, searched: str, page: str) -> Mapping[str, Any]:
    try:
        plan = planner.plan(source, now)
    except BadSource as error:
        return {"broken": str(error)}
    shown = Paginator(entries.search(plan, searched), KEYS_SHOWN).get_page(page)
    planned: list[PlannedKey] = list(shown.object_list)
    states: list[KeyState] = entries.key_states(source.name, planned, now)
    if searched and shown.number == 1:
        other = entries.other_key(source.name, searched, plan, now)
        states = [other, *states] if other is not None else states
    return {"plan": plan, "keys": states, "page": shown}


def _pills(source: Source, state: GateState | None, traffic: Traffic, now: datetime) -> SafeString:
    standing = Standing(traffic=traffic, rests=rests(source.enabled, source.windows, now), gate=state)
    return source_words.pills(source, standing)


def _reads(day: Measures) -> Reads:
    fresh, stale = day.share(Served.FRESH), day.share(Served.STALE)
    missed = None if fresh is None or stale is None else max(0.0, 1 - fresh - stale)
    return Reads(count=day.reads, fresh=fresh, stale=stale, missed=missed)


def _secrets(source: Source) -> Iterator[Secret]:
    """By name only. Whatever is in the fields, a look into the environment is all that comes of it."""
    for fields, sent_as in (
        (source.secret_headers, _("header %(name)s")),
        (source.secret_query, _("query %(name)s")),
    ):
        for name, variable in fields.items() if isinstance(fields, dict) else ():
            yield Secret(
                name=str(variable),
                sent_as=sent_as % {"name": name},
                is_set=bool(os.environ.get(str(variable))),
            )


# Charts


def _calls_chart(calls: Upstreams, source: str) -> SafeString:
    traffic = calls.by_source[source]
    columns = []
    for start, bucket in zip(calls.buckets.starts, traffic, strict=True):
        words_of = {
            "time": clock(start),
            "calls": bucket.calls,
            "failed": bucket.failed,
        }
        columns.append(
            Column(
                parts=[(OK, bucket.calls - bucket.failed), (FAILED, bucket.failed)],
                label=_("%(time)s: %(calls)d calls, %(failed)d failed") % words_of,
            )
        )
    whole = calls.wholes[source]
    return charts.bars(
        columns,
        label=_("Calls by the half hour of the last day: %(calls)d, of which %(failed)d failed")
        % {"calls": whole.calls, "failed": whole.failed},
        y_ticks=[
            Tick(at=at, label=f"{at:,g}") for at in round_ticks(max(bucket.calls for bucket in traffic))
        ],
        x_ticks=_times(calls.buckets.starts),
    )


def _ages_chart(
    by_hour: Mapping[datetime, Measures], source: Source, now: datetime
) -> tuple[SafeString | None, SafeString | None]:
    """The ages that readers got, and which line is which; nothing when nobody read."""
    if not any(measures.reads for measures in by_hour.values()):
        return None, None
    this_hour = now.replace(minute=0, second=0, microsecond=0)
    hours = [this_hour - (HOURS - 1 - ago) * HOUR for ago in range(HOURS)]
    lines = [
        Line(name=name, values=[by_hour.get(hour, Measures()).percentile(percent) for hour in hours])
        for name, percent in ((_("half of the reads (p50)"), 50), (_("all but 1 % (p99)"), 99))
    ]
    if source.objective_age is not None:
        age = source.objective_age.total_seconds()
        lines.append(
            Line(
                name=_("objective: %(age)s") % {"age": words.took(source.objective_age)}, values=[age] * HOURS
            )
        )
    highest = max((value for line in lines for value in line.values if value is not None), default=0.0)
    chart = charts.lines(
        lines,
        label=_("The ages of values when they were read, by hour of the last day"),
        y_ticks=_age_ticks(highest),
        x_ticks=_times(hours),
    )
    return chart, charts.legend([line.name for line in lines])


def _age_ticks(highest: float) -> list[Tick]:
    unit = next((unit for least, unit in UNITS if highest >= least.total_seconds()), timedelta(seconds=1))
    seconds = unit.total_seconds()
    labels = {
        timedelta(days=1): _("%(n)g d"),
        timedelta(hours=1): _("%(n)g h"),
        timedelta(minutes=1): _("%(n)g min"),
        timedelta(seconds=1): _("%(n)g s"),
    }
    return [Tick(at=at * seconds, label=labels[unit] % {"n": at}) for at in round_ticks(highest / seconds)]


def _times(starts: Sequence[datetime]) -> list[Tick]:
    step = max(len(starts) // LABELS, 1)
    return [Tick(at=at, label=clock(start)) for at, start in enumerate(starts) if at % step == 0]
