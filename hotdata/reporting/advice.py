"""Advice: what the records of a week suggest to change. Rules with thresholds, and each with the figures behind it.

On record are the rule, what it is about and its figures; the sentence is made when it is read. Only what is on record
can be known: that an answer was the same as the one before, only where the upstream said so (304); which keys were
read, only of the last day.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import groupby, islice, pairwise
from operator import itemgetter
from typing import Any

import msgspec
from django.db.models import Count, Exists, OuterRef, Q
from django.utils.translation import gettext_lazy

from hotdata.exceptions import BadTrigger
from hotdata.models import ApiCall, HotKey, Job, Key
from hotdata.models.hotkeys import LIFE, SLIGHTEST
from hotdata.models.policies import Overlap
from hotdata.reporting.letters import Unit, said
from hotdata.reporting.periods import Period
from hotdata.reporting.runs import Runs
from hotdata.reporting.sources import Calls, Reads

MOST = 30
LOOKED_AHEAD = 20  # due times, among which the shortest time between two is looked for
FEWEST_RUNS = 3
FEWEST_PASSED_OVER, PASSED_OVER_SHARE = 10, 0.2
FEWEST_CALLS = 100
UNCHANGED_SHARE = 0.9
READS_PER_CALL = 0.5
"""Each call brings one key or more: with fewer reads than this, most of what was fetched nobody has seen."""
NAMED = 5  # keys

SENTENCES = {
    "overruns": gettext_lazy(
        "It is due each %(interval)s, but all but 5 %% of its runs take up to %(p95)s: give it more time between runs."
    ),
    "never_succeeds": gettext_lazy(
        "None of its %(runs)s runs succeeded: mend it, or pause it until somebody does."
    ),
    "passed_over": gettext_lazy(
        "%(share)s of its due times, %(due_times)s of them, came to nothing: it is due more often than it can run."
    ),
    "unchanged": gettext_lazy(
        "%(share)s of %(answers)s answers said that nothing had changed: refresh it less often (refresh after, "
        "maximum age)."
    ),
    "unread": gettext_lazy(
        "It was asked %(calls)s times for what was read %(reads)s times: refresh it less often, or pin fewer keys."
    ),
    "unread_pins": gettext_lazy(
        "%(keys)s of its %(pinned)s pinned keys were not read in the last day: %(names)s."
    ),
}
"""By rule. One that is given up keeps its sentence: reports on record go on to be read."""
UNITS = {
    "interval": Unit.SECONDS,
    "p95": Unit.SECONDS,
    "share": Unit.SHARE,
    "names": Unit.TEXT,
}
"""Of the figures; the others are counts."""


class Advice(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of advice."""

    rule: str
    job: str = ""
    """What it is about: a job,"""
    source: str = ""
    """or a source."""
    figures: dict[str, int | float | str]

    @property
    def sentence(self) -> str:
        """In words of the active language."""
        words = {name: said(value, UNITS.get(name, Unit.COUNT)) for name, value in self.figures.items()}
        return str(SENTENCES[self.rule]) % words


def advise(period: Period, runs: Runs, reads: Reads, calls: Calls, now: datetime) -> tuple[Advice, ...]:
    """What the records of `period` suggest, at most `MOST`. A fixed number of queries."""
    rules: Iterable[Iterator[Advice]] = (
        _never_succeeds(runs),
        _overruns(runs, now),
        _passed_over(runs),
        _unchanged(period),
        _unread(reads, calls),
        _unread_pins(reads, now) if now - period.end < LIFE else iter(()),
    )
    return tuple(islice((advice for rule in rules for advice in rule), MOST))


def _never_succeeds(runs: Runs) -> Iterator[Advice]:
    for row in runs.jobs:
        if row.failures >= FEWEST_RUNS and not row.succeeded:
            yield Advice(rule="never_succeeds", job=row.job, figures={"runs": row.attempted})


def _overruns(runs: Runs, now: datetime) -> Iterator[Advice]:
    """Of jobs whose runs may not overlap."""
    slow = {row.job: row.p95 for row in runs.jobs if row.p95 is not None}
    jobs = Job.objects.filter(name__in=list(slow), paused=False).exclude(overlap=Overlap.ALLOW_ALL)
    for job in jobs:
        interval, p95 = _shortest_interval(job, now), slow[job.name]
        if interval is not None and p95 > interval:
            yield Advice(rule="overruns", job=job.name, figures={"interval": interval, "p95": p95})


def _shortest_interval(job: Job, now: datetime) -> float | None:
    """Between two of the next due times, in seconds; None where there are not two."""
    try:
        fires = job.next_fires(LOOKED_AHEAD, now)
    except BadTrigger:
        return None
    return min((later.timestamp() - fire.timestamp() for fire, later in pairwise(fires)), default=None)


def _passed_over(runs: Runs) -> Iterator[Advice]:
    for row in runs.jobs:
        share = row.passed_over / (row.passed_over + row.attempted) if row.passed_over else 0.0
        if row.passed_over >= FEWEST_PASSED_OVER and share >= PASSED_OVER_SHARE and not row.thinned:
            figures: dict[str, int | float | str] = {"share": share, "due_times": row.passed_over}
            yield Advice(rule="passed_over", job=row.job, figures=figures)


def _unchanged(period: Period) -> Iterator[Advice]:
    calls = ApiCall.objects.filter(started_at__gte=period.start, started_at__lt=period.end)
    by_source: Any = (
        calls.exclude(outcome=ApiCall.Outcome.FAILED)
        .values_list("source")
        .annotate(n=Count("id"), same=Count("id", filter=Q(outcome=ApiCall.Outcome.NOT_MODIFIED)))
        .order_by("source")
    )
    for source, answers, same in by_source:
        if answers >= FEWEST_CALLS and same >= UNCHANGED_SHARE * answers:
            yield Advice(
                rule="unchanged", source=source, figures={"share": same / answers, "answers": answers}
            )


def _unread(reads: Reads, calls: Calls) -> Iterator[Advice]:
    """Of sources of whose reads there is a record."""
    read = {row.source: row.reads for row in reads.sources}
    for row in calls.sources:
        if row.source in read and row.calls >= FEWEST_CALLS and read[row.source] < READS_PER_CALL * row.calls:
            figures: dict[str, int | float | str] = {"calls": row.calls, "reads": read[row.source]}
            yield Advice(rule="unread", source=row.source, figures=figures)


def _unread_pins(reads: Reads, now: datetime) -> Iterator[Advice]:
    """Of sources of whose reads there is a record. The table of hot keys is a snapshot of what was read of late."""
    read = HotKey.objects.filter(
        source=OuterRef("source__name"),
        key=OuterRef("key"),
        seen_at__gt=now - LIFE,
        reads_per_minute__gte=SLIGHTEST,
    )
    sources = [row.source for row in reads.sources if row.reads]
    pinned: Any = (
        Key.objects.filter(source__name__in=sources, source__enabled=True)
        .annotate(read=Exists(read))
        .order_by("source__name", "id")
        .values_list("source__name", "key", "read")
    )
    for source, keys in groupby(pinned.iterator(), key=itemgetter(0)):
        every, unread = 0, []
        for _, key, was_read in keys:
            every += 1
            unread += [] if was_read else [key]
        if unread:
            names = ", ".join(unread[:NAMED]) + (" …" if len(unread) > NAMED else "")
            figures: dict[str, int | float | str] = {"keys": len(unread), "pinned": every, "names": names}
            yield Advice(rule="unread_pins", source=source, figures=figures)
