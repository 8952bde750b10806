"""The job store: claims what is due. django-apscheduler's store and table, with another way through them.

One claim is one transaction: lock the lease and check its epoch, lock the due schedules, read their jobs,
insert the runs, advance ``next_run_time``. Runs are handed to an executor only after the commit. A crash at
any point therefore leaves each due time either not fired at all, or on record as a queued run.

Nothing read from the database is unpickled or imported: a trigger is rebuilt from its job's fields. A job
whose trigger can't be built is parked, with the error shown, and never deleted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from apscheduler.job import Job as APSchedulerJob
from django.db import IntegrityError, transaction
from django.db.models import Count, Exists, F, OuterRef, Q
from django_apscheduler.jobstores import DjangoJobStore

from hotdata.exceptions import BadTrigger, LostLease
from hotdata.models import Job, Run, Schedule, accounts
from hotdata.models.policies import Overlap
from hotdata.models.prepared import Prepared
from hotdata.models.runs import Cause, State
from hotdata.scheduling.firing import IDLE, Active, fire
from hotdata.scheduling.lease import LeaseKeeper
from hotdata.scheduling.reconciling import Reconciler, park

CLAIM_LIMIT = 2000
EDIT_THE_JOB = "Jobs are defined by hotdata.Job rows: edit those."


# The questions of a claim, of which there may be twenty a second.

DUE: Prepared[Schedule] = Prepared(
    Schedule,
    lambda now: (
        Schedule.objects.due(now)
        .annotate(busy=Exists(Run.objects.active().filter(job=OuterRef("id"))))
        .select_for_update(skip_locked=True)[:CLAIM_LIMIT]
    ),
    datetime,
)
FIRING: Prepared[Job] = Prepared(
    Job,
    # Less what firing doesn't look at: on PostgreSQL each time alone costs 20 µs to read.
    lambda now: (
        Job.objects.defer("title", "pause_note", "updated_at")
        .filter(name__in=Schedule.objects.due(now).values("id")[:CLAIM_LIMIT])
        .order_by()
    ),
    datetime,
)
ACTIVE: Prepared[Run] = Prepared(
    Run,
    # How many runs of each job that is due have not ended, and how many of these are held.
    lambda now: (
        Run.objects.active()
        .filter(job__in=Schedule.objects.due(now).order_by().values("id"))
        .order_by()
        .values(name=F("job"))
        .annotate(both=Count("id"), waiting=Count("id", filter=Q(held=True)))
    ),
    datetime,
)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What one claim put on record."""

    queued: Sequence[Run] = ()
    """Runs to hand to the executor."""
    held: bool = False
    """Whether there are runs that wait for others of their job to end."""
    more: bool = False
    """Whether the limit was reached, so that more may be due."""


class JobStore(DjangoJobStore):  # type: ignore[misc]  # django-apscheduler has no types
    """The schedules and their claim. What stock APScheduler would write through a store is refused."""

    def __init__(self, *, node: str, lease: LeaseKeeper) -> None:
        super().__init__()
        self._node = node
        self._lease = lease
        self.reconciler = Reconciler()

    # The claim

    def claim(self, now: datetime) -> Claim:
        """Fire what is due at `now`: put its runs on record and advance the schedules, or do neither.

        Raises LostLease when this node doesn't lead any more, and the database's errors; nothing is changed then.
        """
        try:
            return self._claim(now)
        except IntegrityError:
            # Some due time has its account already: the clock was set back, or a row was edited by hand.
            # That account stands; the others are made without it.
            return self._claim(now, skip_recorded=True)

    def _claim(self, now: datetime, *, skip_recorded: bool = False) -> Claim:
        with transaction.atomic():
            if not self._lease.lock():
                raise LostLease("Another node leads.")
            due = DUE.instances(now)
            if not due:
                return Claim()
            jobs = _jobs_of(due, now)
            active = _active_runs(now) if any(schedule.busy for schedule in due) else {}
            records: list[Run] = []
            for schedule in due:
                records += self._fire(schedule, jobs.get(schedule.id), active.get(schedule.id, IDLE), now)
            if skip_recorded:
                records = _without_recorded(records)
            held = [run for run in records if run.held]
            overtaking = {run.job_id for run in held if run.job.overlap == Overlap.CANCEL_OTHER}
            if overtaking:
                accounts.overtake(overtaking, now)
                Run.objects.supersede(overtaking, now)
            accounts.put_down(records)
            Schedule.objects.advance(due)
        return Claim(
            queued=[run for run in records if run.state == State.QUEUED and not run.held],
            held=bool(held),
            more=len(due) == CLAIM_LIMIT,
        )

    def _fire(self, schedule: Schedule, job: Job | None, active: Active, now: datetime) -> list[Run]:
        """The records for one due schedule, which is moved on (in memory) to its next time."""
        fire_at = schedule.next_run_time
        schedule.next_run_time = None
        if job is None:
            # Deleted behind the ORM's back: nothing is left to run.
            return []
        timetable = job.timetable()
        try:
            if schedule.state.timetable != timetable:
                # Edited behind the ORM's back: what was due by the old definition is not fired by the new.
                Schedule.objects.plan(job, now)
                schedule.refresh_from_db()
                return []
            due = timetable.due_since(fire_at, now)
            schedule.next_run_time = timetable.next_fire(now)
            return fire(job, timetable, due, active=active, now=now, node=self._node)
        except BadTrigger as error:
            park(job, error, now)
            return []

    def reconcile(self, now: datetime) -> int:
        """Make the next few schedules match their jobs, whoever changed them; return how many that changed."""
        return self.reconciler.step(now)

    # What APScheduler asks of a store

    def register_event_listeners(self) -> None:
        """None: the stock listeners write a second, poorer history."""

    def get_next_run_time(self) -> datetime | None:
        return Schedule.objects.next_fire()

    def lookup_job(self, job_id: str) -> APSchedulerJob | None:
        return next(iter(self._get_jobs(id=job_id)), None)

    def _get_jobs(self, **filters: Any) -> list[APSchedulerJob]:
        """APScheduler's view of the jobs, rebuilt from their definitions; those that can't be built are left out."""
        schedules = list(Schedule.objects.filter(**filters))
        jobs = Job.objects.in_bulk([schedule.id for schedule in schedules], field_name="name")
        views = []
        for schedule in schedules:
            # A definition that was broken behind the ORM's back may not have been parked yet.
            with contextlib.suppress(KeyError, BadTrigger):
                views.append(self._rebuild(jobs[schedule.id], schedule))
        return views

    def _rebuild(self, job: Job, schedule: Schedule) -> APSchedulerJob:
        return APSchedulerJob(
            self._scheduler,
            id=job.name,
            name=job.title or job.name,
            func=job.request_run,
            args=(Cause.MANUAL,),
            kwargs={},
            trigger=job.build_trigger(),
            executor="default",
            misfire_grace_time=None,
            coalesce=job.coalesce,
            max_instances=job.max_instances,
            next_run_time=schedule.next_run_time,
        )

    def _reconstitute_job(self, job_state: bytes) -> APSchedulerJob:
        raise NotImplementedError("Nothing from the database is unpickled.")

    def add_job(self, job: APSchedulerJob) -> None:
        raise NotImplementedError(EDIT_THE_JOB)

    def update_job(self, job: APSchedulerJob) -> None:
        raise NotImplementedError(EDIT_THE_JOB)

    def remove_job(self, job_id: str) -> None:
        raise NotImplementedError(EDIT_THE_JOB)

    def remove_all_jobs(self) -> None:
        raise NotImplementedError(EDIT_THE_JOB)


def _active_runs(now: datetime) -> dict[str, Active]:
    """How many runs of each job that is due have not ended; jobs with none are left out."""
    return {name: Active(going=both - held, held=held) for name, both, held in ACTIVE.tuples(now)}


def _jobs_of(due: list[Schedule], now: datetime) -> dict[str, Job]:
    """The jobs of the schedules `due`, by name."""
    jobs = {job.name: job for job in FIRING.instances(now)}
    # Where an edit has locked some of what is due, others come in their place.
    missing = [schedule.id for schedule in due if schedule.id not in jobs]
    if missing:
        jobs |= Job.objects.in_bulk(missing, field_name="name")
    return jobs


def _without_recorded(records: list[Run]) -> list[Run]:
    """`records` less those whose due time is on record already."""
    recorded: set[tuple[object, datetime | None]] = set(
        Run.objects.filter(
            job__in={run.job_id for run in records}, scheduled_for__in={run.scheduled_for for run in records}
        ).values_list("job", "scheduled_for")
    )
    return [run for run in records if (run.job_id, run.scheduled_for) not in recorded]
