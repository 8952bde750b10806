"""Components: what the latest health check found down, or degraded for a while.

What is wrong with a source has alerts of its own, which say more: its component opens one only where these are silent.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime, timedelta

from hotdata.alerting.findings import Finding, one_line
from hotdata.models import Alert, Component
from hotdata.models.components import Health

DEGRADED_FOR = timedelta(minutes=1)
OF_A_SOURCE = "source:"
OF_JOBS = "jobs"
"""It sums up what is overdue, and each such job has an alert."""


def find(now: datetime, sources: Collection[str]) -> Iterator[Finding]:
    """Components that are not well. `sources` are in trouble by other rules."""
    known = set(Alert.objects.open().filter(kind=Alert.Kind.COMPONENT).values_list("subject", flat=True))
    for component in Component.objects.exclude(state=Health.OK).exclude(name=OF_JOBS).order_by("name"):
        is_down = component.state == Health.DOWN
        if component.name not in known:
            if component.name.startswith(OF_A_SOURCE) and component.name.removeprefix(OF_A_SOURCE) in sources:
                continue
            if not is_down and now - component.since < DEGRADED_FOR:
                continue
        yield Finding(
            kind=Alert.Kind.COMPONENT,
            subject=component.name,
            severity=Alert.Severity.CRITICAL if is_down else Alert.Severity.WARNING,
            summary=f"{component.name} is {component.state}: {one_line(component.detail)}",
            since=component.since,
        )
