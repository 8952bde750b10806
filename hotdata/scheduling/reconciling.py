"""The comparison of all jobs with their schedules: finds what was changed behind the ORM's back.

Edits through the ORM never need it. It finds what bulk updates, raw SQL, a restored backup or a new release
of the code left behind. A leader does it over and over, so it must cost next to nothing when nothing changed:
the database makes one text of each job's definition, and only jobs whose text is new or another one than in
the last pass are loaded. Measured with 10,000 jobs on PostgreSQL and two busy cores: 0.2 s instead of 2.5. The
first pass of a leader loads all of them. A pass is made in slices, so that no due time waits for all of it.
"""

from __future__ import annotations

import contextlib
from datetime import datetime

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, Subquery, TextField
from django.db.models.functions import Cast, JSONObject

from hotdata.exceptions import BadTrigger
from hotdata.logs import EventLogger
from hotdata.models import Job, Schedule
from hotdata.models.history import edited_by
from hotdata.models.pauses import SYSTEM

logger = EventLogger(__name__)

MOST_READ = 5000  # jobs in a slice, if hardly any of them is loaded: about 90 ms
MOST_LOADED = 50  # jobs in a slice that are loaded: about 12 ms, and 10 more for each that has to be planned

# What `Job.timetable` is made of.
COLUMNS = [
    "trigger", "cron", "interval", "run_at", "time_zone", "starts_at", "ends_at", "jitter", "created_at",
    "paused", "paused_until",
]  # fmt: skip


class Reconciler:
    """Goes through all jobs, slice by slice, and begins anew after the last one."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}
        """What each job looked like in the last pass, as the hash of a text."""
        self._met: dict[str, int] = {}
        """The same, of this pass."""
        self._reached = ""

    @property
    def between_passes(self) -> bool:
        return not self._reached

    def forget(self) -> None:
        """Begin anew, and take nothing for known: others may have led in between."""
        self._known, self._met, self._reached = {}, {}, ""

    def step(self, now: datetime) -> int:
        """Compare the next slice; return how many of its jobs had to be planned anew, or were parked."""
        met: dict[str, int] = {}
        changed: list[str] = []
        size = MOST_READ if self._known else MOST_LOADED
        looks = self._read(size)
        for name, look in looks:
            if len(changed) == MOST_LOADED:
                break
            met[name] = look
            if self._known.get(name) != look:
                changed.append(name)
        planned = sum(_plan_or_park(job, now) for job in _astray(changed, now))
        # Only now: what an error interrupts is compared again. By the last one and not by the greatest: the
        # database may sort names otherwise than Python.
        self._met |= met
        done = len(met) == len(looks) < size
        self._reached = "" if done else next(reversed(met))
        if done:
            self._known, self._met = self._met, {}
            _delete_stray_schedules()
            _end_pauses(now)
        return planned

    def _read(self, size: int) -> list[tuple[str, int]]:
        """Name and look of the next `size` jobs; fewer at the end."""
        schedule = Schedule.objects.filter(id=OuterRef("name"))
        definition = JSONObject(**{column: column for column in COLUMNS})
        rows = (
            Job.objects.filter(name__gt=self._reached)
            .order_by("name")
            .annotate(
                look=Cast(definition, TextField()),
                # Nothing where there is no schedule.
                rests=Subquery(schedule.values(rests=Q(next_run_time__isnull=True))[:1]),
            )
            .values_list("name", "look", "rests")
        )
        return [(name, hash((look, rests))) for name, look, rests in rows[:size]]


def _astray(names: list[str], now: datetime) -> list[Job]:
    """Those of the jobs called `names` whose schedule doesn't match, is missing or parked, or has lost its time."""
    if not names:
        return []
    jobs = Job.objects.only("name", *COLUMNS).in_bulk(names, field_name="name")
    schedules = Schedule.objects.in_bulk(names)
    planned = {name: schedule.state for name, schedule in schedules.items()}
    return [
        job
        for name, job in jobs.items()
        if name not in planned
        or planned[name].error
        or planned[name].timetable != job.timetable()
        or schedules[name].has_lost_its_time(now)
    ]


def _plan_or_park(job: Job, now: datetime) -> bool:
    """Make the job's schedule follow its definition; False when it is parked for the same reason as before."""
    with transaction.atomic():
        # As it stands now: it may have been edited, or deleted, since the comparison began.
        Schedule.objects.lock(job.name)
        current = Job.objects.select_for_update().filter(pk=job.pk).first()
        if current is None:
            return False
        try:
            Schedule.objects.plan(current, now)
        except BadTrigger as error:
            return park(current, error, now)
    return True


def park(job: Job, error: BadTrigger, now: datetime) -> bool:
    """Set a job aside whose definition can't be built; False when it was parked just so before."""
    parked = Schedule.objects.park(job, str(error), now)
    if parked:
        logger.error("job.parked", job=job.name, field=error.field, error=error)
    return parked


def _delete_stray_schedules() -> None:
    """Delete the schedules whose jobs were deleted by raw SQL."""
    jobs = Job.objects.filter(name=OuterRef("id"))
    for name in Schedule.objects.filter(~Exists(jobs)).values_list("id", flat=True)[:MOST_LOADED]:
        with transaction.atomic():
            # A job of this name may be made at this moment: it then holds the lock, or waits for it.
            Schedule.objects.lock(name)
            if not Job.objects.filter(name=name).exists():
                Schedule.objects.filter(id=name).delete()


def _end_pauses(now: datetime) -> None:
    """Resume the jobs whose pause has ended. They fire by themselves from then on; this only tidies the record."""
    ended = Job.objects.filter(paused=True, paused_until__lte=now)
    for job in ended[:MOST_LOADED]:
        # A job that can't be built any more stays as it is, and shows its error.
        with contextlib.suppress(BadTrigger), transaction.atomic(), edited_by(SYSTEM):
            Schedule.objects.lock(job.name)
            # Somebody may just have paused it for longer.
            if ended.filter(pk=job.pk).exists() and job.set_paused(False):
                logger.info("job.resumed", job=job.name, paused_until=job.paused_until)
