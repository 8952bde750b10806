"""A site at a busy moment, for the pictures of docs: what a day of work has left on record, good and bad.

Everything is written down as the scheduler, refreshes and readers would have: nobody is at work. Chance is the same
each time. The database and Redis are new, and Django is set up.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import time_machine

SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=seconds) for seconds in (1, 60, 3600, 86_400))
KEPT = 2 * DAY
"""How long ago the first run was."""
NODES = ("web-1-4127", "web-2-3980")
"""Who leads, and who stands by."""
OPERATOR = "operator"
AT_ONCE = 5_000  # rows


@dataclass(frozen=True, kw_only=True)
class ShownSource:
    """A source, how it answers, and how old the value of each hot key is, in parts of its soft TTL."""

    name: str
    title: str
    path: str
    soft_ttl: timedelta
    ages: Mapping[str, float]
    latency: timedelta
    """Its median."""
    failed: float = 0.005
    """The share of its calls that fail."""
    status: int = 503
    reads_per_minute: int = 40
    """Of its most-read key."""


@dataclass(frozen=True, kw_only=True)
class ShownJob:
    """A job, and how its runs went."""

    name: str
    title: str
    source: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)
    took: timedelta = SECOND
    """Its median."""
    failed: float = 0.002
    """The share of its runs that fail."""
    bad: tuple[timedelta, timedelta] | None = None
    """From when on, and for how long, all of them fail; counted back from now."""
    error: str = "UpstreamStatus: The upstream answered 503."


SOURCES = (
    ShownSource(
        name="stock", title="US stock quotes", path="/quotes/{key}", soft_ttl=5 * MINUTE, latency=210 * SECOND / 1000,
        ages={"AAPL": 0.31, "MSFT": 0.31, "GOOGL": 0.32, "AMZN": 0.32, "TSLA": 0.34, "NVDA": 0.58}, reads_per_minute=96,
    ),
    ShownSource(
        name="hk-stock", title="港股行情", path="/hk/{key}", soft_ttl=5 * MINUTE, latency=340 * SECOND / 1000,
        ages={"0700.HK": 0.62, "9988.HK": 0.64, "3690.HK": 0.66}, failed=0.012,
    ),
    ShownSource(
        name="news", title="Tech news", path="/news/{key}", soft_ttl=10 * MINUTE, latency=640 * SECOND / 1000,
        ages={"technology": 0.71, "science": 0.72, "general": 0.74}, failed=0.003,
    ),
    ShownSource(
        name="finance-news", title="Finance news", path="/v2/everything", soft_ttl=20 * MINUTE,
        latency=480 * SECOND / 1000, ages={"finance": 2.9, "财经": 2.9}, failed=0.055, status=401,
    ),
    ShownSource(
        name="weather", title="Current weather", path="/weather/{key}", soft_ttl=20 * MINUTE,
        latency=890 * SECOND / 1000,
        ages={"北京": 0.55, "上海": 0.55, "深圳": 0.56, "London": 0.88, "Berlin": 0.9, "New York": 0.92}, failed=0.009,
        reads_per_minute=61,
    ),
    ShownSource(
        name="forecast", title="Hourly forecast", path="/forecast/{key}", soft_ttl=90 * MINUTE,
        latency=1400 * SECOND / 1000, ages={"北京": 0.6, "上海": 0.6, "London": 0.61}, failed=0.004,
    ),
    ShownSource(
        name="fx", title="FX rates", path="/latest/{key}", soft_ttl=10 * MINUTE, latency=120 * SECOND / 1000,
        ages={"EUR-USD": 0.42, "USD-CNY": 0.42, "GBP-USD": 0.43}, failed=0.03,
    ),
    ShownSource(
        name="crypto", title="Crypto spot prices", path="/spot/{key}", soft_ttl=3 * MINUTE, latency=160 * SECOND / 1000,
        ages={"BTC-USD": 0.48, "ETH-USD": 0.5}, failed=0.045, status=429,
    ),
)  # fmt: skip

RETRIES = {"max_retries": 3, "retry_delay": 5 * SECOND, "retry_delay_max": MINUTE, "timeout": 4 * MINUTE}
FAILING, RUNNING, LATE, PAUSED, ONCE = "finance_news", "current_weather", "symbols", "air_quality", "earnings"
WORTH_A_LOOK = "us_stocks"
"""The job whose page is shown."""

JOBS = (
    ShownJob(
        name=WORTH_A_LOOK, title="US stock quotes", source="stock", took=0.42 * SECOND, failed=0.02,
        fields={"cron": "*/5 * * * *", "time_zone": "America/New_York", **RETRIES},
    ),
    ShownJob(
        name="hk_stocks", title="港股行情", source="hk-stock", took=0.6 * SECOND,
        fields={"cron": "*/5 9-16 * * mon-fri", "time_zone": "Asia/Hong_Kong", **RETRIES},
    ),
    ShownJob(
        name="tech_news", title="Tech news", source="news", took=1.1 * SECOND, fields={"cron": "*/10 * * * *"},
    ),
    ShownJob(
        name=FAILING, title="Finance news", source="finance-news", took=0.7 * SECOND, bad=(55 * MINUTE, HOUR),
        error="UpstreamStatus: The upstream answered 401.", fields={"cron": "*/15 * * * *", **RETRIES},
    ),
    ShownJob(
        name=RUNNING, title="Current weather, 40 cities", source="weather", took=9 * SECOND, failed=0.01,
        fields={"cron": "*/20 * * * *", **RETRIES},
    ),
    ShownJob(
        name="hourly_forecast", title="Hourly forecast", source="forecast", took=5 * SECOND, failed=0.04,
        fields={"cron": "5 * * * *", "jitter": 30 * SECOND, **RETRIES},
    ),
    ShownJob(
        name="fx_rates", title="FX rates", source="fx", took=0.3 * SECOND, bad=(6.5 * HOUR, 50 * MINUTE),
        fields={"cron": "*/10 * * * *", **RETRIES},
    ),
    ShownJob(
        name="crypto_prices", title="Crypto spot prices", source="crypto", took=0.2 * SECOND, failed=0.045,
        error="UpstreamStatus: The upstream answered 429.",
        fields={"trigger": "interval", "interval": 3 * MINUTE, "timeout": MINUTE},
    ),
    ShownJob(
        name=LATE, title="Symbol directory", source="stock", took=8 * SECOND, fields={"cron": "30 6 * * *"},
    ),
    ShownJob(
        name=PAUSED, title="Air quality", source="weather", took=1.4 * SECOND, fields={"cron": "*/30 * * * *"},
    ),
    ShownJob(
        name=ONCE, title="Earnings calendar, backfill", source="news", took=22 * SECOND, fields={"trigger": "date"},
    ),
    ShownJob(
        name="health_check", title="Health check", took=0.02 * SECOND,
        fields={"task": "health_check", "trigger": "interval", "interval": 5 * MINUTE, "keep_runs": 1000},
    ),
    ShownJob(
        name="cleanup_logs", title="Clean up logs", took=12 * SECOND,
        fields={"task": "cleanup_logs", "cron": "0 3 * * *", "params": {"days": 90}},
    ),
)  # fmt: skip


def fill(now: datetime) -> None:
    """Write all of it, as if it were `now`."""
    from hotdata.models import bulk
    from hotdata.models.history import edited_by

    chance = random.Random(3)  # noqa: S311 - nothing here is secret
    sources = {shown.name: shown for shown in SOURCES}
    with edited_by("setup"):
        for shown in SOURCES:
            _make_source(shown)
        jobs = {shown.name: _make_job(shown, now) for shown in JOBS}
    _edit(jobs[WORTH_A_LOOK], now)
    records = [run for shown in JOBS for run in _past_runs(shown, jobs[shown.name], now, chance)]
    records.sort(key=lambda run: run.created_at)
    records += _present_runs(jobs, now)
    for start in range(0, len(records), AT_ONCE):
        bulk.insert(records[start : start + AT_ONCE])
    calls = [call for run in records if run.started_at for call in _calls(run, sources, chance)]
    calls.sort(key=lambda call: call.started_at)
    bulk.insert(calls)
    for shown in SOURCES:
        _measure(shown, now, chance)
        _store(shown, now)
        _use_gate(shown)
    _read(now, chance)
    keep_up(now)


def keep_up(now: datetime) -> None:
    """Let the schedulers be heard of now, and nothing be overdue: to be called again before each look."""
    from django.db.models.functions import Now

    from hotdata.models import Job, Lease, Node, Schedule

    for place, name in enumerate(NODES):
        host, _, pid = name.rpartition("-")
        facts = {
            "host": host,
            "pid": int(pid),
            "version": "0.1.0",
            "leading": not place,
            "running": 1 - place,
        }
        Node.objects.get_or_create(name=name, defaults=facts)
    Node.objects.update(started_at=Now() - 3 * DAY - 4 * HOUR, heartbeat_at=Now())
    Lease.objects.update_or_create(id=1, defaults={"holder": NODES[0], "epoch": 7})
    Lease.objects.update(expires_at=Now() + HOUR)
    for job in Job.objects.all():
        Schedule.objects.filter(id=job.name).update(next_run_time=job.timetable().next_fire(now))


# Definitions


def _make_source(shown: ShownSource) -> None:
    from hotdata.models import Key, Source

    source = Source(
        name=shown.name,
        title=shown.title,
        base_url=f"https://{shown.name}.example/v1",
        path=shown.path,
        soft_ttl=shown.soft_ttl,
        refresh_after=shown.soft_ttl * 0.7,
        hard_ttl=DAY,
        calls_per_minute=60,
        objective_age=shown.soft_ttl,
        objective_share=0.99,
        key_policy="any",
    )
    source.save()
    Key.objects.bulk_create([Key(source=source, key=key) for key in list(shown.ages)[:3]])


def _make_job(shown: ShownJob, now: datetime) -> Any:
    from hotdata.models import Job

    job = Job(
        name=shown.name,
        title=shown.title,
        created_at=now - 30 * DAY,
        **{"task": "refresh_source", "params": {"source": shown.source} if shown.source else {}}
        | shown.fields,
    )
    job._history_date = now - 30 * DAY
    if shown.name == ONCE:
        job.run_at = now - 6 * HOUR
    job.save()
    if shown.name == PAUSED:
        job.set_paused(True, note="The provider moves to a new API until Friday.", by=OPERATOR)
    return job


def _edit(job: Any, now: datetime) -> None:
    """Leave a history of edits."""
    from hotdata.models.history import edited_by

    for by, ago, changes in (
        ("operator", 12 * DAY, {"cron": "*/2 * * * *"}),
        ("wei", 5 * DAY, {"cron": "*/5 * * * *", "max_retries": 5}),
        ("operator", 26 * HOUR, {"max_retries": 3, "timeout": 2 * MINUTE}),
    ):
        for name, value in changes.items():
            setattr(job, name, value)
        job._history_date = now - ago
        with edited_by(by):
            job.save()


# Runs


def _past_runs(shown: ShownJob, job: Any, now: datetime, chance: random.Random) -> Iterator[Any]:
    from hotdata.models import Run

    until = {PAUSED: now - 9 * HOUR, LATE: now - HOUR}.get(shown.name, now)
    trigger = job.build_trigger()
    due = now - 7 * HOUR if shown.name == ONCE else now - KEPT
    while (due := trigger.next_after(due)) is not None and due < until:
        began = due + job.timetable().offset + timedelta(milliseconds=chance.randrange(4, 30))
        took = shown.took * chance.lognormvariate(0, 0.35)
        failed = chance.random() < shown.failed or _is_bad(shown, now - due)
        skipped = not failed and shown.name == "tech_news" and chance.random() < 0.02
        record = Run(
            job=job, task=job.task, params=job.params, cause="schedule", scheduled_for=due, created_at=began,
            ready_at=began, finished_at=min(began + took, now), state="skipped" if skipped else "succeeded",
            reason="The run before it was still going." if skipped else "",
        )  # fmt: skip
        if not skipped:
            _perform(record, took, shown.error if failed else "")
        yield record


def _is_bad(shown: ShownJob, ago: timedelta) -> bool:
    return shown.bad is not None and shown.bad[0] - shown.bad[1] <= ago <= shown.bad[0]


def _perform(record: Any, took: timedelta, error: str) -> None:
    """Put down how its one attempt went."""
    record.started_at, record.duration, record.node, record.attempt = record.created_at, took, NODES[0], 1
    source = record.params.get("source")
    if error:
        record.state, record.error = "failed", error
        record.log = f"{_clock(record.started_at)} WARNING hotdata: refresh.failed source={source}\n"
    elif source:
        record.result = {
            "source": source,
            "asked": 6,
            "refreshed": 6,
            "unchanged": 1,
            "calls": 6,
            "failed": {},
        }
        record.progress_done = record.progress_total = 6
        record.log = f"{_clock(record.finished_at)} INFO hotdata: refresh.done source={source} refreshed=6\n"


def _present_runs(jobs: Mapping[str, Any], now: datetime) -> list[Any]:
    """One that runs, with its progress, and one that has waited for too long."""
    from hotdata.models import Run

    weather, symbols = jobs[RUNNING], jobs[LATE]
    began = now - 17 * SECOND
    cities = [
        "北京",
        "上海",
        "深圳",
        "广州",
        "杭州",
        "成都",
        "Tokyo",
        "Singapore",
        "Sydney",
        "Berlin",
        "London",
        "Paris",
    ]
    log = [
        f"{_clock(began + place * 1.3 * SECOND)} INFO weather: {city}: {12 + place * 7 % 17} °C, fetched in "
        f"{210 + place * 37 % 400} ms"
        for place, city in enumerate(cities)
    ]
    return [
        Run(
            job=weather, task=weather.task, params=weather.params, cause="manual", requested_by=OPERATOR,
            created_at=began, ready_at=began, started_at=began, state="running", node=NODES[0], attempt=2,
            progress_done=26, progress_total=40, log="\n".join(log) + "\n",
            attempts=[{
                "number": 1, "node": NODES[0], "state": "failed", "started_at": (began - 8 * SECOND).isoformat(),
                "duration": 2.4, "error": "UpstreamTimeout: It did not answer in time.",
            }],
        ),
        Run(
            job=symbols, task=symbols.task, params=symbols.params, cause="manual", requested_by=OPERATOR,
            state="queued", created_at=now - 3 * MINUTE, ready_at=now - 3 * MINUTE,
        ),
    ]  # fmt: skip


def _clock(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S")


# What upstreams and readers did


def _calls(run: Any, sources: Mapping[str, ShownSource], chance: random.Random) -> Iterator[Any]:
    from hotdata.models import ApiCall

    if not (shown := sources.get(run.params.get("source", ""))):
        return
    wild = 4 if chance.random() < 0.01 else 1
    for place, key in enumerate(shown.ages):
        failed = run.state == "failed" or chance.random() < shown.failed
        yield ApiCall(
            source=shown.name,
            run_id=run.id,
            keys=key,
            url=f"https://{shown.name}.example/v1" + shown.path.replace("{key}", key),
            outcome="failed" if failed else "ok" if chance.random() < 0.8 else "not_modified",
            status=shown.status if failed else 200,
            error=f"UpstreamStatus: The upstream answered {shown.status}." if failed else "",
            started_at=run.started_at + place * 20 * SECOND / 1000,
            duration=shown.latency * wild * chance.lognormvariate(0, 0.4),
            size=0 if failed else chance.randrange(300, 4_000),
        )


def _measure(shown: ShownSource, now: datetime, chance: random.Random) -> None:
    """The reads of past hours, more of them by day."""
    from hotdata.freshness.meters import BOUNDS
    from hotdata.models import FreshnessHour

    this_hour = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    for ago in range(1, 72):
        hour = this_hour - ago * HOUR
        busy = 1.2 if 8 <= hour.hour <= 20 else 0.5
        reads = int(shown.reads_per_minute * 60 * busy * chance.uniform(0.85, 1.15))
        ages = [0] * len(BOUNDS)
        slow = chance.uniform(0.6, 1.1)
        for age in _ages(shown, chance, reads // 20):
            ages[bisect_left(BOUNDS, age * slow)] += 20
        stale = sum(ages[bisect_left(BOUNDS, shown.soft_ttl.total_seconds()) + 1 :])
        FreshnessHour.objects.create(
            source=shown.name, hour=hour, fresh=reads - stale, stale=stale, misses=chance.randrange(3),
            calls=12 * len(shown.ages), failed_calls=chance.randrange(2), ages=ages,
        )  # fmt: skip


def _ages(shown: ShownSource, chance: random.Random, count: int) -> list[float]:
    """How old the values were that so many reads got, in seconds."""
    whole = shown.soft_ttl.total_seconds()
    return [
        whole * (chance.uniform(1, 1.3) if chance.random() < 0.004 else 0.8 * chance.betavariate(1.6, 1.9))
        for _ in range(count)
    ]


def _read(now: datetime, chance: random.Random) -> None:
    """The reads of the last hour, which Redis counts by the minute."""
    from hotdata.freshness import hotkeys, meters
    from hotdata.freshness.meters import Served

    for minutes in range(60, 0, -1):
        with time_machine.travel(now - minutes * MINUTE, tick=False):
            for shown in SOURCES:
                for place, key in enumerate(shown.ages):
                    rests = max(shown.ages.values()) > 1 and minutes < 40
                    for age in _ages(shown, chance, shown.reads_per_minute // (place + 2)):
                        meters.note(
                            shown.name, Served.STALE if rests else Served.FRESH, age * (3 if rests else 1)
                        )
                        hotkeys.note(shown.name, key)
            meters.flush()
            hotkeys.flush()


def _store(shown: ShownSource, now: datetime) -> None:
    """The entries of its hot keys."""
    from hotdata.freshness import entries
    from hotdata.freshness.entries import Stored

    stored = []
    for key, share in shown.ages.items():
        fetched_at = (now - shown.soft_ttl * share).timestamp()
        stored.append(
            Stored(
                source=shown.name, key=key, value={"key": key}, fetched_at=fetched_at, changed_at=fetched_at,
                soft_expiry=fetched_at + shown.soft_ttl.total_seconds(), hard_expiry=fetched_at + DAY.total_seconds(),
            )
        )  # fmt: skip
    entries.write(stored)


def _use_gate(shown: ShownSource) -> None:
    """Some calls of the last minute; of others the gate may hear from the records."""
    from hotdata.exceptions import GateClosed
    from hotdata.freshness.upstream import gate_of
    from hotdata.models import Source

    gate = gate_of(Source.objects.get(name=shown.name))
    with suppress(GateClosed):
        for _ in shown.ages:
            gate.enter(hold=SECOND).leave(failed=False)
