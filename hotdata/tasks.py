"""The built-in tasks: thin, over the parts that do the work. They join runs with what runs are about."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from datetime import timedelta
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import msgspec
from django.utils import timezone

import hotdata
from hotdata.alerting import heartbeat, looking
from hotdata.conf import MOST_DAYS, RETAINED
from hotdata.exceptions import BadParams, UnknownSource
from hotdata.freshness import planner, refresh
from hotdata.freshness.refresher import Refresher
from hotdata.models import Source
from hotdata.models.sources import SourceName
from hotdata.observing import components, freshness, health, totals
from hotdata.outbox import sending
from hotdata.reporting import kinds
from hotdata.retention import cleanup, thinning
from hotdata.retention.cleanup import CleanUp

Seconds = Annotated[int, msgspec.Meta(ge=0, le=3600)]
DaysAhead = Annotated[int, msgspec.Meta(ge=0, le=366)]
KindOfRecords = Annotated[str, msgspec.Meta(pattern=f"^({'|'.join(RETAINED)})$")]
Age = Annotated[int, msgspec.Meta(ge=1, le=MOST_DAYS)]


@hotdata.task
def refresh_source(source: SourceName, keys: list[str] | None = None) -> dict[str, Any]:
    """Refresh a source's hot set, or the given keys of it."""
    row = _source(source)
    return _refresh(row, planner.hot_set(row) if keys is None else keys)


@hotdata.task
def refresh_due(seconds: Seconds = 0) -> dict[str, Any]:
    """Refresh what is due in any source's hot set, and what readers find stale; go on with that for some seconds."""
    run = hotdata.current_run()
    until = time.monotonic() + seconds

    def check() -> None:
        run.progress(min(seconds, int(seconds - until + time.monotonic())), seconds)

    refresher = Refresher(check=check, run_id=run.id)
    for source in Source.objects.enabled().prefetch_related("pinned"):
        planner.remember_hot(source, timezone.now())
    refresher.keep_fresh(lambda: time.monotonic() < until and not run.winding_down)
    if refresher.errors and not any(kept.refreshed for kept in refresher.kept.values()):
        raise next(iter(refresher.errors.values()))
    return {source: asdict(kept) for source, kept in refresher.kept.items()}


@hotdata.task
def warm_up(
    source: SourceName = "forecast", cities_of: SourceName = "weather", days_ahead: DaysAhead = 1
) -> dict[str, Any]:
    """Fetch the forecast of every known city for a coming day, by default tomorrow.

    Its key is ``city:YYYY-MM-DD``. It is asked for with what the city was pinned with, and {city} and {date}.
    """
    today = timezone.now().astimezone(ZoneInfo(hotdata.current_run().time_zone)).date()
    day = today + timedelta(days=days_ahead)
    cities = _source(cities_of)
    where = cities.placeholders_by_key()
    asked = {
        f"{city}:{day}": where.get(city, {}) | {"city": city, "date": str(day)}
        for city in planner.hot_set(cities)
    }
    return _refresh(_source(source), list(asked), placeholders=asked)


@hotdata.task
def cleanup_logs(days: Age | None = None, kinds: list[KindOfRecords] | None = None) -> dict[str, Any]:
    """Delete records that are older than the settings say, or than some days; of all kinds, or of some.

    :param kinds: One on each line: runs, calls, freshness, components, alerts, deliveries or usage.
    """
    try:
        shares = cleanup.shares(kinds or (), days)
    except ValueError as error:
        raise BadParams(str(error), param="days") from error
    accounts = CleanUp(shares, timezone.now(), progress=hotdata.current_run().progress).run()
    if not kinds:
        accounts += cleanup.untouched()
    return {account.kind: account.to_json() for account in accounts}


@hotdata.task
def roll_up_freshness() -> dict[str, int]:
    """Write what was measured in past hours, and Redis will forget, to the database."""
    return {"hours": freshness.roll_up(timezone.now())}


@hotdata.task
def roll_up_runs() -> dict[str, int]:
    """Count the runs that have ended into the totals that metrics show, and that outlive the records."""
    run = hotdata.current_run()
    passed = totals.roll_up(timezone.now(), check=run.check)
    thinning.thin_out(run.job)
    return {"ids": passed}


@hotdata.task
def health_check() -> dict[str, Any]:
    """Check all components and put on record how each is; keep the latest runs and those that found a change."""
    run = hotdata.current_run()
    run.notable = True  # until it is known to be as before: a check that can't be made is a change, too
    report = health.check()
    run.notable = bool(components.record(report))
    thinning.thin_out(run.job)
    return report.to_json()


@hotdata.task
def monthly_billing() -> dict[str, Any]:
    """Issue last month's statement, and those of months before it that were missed."""
    return _make_missing(kinds.MONTHLY)


@hotdata.task
def daily_report() -> dict[str, Any]:
    """Report on yesterday, and on the days before that were not reported yet, and mail it."""
    return _make_missing(kinds.DAILY)


@hotdata.task
def weekly_report() -> dict[str, Any]:
    """Report on last week against the week before, and on weeks that were not reported yet, and mail it."""
    return _make_missing(kinds.WEEKLY)


def _make_missing(kind: kinds.Kind) -> dict[str, Any]:
    run, made = hotdata.current_run(), []
    # A job that is due at midnight is about the day that ends there.
    run.wait(max(0.0, kinds.settles_in(kind, timezone.now()).total_seconds()))
    for one in kinds.make_missing(kind, by=f"{run.job} #{run.id}", now=timezone.now()):
        run.log(one.said)
        if one.done:
            made.append(one.name)
        run.progress(len(made))
    return {"made": made}


@hotdata.task
def send_alerts() -> dict[str, int]:
    """Look for what somebody should know of, post it, and send what is due; keep only runs that did something."""
    run = hotdata.current_run()
    run.notable = True  # until it is known that nothing was to be done: a look that fails is worth keeping
    try:
        looked = looking.look(timezone.now())
    finally:  # what was posted before goes out, whatever is wrong with the records
        sent = sending.send_due(lambda: not run.winding_down)
    came_to = asdict(looked) | asdict(sent)
    run.notable = any(came_to.values())
    thinning.thin_out(run.job)
    return came_to


@hotdata.task
def send_heartbeat() -> str:
    """Call the heartbeat URL, if one is set and all is well: who waits for the call there tells of a dead scheduler."""
    run = hotdata.current_run()
    done = heartbeat.beat(timezone.now())
    thinning.thin_out(run.job)
    return done


def _source(name: str) -> Source:
    source = Source.objects.enabled().prefetch_related("pinned").filter(name=name).first()
    if source is None:
        raise UnknownSource(f"There is no enabled source {name!r}.", source=name)
    return source


def _refresh(
    source: Source, keys: list[str], placeholders: Mapping[str, Mapping[str, str]] = {}
) -> dict[str, Any]:
    run = hotdata.current_run()
    refreshed = refresh.refresh(
        source,
        keys,
        placeholders=placeholders,
        progress=run.progress,
        time_left=run.time_left,
        run_id=run.id,
    )
    return asdict(refreshed)
