"""Upstreams: open breakers, and hot keys older than their source's objective. Raises CacheUnavailable.

A source that rests, because it is switched off or no refresh window is open, grows old as it should; and one whose
window has just opened gets a moment to catch up.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from hotdata.alerting.findings import Finding, one_line, span
from hotdata.freshness import gate
from hotdata.freshness.upstream import gate_of
from hotdata.models import Alert, Source
from hotdata.observing import keys
from hotdata.observing.keys import KeyAge

CATCHING_UP = timedelta(minutes=2)
PATIENCE = timedelta(minutes=1)
"""After a restart all is old for a moment."""
NAMED = 10
"""Keys that a summary names, the oldest first."""


def find_open_breakers() -> Iterator[Finding]:
    sources = list(Source.objects.enabled().order_by("name"))
    for source, state in zip(sources, gate.look_each([gate_of(source) for source in sources]), strict=True):
        if state.breaker != "closed":
            yield Finding(
                kind=Alert.Kind.BREAKER,
                subject=source.name,
                severity=Alert.Severity.CRITICAL,
                summary=f"The breaker of {source.name} is open: its upstream failed {state.failures:,} times in a row.",
            )


def find_stale(now: datetime) -> Iterator[Finding]:
    stated = Source.objects.enabled().values_list("name", "objective_age", "windows")
    objectives = {name: (age, windows) for name, age, windows in stated if age is not None}
    if not objectives:
        return
    watched = [
        source
        for source in keys.watched_sources(now)
        if source.name in objectives
        and not source.rests
        and not keys.rests(True, objectives[source.name][1], now - CATCHING_UP)
    ]
    old: dict[str, list[KeyAge]] = {}
    for key in keys.key_ages(watched, now):
        objective, _ = objectives[key.source.name]
        if key.age is not None and key.age > objective + keys.TOLERATED:
            old.setdefault(key.source.name, []).append(key)
    for source in watched:
        if found := old.get(source.name):
            yield _stale(source.name, found, len(source.keys), objectives[source.name][0])


def _stale(source: str, found: list[KeyAge], watched: int, objective: timedelta) -> Finding:
    found.sort(key=lambda key: key.age or timedelta(), reverse=True)
    named = ", ".join(f"{key.key} ({span(key.age or timedelta())})" for key in found[:NAMED])
    return Finding(
        kind=Alert.Kind.STALE,
        subject=source,
        summary=one_line(
            f"{len(found):,} of {watched:,} hot keys of {source} are older than the objective of {span(objective)}: "
            f"{named}{', …' if len(found) > NAMED else ''}"
        ),
        patience=PATIENCE,
    )
