"""What the list of jobs shows of each job that is on its page, and who may do what with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from hotdata.exceptions import BadTrigger
from hotdata.models import Job
from hotdata.models.pauses import SYSTEM
from hotdata.models.runs import State
from hotdata.models.schedules import Kind
from hotdata.observing.jobs import JobHealth, JobStatus, job_statuses
from hotdata.pages.run_strips import RunStrips
from hotdata.pages.texts import first_line, visible

RUNS_SHOWN = 30


@dataclass(frozen=True, kw_only=True)
class Row:
    """One job of the list."""

    status: JobStatus
    rests: bool
    """Whether its schedule does."""
    when: str
    """The schedule in words."""
    is_bad: bool
    """Whether `when` says why there is none."""
    strip: SafeString
    error: str
    """What is wrong, as far as the user may know."""

    @property
    def job(self) -> Any:
        return self.status.job

    @property
    def about(self) -> str:
        """What it is beside its title."""
        return f"{self.job.name} · {self.job.task}" if self.job.title else str(self.job.task)

    @property
    def brief_error(self) -> str:
        """The first line of it."""
        return first_line(self.error)

    @property
    def was_stopped(self) -> bool:
        """Whether its own failures have paused it."""
        return self.rests and self.job.paused_by == SYSTEM

    @property
    def expression(self) -> str:
        return str(self.job.cron) if self.job.trigger == Kind.CRON else ""

    @property
    def is_late(self) -> bool:
        return self.status.health == JobHealth.LATE

    @property
    def outcome(self) -> str:
        """How the last run ended, where it wasn't by success."""
        last = self.status.last
        if last is None or last.state == State.SUCCEEDED:
            return ""
        return str(last.state.label)


def rows(jobs: Iterable[Job], now: datetime, *, linked: bool) -> Iterator[Row]:
    """A row for each of `jobs` that still exists, with links to runs and what they said where `linked`. Two queries."""
    strips = RunStrips(RUNS_SHOWN, now, linked=linked)
    for status in job_statuses(jobs, now, RUNS_SHOWN):
        when, is_bad = _describe(status.job)
        yield Row(
            status=status,
            rests=status.job.is_paused(now),
            when=when,
            is_bad=is_bad,
            strip=strips.draw(status.latest),
            error=visible(status.told_error(sees_runs=linked)),
        )


def _describe(job: Job) -> tuple[str, bool]:
    try:
        return job.build_trigger().describe(), False
    except BadTrigger as error:
        return _("Can't be scheduled: %(why)s") % {"why": error}, True
