"""Thinning out: of a job with a run limit only the latest finished runs are kept, and the notable ones."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import QuerySet
from django.utils import timezone

from hotdata.models import Job, Run
from hotdata.observing import totals
from hotdata.retention.pace import Pace
from hotdata.retention.sweep import sweep


@dataclass(frozen=True, kw_only=True)
class Limit:
    """How many finished runs a job keeps."""

    job: str
    keep: int

    def beyond(self) -> QuerySet[Run]:
        """All finished runs before the latest ones that are kept."""
        finished = Run.objects.of_job(self.job).finished().order_by("-id")
        if not self.keep:
            return finished
        oldest_kept = finished.values_list("id", flat=True)[self.keep - 1 : self.keep].first()
        return finished.none() if oldest_kept is None else finished.filter(id__lt=oldest_kept)

    def surplus(self) -> QuerySet[Run]:
        """Those of them that go, now that the totals have them."""
        return self.beyond().filter(totals.counted(timezone.now()), notable=False)

    def spared(self) -> QuerySet[Run]:
        """Those of them that stay."""
        return self.beyond().filter(notable=True)


def limits(*jobs: str) -> list[Limit]:
    """Those of all jobs that have one, or of the named ones.

    A job that pauses after failures in a row keeps as many runs as it takes to count them.
    """
    limited = Job.objects.filter(keep_runs__isnull=False).order_by("name")
    if jobs:
        limited = limited.filter(name__in=jobs)
    return [
        Limit(job=name, keep=max(keep or 0, failures or 0))
        for name, keep, failures in limited.values_list("name", "keep_runs", "pause_after_failures")
    ]


def thin_out(job: str) -> int:
    """Delete the runs of a job beyond its run limit, if it has one; return how many."""
    return sum(
        sweep(limit.surplus(), by="id", pace=Pace(), deleted=lambda count: None) for limit in limits(job)
    )
