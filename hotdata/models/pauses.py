"""Pauses: whether a job's schedule rests, by whose word, why and until when; and when failures make it rest.

A pause concerns due times only: they are passed over without a record. Runs that wait or run go on, and runs by
hand work.
"""

from __future__ import annotations

import contextlib
import itertools
from datetime import datetime
from typing import Any, TypeVar

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, transaction
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from hotdata.exceptions import BadTrigger
from hotdata.logs import EventLogger
from hotdata.models.history import TrackedQuerySet, edited_by
from hotdata.models.runs import FAILURES, Cause, Run, State
from hotdata.models.schedules import Schedule

MAX_FAILURES = 1000
NOTE_LIMIT = 500  # characters
SYSTEM = "scheduler"
"""Who did what no person did."""

Row = TypeVar("Row", bound="Pausable")

logger = EventLogger(__name__)


class PausableQuerySet(TrackedQuerySet[Row]):
    def pause_failing(self, *names: str) -> None:
        """Pause those of the jobs called `names` whose last runs failed as often in a row as they allow.

        Counted are runs of the schedule since the job was edited last, each after all its retries. Call it outside
        of a transaction that has written runs: it locks schedules.
        """
        for job in self.filter(name__in=names, paused=False, pause_after_failures__isnull=False):
            failed = job._failures_in_a_row()
            if len(failed) == job.pause_after_failures:
                last = failed[0].error or failed[0].reason
                note = (
                    f"Paused after {len(failed)} failures in a row. The last one, run {failed[0].id}: {last}"
                )
                # A job that can't be scheduled fires nothing anyway, and shows its error.
                with contextlib.suppress(BadTrigger), edited_by(SYSTEM):
                    if job.set_paused(True, note=note[:NOTE_LIMIT], by=SYSTEM):
                        logger.warning("job.paused", job=job.name, failures=len(failed))


class Pausable(models.Model):
    """The part of a job that says whether it rests; without a table of its own."""

    paused = models.BooleanField(
        _("paused"), default=False, help_text=_("Due times are passed over; runs by hand work.")
    )
    pause_note = models.CharField(_("pause note"), max_length=NOTE_LIMIT, blank=True)
    paused_by = models.CharField(_("paused by"), max_length=150, blank=True, editable=False)
    paused_until = models.DateTimeField(
        _("paused until"),
        null=True,
        blank=True,
        help_text=_("The pause ends then by itself. Empty: when somebody resumes the job."),
    )
    pause_after_failures = models.PositiveSmallIntegerField(
        _("pause after failures"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_FAILURES)],
        help_text=_(
            "Pause the job when this many of its runs in a row failed, each after all retries. Empty: never."
        ),
    )

    # What else it asks the job for.
    name: Any
    updated_at: Any

    class Meta:
        abstract = True

    def is_paused(self, now: datetime) -> bool:
        """Whether the schedule rests at `now`. A pause that has ended may still be on record for a moment."""
        return self.paused and (self.paused_until is None or now < self.paused_until)

    def set_paused(
        self, paused: bool, *, note: str = "", by: str = "", until: datetime | None = None
    ) -> bool:
        """Pause the job (with a note, in the name of `by`, up to `until` if given) or resume it; nothing else changes.

        False when it is so already, or gone; a pause that has ended may be made again. Raises BadTrigger.
        """
        with transaction.atomic():
            Schedule.objects.lock(self.name)
            jobs: models.QuerySet[Any] = type(self)._default_manager.select_for_update()
            job = jobs.filter(pk=self.pk).first()
            if job is None or (job.is_paused(timezone.now()) if paused else not job.paused):
                return False
            job.paused, job.pause_note, job.paused_by, job.paused_until = paused, note, by, until
            job.save(update_fields=["paused", "pause_note", "paused_by", "paused_until", "updated_at"])
        return True

    def _failures_in_a_row(self) -> list[Run]:
        """The latest runs that all failed, since the job was edited last; at most `pause_after_failures`."""
        attempted = Run.objects.of_job(self.name).filter(
            cause__in=[Cause.SCHEDULE, Cause.RECOVERY],
            state__in=[State.SUCCEEDED, *FAILURES],
            created_at__gt=self.updated_at,
        )
        latest = attempted.order_by("-id").only("state", "error", "reason")[: self.pause_after_failures]
        return list(itertools.takewhile(lambda run: run.state in FAILURES, latest))

    def _check_pause(self) -> dict[str, str]:
        """What is wrong with the pause, by field; what a pause left behind that is over is wiped out first."""
        if not self.paused:
            self.pause_note, self.paused_by = "", ""
            return {"paused_until": gettext("The job is not paused.")} if self.paused_until else {}
        if self.paused_until and not self.is_paused(timezone.now()):
            return {"paused_until": gettext("This lies in the past: the pause would have ended.")}
        return {}
