"""Rows as tests want them: complete and valid, with what matters to the test given by name."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

from hotdata import registry
from hotdata.freshness import entries, leases
from hotdata.freshness.entries import Stored
from hotdata.models import (
    ApiCall,
    ApiToken,
    Component,
    ComponentChange,
    Job,
    Key,
    PriceList,
    Report,
    Run,
    Source,
    Statement,
)
from hotdata.models.runs import FINISHED, Cause, State
from hotdata.reporting.billing import issue
from hotdata.reporting.kinds import KINDS
from hotdata.reporting.orders import Order
from hotdata.reporting.periods import Length, last_complete, parse

NODE = "node-of-the-test"

Staff = Callable[..., Client]
"""What the fixture `staff` is: it makes the client of a user who has just the permissions that it is given."""

_numbers = itertools.count(1)


def make_job(**fields: Any) -> Job:
    """A saved job that is due each five minutes and does nothing, unless told otherwise."""
    job = Job(**({"name": f"job-{next(_numbers)}", "task": "refresh_due", "cron": "*/5 * * * *"} | fields))
    job.save()
    return job


def make_run(job: Job, **fields: Any) -> Run:
    """A saved run of `job`: queued for `NODE` by hand, unless told otherwise. What must have an end has one."""
    now = timezone.now()
    values: dict[str, Any] = {
        "job": job,
        "task": job.task,
        "params": job.params,
        "cause": Cause.MANUAL,
        "state": State.QUEUED,
        "node": NODE,
        "created_at": now,
        "ready_at": now,
    }
    values |= fields
    if values["state"] == State.RUNNING:
        values = {"started_at": now, "attempt": 1} | values
    if values["state"] in FINISHED:
        values.setdefault("finished_at", now)
    return Run.objects.create(**values)


def make_source(*, pinned: tuple[str, ...] = (), **fields: Any) -> Source:
    """A saved source of HTTP JSON with the keys `pinned`, and a budget that is no obstacle."""
    values = {
        "name": f"source-{next(_numbers)}",
        "base_url": "https://upstream.example",
        "path": "/stocks/{key}",
        "soft_ttl": timedelta(minutes=5),
        "hard_ttl": timedelta(days=1),
        "calls_per_minute": 60_000,
        "burst": 1000,
        "breaker_failures": 1000,
    }
    source = Source(**(values | fields))
    source.save()
    Key.objects.bulk_create([Key(source=source, key=key) for key in pinned])
    return source


def make_report(kind: str = "daily_report", period: str = "", **order: Any) -> Report:
    """A report on record of what is on record now, by default of the last period that is over."""
    now, length = timezone.now(), KINDS[kind].length
    of = parse(period, length) if period else last_complete(length, now)
    KINDS[kind].make(of, Order(**({"by": "root", "now": max(now, of.end + timedelta(hours=1))} | order)))
    return Report.objects.get(kind=kind, first=of.first)


def make_call(source: str = "stock", **fields: Any) -> ApiCall:
    """A saved call of an upstream that went well, just now, unless told otherwise."""
    call = unsaved_call(source, **fields)
    call.save()
    return call


def unsaved_call(source: str = "stock", **fields: Any) -> ApiCall:
    """`make_call`, but for the saving."""
    values = {
        "keys": "AAPL",
        "url": "https://upstream.example/stocks/AAPL",
        "outcome": ApiCall.Outcome.OK,
        "status": 200,
        "started_at": timezone.now(),
        "duration": timedelta(milliseconds=20),
    }
    return ApiCall(source=source, **(values | fields))


def make_component(**fields: Any) -> Component:
    """A component on record that is well and was checked just now, unless told otherwise."""
    now = timezone.now()
    values = {"name": "redis", "state": "ok", "detail": "Redis answers.", "since": now, "checked_at": now}
    return Component.objects.create(**(values | fields))


def make_change(**fields: Any) -> ComponentChange:
    """A change on record, just now: a component that was well is down, unless told otherwise."""
    values = {"component": "redis", "before": "ok", "after": "down", "detail": "Away.", "at": timezone.now()}
    return ComponentChange.objects.create(**(values | fields))


def make_prices(source: str = "stock", **fields: Any) -> PriceList:
    """A saved price list that has always held: each call costs a cent, unless told otherwise."""
    values = {"kind": "calls", "valid_from": "2000-01", "currency": "USD", "tiers": "0.01"}
    prices = PriceList(source=source, **(values | fields))
    prices.save()
    return prices


def issue_statement(
    month: str = "2026-10", *, by: str = "monthly_billing", correct: bool = False
) -> Statement:
    """The statement of `month` by what is on record, as if it were issued on the first of the next one."""
    period = parse(month, Length.MONTH)
    issued, _ = issue(period, now=period.end + timedelta(hours=3), by=by, correct=correct)
    return issued


@contextmanager
def registered(function: Callable[..., Any]) -> Iterator[str]:
    """Inside the block `function` is a task; gives its name."""
    name = f"{function.__name__.strip('<>_').lower()}_{next(_numbers)}"
    registry.task(name=name)(function)
    try:
        yield name
    finally:
        registry.tasks.remove(name)


def make_token(*permissions: str, name: str = "ci", username: str = "robot", **fields: Any) -> ApiToken:
    """A token of a user, who is not staff, with just the given permissions. What is sent is its `secret`."""
    user, _ = User.objects.get_or_create(username=username)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    token, secret = ApiToken.issue(name=name, user=user, by="root", **fields)
    token.secret = secret  # type: ignore[attr-defined]
    return token


def bearer(token: Any) -> dict[str, str]:
    """The headers that bring `token`, or a text as if it were one."""
    return {"Authorization": f"Bearer {getattr(token, 'secret', token)}"}


def make_stored(
    source: str = "stock",
    key: str = "AAPL",
    value: Any = 1,
    *,
    age: float = 0,
    soft_ttl: float = 60,
    hard_ttl: float = 3600,
    **fields: Any,
) -> Stored:
    """What is stored for a key that was asked for `age` seconds ago; nothing is written."""
    fetched_at = time.time() - age
    values: dict[str, Any] = {
        "source": source,
        "key": key,
        "value": value,
        "fetched_at": fetched_at,
        "soft_expiry": fetched_at + soft_ttl,
        "hard_expiry": fetched_at + hard_ttl,
        "changed_at": fetched_at,
    }
    return Stored(**(values | fields))


def store(*args: Any, **fields: Any) -> Stored:
    """`make_stored`, and write it to Redis."""
    stored = make_stored(*args, **fields)
    assert entries.write([stored]) == [True]
    return stored


def rest(source: str, *keys: str) -> None:
    """As after a fetch of `keys` that failed: for a while nobody tries again."""
    taken = leases.acquire_each(source, keys, lasts=timedelta(minutes=1))
    assert len(taken) == len(keys)
    for lease in taken.values():
        lease.end(rest=timedelta(seconds=20))


def caches_at(url: str) -> dict[str, Any]:
    """The site's caches, in the Redis at `url`."""
    return {alias: {**cache, "LOCATION": url} for alias, cache in settings.CACHES.items()}
