"""Finds runs, among a million of them, by job, outcome, cause, time and text."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q, QuerySet

from hotdata.models import Job, Run
from hotdata.models.runs import ACTIVE, UNSCHEDULED, UNSUCCESSFUL, Cause, State
from hotdata.observing.finding import Condition, Found, compared, few, limited, one_of, only, place_at, walked
from hotdata.text import is_number

MOST_JOBS = 50
"""As many jobs as a text may mean by a part of their names."""
LARGEST = 2**63 - 1
NOTHING_ELSE = Q()


@dataclass(frozen=True, kw_only=True)
class RunSearch:
    """What is looked for. All that is given has to hold."""

    job: str = ""
    states: frozenset[State] = frozenset()
    """One of these; any, where there is none."""
    cause: Cause | None = None
    since: datetime | None = None
    """Runs are found by time in the order of their ids, which is the one they were made in."""
    until: datetime | None = None
    before: int | None = None
    """Only runs with a smaller id: where an earlier search left off."""
    text: str = ""
    """A run's number (``#12``), a job's name or a part of it, or else a part of an error or a reason."""

    def find(self) -> Found:
        """The runs, newest first. A text that means no run and no job is looked for in what went wrong."""
        term = self.text.strip()
        if not term:
            return self._along(self.job)
        number = term.removeprefix("#")
        if is_number(number):
            run = Run.objects.filter(id=int(number))
            # Many an error is looked for by a status: a bare number that no run has is a text.
            if term != number or run.exists():
                return self._along(self.job, Q(id=int(number)), among=run)
        jobs = [term] if Run.objects.of_job(term).exists() else _jobs_like(term)
        if self.job:
            jobs = [self.job] if self.job in jobs else []
        if len(jobs) == 1:
            return self._along(jobs[0])
        if jobs:
            return self._along("", compared(Run, "job", "in", jobs))
        said = Q(error__icontains=term) | Q(reason__icontains=term)
        return self._along(self.job, said, states=self.states or frozenset(UNSUCCESSFUL))

    def _along(
        self,
        job: str,
        rest: Q = NOTHING_ELSE,
        *,
        states: frozenset[State] | None = None,
        among: QuerySet[Run] | None = None,
    ) -> Found:
        """Take the way along the index that tells most; what only the rows tell is left to the `rest`."""
        states = self.states if states is None else states
        runs = Run.objects.all() if among is None else among
        in_states = compared(Run, "state", "in", states) if states else Q()
        caused = compared(Run, "cause", "exact", self.cause) if self.cause else Q()
        of_job = compared(Run, "job", "exact", job) if job else Q()
        if states and states <= set(ACTIVE):
            way = one_of(runs, "state", ACTIVE).filter(self._in_time(compared))
            return few(way.filter(rest & in_states & of_job & caused), "id")
        if states and states <= set(UNSUCCESSFUL):
            way = one_of(runs, "state", UNSUCCESSFUL).filter(in_states & of_job & self._in_time(compared))
            return limited(way, "id", rest & caused, condition=compared)
        if self.cause in UNSCHEDULED:
            way = one_of(runs, "cause", UNSCHEDULED).filter(caused & self._in_time(compared))
            return limited(way, "id", rest & in_states & of_job, condition=compared)
        way = runs.filter(self._in_time(walked))
        way = only(way, "job_id", job) if job else way
        return limited(way, "id", rest & in_states & caused, within="job_id" if job else "")

    def _in_time(self, condition: Condition) -> Q:
        """The time as a range of ids, in which every way is ordered."""
        found = Q()
        if self.before is not None:
            found &= condition(Run, "id", "lt", self.before)
        if self.since is not None:
            first = place_at(Run.objects.all(), "created_at", self.since)
            found &= condition(Run, "id", "gte", LARGEST if first is None else first)
        if self.until is not None:
            end = place_at(Run.objects.all(), "created_at", self.until)
            found &= Q() if end is None else condition(Run, "id", "lt", end)
        return found


def _jobs_like(term: str) -> list[str]:
    """The names of the jobs that have `term` in their name or title; not too many."""
    named = Job.objects.filter(Q(name__icontains=term) | Q(title__icontains=term))
    return list(named.order_by("name").values_list("name", flat=True)[:MOST_JOBS])
