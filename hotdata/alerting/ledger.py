"""The ledger: how far the runs on record have been looked at, and which alerts of a kind there are about whom.

Runs end in another order than they are made in, and are committed in yet another. So a look takes all failures from a
run on that was still active at the look before, or made in the minutes before it; which of them have been counted, the
alerts themselves say. Nothing is counted twice, whatever is looked at again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Max, Min

from hotdata.models import Alert, Run

LOOKED_AT_AGAIN = timedelta(minutes=5)
"""Longer than any transaction that makes runs."""


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """What is known of one kind of alert, about jobs."""

    runs_from: int
    """Runs with smaller ids have been looked at."""
    first_time: bool
    """Nobody has ever looked: what is over by now is history."""
    open: Mapping[str, Alert]
    counted: Mapping[str, int]
    """The last run that an alert, also one that is closed, has counted; by job."""

    def counted_of(self, job: str) -> int:
        """The run after which those of `job` begin that have not been counted."""
        counted = self.counted.get(job, 0)
        # What came to pass while the job was paused, and so was nobody's business, is not looked at afterwards.
        return counted if job in self.open else max(counted, self.runs_from - 1)

    def news(self, latest: Mapping[str, int]) -> set[str]:
        """Those jobs whose `latest` run has not been counted."""
        return {job for job, id in latest.items() if id > self.counted.get(job, 0)}


def read(kind: Alert.Kind, runs_from: int, jobs: Collection[str]) -> Ledger:
    """The ledger of `kind`, with what was counted of `jobs`, and of those that have open alerts."""
    alerts = {alert.subject: alert for alert in Alert.objects.open().filter(kind=kind)}
    of = Alert.objects.filter(kind=kind, subject__in={*jobs, *alerts}, last_run__isnull=False)
    counted = of.order_by().values_list("subject").annotate(last=Max("last_run"))
    return Ledger(runs_from=runs_from, first_time=not runs_from, open=alerts, counted=dict(counted))


def next_runs_from(now: datetime) -> int:
    """From which run on the next look begins; never 0. To be asked before the runs are looked at."""
    active = Run.objects.active().aggregate(id=Min("id"))["id"]
    old = Run.objects.filter(created_at__lt=now - LOOKED_AT_AGAIN).order_by("-created_at")
    last_old = old.values_list("id", flat=True).first() or 0
    # Not the first young one: one with a smaller id may be about to be committed.
    return min(last_old + 1, active or last_old + 1)
