"""Turns due times into runs, and into records of those that lead to none. Pure: no database, no clock.

The rules, in this order, for the due times of one job that have come:

1. ``coalesce``: only the latest counts; the others are counted in its record.
2. ``misfire_grace_time``: what is late by more becomes ``missed``.
3. ``overlap`` and ``max_instances`` say how many may be queued, and how many held until the job's other runs
   have ended. The earliest get these places; with ``cancel_other`` it is the latest alone.
4. What finds no place becomes ``skipped``.

Due times that share a fate share a record: however many there are, a job gets at most one ``missed`` and one
``skipped`` record here, and no more runs than it may have instances. Reasons name the rule and no figure that
changes from one due time to the next, so that records of the same fate can be told to be the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from hotdata.models import Job, Run
from hotdata.models.policies import Overlap
from hotdata.models.runs import OVERTAKEN, Cause, State
from hotdata.models.schedules import RESOLUTION, Timetable
from hotdata.triggers import DueTimes
from hotdata.triggers.zones import EARLIEST


@dataclass(frozen=True, kw_only=True)
class Active:
    """How many runs of a job have not ended."""

    going: int = 0
    """Queued, running, or between two attempts."""
    held: int = 0
    """Waiting for those to end."""


IDLE = Active()


@dataclass(frozen=True, kw_only=True)
class Places:
    """How many runs a job may get beside those it has."""

    queued: int = 0
    held: int = 0


def fire(
    job: Job, timetable: Timetable, due: DueTimes, *, active: Active = IDLE, now: datetime, node: str
) -> list[Run]:
    """The unsaved records that account for all of `due`, in order of time, while `active` runs have not ended.

    Queued runs are handed to `node`. Due times are canonical: the job's jitter is not in them.
    """
    if due.last is None or due.first is None:
        return []
    firing = _Firing(job, timetable, _places(job, active), now, node)
    oldest = _oldest_in_time(job, timetable, now)
    if job.coalesce:
        if oldest is not None and due.last < oldest:
            return [firing.missed(due)]
        return [firing.place(due)]
    return firing.each(due, oldest)


def _oldest_in_time(job: Job, timetable: Timetable, now: datetime) -> datetime | None:
    """What was due before this is too late to run; None when nothing is."""
    grace = job.misfire_grace_time
    # No due time lies before EARLIEST, and subtraction ends there, too.
    if grace is None or grace > now - timetable.offset - EARLIEST:
        return None
    # A job isn't late for as long as its jitter keeps it off its due time.
    return now - timetable.offset - grace


def _places(job: Job, active: Active) -> Places:
    """What the job's overlap policy leaves room for."""
    total = active.going + active.held
    if job.overlap == Overlap.ALLOW_ALL:
        return Places(queued=max(0, job.max_instances - total))
    if job.overlap == Overlap.BUFFER_ONE:
        return Places(queued=int(not total), held=int(not active.held))
    if job.overlap == Overlap.CANCEL_OTHER:
        # The others are cancelled, held ones too: the claim sees to that.
        return Places(held=1) if total else Places(queued=1)
    return Places(queued=int(not total))


class _Firing:
    """The due times of one job on their way to records; uses up the places."""

    def __init__(self, job: Job, timetable: Timetable, places: Places, now: datetime, node: str) -> None:
        self._job = job
        self._timetable = timetable
        self._queued, self._held = places.queued, places.held
        self._now = now
        self._node = node

    def each(self, due: DueTimes, oldest: datetime | None) -> list[Run]:
        """Without coalesce: every due time that is in time gets a place, as far as there are any."""
        assert due.first is not None
        assert due.last is not None
        trigger = self._timetable.trigger()
        records = []
        begin = due.first - RESOLUTION
        if oldest is not None and due.first < oldest:
            missed = trigger.due_between(begin, min(oldest - RESOLUTION, due.last))
            records.append(self.missed(missed))
            begin = oldest - RESOLUTION
        if self._job.overlap == Overlap.CANCEL_OTHER:
            overtaken = trigger.due_between(begin, due.last - RESOLUTION)
            if overtaken.count:
                records.append(self._record(overtaken, State.SKIPPED, OVERTAKEN))
                begin = due.last - RESOLUTION
        fired = trigger.first_due(self._queued + self._held, begin, due.last)
        records += [self.place(DueTimes(count=1, first=time, last=time)) for time in fired]
        rest = trigger.due_between(fired[-1] if fired else begin, due.last)
        if rest.count:
            records.append(self.place(rest))
        return records

    def place(self, due: DueTimes) -> Run:
        """One record for all of `due`: queued, else held, else skipped, by what places are left."""
        if self._queued:
            self._queued -= 1
            return self._record(due, State.QUEUED, node=self._node)
        if self._held:
            self._held -= 1
            return self._record(due, State.QUEUED, held=True)
        return self._record(due, State.SKIPPED, self._why_no_place())

    def missed(self, due: DueTimes) -> Run:
        return self._record(
            due, State.MISSED, f"Late by more than the grace time of {self._job.misfire_grace_time}."
        )

    def _why_no_place(self) -> str:
        overlap = self._job.overlap
        if overlap == Overlap.ALLOW_ALL:
            return f"{self._job.max_instances} of its runs had not ended (overlap: {overlap})."
        if overlap == Overlap.BUFFER_ONE:
            return f"One run had not ended, and one waited for that already (overlap: {overlap})."
        return f"A run of it had not ended (overlap: {overlap})."

    def _record(
        self, due: DueTimes, state: State, reason: str = "", *, node: str = "", held: bool = False
    ) -> Run:
        return Run(
            job=self._job,
            task=self._job.task,
            params=self._job.params,
            cause=Cause.SCHEDULE,
            state=state,
            reason=reason,
            scheduled_for=due.last,
            coalesced=due.count - 1,
            coalesced_since=due.first if due.count > 1 else None,
            created_at=self._now,
            ready_at=self._now,
            held=held,
            finished_at=None if state == State.QUEUED else self._now,
            node=node,
        )
