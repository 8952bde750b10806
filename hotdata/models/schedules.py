"""Schedules: when each job is due next. The rows of django-apscheduler's ``DjangoJob`` table.

``next_run_time`` is the truth of what is due. ``job_state``, where the stock job store keeps a pickle, holds
the timetable that ``next_run_time`` was computed from, as JSON: an edit made behind the ORM's back shows as a
difference from the job, and a due time that an edit overtakes can still be counted.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
from django.db import models
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django_apscheduler.models import DjangoJob

from hotdata.exceptions import BadTrigger
from hotdata.models import bulk, endings
from hotdata.models.prepared import Prepared
from hotdata.models.runs import Cause, Run, State
from hotdata.triggers import CronTrigger, DateTrigger, DueTimes, IntervalTrigger, Trigger

if TYPE_CHECKING:
    from hotdata.models.jobs import Job

RESOLUTION = timedelta(microseconds=1)
# Due times end a year before the calendar does; with an offset longer than that, adding it would fail.
LONGEST_OFFSET = timedelta(days=360)


class Kind(models.TextChoices):
    """What sort of trigger a job has."""

    CRON = "cron", _("Cron")
    INTERVAL = "interval", _("Interval")
    DATE = "date", _("Once")


def jitter_too_long() -> str:
    return gettext("The jitter can be %(most)d days at most.") % {"most": LONGEST_OFFSET.days}


class Timetable(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """When a job runs, as plain data that compares by value."""

    kind: str
    cron: str = ""
    interval: timedelta | None = None
    anchor: datetime | None = None
    run_at: datetime | None = None
    time_zone: str = "UTC"
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    offset: timedelta = timedelta(0)
    paused: bool = False
    paused_until: datetime | None = None

    # Asked for thrice in a claim, and the same from one fire to the next.
    @functools.lru_cache(maxsize=4096)  # noqa: B019 - timetables are small values, and the cache is bounded
    def trigger(self) -> Trigger:
        """The trigger that this describes; raises BadTrigger when it describes none."""
        if self.offset > LONGEST_OFFSET:
            raise BadTrigger("jitter", jitter_too_long())
        window: Any = {"time_zone": self.time_zone, "starts_at": self.starts_at, "ends_at": self.ends_at}
        if self.kind == Kind.CRON:
            return CronTrigger(expression=self.cron, **window)
        if self.kind == Kind.INTERVAL:
            if self.interval is None or self.anchor is None:
                raise BadTrigger("interval", gettext("An interval job needs an interval."))
            return IntervalTrigger(interval=self.interval, anchor=self.anchor, **window)
        if self.kind == Kind.DATE:
            if self.run_at is None:
                raise BadTrigger("run_at", gettext("A one-off job needs the time at which it runs."))
            return DateTrigger(run_at=self.run_at, **window)
        raise BadTrigger("trigger", gettext("%(kind)r is no kind of trigger.") % {"kind": self.kind})

    def next_fire(self, after: datetime) -> datetime | None:
        """When the job fires next after `after`: a due time plus the job's offset. None while paused or at the end.

        A pause with an end passes over the due times before that. Raises BadTrigger.
        """
        trigger = self.trigger()
        after -= self.offset
        if self.paused:
            if self.paused_until is None:
                return None
            if self.paused_until > after:
                after = self.paused_until - RESOLUTION
        due = trigger.next_after(after)
        return None if due is None else due + self.offset

    def differs_in_pause_only(self, other: Timetable) -> bool:
        return self._without_pause() == other._without_pause()

    def _without_pause(self) -> Timetable:
        return msgspec.structs.replace(self, paused=False, paused_until=None)

    def due_since(self, fire: datetime, now: datetime) -> DueTimes:
        """The due times from the one that fires at `fire` up to those that fire by `now`."""
        return self.trigger().due_between(fire - self.offset - RESOLUTION, now - self.offset)


class ScheduleState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What ``job_state`` holds. ``error`` says why the job is parked: its definition can't be built."""

    timetable: Timetable | None = None
    error: str = ""

    def encode(self) -> bytes:
        return msgspec.json.encode(self)


_decoder = msgspec.json.Decoder(ScheduleState)


class ScheduleQuerySet(models.QuerySet["Schedule"]):
    def due(self, now: datetime) -> ScheduleQuerySet:
        return self.filter(next_run_time__lte=now).order_by("next_run_time", "id")

    def next_fire(self) -> datetime | None:
        """When the next job is due, whichever it is."""
        return next((schedule.next_run_time for schedule in NEXT.instances()), None)

    def lock(self, *names: str) -> None:
        """Lock the schedules of the jobs called `names` until the transaction ends, in the order that all keep."""
        list(self.select_for_update().filter(id__in=names).order_by("id"))

    def planned(self, name: str) -> Timetable | None:
        """The timetable by which the job called `name` was planned last, if it was."""
        schedule = self.filter(id=name).first()
        return None if schedule is None else schedule.state.timetable

    def plan(self, job: Job, now: datetime) -> None:
        """Make the job's schedule follow its definition; call it in the transaction that edits the job.

        A schedule that the edit leaves as it was keeps its phase. Due times that the edit overtakes, because
        nothing had fired them yet, are recorded as missed. Raises BadTrigger; nothing is changed then.
        """
        timetable = job.timetable()
        schedule = self.select_for_update().filter(id=job.name).first()
        if schedule is None:
            self.create(
                id=job.name,
                next_run_time=timetable.next_fire(now),
                job_state=ScheduleState(timetable=timetable).encode(),
            )
            return
        if schedule.state == ScheduleState(timetable=timetable) and not schedule.has_lost_its_time(now):
            return
        timetable.trigger()  # which tells whether it can be built at all
        next_run_time = timetable.next_fire(schedule.settled_to(timetable, now) + timetable.offset)
        if not schedule.stands_under(timetable, now):
            schedule.account_overtaken(job, now, "The job was edited before this due time was fired.")
            schedule.next_run_time = next_run_time
        schedule.job_state = ScheduleState(timetable=timetable).encode()
        schedule.save()

    def park(self, job: Job, error: str, now: datetime) -> bool:
        """Set a job aside whose definition can't be built; the next edit that can be built plans it again.

        Due times that this overtakes are recorded as missed. Returns False when it was parked just so before.
        """
        state = ScheduleState(timetable=job.timetable(), error=error)
        schedule = self.select_for_update().filter(id=job.name).first()
        if schedule is None:
            self.create(id=job.name, next_run_time=None, job_state=state.encode())
            return True
        if schedule.next_run_time is None and schedule.state == state:
            return False
        schedule.account_overtaken(job, now, f"The job's definition can't be built: {error}")
        schedule.next_run_time = None
        schedule.job_state = state.encode()
        schedule.save()
        return True

    def advance(self, schedules: Sequence[Schedule]) -> None:
        """Write the moved-on times of `schedules`, whose rows the caller has locked."""
        bulk.update(schedules, ["next_run_time"])


class Schedule(DjangoJob):  # type: ignore[misc]  # django-apscheduler has no types
    """When one job is due next; ``id`` is the job's name."""

    objects = ScheduleQuerySet.as_manager()

    class Meta:
        proxy = True
        verbose_name = _("schedule")
        verbose_name_plural = _("schedules")

    @property
    def state(self) -> ScheduleState:
        """What the row was planned from. Bytes that are not ours, such as a pickle, read as nothing known."""
        try:
            return _decoder.decode(bytes(self.job_state))
        except (ValueError, RecursionError):
            return ScheduleState()

    def stands_under(self, timetable: Timetable, now: datetime) -> bool:
        """Whether what is due by `now` is so under `timetable`, too, as when a pause is taken back that has ended."""
        old = self.state.timetable
        return (
            old is not None
            and self.next_run_time is not None
            and self.next_run_time <= now
            and not self.state.error
            and timetable.differs_in_pause_only(old)
            and timetable.next_fire(self.next_run_time - RESOLUTION) == self.next_run_time
        )

    def settled_to(self, timetable: Timetable, now: datetime) -> datetime:
        """The due time up to which all are settled by the old definition; later ones are for `timetable`.

        The two may have different offsets. And where only the pause differs, they share their due times: those on
        record, before the clock was set back, don't come again.
        """
        old = self.state.timetable
        if old is None or self.state.error or old.offset > LONGEST_OFFSET:
            return now - timetable.offset
        settled = now - old.offset
        if timetable.differs_in_pause_only(old):
            last = Run.objects.of_job(self.id).aggregate(last=models.Max("scheduled_for"))["last"]
            return max(settled, last or settled)
        return settled

    def has_lost_its_time(self, now: datetime) -> bool:
        """Whether there is no next time, although by its own timetable there is one: somebody took it away.

        A schedule at its end has none left. Whether it was there before the clock was set back, the records tell.
        """
        state = self.state
        if self.next_run_time is not None or state.timetable is None or state.error:
            return False
        try:
            if state.timetable.next_fire(now) is None:
                return False
            settled = self.settled_to(state.timetable, now)
            return state.timetable.next_fire(settled + state.timetable.offset) is not None
        except BadTrigger:
            return False

    def account_overtaken(self, job: Job, now: datetime, reason: str) -> None:
        """Record due times that were reached but not fired, and now never will be, as missed."""
        timetable = self.state.timetable
        if self.next_run_time is None or self.next_run_time > now or timetable is None:
            return
        try:
            overtaken = timetable.due_since(self.next_run_time, now)
        except BadTrigger:
            # Built by an earlier release, but not by this one: of its due times only the first is known.
            due = self.next_run_time - timetable.offset
            overtaken = DueTimes(count=1, first=due, last=due)
        if overtaken.last is None:
            return
        Run.objects.bulk_create(
            [
                Run(
                    job_id=job.name,
                    task=job.task,
                    params=job.params,
                    cause=Cause.SCHEDULE,
                    state=State.MISSED,
                    reason=reason,
                    scheduled_for=overtaken.last,
                    coalesced=overtaken.count - 1,
                    coalesced_since=overtaken.first if overtaken.count > 1 else None,
                    created_at=now,
                    ready_at=now,
                    finished_at=now,
                )
            ],
            # The due time has an account already when the clock was set back: then that one stands.
            ignore_conflicts=True,
        )
        endings.say_later(Run.objects.filter(job_id=job.name, scheduled_for=overtaken.last, created_at=now))


NEXT: Prepared[Schedule] = Prepared(
    Schedule,
    lambda: (
        Schedule.objects.filter(next_run_time__isnull=False)
        .order_by("next_run_time")
        .only("next_run_time")[:1]
    ),
)
