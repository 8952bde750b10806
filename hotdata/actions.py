"""What people do by hand with jobs, runs and sources, in the admin and by the API: each leaves who did it.

Whether they may is the caller's to check. What is done in the database and the line about it in the admin's own log
are one transaction: who gets an error has changed nothing there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.admin.models import CHANGE, LogEntry
from django.db import models, transaction
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _

from hotdata.exceptions import TooManyRuns
from hotdata.freshness import demands, wants
from hotdata.models import Job, Run, Source
from hotdata.models.history import name_of
from hotdata.models.runs import ACTIVE, Cause

MOST_RUNS = 10
"""Runs of one job that people have asked for and that have not ended: half of a scheduler's workers, by default."""


@dataclass(frozen=True, kw_only=True)
class Actor:
    """Who does something."""

    user_id: int
    name: str
    """As it is on record."""

    @classmethod
    def of(cls, request: HttpRequest) -> Actor:
        """Who asks; they are logged in, or sent a token."""
        assert request.user.pk is not None
        return cls(user_id=request.user.pk, name=name_of(request))


def run_now(
    actor: Actor,
    job: Job,
    cause: Cause,
    *,
    params: dict[str, Any] | None = None,
    instead: dict[str, Any] | None = None,
) -> Run:
    """Ask for a run in the actor's name, as `Job.request_run` does. Raises UnknownTask, BadParams, TooManyRuns."""
    with transaction.atomic():
        _check_place(job)
        run = job.request_run(cause, by=actor.name, params=params, instead=instead)
        _log(actor, job, f"Run now: run {run.pk}.")
    return run


def run_again(actor: Actor, run: Run, job: Job) -> Run:
    """Ask for a run of `job`, whose `run` was, with the same parameters. Raises what `run_now` does."""
    with transaction.atomic():
        _check_place(job)
        again = job.request_run(Cause.MANUAL, by=actor.name, params=run.params)
        _log(actor, run, f"Run again: run {again.pk}.")
    return again


def _check_place(job: Job) -> None:
    """Raise TooManyRuns when the job has `MOST_RUNS` already. A few more than that, asked for at once, do no harm."""
    asked_for = Run.objects.of_job(job.name).filter(state__in=ACTIVE, cause__in=[Cause.MANUAL, Cause.API])
    if asked_for.count() >= MOST_RUNS:
        raise TooManyRuns(
            _("%(n)d of its runs that people asked for have not ended: wait for them, or cancel some.")
            % {"n": MOST_RUNS}
        )


def set_paused(
    actor: Actor, job: Job, *, paused: bool, note: str = "", until: datetime | None = None
) -> bool:
    """Pause the job in the actor's name, or resume it. False when it is so already, or gone. Raises BadTrigger."""
    by = actor.name if paused else ""
    with transaction.atomic():
        if not job.set_paused(paused, by=by, note=note, until=until):
            return False
        _log(actor, job, "Paused." if paused else "Resumed.")
    return True


def cancel(actor: Actor, run: Run) -> bool:
    """Cancel the run in the actor's name. False when it has ended, or is being cancelled already."""
    with transaction.atomic():
        if not run.cancel(actor.name, timezone.now()):
            return False
        _log(actor, run, "Cancelled.")
    return True


def refresh(actor: Actor, source: Source, keys: Sequence[str]) -> bool:
    """Have the checked `keys` refreshed as soon as the budget allows. False when no run of `refresh_due` is there to
    do it: then nothing was asked for. Raises CacheUnavailable.
    """
    if not wants.are_served():
        return False
    demands.put(source.name, keys)  # before the log: no transaction waits for Redis
    _log(actor, source, f"Refresh of {len(keys)} {'key' if len(keys) == 1 else 'keys'} asked for.")
    return True


def _log(actor: Actor, row: models.Model, message: str) -> None:
    LogEntry.objects.log_actions(actor.user_id, [row], CHANGE, change_message=message)
