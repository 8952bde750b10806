"""The default jobs: they refresh the default sources, whatever their upstream is, and keep house."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hotdata.defaults.sources import HOUR, MINUTE, SECOND
from hotdata.models.policies import Overlap


@dataclass(frozen=True, kw_only=True)
class DefaultJob:
    """A job and its fields. ``run_at_once``: it also runs as soon as there is something new for it to fetch."""

    name: str
    run_at_once: bool = False
    fields: Mapping[str, Any] = field(default_factory=dict)


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
        name="roll_up_runs",
        fields={
            "title": "Roll up runs",
            "task": "roll_up_runs",
            "trigger": "interval",
            "interval": MINUTE,
            "timeout": 10 * MINUTE,
            "keep_runs": 10,
        },
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
    DefaultJob(
        name="monthly_billing",
        # Whoever is billed twice has one statement: it may be run again.
        fields={
            "title": "Monthly billing",
            "task": "monthly_billing",
            "cron": "0 3 1 * *",
            "recover": True,
            "max_retries": 5,
            "retry_delay": MINUTE,
            "retry_delay_max": HOUR,
        },
    ),
    DefaultJob(
        name="daily_report",
        fields={
            "title": "Daily report",
            "task": "daily_report",
            "cron": "0 2 * * *",
            "recover": True,
            "max_retries": 3,
            "retry_delay": MINUTE,
            "timeout": HOUR,
        },
    ),
    DefaultJob(
        name="weekly_report",
        fields={
            "title": "Weekly report",
            "task": "weekly_report",
            "cron": "0 9 * * mon",
            "recover": True,
            "max_retries": 3,
            "retry_delay": MINUTE,
            "timeout": HOUR,
        },
    ),
    DefaultJob(
        name="send_alerts",
        fields={
            "title": "Send alerts",
            "task": "send_alerts",
            "trigger": "interval",
            "interval": 15 * SECOND,
            "timeout": 2 * MINUTE,
            "keep_runs": 100,
        },
    ),
    DefaultJob(
        name="send_heartbeat",
        fields={
            "title": "Send heartbeat",
            "task": "send_heartbeat",
            "trigger": "interval",
            "interval": MINUTE,
            "timeout": MINUTE,
            "max_retries": 2,
            "retry_delay": 5 * SECOND,
            "retry_delay_max": 10 * SECOND,
            "keep_runs": 100,
        },
    ),
)
