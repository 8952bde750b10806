"""The sources and jobs that a new installation begins with, against the demo upstream.

Made once, by `setup_hotdata`: what an operator changes or deletes afterwards stays as they left it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.db import transaction

from hotdata.conf import conf
from hotdata.models import Job, Key, Provided, Source
from hotdata.models.policies import Overlap
from hotdata.models.runs import Cause

SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=seconds) for seconds in (1, 60, 3600, 86_400))


@dataclass(frozen=True, kw_only=True)
class DefaultSource:
    """A source, its pinned keys and its fields."""

    name: str
    pinned: tuple[str, ...] = ()
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class DefaultJob:
    """A job and its fields. ``run_at_once``: it also runs as soon as it is made, so that data is there."""

    name: str
    run_at_once: bool = False
    fields: Mapping[str, Any] = field(default_factory=dict)


SOURCES = (
    DefaultSource(
        name="stock",
        pinned=("AAPL", "GOOGL", "MSFT", "AMZN", "TSLA"),
        fields={
            "title": "Stock quotes",
            "path": "/stocks/{key}",
            "batch_size": 50,
            "batch_path": "/stocks",
            "batch_query": {"symbols": "{keys}"},
            "batch_items": "quotes",
            "batch_key": "symbol",
            "soft_ttl": 300 * SECOND,
            "hard_ttl": DAY,
        },
    ),
    DefaultSource(
        name="news",
        pinned=("general", "technology", "business"),
        fields={"title": "News", "path": "/news/{key}", "soft_ttl": 10 * MINUTE, "hard_ttl": DAY},
    ),
    DefaultSource(
        name="weather",
        pinned=("北京", "上海", "深圳", "广州", "杭州"),
        fields={"title": "Weather", "path": "/weather/{key}", "soft_ttl": HOUR, "hard_ttl": DAY},
    ),
    DefaultSource(
        name="forecast",
        fields={"title": "Forecast", "path": "/forecast/{key}", "soft_ttl": DAY, "hard_ttl": 2 * DAY},
    ),
)

REFRESHES = {"max_retries": 3, "retry_delay": 5 * SECOND, "retry_delay_max": MINUTE, "timeout": 4 * MINUTE}

JOBS = (
    DefaultJob(
        name="update_stocks",
        run_at_once=True,
        fields={
            "title": "Update stocks",
            "task": "refresh_source",
            "params": {"source": "stock"},
            "cron": "*/5 * * * *",
            **REFRESHES,
        },
    ),
    DefaultJob(
        name="update_news",
        run_at_once=True,
        fields={
            "title": "Update news",
            "task": "refresh_source",
            "params": {"source": "news"},
            "cron": "*/10 * * * *",
            **REFRESHES,
        },
    ),
    DefaultJob(
        name="update_weather",
        run_at_once=True,
        fields={
            "title": "Update weather",
            "task": "refresh_source",
            "params": {"source": "weather"},
            "cron": "0 * * * *",
            **REFRESHES,
        },
    ),
    DefaultJob(
        name="update_hot_data",
        run_at_once=True,
        fields={
            "title": "Update hot data",
            "task": "refresh_due",
            # Almost until the next one is due; and one by hand keeps none of them from running.
            "params": {"seconds": 58},
            "overlap": Overlap.ALLOW_ALL,
            "max_instances": 2,
            "recover": True,
            "trigger": "interval",
            "interval": MINUTE,
            "timeout": 4 * MINUTE,
        },
    ),
    DefaultJob(
        name="cache_warmup",
        run_at_once=True,
        fields={"title": "Cache warm-up", "task": "warm_up", "cron": "0 23 * * *", **REFRESHES},
    ),
    DefaultJob(
        name="cleanup_logs",
        fields={
            "title": "Clean up logs",
            "task": "cleanup_logs",
            "cron": "0 3 * * sun",
            "timeout": 6 * HOUR,
        },
    ),
    DefaultJob(
        name="roll_up_freshness",
        fields={"title": "Roll up freshness", "task": "roll_up_freshness", "cron": "5 * * * *"},
    ),
    DefaultJob(
        name="health_check",
        fields={
            "title": "Health check",
            "task": "health_check",
            "trigger": "interval",
            "interval": 10 * SECOND,
            "timeout": 10 * SECOND,
            "keep_runs": 100,
        },
    ),
)


@dataclass(frozen=True, kw_only=True)
class Provision:
    """What became of one default: ``made``, ``moved`` to the upstream's new address, or ``kept`` as it was."""

    kind: str
    name: str
    outcome: str


def provide() -> Iterator[Provision]:
    """Make each default that was never made before; each in a transaction of its own."""
    for source in SOURCES:
        yield _provide_source(source)
    for job in JOBS:
        yield _provide_job(job)


@transaction.atomic
def _provide_source(default: DefaultSource) -> Provision:
    provided, new = Provided.objects.get_or_create(kind="source", name=default.name)
    source = Source.objects.filter(name=default.name).first()
    base_url = conf().demo_upstream
    outcome = "kept"
    if new and source is None:
        outcome = "made"
        source = Source(name=default.name, base_url=base_url, **default.fields)
        source.full_clean()
        source.save()
        Key.objects.bulk_create(Key(source=source, key=key) for key in default.pinned)
    elif source is not None and source.base_url == provided.base_url != base_url:
        # The address is still the one that it was given, not an operator's: it follows the demo upstream.
        outcome = "moved"
        source.base_url = base_url
        source.save()
    if outcome != "kept":
        provided.base_url = base_url
        provided.save()
    return Provision(kind="source", name=default.name, outcome=outcome)


@transaction.atomic
def _provide_job(default: DefaultJob) -> Provision:
    _, new = Provided.objects.get_or_create(kind="job", name=default.name)
    if not new or Job.objects.filter(name=default.name).exists():
        return Provision(kind="job", name=default.name, outcome="kept")
    job = Job(name=default.name, **default.fields)
    job.full_clean()
    job.save()
    if default.run_at_once:
        job.request_run(Cause.CLI, by="setup_hotdata")
    return Provision(kind="job", name=default.name, outcome="made")
