"""The lines of the dashboard's tables, with what they draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from hotdata.observing.activity import Activity, Failure
from hotdata.observing.components import Standing
from hotdata.observing.jobs import JobStatus
from hotdata.observing.keys import KeyAge, WatchedSource
from hotdata.observing.upstreams import Traffic, Upstreams
from hotdata.pages import charts, places, strips, words
from hotdata.pages.day_charts import seconds
from hotdata.pages.strips import DayStrips
from hotdata.pages.texts import visible

ENOUGH = 0.95
"""A share of successes below this is shown as trouble."""
TOLERABLE = 0.01
"""A share of errors above this is shown as trouble."""


@dataclass(frozen=True, kw_only=True)
class ComponentRow:
    """A component that isn't well."""

    name: str
    standing: Standing
    url: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class JobRow:
    """A line of the table of jobs."""

    status: JobStatus
    url: str
    strip: SafeString
    success: float | None
    """Of a day."""
    is_poor: bool
    last_at: datetime | None
    is_overdue: bool
    error: str


@dataclass(frozen=True, kw_only=True)
class KeyRow:
    """A line of the table of hot keys."""

    key: KeyAge
    meter: SafeString | str
    css: str


@dataclass(frozen=True, kw_only=True)
class UpstreamRow:
    """A line of the table of upstreams."""

    source: WatchedSource
    url: str
    traffic: Traffic
    spark: SafeString
    meter: SafeString


@dataclass(frozen=True, kw_only=True)
class FailureRow:
    """A line of the list of failures."""

    failure: Failure
    title: str
    url: str

    @property
    def error(self) -> str:
        return visible(self.failure.error)


def component_row(component: Any) -> ComponentRow:
    """`component` as `hotdata.observing.components` finds it, with its standing."""
    return ComponentRow(
        name=component.name,
        standing=Standing(component.standing),
        url=places.component(component.pk),
        detail=visible(component.detail),
    )


def job_rows(
    statuses: Sequence[JobStatus], seen: Activity, now: datetime, *, with_errors: bool
) -> list[JobRow]:
    """The lines of jobs; `with_errors` of their runs, for who may see runs."""
    drawing = DayStrips(seen.buckets.starts)
    return [_job_row(status, seen, drawing, now, with_errors) for status in statuses]


def _job_row(
    status: JobStatus, seen: Activity, drawing: DayStrips, now: datetime, with_errors: bool
) -> JobRow:
    whole = seen.of_job(status.job.name)
    return JobRow(
        status=status,
        url=places.job(status.job.pk),
        strip=drawing.draw(seen.by_job[status.job.name], strips.says(whole)),
        success=whole.success,
        is_poor=bool(poor(whole.success)),
        last_at=status.last.at if status.last else None,
        is_overdue=status.due_next is not None and status.due_next < now,
        error=visible(status.told_error(sees_runs=with_errors)),
    )


def poor(share: float | None) -> str:
    return "hd-text-failed" if share is not None and share < ENOUGH else ""


def failure_rows(failures: Sequence[Failure], statuses: Sequence[JobStatus]) -> list[FailureRow]:
    titles = {status.job.name: str(status.job) for status in statuses}
    return [
        FailureRow(failure=failure, title=titles.get(failure.job, failure.job), url=places.run(failure.run))
        for failure in failures
    ]


def key_row(key: KeyAge) -> KeyRow:
    share = key.share
    if key.source.rests:
        look, css = words.MUTED, "hd-quiet"
    elif key.is_overdue or key.is_missing:
        look, css = words.FAILED, "hd-text-failed"
    else:
        look, css = words.OK, ""
    label = _("%(share)s of its limit") % {"share": words.share(share)}
    return KeyRow(key=key, css=css, meter="" if share is None else charts.meter(share, look, label))


def upstream_rows(sources: Sequence[WatchedSource], seen: Upstreams, limit: int) -> list[UpstreamRow]:
    rows = [
        _upstream_row(source, seen.by_source[source.name], seen.wholes[source.name]) for source in sources
    ]
    rows.sort(
        key=lambda row: (-(row.traffic.error_share or 0), -(row.traffic.p95 or timedelta(0)), row.source.name)
    )
    return rows[:limit]


def _upstream_row(source: WatchedSource, by_bucket: Sequence[Traffic], whole: Traffic) -> UpstreamRow:
    errors = whole.error_share or 0.0
    look = words.FAILED if errors > 1 - ENOUGH else words.WARN if errors > TOLERABLE else words.OK
    return UpstreamRow(
        source=source,
        url=places.source(source.id),
        traffic=whole,
        spark=charts.sparkline(seconds(by_bucket), _("p95 of the latency, by the half hour")),
        # Full at a tenth: a source of which that much fails is past caring for more.
        meter=charts.meter(
            errors * 10, look, _("%(share)s of the calls failed") % {"share": words.share(errors)}
        ),
    )
