"""The two large charts of a day: runs by their outcome, and how long upstreams took to answer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from hotdata.observing import upstreams
from hotdata.observing.activity import Activity, Tally
from hotdata.observing.keys import WatchedSource
from hotdata.observing.upstreams import Traffic, Upstreams
from hotdata.pages import charts, strips, words
from hotdata.pages.charts import Column, Line, Tick

LINES = 5
"""Sources with a line of their own, beside that of all others."""


def runs_chart(seen: Activity) -> SafeString | str:
    if not seen.whole.total:
        return ""
    highest = max(tally.total for tally in seen.totals)
    return charts.bars(
        [
            Column(parts=_parts(tally), label=f"{strips.clock(start)} {strips.says(tally)}")
            for start, tally in zip(seen.buckets.starts, seen.totals, strict=True)
        ],
        label=_("Runs by the half hour: %(what)s") % {"what": strips.says(seen.whole)},
        y_ticks=[Tick(at=at, label=f"{at:,.0f}") for at in charts.round_ticks(highest) if at == round(at)],
        x_ticks=_hours(seen.buckets.starts),
    )


def _parts(tally: Tally) -> list[tuple[words.Look, float]]:
    return [
        (words.OK, tally.succeeded),
        (words.FAILED, tally.failed),
        (words.RUNNING, tally.active),
        (words.MUTED, tally.passed_over + tally.cancelled),
    ]


def _hours(starts: Sequence[datetime]) -> list[Tick]:
    """Every fourth hour of the day, in the site's zone."""
    clocks = [(at, strips.clock(start)) for at, start in enumerate(starts)]
    return [Tick(at=at, label=text) for at, text in clocks if text.endswith(":00") and int(text[:2]) % 4 == 0]


def latency_chart(
    sources: Sequence[WatchedSource], seen: Upstreams
) -> tuple[SafeString | str, SafeString | str]:
    """The p95 of the sources that were asked most, and of all others together, with a legend."""
    asked = [source for source in sources if seen.wholes[source.name].calls]
    if not asked:
        return "", ""
    asked.sort(key=lambda source: -seen.wholes[source.name].calls)
    lines = [Line(name=str(source), values=seconds(seen.by_source[source.name])) for source in asked[:LINES]]
    others = asked[LINES:]
    if others:
        merged = [
            upstreams.merged(traffic)
            for traffic in zip(*(seen.by_source[source.name] for source in others), strict=True)
        ]
        name = ngettext("%(n)d other", "%(n)d others", len(others)) % {"n": len(others)}
        lines.append(Line(name=name, values=seconds(merged)))
    highest = max((value for line in lines for value in line.values if value is not None), default=0.0)
    chart = charts.lines(
        lines,
        label=_("p95 of the latency of each source, by the half hour"),
        y_ticks=[
            Tick(at=at, label=words.took(timedelta(seconds=at)) if at else "0")
            for at in charts.round_ticks(highest)
        ],
        x_ticks=_hours(seen.buckets.starts),
    )
    return chart, charts.legend([line.name for line in lines])


def seconds(by_bucket: Sequence[Traffic]) -> list[float | None]:
    return [None if traffic.p95 is None else traffic.p95.total_seconds() for traffic in by_bucket]
