"""Reconciling: what was seen against the alerts on record. Opens, keeps up and closes them, and says what is to tell.

Told is an alert when it opens, when it gets worse, at each so many-th count, and when it is over. One that is
silenced is on record and told to nobody; if it goes on when the silence ends, it is told as if it opened then. So is
one that opened while no recipient was set.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from hotdata.alerting import subjects as standings
from hotdata.alerting.findings import Finding, Seen, span
from hotdata.alerting.subjects import Subjects
from hotdata.conf import conf
from hotdata.models import Alert, Notice

Event = Notice.Event

ENDINGS = {
    Alert.Kind.MISSED: "Its records are gone.",
    Alert.Kind.OVERDUE: "It is not behind any more.",
    Alert.Kind.TOO_LONG: "The run has ended.",
    Alert.Kind.STALE: "All hot keys are young enough.",
    Alert.Kind.BREAKER: "The breaker is closed.",
    Alert.Kind.COMPONENT: "It is well.",
}
WORDS = {
    Alert.Kind.FAILING: "failing",
    Alert.Kind.MISSED: "missing runs",
    Alert.Kind.OVERDUE: "overdue",
    Alert.Kind.TOO_LONG: "running too long",
    Alert.Kind.STALE: "stale",
    Alert.Kind.BREAKER: "cut off by its breaker",
    Alert.Kind.COMPONENT: "in trouble",
}
"""What an alert said that its subject was."""


@dataclass(frozen=True, kw_only=True)
class Telling:
    """What is to be told of an alert."""

    alert: Alert
    event: Notice.Event
    text: str


@dataclass(kw_only=True)
class Reconciled:
    opened: int = 0
    closed: int = 0


class Reconciliation:
    """One look's. To be used within a transaction in which nobody else reconciles."""

    def __init__(self, seen: Seen, now: datetime, *, anybody: bool) -> None:
        """`anybody`: whether there is somebody to be told."""
        self.seen, self.now, self.anybody = seen, now, anybody
        self.came_to = Reconciled()
        self.open = {(alert.kind, alert.subject): alert for alert in Alert.objects.open()}
        keys = {finding.key for finding in seen.findings} | self.open.keys()
        self.subjects: Subjects = standings.look(keys, now)

    def tellings(self) -> Iterator[Telling]:
        """Bring the alerts up to date; yields what is to be told, in order."""
        found = set()
        for finding in self.seen.findings:
            if not self.subjects.rest(*finding.key):
                found.add(finding.key)
                yield from self._keep_up(finding)
        for key, alert in list(self.open.items()):
            rest = self.subjects.rest(*key)
            if rest or (alert.kind in self.seen.kinds and key not in found):
                yield from self._close(alert, rest or ENDINGS.get(Alert.Kind(alert.kind), "It is over."))

    def _keep_up(self, finding: Finding) -> Iterator[Telling]:
        alert = self.open.get(finding.key)
        is_new = alert is None
        if alert is None:
            self.came_to.opened += 1
            alert = Alert(kind=finding.kind, subject=finding.subject, opened_at=finding.since or self.now)
        worse = not is_new and finding.severity > alert.severity
        alert.severity = max(alert.severity, finding.severity)
        alert.summary, alert.count, alert.seen_at = finding.summary, finding.count, self.now
        if finding.runs is not None:
            alert.first_run, alert.last_run = finding.runs
        alert.silenced = self.subjects.is_silenced(*finding.key)
        if alert.silenced:
            alert.told_at = None
        event = self._event(alert, finding, worse=worse)
        if event is not None:
            alert.told_at, alert.told_count = self.now, alert.count
        alert.save()
        self.open[finding.key] = alert
        if event is not None:
            yield Telling(alert=alert, event=event, text=alert.summary)
        if finding.over:
            yield from self._close(alert, finding.over)

    def _event(self, alert: Alert, finding: Finding, *, worse: bool) -> Notice.Event | None:
        if alert.silenced or not self.anybody:
            return None
        if alert.told_at is None:
            return Event.OPENED if self.now - alert.opened_at >= finding.patience else None
        repeat = conf().alert_repeat
        if worse or alert.count // repeat > alert.told_count // repeat:
            return Event.GOES_ON
        return None

    def _close(self, alert: Alert, why: str) -> Iterator[Telling]:
        del self.open[alert.kind, alert.subject]
        self.came_to.closed += 1
        alert.closed_at, alert.ending = max(self.now, alert.opened_at), why
        alert.silenced = self.subjects.is_silenced(alert.kind, alert.subject)
        alert.save()
        if alert.told_at is not None and not alert.silenced and self.anybody:
            lasted = span(alert.closed_at - alert.opened_at)
            text = f"{alert.subject} is not {WORDS[Alert.Kind(alert.kind)]} any more, after {lasted}. {why}"
            yield Telling(alert=alert, event=Event.CLOSED, text=text)
