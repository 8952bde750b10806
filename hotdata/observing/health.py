"""Is everything well? Checks the parts that hot data depends on, each by itself.

A part is ``ok``, ``degraded`` (it works, but somebody should look) or ``down``. The whole is as bad as its
worst part. A check that fails to check is ``down`` itself; none stops the others.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.db import Error as AnyDatabaseError
from django.db import connection
from django.db.models import Min
from django.utils import timezone

from hotdata.exceptions import HotdataError
from hotdata.freshness import entries, planner
from hotdata.models import ApiCall, Run, Schedule, Source
from hotdata.models.runs import WAITING, State
from hotdata.observing import schedulers

LAG_TOLERATED = timedelta(seconds=15)


class Health(enum.StrEnum):
    OK = "ok"
    DEGRADED = "degraded"
    DOWN = "down"


ORDER = list(Health)


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part's health, and what was seen."""

    state: Health
    detail: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """The health of all parts, by name."""

    parts: dict[str, Part] = field(default_factory=dict)

    @property
    def state(self) -> Health:
        return max((part.state for part in self.parts.values()), key=ORDER.index, default=Health.OK)

    def to_json(self) -> dict[str, Any]:
        return {"state": self.state, "parts": {name: asdict(part) for name, part in self.parts.items()}}


def check() -> Report:
    """Look at every part now."""
    now = timezone.now()
    checks: dict[str, Callable[[], Part]] = {
        "database": _database,
        "redis": _redis,
        "scheduler": partial(_scheduler, now),
    }
    parts = {name: _careful(look) for name, look in checks.items()}
    if parts["database"].state != Health.DOWN:
        for source in Source.objects.enabled().prefetch_related("pinned"):
            parts[f"source:{source.name}"] = _careful(partial(_source, source, now))
    return Report(parts=parts)


def last_state(job: str, *, before: int | None) -> str | None:
    """The state that the job's last recorded check came to; None when there is none."""
    runs = Run.objects.of_job(job).filter(state=State.SUCCEEDED)
    if before is not None:
        runs = runs.filter(id__lt=before)
    result = runs.order_by("-id").values_list("result", flat=True).first()
    return result.get("state") if isinstance(result, dict) else None


def _careful(look: Callable[[], Part]) -> Part:
    try:
        return look()
    except (HotdataError, AnyDatabaseError) as error:
        return Part(state=Health.DOWN, detail=f"{type(error).__name__}: {error}")


def _database() -> Part:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return Part(state=Health.OK, detail=f"{connection.vendor} answers.")


def _redis() -> Part:
    entries.ping()
    return Part(state=Health.OK, detail="Redis answers.")


def _scheduler(now: datetime) -> Part:
    """Somebody leads, and nothing that is due has been waiting for long."""
    found = schedulers.look()
    leader = found.leader
    if leader is None:
        return Part(
            state=Health.DOWN,
            detail=f"No scheduler leads (last: {found.last_leader or 'none'}). Start runscheduler.",
        )
    due = Schedule.objects.aggregate(at=Min("next_run_time"))["at"]
    waiting = Run.objects.filter(state__in=WAITING, held=False, ready_at__lte=now)
    ready = waiting.aggregate(at=Min("ready_at"))["at"]
    lag = max((now - at for at in (due, ready) if at is not None), default=timedelta(0))
    if lag > LAG_TOLERATED:
        return Part(
            state=Health.DEGRADED, detail=f"{leader.name} leads, but {lag.total_seconds():.0f} s behind."
        )
    return Part(state=Health.OK, detail=f"{leader.name} leads.")


def _source(source: Source, now: datetime) -> Part:
    """Of the hot keys none is missing or older than twice its time, and the upstream's last call went well or the
    last one that did is not older either. In hours in which it is not refreshed, a source is well as it is.
    """
    if not source.build_windows().is_open(now):
        return Part(state=Health.OK, detail="It rests: no refresh window is open.")
    overdue_after = 2 * max(source.soft_ttl, source.longest_interval)
    hot = planner.hot_set(source)
    stored = entries.read_many(source.name, hot)
    overdue = [
        key
        for key in hot
        if key not in stored or now.timestamp() > stored[key].fetched_at + overdue_after.total_seconds()
    ]
    success = ApiCall.objects.last_success(source.name)
    reached = f"last success {success:%Y-%m-%d %H:%M:%S} UTC" if success else "no success yet"
    last = ApiCall.objects.filter(source=source.name).order_by("-started_at").first()
    long_ago = success is None or success < now - overdue_after
    if last is not None and last.outcome == ApiCall.Outcome.FAILED and long_ago:
        return Part(state=Health.DEGRADED, detail=f"The upstream fails ({last.error}); {reached}.")
    if overdue:
        return Part(
            state=Health.DEGRADED, detail=f"{len(overdue)} of {len(hot)} hot keys are overdue; {reached}."
        )
    return Part(state=Health.OK, detail=f"{len(hot)} hot keys; {reached}.")
