"""How many runs there ever were, by job: counts that only grow, although records are thinned out and deleted.

Records are counted along their ids, in steps: each step moves a cursor, and adds what it has passed to the totals, in
one transaction. What had not ended is kept as pending, and looked at again by each step until it has. What the cursor
has not passed is counted whenever somebody asks. So each run counts once, and at once.

The cursor stays `SETTLING` behind: ids are given out in order, but not committed so. What was missed or skipped has a
cursor of its own, which stays behind for longer, since such a record goes on to take in due times for a day. Nothing is
deleted before it is counted (`counted`).

`MOST_JOBS` jobs have totals of their own, those that came first. All others are counted together, and stay so: a run
is never moved from one total to another.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from hotdata.exceptions import HotdataError
from hotdata.models import Job, Run, RunTotal, TotalsCursor, bulk
from hotdata.models.accounts import LONGEST_SPAN
from hotdata.models.runs import FINISHED, NEVER_STARTED, UNSUCCESSFUL
from hotdata.observing.counting import OTHER, Counts, merged, of_accounts, of_runs

MOST_JOBS = 500
SETTLING = timedelta(minutes=5)
"""No transaction that makes a run takes longer."""
ACCOUNTS_SETTLING = LONGEST_SPAN + timedelta(hours=1)
STEP = 20_000  # ids
LONGEST_TAIL = 200_000  # ids behind the cursor that are looked at when somebody asks
GIVEN_UP_AFTER = timedelta(days=1)
"""When the cursor has not moved for so long nobody counts, and no record is kept for that."""
PAUSE = 0.02  # seconds between two steps, so that others get their turn
TRIES = 3


class BeingCounted(HotdataError):
    """The totals can't be told at this moment."""


@dataclass(frozen=True, kw_only=True)
class Totals:
    """All runs since counting began."""

    by_job: Mapping[str, Counts]
    behind: timedelta
    """Since the cursor moved last."""


def roll_up(now: datetime, *, check: Callable[[], None] = lambda: None) -> int:
    """Move the cursor on to what has settled by `now`; return by how many ids. It can be called by anybody at any time.

    The first time it is only set up: what is on record by then doesn't count. `check` is called between steps, and may
    raise to stop; all steps before are kept.
    """
    moved = 0
    while True:
        step, more = _step(now)
        moved += step
        if not more:
            return moved
        check()
        time.sleep(PAUSE)


def totals(now: datetime) -> Totals | None:
    """All that was counted, and all that is to be; None before counting began. Seven queries at most.

    Raises BeingCounted when others count so busily that what is read doesn't fit together.
    """
    for _ in range(TRIES):
        cursor = TotalsCursor.objects.first()
        if cursor is None:
            return None
        by_job = {row.job: Counter(row.counts) for row in RunTotal.objects.all()}
        for job, counts in _tail(cursor).items():
            # A job that is new gets a total of its own by the next step; where there is none left, it never will.
            if job in by_job:
                by_job[job].update(counts)
            elif len(by_job) >= MOST_JOBS:
                by_job[OTHER] = counts
        if TotalsCursor.objects.filter(turn=cursor.turn).exists():
            return Totals(by_job=by_job, behind=max(now - cursor.moved_at, timedelta(0)))
        # A step came in between: something may have been counted twice, or by nobody.
    raise BeingCounted("The totals of runs are just being counted.")


def counted(now: datetime) -> Q:
    """Which runs may be deleted, as far as totals are concerned: those that are counted. All, when nobody counts."""
    cursor = TotalsCursor.objects.filter(moved_at__gt=now - GIVEN_UP_AFTER).first()
    if cursor is None:
        return Q()
    never_started = Q(state__in=NEVER_STARTED)
    runs = Q(id__lte=cursor.runs) & ~never_started
    accounts = Q(id__lte=cursor.accounts) & never_started
    few = len(cursor.pending) <= STEP
    not_pending = ~Q(id__in=cursor.pending) if few else Q(id__lt=cursor.pending[0])
    return (runs | accounts) & not_pending


def without_total() -> int:
    """How many jobs there are that have no total of their own."""
    return Job.objects.exclude(name__in=RunTotal.objects.values("job")).count()


# The steps


@transaction.atomic
def _step(now: datetime) -> tuple[int, bool]:
    """One step of the cursor: by how many ids it went, and whether there is more to count."""
    cursor = TotalsCursor.objects.select_for_update().first()
    if cursor is None:
        _set_up(now)
        return 0, True  # the next step gives jobs their totals
    runs_from, accounts_from = cursor.runs, cursor.accounts
    settled, settled_accounts = _settled(now - SETTLING), _settled(now - ACCOUNTS_SETTLING)
    cursor.runs = max(runs_from, min(settled, runs_from + STEP))
    cursor.accounts = max(accounts_from, min(settled_accounts, accounts_from + STEP, cursor.runs))
    ended, pending = _looked_at_again(cursor.pending)
    passed = Run.objects.filter(id__gt=runs_from, id__lte=cursor.runs)
    # In this order: what ends in between stays pending, and is counted by the next step.
    begun = list(passed.active().order_by("id").values_list("id", flat=True))
    pending += begun
    within = [id for id in pending if accounts_from < id <= cursor.accounts]
    late = [id for id in ended if id <= accounts_from]
    runs = [passed.finished().exclude(id__in=begun), *_each(ended)]
    accounts = [_never_started(accounts_from, cursor.accounts).exclude(id__in=within), *_each(late)]
    _name_jobs([*runs, *accounts], min([cursor.runs + 1, *pending]))
    _add(merged(*map(of_runs, runs), *map(of_accounts, accounts)))
    cursor.pending, cursor.turn, cursor.moved_at = pending, cursor.turn + 1, now
    cursor.save()
    more = settled > cursor.runs or min(settled_accounts, cursor.runs) > cursor.accounts
    return cursor.runs - runs_from, more


def _set_up(now: datetime) -> None:
    latest = _latest()
    pending = list(Run.objects.active().filter(id__lte=latest).order_by("id").values_list("id", flat=True))
    cursor = TotalsCursor(runs=latest, accounts=latest, pending=pending, moved_at=now)
    TotalsCursor.objects.bulk_create([cursor], ignore_conflicts=True)  # two may be the first


def _latest() -> int:
    return Run.objects.order_by("-id").values_list("id", flat=True).first() or 0


def _settled(moment: datetime) -> int:
    """Up to which id all runs were made before `moment`."""
    later = Run.objects.filter(created_at__gte=moment).order_by("created_at", "id")
    first = later.values_list("id", flat=True).first()
    return _latest() if first is None else first - 1


def _looked_at_again(pending: Sequence[int]) -> tuple[list[int], list[int]]:
    """Those of `pending` that have ended, and those that have not. Those that were deleted are neither."""
    ended: list[int] = []
    active: list[int] = []
    for ids in _parts(pending):
        for id, state in Run.objects.filter(id__in=ids).order_by("id").values_list("id", "state"):
            (ended if state in FINISHED else active).append(id)
    return ended, active


def _name_jobs(counted: Iterable[QuerySet[Run]], shown_from: int) -> None:
    """Give jobs totals of their own, those of the runs that are to be `counted` among them, while there are any left.

    What is not counted, and may have been shown among all others, begins with the id `shown_from`.
    """
    named = set(RunTotal.objects.values_list("job", flat=True))
    room = MOST_JOBS - len(named - {OTHER})
    unnamed = Job.objects.exclude(name__in=named).order_by("id")
    if room > 0:
        jobs = list(unnamed.values_list("name", flat=True)[:room])
        seen: set[Any] = set()
        for runs in counted:
            seen |= set(runs.order_by().values_list("job_id", flat=True).distinct())
        new = [*jobs, *sorted(seen - named - set(jobs))][:room]
    else:
        # In the place of jobs that are no more. Not those of which a part was shown among the others: it stays there.
        at_work = Run.objects.filter(id__gte=shown_from, job=OuterRef("name"))
        quiet = unnamed.filter(~Exists(at_work)).values_list("name", flat=True)
        gone = [
            job
            for job in named - {OTHER} - set(Job.objects.values_list("name", flat=True))
            if not Run.objects.of_job(job).exists()
        ]
        new = list(quiet[: len(gone)]) if gone else []
        RunTotal.objects.filter(job__in=sorted(gone)[: len(new)]).delete()
    RunTotal.objects.bulk_create([RunTotal(job=job) for job in new])


def _add(counts: Mapping[str, Counts]) -> None:
    if OTHER in counts:
        RunTotal.objects.get_or_create(job=OTHER)
    rows = list(RunTotal.objects.filter(job__in=counts))
    for row in rows:
        row.counts = dict(Counter(row.counts) + counts[row.job])
    bulk.update(rows, ["counts"])


def _tail(cursor: TotalsCursor) -> dict[str, Counts]:
    """What `cursor` has not passed, or left as pending, and has ended."""
    up_to = cursor.runs + LONGEST_TAIL
    late = [id for id in cursor.pending if id <= cursor.accounts]
    return merged(
        of_runs(Run.objects.finished().filter(id__gt=cursor.runs, id__lte=up_to)),
        *map(of_runs, _each(cursor.pending)),
        of_accounts(_never_started(cursor.accounts, up_to)),
        *map(of_accounts, _each(late)),
    )


def _each(ids: Sequence[int]) -> list[QuerySet[Run]]:
    """The runs with these `ids`."""
    return [Run.objects.filter(id__in=part) for part in _parts(ids)]


def _parts(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    """`ids` in parts that a statement can hold."""
    return (ids[at : at + STEP] for at in range(0, len(ids), STEP))


def _never_started(after: int, up_to: int) -> QuerySet[Run]:
    # The first condition is that of an index.
    rare = Run.objects.filter(state__in=UNSUCCESSFUL)
    return rare.filter(id__gt=after, id__lte=up_to, state__in=NEVER_STARTED)
