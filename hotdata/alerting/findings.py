"""Findings: what a rule sees when it looks. The same trouble is found each time, for as long as it goes on."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from hotdata.models import Alert
from hotdata.text import storable

LONGEST_SUMMARY = 500
NO_PATIENCE = timedelta(0)

ABOUT_JOBS = (Alert.Kind.FAILING, Alert.Kind.MISSED, Alert.Kind.OVERDUE, Alert.Kind.TOO_LONG)
ABOUT_SOURCES = (Alert.Kind.STALE, Alert.Kind.BREAKER)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One trouble of one subject."""

    kind: Alert.Kind
    subject: str
    summary: str
    severity: Alert.Severity = Alert.Severity.WARNING
    since: datetime | None = None
    """When it began; None for when it is seen first."""
    count: int = 1
    patience: timedelta = NO_PATIENCE
    """For how long it has to be seen before somebody is told."""
    runs: tuple[int, int] | None = None
    """The first and the last of the runs that were counted."""
    over: str = ""
    """Why it is over already."""

    @property
    def key(self) -> tuple[str, str]:
        return self.kind, self.subject


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What rules saw, and of which kinds they could see all: an open alert of another kind is left as it is."""

    findings: tuple[Finding, ...] = ()
    kinds: Collection[Alert.Kind] = ()

    def __add__(self, other: Seen) -> Seen:
        return Seen(findings=self.findings + other.findings, kinds=(*self.kinds, *other.kinds))


def one_line(text: str) -> str:
    """`text` from anywhere as the end of a sentence: on one line, not too long, without what can't be printed."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return storable(line if len(line) <= LONGEST_SUMMARY else line[: LONGEST_SUMMARY - 1] + "…")


def span(duration: timedelta) -> str:
    """A duration for people, in English, as all that is on record: 45 s, 12 min, 3 h 20 min, 2 d 4 h."""
    seconds = max(0, round(duration.total_seconds()))
    if seconds < 120:
        return f"{seconds} s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if minutes < 120:
        return f"{minutes} min"
    if hours < 48:
        return f"{hours} h {minutes % 60} min"
    return f"{days} d {hours % 24} h"
