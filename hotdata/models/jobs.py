"""Jobs: what operators define. A task, its parameters, a trigger and policies.

A job is saved together with its schedule and the change counter in one transaction, so the scheduler follows
every edit and never sees half of one. Locks are always taken in that order: schedule, job, counter.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from hotdata import registry
from hotdata.exceptions import BadParams, BadTrigger, UnknownTask
from hotdata.models.changes import ChangeCounter
from hotdata.models.durations import SHORTEST_TIMEOUT, check_durations
from hotdata.models.history import edit_history
from hotdata.models.pauses import Pausable, PausableQuerySet
from hotdata.models.policies import Policies
from hotdata.models.runs import WAITING, Cause, Run, State
from hotdata.models.schedules import LONGEST_OFFSET, Kind, Schedule, Timetable, jitter_too_long
from hotdata.triggers import Trigger, stable_offset
from hotdata.triggers.zones import is_in_range

NOTHING = timedelta(0)


def default_time_zone() -> str:
    return str(settings.TIME_ZONE)


class JobQuerySet(PausableQuerySet["Job"]):
    def delete(self) -> tuple[int, dict[str, int]]:
        """Delete each job as `Job.delete` does: schedules go with their jobs, runs stay."""
        now = timezone.now()
        with transaction.atomic():
            jobs = list(self.order_by("name"))
            # All locks in their order before the first change, and the counter last, however many jobs there are.
            Schedule.objects.lock(*(job.name for job in jobs))
            for job in jobs:
                job.delete_locked(now)
            ChangeCounter.bump()
        return len(jobs), {"hotdata.Job": len(jobs)}

    # As on Django's own: not on the manager, where it would delete all jobs.
    delete.queryset_only = True  # type: ignore[attr-defined]


class Job(Policies, Pausable):
    """A definition that operators edit. ``name`` is its identity and never changes."""

    name = models.SlugField(
        _("name"),
        max_length=100,
        unique=True,
        help_text=_("Its identity, in URLs, commands and history. It can't be changed later."),
    )
    title = models.CharField(
        _("title"), max_length=200, blank=True, help_text=_("For people. May be changed freely.")
    )
    task = models.CharField(_("task"), max_length=100, help_text=_("A registered task."))
    params = models.JSONField(_("parameters"), default=dict, blank=True, help_text=_("A JSON object."))

    trigger = models.CharField(_("trigger"), max_length=10, choices=Kind, default=Kind.CRON)
    cron = models.CharField(
        _("cron"), max_length=200, blank=True, help_text=_("Five fields: minute hour day month weekday.")
    )
    interval = models.DurationField(
        _("interval"), null=True, blank=True, help_text=_("Seconds, or HH:MM:SS.")
    )
    run_at = models.DateTimeField(_("run at"), null=True, blank=True)
    time_zone = models.CharField(_("time zone"), max_length=64, default=default_time_zone)
    starts_at = models.DateTimeField(
        _("starts at"), null=True, blank=True, help_text=_("No due times before; intervals count from here.")
    )
    ends_at = models.DateTimeField(_("ends at"), null=True, blank=True, help_text=_("No due times after."))
    jitter = models.DurationField(
        _("jitter"),
        default=timedelta(0),
        help_text=_("Fire up to this much later than due, by an amount that is fixed for the job."),
    )

    created_at = models.DateTimeField(_("created at"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("updated at"), auto_now=True)

    objects = JobQuerySet.as_manager()
    history = edit_history(_("edit of a job"), _("edits of jobs"))

    class Meta:
        verbose_name = _("job")
        verbose_name_plural = _("jobs")
        ordering = ["name"]
        permissions = [("run_job", _("Can run jobs now")), ("pause_job", _("Can pause and resume jobs"))]
        constraints = [
            *Policies.Meta.constraints,
            models.CheckConstraint(condition=Q(trigger__in=Kind.values), name="job_trigger_known"),
            models.CheckConstraint(
                # A check that comes out as NULL passes: the interval is asked for by name.
                condition=(Q(trigger=Kind.CRON) & ~Q(cron=""))
                | Q(trigger=Kind.INTERVAL, interval__isnull=False, interval__gt=timedelta(0))
                | Q(trigger=Kind.DATE, run_at__isnull=False),
                name="job_trigger_complete",
            ),
            models.CheckConstraint(condition=Q(jitter__gte=timedelta(0)), name="job_jitter_not_negative"),
            models.CheckConstraint(
                condition=Q(ends_at__isnull=True)
                | Q(starts_at__isnull=True)
                | Q(ends_at__gte=F("starts_at")),
                name="job_ends_after_start",
            ),
        ]

    def __str__(self) -> str:
        return self.title or self.name

    # When

    def timetable(self) -> Timetable:
        """The definition's part that says when, as plain data. Fields of other kinds of trigger are left out."""
        return Timetable(
            kind=self.trigger,
            cron=self.cron if self.trigger == Kind.CRON else "",
            interval=self.interval if self.trigger == Kind.INTERVAL else None,
            anchor=(self.starts_at or self.created_at) if self.trigger == Kind.INTERVAL else None,
            run_at=self.run_at if self.trigger == Kind.DATE else None,
            time_zone=self.time_zone,
            starts_at=self.starts_at,
            ends_at=self.ends_at,
            offset=stable_offset(self.name, self.jitter),
            paused=self.paused,
            paused_until=self.paused_until if self.paused else None,
        )

    def build_trigger(self) -> Trigger:
        """The job's trigger; raises BadTrigger."""
        return self.timetable().trigger()

    # Checking

    def clean(self) -> None:
        """Check what fields alone can't: the trigger, the task, its parameters. Raises ValidationError by field."""
        if self.params is None:  # left empty in a form
            self.params = {}
        errors = check_durations(
            self,
            interval=NOTHING,
            jitter=NOTHING,
            misfire_grace_time=NOTHING,
            timeout=SHORTEST_TIMEOUT,
            retry_delay=NOTHING,
            retry_delay_max=NOTHING,
        )
        # What is out of all bounds would overflow the arithmetic of due times.
        errors |= self._check_moments()
        errors |= self._check_task() | self._check_pause() | ({} if errors else self._check_trigger())
        if self.jitter is not None and self.jitter > LONGEST_OFFSET:
            errors["jitter"] = jitter_too_long()
        if self.retry_delay > self.retry_delay_max:
            errors["retry_delay_max"] = gettext("The longest retry delay is shorter than the first one.")
        if errors:
            raise ValidationError(errors)

    def _check_moments(self) -> dict[str, str]:
        """What no page could show in the site's time zone; a form has it in that zone, and a file in any."""
        moments = {name: getattr(self, name) for name in ("run_at", "starts_at", "ends_at", "paused_until")}
        return {
            name: gettext("The time is out of range.")
            for name, moment in moments.items()
            if moment is not None and moment.utcoffset() is not None and not is_in_range(moment)
        }

    def _check_trigger(self) -> dict[str, str]:
        try:
            timetable = self.timetable()
            rests = self.paused and self.paused_until is None
            ended = not rests and timetable.next_fire(timezone.now()) is None
        except BadTrigger as error:
            return {error.field: str(error)}
        # A job that has run its course may still be edited, as long as the edit leaves its times alone.
        if not ended or Schedule.objects.planned(self.name) == timetable:
            return {}
        field = "run_at" if self.trigger == Kind.DATE else "ends_at"
        return {field: gettext("This lies in the past: the job would never run.")}

    def _check_task(self) -> dict[str, str]:
        try:
            task = registry.tasks.get(self.task)
            task.validate(self.params)
            # A job whose source was deleted since may still be edited, such as paused.
            if (self.task, self.params) != self._on_record():
                task.check_names(self.params)
        except UnknownTask as error:
            return {"task": str(error)}
        except BadParams as error:
            return {"params": str(error)}
        return {}

    def _on_record(self) -> tuple[str, Any] | None:
        """The task and the parameters as they were saved last."""
        return Job.objects.filter(pk=self.pk).values_list("task", "params").first()

    # Editing

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save the definition and plan its schedule, or neither.

        Raises BadTrigger for a trigger that can't be built, and ValueError for an attempt to rename the job.
        """
        with transaction.atomic():
            # The lock that the firing path takes first, too.
            Schedule.objects.lock(self.name)
            if not self._state.adding and not Job.objects.filter(pk=self.pk, name=self.name).exists():
                raise ValueError("A job's name is its identity and can't be changed. Make a new job instead.")
            self.save_locked(timezone.now(), *args, **kwargs)
            ChangeCounter.bump()

    def save_locked(self, now: datetime, *args: Any, **kwargs: Any) -> None:
        """`save`, for a caller who has locked the schedule, keeps the name, and bumps the counter."""
        super().save(*args, **kwargs)
        Schedule.objects.plan(self, now)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Delete the definition. Its history stays; what waited to run is cancelled."""
        with transaction.atomic():
            Schedule.objects.lock(self.name)
            deleted = self.delete_locked(timezone.now())
            ChangeCounter.bump()
        return deleted

    def delete_locked(self, now: datetime) -> tuple[int, dict[str, int]]:
        """`delete`, for a caller who has locked the schedule and bumps the counter."""
        for schedule in Schedule.objects.filter(id=self.name):
            schedule.account_overtaken(self, now, "The job was deleted before this due time was fired.")
            schedule.delete()
        deleted = super().delete()
        Run.objects.of_job(self.name).filter(state__in=WAITING).give_up("Its job was deleted.", now)
        return deleted

    # Running

    def request_run(
        self,
        cause: Cause,
        *,
        by: str = "",
        params: dict[str, Any] | None = None,
        instead: dict[str, Any] | None = None,
        node: str = "",
    ) -> Run:
        """Ask for a run as soon as possible, beside the schedule and without touching it.

        `params` replace those given in the definition, name by name, and must name what exists; `instead` are all
        there are, likewise. The run is on record when this returns, and is started by the leader once the transaction
        commits, or by `node`, where one is named. Raises UnknownTask and BadParams.
        """
        merged = (self.params if instead is None else instead) | (params or {})
        task = registry.tasks.get(self.task)
        task.validate(merged)
        task.check_names((instead or {}) | (params or {}))
        now = timezone.now()
        with transaction.atomic():
            run = Run.objects.create(
                job_id=self.name,
                task=self.task,
                params=merged,
                cause=cause,
                requested_by=by,
                state=State.QUEUED,
                created_at=now,
                ready_at=now,
                node=node,
            )
            ChangeCounter.bump()
        return run

    def next_fires(self, count: int, now: datetime) -> list[datetime]:
        """The next `count` due times in the job's own time zone. Raises BadTrigger."""
        return self.build_trigger().preview(count, now)
