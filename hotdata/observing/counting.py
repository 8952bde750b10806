"""Counts runs by job: in the database, in a few statements, into numbers that can be added up.

What is counted is told by short texts, so that counts are kept as they are, and new ones can come: see `Counts`.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from django.db.models import Case, Count, F, FloatField, Func, Q, QuerySet, Sum, Value, When
from django.db.models.functions import Coalesce, Greatest

from hotdata.models import Run, RunTotal
from hotdata.models.runs import NEVER_STARTED, OVERTAKEN, State

OTHER = "(other)"
"""What all jobs are counted under that have no total of their own; no job can have this name."""

DURATIONS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0)
"""Upper bounds, in seconds. Counts are stored under these: one that is taken away takes its counts along."""
DELAYS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0)
NOT_IN = -1
MICROSECOND = timedelta(microseconds=1)

ENDED = ("succeeded", "failed", "timed_out", "cancelled", "abandoned")
"""How runs end that are counted one by one."""

# Why due times came to nothing, or were counted in another's run, in as many words as there are rules.
COALESCED = "coalesced"
REASONS = (
    ("Late by more than the grace time", "late"),
    (OVERTAKEN, "overtaken"),
    ("(overlap: ", "overlap"),
    ("The job was edited", "edited"),
    ("The job was deleted", "deleted"),
    ("The job's definition can't be built", "broken"),
)
UNKNOWN_REASON = "other"

Counts = Counter[str]
"""By what is counted: ``run STATE``, ``due ACCOUNT REASON``, ``duration BOUND`` and ``delay BOUND``, and
``duration sum`` and ``delay sum`` in microseconds."""


def merged(*parts: Mapping[str, Counts]) -> dict[str, Counts]:
    """The sum of all `parts`, by job."""
    summed: dict[str, Counts] = {}
    for part in parts:
        for job, counts in part.items():
            summed.setdefault(job, Counter()).update(counts)
    return summed


def of_runs(runs: QuerySet[Run]) -> dict[str, Counts]:
    """What there is to count of those of `runs` that started, or were to, and have ended."""
    rows = (
        _labelled(runs.filter(state__in=ENDED))
        .alias(delay=Greatest(_Epoch("started_at") - _Epoch(Coalesce("scheduled_for", "created_at")), 0.0))
        .annotate(
            # A run that was abandoned may still be told how long it took.
            took=_place(
                "duration", [timedelta(seconds=bound) for bound in DURATIONS], ~Q(state=State.ABANDONED)
            ),
            # Of a run that was tried again only the last start is known.
            late=_place("delay", DELAYS, Q(attempt=1)),
        )
        .values_list("label", "state", "took", "late")
        .annotate(count=Count("id"), duration=Sum("duration"), delays=Sum("delay"), absorbed=Sum("coalesced"))
    )
    by_job: dict[str, Counts] = {}
    for job, state, took, late, count, duration, delay, absorbed in rows:
        counts = by_job.setdefault(job, Counter())
        counts[f"run {state}"] += count
        if took != NOT_IN:
            counts[f"duration {bound_at(DURATIONS, took)}"] += count
            counts["duration sum"] += duration // MICROSECOND
        if late != NOT_IN:
            counts[f"delay {bound_at(DELAYS, late)}"] += count
            counts["delay sum"] += round(delay * 1_000_000)
        if absorbed:
            counts[f"due {COALESCED} {COALESCED}"] += absorbed
    return by_job


def of_accounts(runs: QuerySet[Run]) -> dict[str, Counts]:
    """How many due times the records among `runs` stand for that never started."""
    rows = (
        _labelled(runs.filter(state__in=NEVER_STARTED))
        .values_list("label", "state", "reason")
        .annotate(count=Count("id"), absorbed=Sum("coalesced"))
    )
    by_job: dict[str, Counts] = {}
    for job, state, reason, count, absorbed in rows:
        by_job.setdefault(job, Counter())[f"due {state} {reason_word(reason)}"] += count + absorbed
    return by_job


def reason_word(reason: str) -> str:
    """The one word for why due times came to nothing."""
    return next((word for text, word in REASONS if text in reason), UNKNOWN_REASON)


@functools.cache
def bound_at(bounds: tuple[float, ...], place: int) -> str:
    """The upper bound of the bucket at `place`, as Prometheus writes it."""
    return f"{bounds[place]:g}" if place < len(bounds) else "+Inf"


def _labelled(runs: QuerySet[Run]) -> QuerySet[Any]:
    """`runs` with their ``label``: the job, or that of all others."""
    named = When(job_id__in=RunTotal.objects.order_by().values("job"), then=F("job_id"))
    return runs.order_by().annotate(label=Case(named, default=Value(OTHER)))


def _place(field: str, bounds: Iterable[Any], where: Q) -> Case:
    """Which of the buckets with these upper `bounds` the `field` falls into; `NOT_IN` any, but for `where`."""
    whens = [When(Q((field, None)) | ~where, then=Value(NOT_IN))]
    place = -1
    for place, bound in enumerate(bounds):
        whens.append(When(Q((f"{field}__lte", bound)), then=Value(place)))
    return Case(*whens, default=Value(place + 1))


class _Epoch(Func):
    """A moment in seconds since 1970; on SQLite exact to the millisecond."""

    output_field = FloatField()

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        context["template"] = "CAST(EXTRACT(EPOCH FROM %(expressions)s) AS double precision)"
        return self.as_sql(compiler, connection, **context)

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        context["template"] = "((JULIANDAY(%(expressions)s) - 2440587.5) * 86400.0)"
        return self.as_sql(compiler, connection, **context)
