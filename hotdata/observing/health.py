"""Is everything well? Checks the components that hot data depends on, each by itself.

A part is ``ok``, ``degraded`` (it works, but somebody should look) or ``down``. The whole is as bad as its
worst part. A check that fails to check is ``down`` itself; none stops the others. What is found goes on record in
`components`; `bounded` has the same checks for who can't wait for a database that hangs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.db import Error as AnyDatabaseError
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from hotdata.conf import conf
from hotdata.exceptions import HotdataError
from hotdata.freshness import entries, planner
from hotdata.models import ApiCall, Lease, Run, Schedule, Source
from hotdata.models.components import Health
from hotdata.models.runs import WAITING
from hotdata.text import without_credentials

LAG_TOLERATED = timedelta(seconds=15)
MIGRATED_FOR = (
    60.0  # seconds; to look costs as much as all other checks together, and code and tables rarely part
)
MOST_DETAIL = 500  # characters

ORDER = list(Health)


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part's health, and what was seen."""

    state: Health
    detail: str


Look = Callable[[], Part]


@dataclass(frozen=True, kw_only=True)
class Report:
    """The health of all parts, by name, and when the first of them was looked at."""

    parts: dict[str, Part] = field(default_factory=dict)
    at: datetime = field(default_factory=timezone.now)

    @property
    def state(self) -> Health:
        return worst(part.state for part in self.parts.values())

    @property
    def knows_sources(self) -> bool:
        """Whether a source that is not among the parts is gone, and not just unseen."""
        return DATABASE in self.parts and self.parts[DATABASE].state != Health.DOWN

    def to_json(self) -> dict[str, Any]:
        return {"state": self.state, "parts": {name: asdict(part) for name, part in self.parts.items()}}


def worst(states: Iterable[Health]) -> Health:
    """The worst of `states`; ``ok`` where there are none."""
    return max(states, key=ORDER.index, default=Health.OK)


def check() -> Report:
    """Look at every part now."""
    at = timezone.now()
    parts = {name: careful(look) for name, look in LOOKS.items()}
    report = Report(parts=parts, at=at)
    if report.knows_sources:
        parts |= {name: careful(look) for name, look in source_looks().items()}
    return report


def careful(look: Look) -> Part:
    """What `look` finds, or why it couldn't; without a password that the error may quote."""
    try:
        return look()
    except (HotdataError, AnyDatabaseError) as error:
        said = without_credentials(f"{type(error).__name__}: {error}".strip())
        return Part(state=Health.DOWN, detail=said[:MOST_DETAIL])


def source_looks() -> Mapping[str, Look]:
    """The checks of all enabled sources, by the name of the component. Raises what the database raises."""
    now = timezone.now()
    sources = Source.objects.enabled().prefetch_related("pinned").order_by("name")
    return {f"{SOURCE}{source.name}": partial(_source, source, now) for source in sources}


def _redis() -> Part:
    entries.ping()
    return Part(state=Health.OK, detail="Redis answers.")


def _database() -> Part:
    # SQLite answers SELECT 1 without its file. The names of the tables are read from it, also before `migrate`.
    connection.introspection.table_names()
    return Part(state=Health.OK, detail=f"{connection.vendor} answers.")


class Migrated:
    """What this process knows of its migrations."""

    until = 0.0
    """Until then the database counts as having all of them (monotonic)."""


def _migrations() -> Part:
    if time.monotonic() >= Migrated.until:
        executor = MigrationExecutor(connection)
        steps = executor.migration_plan(executor.loader.graph.leaf_nodes())
        missing = [f"{migration.app_label}.{migration.name}" for migration, _ in steps]
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            return Part(state=Health.DOWN, detail=f"Not applied: {missing[0]}{more}. Run manage.py migrate.")
        Migrated.until = time.monotonic() + MIGRATED_FOR
    return Part(state=Health.OK, detail="All migrations are applied.")


def _scheduler() -> Part:
    """Somebody leads, and keeps the lease: a leader whose loop hangs may look alive otherwise."""
    tenure = Lease.look()
    renewed = tenure.renewed_ago(conf().lease_ttl)
    if renewed is None or renewed > conf().node_timeout:
        return Part(
            state=Health.DOWN,
            detail=f"No scheduler leads (last: {tenure.holder or 'none'}). Start runscheduler.",
        )
    return Part(state=Health.OK, detail=f"{tenure.holder} leads.")


def _jobs() -> Part:
    """Nothing that is due has been waiting for long."""
    now = timezone.now()
    late = now - LAG_TOLERATED
    due = Schedule.objects.filter(next_run_time__lt=late).values_list("id", "next_run_time")
    waiting = Run.objects.filter(state__in=WAITING, held=False, ready_at__lt=late).values_list(
        "job_id", "ready_at"
    )
    first = [due.order_by("next_run_time").first(), waiting.order_by("ready_at").first()]
    overdue = [(at, job) for job, at in filter(None, first)]
    if not overdue:
        return Part(state=Health.OK, detail="No job is overdue.")
    at, job = min(overdue)
    return Part(
        state=Health.DEGRADED,
        detail=f"{job} was due {(now - at).total_seconds():.0f} s ago, and hasn't started.",
    )


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


DATABASE, REDIS, MIGRATIONS, SCHEDULER, JOBS = "database", "redis", "migrations", "scheduler", "jobs"
SOURCE = "source:"
"""What the name of a source's component begins with."""
LOOKS: Mapping[str, Look] = {
    DATABASE: _database,
    REDIS: _redis,
    MIGRATIONS: _migrations,
    SCHEDULER: _scheduler,
    JOBS: _jobs,
}
"""The checks of all but the sources, by the name of the component."""
