"""What a source's upstream was asked lately: told to its gate when Redis has lost what it knew.

The calls that have ended are on record in the database, within `RECORDED_WITHIN`. Those of this process are remembered
here besides, on record or not. Of the others there can't be more than the gate lets through in that time.

What nobody can tell: how often its breaker has been tried, so the pause is the first one; and the last calls of a
process that was killed, or of a run that was cancelled.
"""

from __future__ import annotations

import os
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import takewhile
from typing import NamedTuple

from django.db import Error as AnyDatabaseError
from django.utils import timezone

from hotdata.exceptions import GateClosed
from hotdata.freshness.gate import MINUTE, WINDOW, Limits, Recent
from hotdata.freshness.replies import SERVER_ERROR
from hotdata.models import ApiCall

RECORDED_WITHIN = timedelta(seconds=3)
"""From the end of a call until it is on record: a refresh writes each second."""
TRY_AGAIN = timedelta(seconds=5)


class _Memory:
    """When this process's calls of the last `WINDOW` began, by source. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun: defaultdict[str, deque[datetime]] = defaultdict(deque)

    def add(self, source: str, started_at: datetime) -> None:
        with self._lock:
            self._begun[source].append(started_at)
            self._forget(source, started_at)

    def of(self, source: str, now: datetime) -> list[datetime]:
        with self._lock:
            self._forget(source, now)
            return list(self._begun[source])

    def _forget(self, source: str, now: datetime) -> None:
        begun = self._begun[source]
        while begun and begun[0] < now - WINDOW:
            begun.popleft()


_memory = _Memory()


def _begin_anew() -> None:
    _memory.__init__()  # type: ignore[misc]


os.register_at_fork(after_in_child=_begin_anew)


def note(source: str, started_at: datetime) -> None:
    """Remember that a call of `source` begins."""
    _memory.add(source, started_at)


def recall(source: str, limits: Limits, timeout: timedelta) -> Recent:
    """What is known of the calls of `source`, none of which takes longer than `timeout`.

    Raises GateClosed when the database can't be asked.
    """
    try:
        recorded = _recorded(source, limits)
    except AnyDatabaseError as error:
        raise GateClosed(source=source, reason="unknown", retry_after=TRY_AGAIN) from error
    now = timezone.now()  # after the query: all that follows is as long ago as it is, and not longer by that
    begun = Counter(call.started_at for call in recorded if call.started_at > now - WINDOW)
    begun |= Counter(_memory.of(source, now))  # most of which are among those on record
    outages = list(takewhile(lambda call: call.is_outage, recorded))
    return Recent(
        calls=tuple(now - started_at for started_at in begun.elements()),
        cooldown=_cooldown(recorded, now),
        failures=len(outages),
        failed=now - outages[0].ended_at if outages else timedelta(0),
        # Without any call of late, there is no reason to think that something was lost.
        unrecorded=_most_unrecorded(limits) if begun else 0,
        settling=timeout + RECORDED_WITHIN,
    )


class _Call(NamedTuple):
    """A call on record."""

    started_at: datetime
    duration: timedelta
    outcome: str
    status: int | None
    cooldown: timedelta | None

    @property
    def ended_at(self) -> datetime:
        return self.started_at + self.duration

    @property
    def is_outage(self) -> bool:
        """Whether the breaker has counted it, as far as the record tells."""
        return self.outcome == ApiCall.Outcome.FAILED and (self.status is None or self.status >= SERVER_ERROR)


def _recorded(source: str, limits: Limits) -> list[_Call]:
    """The latest calls of `source` on record, the newest first: all that the budget and the breaker can ask for.

    And an upstream that wants to be left alone is so: only what was under way by then can be newer.
    """
    found = ApiCall.objects.filter(source=source).order_by("-started_at")
    rows = found.values_list("started_at", "duration", "outcome", "status", "cooldown")
    return [_Call(*row) for row in rows[: max(limits.calls_per_minute, limits.failures) + limits.concurrency]]


def _cooldown(recorded: Sequence[_Call], now: datetime) -> timedelta:
    """How long the upstream is still to be left alone."""
    ends = (call.ended_at + call.cooldown for call in recorded if call.cooldown is not None)
    return max(max(ends, default=now) - now, timedelta(0))


def _most_unrecorded(limits: Limits) -> int:
    """How many calls can be under way, or have ended less than `RECORDED_WITHIN` ago."""
    return limits.concurrency + limits.burst + -(-limits.calls_per_minute * RECORDED_WITHIN // MINUTE)
