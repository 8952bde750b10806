"""Deletes old records: runs, API calls and hours of freshness by age, in batches. Nothing else ever deletes history.

The exception is a job with a run limit, such as the health check that runs each ten seconds: of its finished
runs only the latest and the notable ones are kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone

from hotdata.models import ApiCall, FreshnessHour, Job, Run

MAX_DAYS = 36_500
BATCH = 1000
PAUSE = 0.02  # seconds between two batches, so that others get their turn


@dataclass(frozen=True, kw_only=True)
class CleanUp:
    """How many rows were (or would be) deleted."""

    runs: int
    api_calls: int
    freshness_hours: int


def age_of(days: int) -> timedelta:
    """`days` as an age that records can have; raises ValueError for one that they can't."""
    if not 1 <= days <= MAX_DAYS:
        raise ValueError(f"days: between 1 and {MAX_DAYS:,}, not {days:,}.")
    return timedelta(days=days)


def old_runs(age: timedelta) -> QuerySet[Run]:
    """Runs made more than `age` ago that have come to an end."""
    return Run.objects.finished().filter(created_at__lt=timezone.now() - age)


def old_calls(age: timedelta) -> QuerySet[ApiCall]:
    return ApiCall.objects.filter(started_at__lt=timezone.now() - age)


def old_hours(age: timedelta) -> QuerySet[FreshnessHour]:
    return FreshnessHour.objects.filter(hour__lt=timezone.now() - age)


def count(age: timedelta) -> CleanUp:
    """What `clean_up` would delete."""
    return CleanUp(
        runs=old_runs(age).count(),
        api_calls=old_calls(age).count(),
        freshness_hours=old_hours(age).count(),
    )


def clean_up(age: timedelta, *, progress: Callable[[int, int], None] = lambda done, total: None) -> CleanUp:
    """Delete what is older than `age`. Each batch is a transaction of its own: cut off, it can be called again.

    `progress` is told the rows deleted and the rows there were; it may raise to stop.
    """
    runs, calls, hours = old_runs(age), old_calls(age), old_hours(age)
    total = runs.count() + calls.count() + hours.count()
    done_hours = _delete(hours, lambda done: progress(done, total))
    done_calls = _delete(calls, lambda done: progress(done_hours + done, total))
    done_runs = _delete(runs, lambda done: progress(done_hours + done_calls + done, total))
    return CleanUp(runs=done_runs, api_calls=done_calls, freshness_hours=done_hours)


def thin_out(job_name: str) -> int:
    """Delete the finished runs of a job beyond its ``keep_runs``, but for notable ones; return how many."""
    keep = Job.objects.filter(name=job_name).values_list("keep_runs", flat=True).first()
    if keep is None:
        return 0
    finished = Run.objects.of_job(job_name).finished().order_by("-id")
    oldest_kept = finished.values_list("id", flat=True)[keep - 1 : keep].first() if keep else None
    surplus = finished.filter(notable=False)
    if keep:
        if oldest_kept is None:
            return 0
        surplus = surplus.filter(id__lt=oldest_kept)
    return _delete(surplus, lambda done: None)


def _delete(rows: QuerySet[Any], progress: Callable[[int], None]) -> int:
    """Delete `rows` oldest first, in batches; return how many."""
    done = 0
    while ids := list(rows.order_by("id").values_list("id", flat=True)[:BATCH]):
        # By id and without collecting related rows: nothing cascades from these.
        done += rows.model._default_manager.filter(id__in=ids)._raw_delete(using=rows.db)
        progress(done)
        if len(ids) == BATCH:
            time.sleep(PAUSE)
    return done
