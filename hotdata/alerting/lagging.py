"""Lagging: jobs that should have run and didn't, and runs that go on longer than their job allows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Min

from hotdata.alerting.findings import Finding, one_line, span
from hotdata.models import Alert, Job, Run, Schedule
from hotdata.models.runs import WAITING, State

OVERDUE_AFTER = timedelta(minutes=1)
BEYOND_THE_LIMIT = timedelta(seconds=30)
"""A run that is told to stop at its timeout has so long to do so."""


def find_overdue(now: datetime) -> Iterator[Finding]:
    """Due times that nobody fires, runs that nobody starts, and jobs that can't be scheduled."""
    late = now - OVERDUE_AFTER
    why: dict[str, tuple[datetime | None, str]] = {}
    for schedule in Schedule.objects.filter(next_run_time=None):
        if schedule.state.error:
            why[schedule.id] = None, f"can't be scheduled: {one_line(schedule.state.error)}"
    waiting = Run.objects.filter(state__in=WAITING, held=False, ready_at__lt=late)
    for job, at in waiting.order_by().values_list("job_id").annotate(at=Min("ready_at")):
        why[job] = at, "has a run that waits for a free worker"
    for job, at in Schedule.objects.filter(next_run_time__lt=late).values_list("id", "next_run_time"):
        why[job] = at, "is due, and no scheduler has fired it"
    for job, (since, what) in sorted(why.items()):
        yield Finding(
            kind=Alert.Kind.OVERDUE,
            subject=job,
            severity=Alert.Severity.CRITICAL,
            summary=f"{job} {what}." if since else f"{job} {what}",
            since=since,
        )


def find_too_long(now: datetime) -> Iterator[Finding]:
    """Runs past their timeout: they were told to stop, and don't listen. Of each job the one that is so for longest."""
    runs: list[Any] = list(
        Run.objects.filter(state=State.RUNNING)
        .order_by("started_at")
        .values_list("job_id", "id", "started_at")
    )
    jobs = Job.objects.filter(name__in={job for job, _, _ in runs})
    limits = {name: limit for name, limit in jobs.values_list("name", "timeout") if limit is not None}
    found: set[str] = set()
    for job, run, started_at in runs:
        if job in found or job not in limits:
            continue
        until = started_at + limits[job]
        if now > until + BEYOND_THE_LIMIT:
            found.add(job)
            yield Finding(
                kind=Alert.Kind.TOO_LONG,
                subject=job,
                summary=f"Run {run} of {job} takes longer than the {span(limits[job])} that it may.",
                since=until,
            )
