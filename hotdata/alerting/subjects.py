"""Subjects: the jobs and sources that alerts are about, as they stand now. Of who is gone or rests, nobody is told."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from hotdata.alerting.components import OF_A_SOURCE
from hotdata.alerting.findings import ABOUT_JOBS, ABOUT_SOURCES
from hotdata.models import Alert, Component, Job, Silence, Source
from hotdata.models.pauses import SYSTEM

Subject = tuple[str, str]
"""What sort of thing it is, as `Silence.Of` names it, and its name."""


def subject_of(kind: str, name: str) -> Subject | None:
    """The job or source that an alert of `kind` about `name` is about; None for another component."""
    if kind in ABOUT_JOBS:
        return Silence.Of.JOB, name
    if kind in ABOUT_SOURCES:
        return Silence.Of.SOURCE, name
    if name.startswith(OF_A_SOURCE):
        return Silence.Of.SOURCE, name.removeprefix(OF_A_SOURCE)
    return None


@dataclass(frozen=True, kw_only=True)
class Subjects:
    """Why nobody wants to hear of some of them, and of whom nobody is to be told for a while."""

    resting: Mapping[Subject, str]
    silenced: Collection[Subject]
    components: Collection[str]
    """Those that are checked."""

    def rest(self, kind: str, name: str) -> str:
        """Why this is no trouble now; empty when it is. A run that takes too long does so in a pause, too."""
        if kind == Alert.Kind.COMPONENT and name not in self.components:
            return "It is not checked any more."
        subject = subject_of(kind, name)
        if subject is None or kind == Alert.Kind.TOO_LONG:
            return ""
        return self.resting.get(subject, "")

    def is_silenced(self, kind: str, name: str) -> bool:
        return subject_of(kind, name) in self.silenced


def look(alerts: Collection[tuple[str, str]], now: datetime) -> Subjects:
    """How those stand that `alerts`, by kind and subject, are about. Four queries."""
    about = {subject for kind, name in alerts if (subject := subject_of(kind, name))}
    jobs = {name for of, name in about if of == Silence.Of.JOB}
    sources = {name for of, name in about if of == Silence.Of.SOURCE}
    resting: dict[Subject, str] = {}
    there = {job.name: job for job in Job.objects.filter(name__in=jobs)}
    for name in jobs:
        job = there.get(name)
        if job is None:
            resting[Silence.Of.JOB, name] = "The job was deleted."
        elif (
            job.is_paused(now) and job.paused_by != SYSTEM
        ):  # one that its failures have paused is in trouble
            resting[Silence.Of.JOB, name] = (
                f"The job was paused{f' by {job.paused_by}' if job.paused_by else ''}."
            )
    enabled = dict(Source.objects.filter(name__in=sources).values_list("name", "enabled"))
    for name in sources:
        if name not in enabled:
            resting[Silence.Of.SOURCE, name] = "The source was deleted."
        elif not enabled[name]:
            resting[Silence.Of.SOURCE, name] = "The source was switched off."
    silenced = set(Silence.objects.active(now).values_list("of", "name"))
    components = set(Component.objects.values_list("name", flat=True))
    return Subjects(resting=resting, silenced=silenced, components=components)
