"""Refreshing keys of an upstream that takes 50 ms for a call: `refresh` against the sequential loop of a tutorial.

One key a call, and fifty. Ours does everything that production does: gate, guarded transport, checked and fenced
writes, a record of each call. The source's budget is so large that it is no limit.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

import requests

from benchmarks.measuring import median, seconds
from benchmarks.slow_upstream import SlowUpstream, slow_upstream

LATENCY = 0.05  # seconds
THREADS, MANY_THREADS = 16, 64
ROUNDS = 5
SINGLE_KEYS = 200
BATCH = 50
BATCHED_KEYS = 2_000

UNLIMITED = {"calls_per_minute": 100_000, "burst": 100_000}
BATCHED = {
    "batch_size": BATCH,
    "batch_path": "/stocks",
    "batch_query": {"symbols": "{keys}"},
    "batch_items": "quotes",
    "batch_key": "symbol",
}


def name_of(number: int) -> str:
    """A symbol of three letters."""
    return f"{chr(65 + number // 676)}{chr(65 + number // 26 % 26)}{chr(65 + number % 26)}"


def make_source(name: str, upstream: SlowUpstream, *, threads: int = THREADS, **fields: Any) -> Any:
    from hotdata.models import Source

    source = Source(
        name=name, base_url=upstream.url, path="/stocks/{key}", concurrency=threads, **UNLIMITED, **fields
    )
    source.full_clean()
    source.save()
    return source


def loop(upstream: SlowUpstream, keys: list[str]) -> None:
    """What a tutorial does."""
    from django.core.cache import caches

    for key in keys:
        value = requests.get(f"{upstream.url}/stocks/{key}", timeout=5).json()
        caches["default"].set(key, value, timedelta(minutes=5).total_seconds())


def measure() -> dict[str, dict[str, Any]]:
    """Keys a second of each, in turns: the median of the rounds, the slowest and the fastest."""
    from django.test import override_settings

    from hotdata.freshness.refresh import refresh

    with slow_upstream(LATENCY) as upstream, override_settings(HOTDATA_ALLOW_PRIVATE=[upstream.host]):
        few = [name_of(number) for number in range(SINGLE_KEYS)]
        many = [name_of(number) for number in range(BATCHED_KEYS)]
        contenders = {
            "loop": (few, partial(loop, upstream, few)),
            f"{THREADS} threads": (few, partial(refresh, make_source("single", upstream), few)),
            f"{MANY_THREADS} threads": (
                few,
                partial(refresh, make_source("wide", upstream, threads=MANY_THREADS), few),
            ),
            f"{THREADS} threads, batches of {BATCH}": (
                many,
                partial(refresh, make_source("batched", upstream, **BATCHED), many),
            ),
        }
        rates: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(ROUNDS):
            for name, (keys, run) in contenders.items():
                rates[name].append(len(keys) / seconds(run))
    base = median(rates["loop"])
    return {
        name: {
            "keys_per_second": median(found),
            "slowest": min(found),
            "fastest": max(found),
            "times": median(found) / base,
        }
        for name, found in rates.items()
    }
