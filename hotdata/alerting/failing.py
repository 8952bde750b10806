"""Failing: jobs whose runs fail, each after all its retries. Counted in a row, since the last success.

As for a job's health, runs of the schedule count, and those that recover them; who asks for a run by hand sees how
it goes. They are taken in the order of their ids. A failure that was over before anybody looked is found all the
same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from django.db.models import Max, QuerySet
from django.db.models.functions import Substr

from hotdata.alerting import ledger as ledgers
from hotdata.alerting.findings import Finding, one_line
from hotdata.alerting.ledger import Ledger
from hotdata.models import Alert, Run
from hotdata.models.runs import FAILURES, UNSUCCESSFUL, Cause, State
from hotdata.observing.finding import one_of

SHOWN_OF_AN_ERROR = 300  # characters
KIND = Alert.Kind.FAILING


@dataclass(frozen=True, kw_only=True)
class _Row:
    id: int
    state: str
    at: datetime
    error: str


def find(runs_from: int) -> Iterator[Finding]:
    """What fails, or did since the last look."""
    failed = one_of(_attempted(), "state", UNSUCCESSFUL).filter(state__in=FAILURES, id__gte=runs_from)
    latest = dict(failed.order_by().values_list("job_id").annotate(id=Max("id")))
    ledger = ledgers.read(KIND, runs_from, latest.keys())
    for job in sorted(ledger.news(latest) | ledger.open.keys()):
        for finding in _of_job(job, ledger):
            if not (finding.over and ledger.first_time):
                yield finding


def _of_job(job: str, ledger: Ledger) -> Iterator[Finding]:
    """The failures in a row of one job, one finding for each row of them; the first goes on with the open alert."""
    alert = ledger.open.get(job)
    finding = None if alert is None else _as_it_was(alert)
    for run in _runs_after(job, ledger):
        if run.state in FAILURES:
            finding = _failed(job, finding, run)
        elif finding is not None:
            yield replace(finding, over=f"Run {run.id} succeeded.", runs=_up_to(finding, run))
            finding = None
    if finding is not None:
        yield finding


def _runs_after(job: str, ledger: Ledger) -> Iterator[_Row]:
    """What the job ran since it was counted last; where nothing fails, from the first failure on."""
    runs = _attempted().filter(job_id=job)
    after = ledger.counted_of(job)
    if ledger.first_time:
        success = runs.filter(state=State.SUCCEEDED).order_by("-id").values_list("id", flat=True).first()
        after = success or 0
    if job not in ledger.open:
        failures = runs.filter(state__in=FAILURES, id__gt=after).order_by("id")
        first = failures.values_list("id", flat=True).first()
        if first is None:
            return
        after = first - 1
    said, why = Substr("error", 1, SHOWN_OF_AN_ERROR), Substr("reason", 1, SHOWN_OF_AN_ERROR)
    rows = runs.filter(id__gt=after).order_by("id").values_list("id", "state", "finished_at", said, why)
    # One by one: after a day without a look there may be many.
    for id, state, at, error, reason in rows.iterator():
        yield _Row(id=id, state=state, at=at, error=error or reason)


def _attempted() -> QuerySet[Run]:
    return Run.objects.filter(
        cause__in=[Cause.SCHEDULE, Cause.RECOVERY], state__in=[State.SUCCEEDED, *FAILURES]
    )


def _failed(job: str, before: Finding | None, run: _Row) -> Finding:
    count = 1 if before is None else before.count + 1
    times = "" if count == 1 else f" {count} times in a row"
    return Finding(
        kind=KIND,
        subject=job,
        severity=Alert.Severity.CRITICAL,
        summary=f"{job} failed{times}, run {run.id}: {one_line(run.error) or State(run.state).value}",
        since=run.at if before is None else before.since,
        count=count,
        runs=(run.id, run.id) if before is None else _up_to(before, run),
    )


def _up_to(finding: Finding, run: _Row) -> tuple[int, int]:
    assert finding.runs is not None
    return finding.runs[0], run.id


def _as_it_was(alert: Alert) -> Finding:
    return Finding(
        kind=KIND,
        subject=alert.subject,
        severity=Alert.Severity(alert.severity),
        summary=alert.summary,
        since=alert.opened_at,
        count=alert.count,
        runs=(alert.first_run or 0, alert.last_run or 0),
    )
