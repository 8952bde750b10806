"""How a job does, as its page shows it: its state, figures, the strip and the durations of its latest runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models.functions import Substr
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from hotdata.models import Job, Run
from hotdata.observing.jobs import BriefRun, JobStatus, job_statuses
from hotdata.pages import charts, places
from hotdata.pages.charts import Column, Tick, round_ticks
from hotdata.pages.run_strips import RunStrips
from hotdata.pages.strips import clock
from hotdata.pages.texts import visible
from hotdata.pages.words import absolute, look, took

RUNS_SHOWN = 12
MARKS = 60
CHART_WIDTH = 1100
MARKS_A_LABEL = 6
"""Columns from one time below them to the next."""
LONGEST_ERROR = 200  # characters
SECOND = timedelta(seconds=1)


@dataclass(frozen=True, kw_only=True)
class Record:
    """What the head of a job's page shows."""

    status: JobStatus
    error: str
    """What is wrong, as far as the user may know."""
    strip: SafeString
    durations: SafeString | None
    """None while no run has ended."""
    runs: Sequence[Any]
    """The latest, for who may see them."""


def record_of(job: Job, now: datetime, *, may_see_runs: bool) -> Record | None:
    """None when the job was deleted in this moment."""
    statuses = job_statuses([job], now, MARKS)
    if not statuses:
        return None
    (status,) = statuses
    runs = list(reversed(status.latest))
    return Record(
        status=status,
        error=visible(status.told_error(sees_runs=may_see_runs)),
        strip=RunStrips(MARKS, now, linked=may_see_runs).draw(status.latest),
        durations=_durations(runs, status, may_see_runs),
        runs=_latest(job) if may_see_runs else [],
    )


def _latest(job: Job) -> list[Any]:
    """Only what the table shows: a run's log and traceback may be long."""
    fields = ("id", "state", "cause", "requested_by", "created_at", "started_at", "duration", "attempt")
    found = Run.objects.of_job(job.name).only(*fields).order_by("-id")
    brief = {"said": Substr("error", 1, LONGEST_ERROR), "why": Substr("reason", 1, LONGEST_ERROR)}
    runs: list[Any] = list(found.annotate(**brief)[:RUNS_SHOWN])
    for run in runs:
        run.told = visible(run.said or run.why)
    return runs


def _durations(runs: Sequence[BriefRun], status: JobStatus, linked: bool) -> SafeString | None:
    measured = [(run, run.duration / SECOND) for run in runs if run.duration is not None]
    if not measured:
        return None
    values = round_ticks(max(seconds for _run, seconds in measured))
    p95 = status.p95
    return charts.bars(
        [
            Column(parts=[(look(run.state), seconds)], label=_told(run), href=_href(run, linked))
            for run, seconds in measured
        ],
        label=_("How long the last %(count)d runs took") % {"count": len(measured)},
        y_ticks=[Tick(at=value, label=took(timedelta(seconds=value)) if value else "0") for value in values],
        x_ticks=[
            Tick(at=at, label=clock(run.at))
            for at, (run, _seconds) in enumerate(measured)
            if (len(measured) - 1 - at) % MARKS_A_LABEL == 0
        ],
        width=CHART_WIDTH,
        room_for=MARKS,
        threshold=None
        if p95 is None
        else Tick(at=p95 / SECOND, label=_("p95 %(took)s") % {"took": took(p95)}),
    )


def _told(run: BriefRun) -> str:
    words = {"state": run.state.label, "when": absolute(run.at), "took": took(run.duration)}
    if run.duration is None:
        return _("%(state)s · %(when)s") % words
    return _("%(state)s · %(when)s · %(took)s") % words


def _href(run: BriefRun, linked: bool) -> str:
    return places.run(run.id) if linked else ""
