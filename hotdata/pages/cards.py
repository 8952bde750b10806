"""The figures at the top of the dashboard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from hotdata.observing.activity import Activity
from hotdata.observing.jobs import JobHealth
from hotdata.observing.keys import KeyAge
from hotdata.observing.upstreams import Upstreams
from hotdata.pages import charts, words
from hotdata.pages.day_charts import seconds
from hotdata.pages.rows import poor

SUCCESS_FROM = 0.8
"""Where the line of successes begins; as a part of all, one failure in twenty wouldn't be seen."""


@dataclass(frozen=True, kw_only=True)
class Note:
    """A few words below a figure."""

    text: str
    css: str = ""


@dataclass(frozen=True, kw_only=True)
class Card:
    """A figure at the top of the page."""

    title: str
    figure: str
    of: str = ""
    css: str = ""
    notes: Sequence[Note] = ()
    spark: SafeString | str = ""


def jobs_card(counts: Mapping[JobHealth, int]) -> Card:
    rests = counts[JobHealth.PAUSED] + counts[JobHealth.NEW] + counts[JobHealth.DONE]
    well = counts[JobHealth.HEALTHY] + counts[JobHealth.RUNNING]
    failing = counts[JobHealth.FAILING] + counts[JobHealth.BROKEN]
    late, paused = counts[JobHealth.LATE], counts[JobHealth.PAUSED]
    return Card(
        title=_("Jobs healthy"),
        figure=f"{well}",
        of=f"/{sum(counts.values()) - rests}",
        notes=[
            Note(
                text=ngettext("%(n)d failing", "%(n)d failing", failing) % {"n": failing},
                css="hd-text-failed" if failing else "",
            ),
            Note(
                text=ngettext("%(n)d late", "%(n)d late", late) % {"n": late},
                css="hd-text-warn" if late else "",
            ),
            Note(text=ngettext("%(n)d paused", "%(n)d paused", paused) % {"n": paused}),
        ],
    )


def success_card(seen: Activity) -> Card:
    whole = seen.whole
    attempted = whole.succeeded + whole.failed
    spark = charts.sparkline(
        [tally.success for tally in seen.totals],
        _("Share of runs that succeeded, by the half hour"),
        series=2,
    )
    return Card(
        title=_("Success, 24 h"),
        figure=words.share(whole.success),
        css=poor(whole.success),
        notes=[
            Note(
                text=ngettext("%(failed)d of %(n)d run failed", "%(failed)d of %(n)d runs failed", attempted)
                % {"failed": whole.failed, "n": attempted}
            )
        ],
        spark=spark if attempted else "",
    )


def runs_card(seen: Activity) -> Card:
    whole = seen.whole
    notes = [Note(text=ngettext("%(n)d under way", "%(n)d under way", whole.active) % {"n": whole.active})]
    if whole.passed_over:
        text = ngettext("%(n)d missed or skipped", "%(n)d missed or skipped", whole.passed_over)
        notes.append(Note(text=text % {"n": whole.passed_over}))
    # The present half hour isn't over, and would look like a fall.
    started = [float(tally.total - tally.passed_over) for tally in seen.totals[:-1]]
    return Card(
        title=_("Runs, 24 h"),
        figure=f"{whole.total - whole.passed_over:,}",
        notes=notes,
        spark=charts.sparkline(started, _("Runs by the half hour")) if whole.total else "",
    )


def keys_card(ages: Sequence[KeyAge]) -> Card:
    overdue, missing = sum(key.is_overdue for key in ages), sum(key.is_missing for key in ages)
    notes = [Note(text=_("older than their limit"))]
    if missing:
        text = ngettext("%(n)d without a value", "%(n)d without a value", missing) % {"n": missing}
        notes.append(Note(text=text, css="hd-text-warn"))
    return Card(
        title=_("Stale keys"),
        figure=f"{overdue}",
        of=f"/{len(ages)}",
        css="hd-text-warn" if overdue else "",
        notes=notes,
    )


def away_card() -> Card:
    return Card(
        title=_("Stale keys"), figure="?", css="hd-text-failed", notes=[Note(text=_("Redis doesn't answer"))]
    )


def latency_card(seen: Upstreams) -> Card:
    whole = seen.whole
    median = _("median %(time)s") % {"time": words.took(whole.p50)}
    return Card(
        title=_("Upstream p95, 24 h"),
        figure=words.took(whole.p95),
        notes=[Note(text=median if whole.calls else _("no calls"))],
        spark=charts.sparkline(seconds(seen.totals), _("p95 of the latency, by the half hour"), series=2)
        if whole.calls
        else "",
    )
