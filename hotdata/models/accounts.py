"""Accounts: the records of due times, as the firing path puts them down.

Every due time has exactly one. What was started has a record of its own; due times that came to nothing, one
after the other and for the same reason, share one: a job that is due each second, and finds its last run still
going for an hour, leaves one ``skipped`` record that counts 3,600, not 3,600 records. A run that waits is an
account, too, until a later due time overtakes it: then it has come to nothing like the others.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import OuterRef, Subquery
from django_apscheduler.models import DjangoJob

from hotdata.models import bulk, endings
from hotdata.models.runs import NEVER_STARTED, OVERTAKEN, Cause, Run, State

LONGEST_SPAN = timedelta(days=1)
"""How long a record goes on to take in later due times: clean-up goes by the age of records, and so do totals."""


def put_down(records: Sequence[Run]) -> None:
    """Put `records`, each job's in order of time, on record: all of them or, on an error, none.

    The caller has locked the jobs' schedules, so nobody else accounts for due times of these jobs.
    """
    with transaction.atomic(savepoint=False):
        taken_in = _extend(_repeating(records))
        new = [record for record in records if record not in taken_in]
        bulk.insert(new)
        endings.say_later(record for record in new if record.state in NEVER_STARTED)


def overtake(jobs: Collection[str], now: datetime) -> None:
    """Record as skipped what the schedules of `jobs` have put down to be run and nobody has started.

    The caller puts down later due times, which take its place, in the same transaction, and has locked the schedules.
    """
    waiting = Run.objects.filter(job_id__in=jobs, cause=Cause.SCHEDULE, state=State.QUEUED, attempt=0)
    records = list(waiting.select_for_update().order_by("scheduled_for"))
    for record in records:
        record.state, record.reason, record.finished_at = State.SKIPPED, OVERTAKEN, now
        record.held, record.node = False, ""
    repeating = _repeating(records)
    # First: no due time can have two accounts at a time.
    Run.objects.filter(id__in=[record.id for _, record in repeating]).delete()
    taken_in = _extend(repeating)
    bulk.insert([record for _, record in repeating if record not in taken_in])
    repeated = {record.id for _, record in repeating}
    alone = [record for record in records if record.id not in repeated]
    bulk.update(alone, ["state", "reason", "finished_at", "held", "node"])
    endings.say_later(alone)


def _repeating(records: Sequence[Run]) -> list[tuple[Run, Run]]:
    """Those of `records` that say the same again as what is on record beside them, each after that."""
    first: dict[str, Run] = {}
    for record in records:
        first.setdefault(record.job_id, record)
    repeating = [record for record in first.values() if record.state in NEVER_STARTED]
    if not repeating:
        return []
    latest = _latest_accounts(
        [record.job_id for record in repeating], [record.id for record in records if record.id]
    )
    return [
        (latest[record.job_id], record)
        for record in repeating
        if record.job_id in latest and _repeats(record, latest[record.job_id])
    ]


def _extend(pairs: Sequence[tuple[Run, Run]]) -> list[Run]:
    """Of each of `pairs`, extend the first, which is on record, by the second; returns those that were taken in."""
    for known, record in pairs:
        known.coalesced_since = known.coalesced_since or known.scheduled_for
        known.coalesced += record.coalesced + 1
        known.scheduled_for, known.finished_at = record.scheduled_for, record.finished_at
    # One that clean-up has deleted in this moment is not hit, and its repetition becomes a record of its own.
    hit = bulk.update(
        [known for known, _ in pairs],
        ["scheduled_for", "coalesced", "coalesced_since", "finished_at"],
        state=NEVER_STARTED,
    )
    return [record for known, record in pairs if known.id in hit]


def _latest_accounts(jobs: Sequence[str], but: Collection[int]) -> dict[str, Run]:
    """The record of the latest due time of each of `jobs`, by job, `but` these; a probe of an index for each."""
    accounts = Run.objects.filter(job=OuterRef("id"), scheduled_for__isnull=False).exclude(id__in=but)
    latest = accounts.order_by("-scheduled_for")
    ids = DjangoJob.objects.filter(id__in=jobs).values(latest=Subquery(latest.values("id")[:1]))
    return {run.job_id: run for run in Run.objects.filter(id__in=ids)}


def _repeats(later: Run, known: Run) -> bool:
    """Whether `later` says of later due times just what `known` says of earlier ones."""
    assert later.scheduled_for is not None
    assert known.scheduled_for is not None
    assert later.finished_at is not None
    return (
        (later.state, later.reason, later.task, later.params)
        == (known.state, known.reason, known.task, known.params)
        and known.scheduled_for < (later.coalesced_since or later.scheduled_for)
        and later.finished_at - known.created_at < LONGEST_SPAN
    )
