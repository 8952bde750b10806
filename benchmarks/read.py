"""Reading a fresh entry: `hotdata.get` against `cache.get` of the same bytes on the same cache, and the neighbours.

All in one process and in turn, one read of each after the other, in several rounds; figures are medians of the
rounds. cashews, which is asynchronous, has a process of its own, and a `cache.get` in turn with it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any

from benchmarks import caches
from benchmarks.measuring import median, percentile, seconds

PAYLOAD = {"symbol": "AAPL", "price": 231.4, "history": [round(230 + number / 7, 2) for number in range(80)]}
ROUNDS = 10
READS = 1_000  # of each, in a round
TTL = 600  # seconds

Times = dict[str, list[list[float]]]
"""By contender, the seconds of its reads in each round."""


def raw() -> Callable[[], Any]:
    """Has an entry stored; how it is read by Django's cache alone."""
    from django.core.cache import caches as django_caches

    from hotdata.conf import conf
    from hotdata.freshness import entries
    from hotdata.freshness.entries import Stored

    now = time.time()
    stored = Stored(
        source="bench",
        key="AAPL",
        value=PAYLOAD,
        fetched_at=now,
        soft_expiry=now + TTL,
        hard_expiry=now + TTL,
        changed_at=now,
    )
    entries.write([stored])
    cache = django_caches[conf().cache]
    name = entries.name_of("bench", "AAPL")
    assert cache.get(name) == stored
    return lambda: cache.get(name)


def in_threads() -> dict[str, dict[str, Any]]:
    """The synchronous ones."""
    import hotdata

    region = caches.dogpile()
    contenders = {
        "cache.get": raw(),
        "hotdata.get": lambda: hotdata.get("bench", "AAPL"),
        "dogpile.cache": lambda: region.get_or_create("AAPL", lambda: PAYLOAD, TTL),
    }
    times: Times = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for found in times.values():
            found.append([])
        for _ in range(READS):
            for name, read in contenders.items():
                times[name][-1].append(seconds(read))
    return figures(times, {name: commands(read) for name, read in contenders.items()})


async def in_a_loop() -> dict[str, dict[str, Any]]:
    """cashews, and `cache.get` in the same process."""
    cache = caches.cashews()
    way = cache.early(ttl=timedelta(seconds=TTL), early_ttl=timedelta(seconds=TTL / 2), key="{key}")

    @way
    async def read(key: str) -> Any:
        return PAYLOAD

    read_raw = raw()
    times: Times = {"cache.get": [], "cashews": []}
    for _ in range(ROUNDS):
        for found in times.values():
            found.append([])
        for _ in range(READS):
            times["cache.get"][-1].append(seconds(read_raw))
            times["cashews"][-1].append(await awaited(lambda: read("AAPL")))
    before = all_commands()
    for _ in range(READS):
        await read("AAPL")
    asked = (all_commands() - before) / READS
    await cache.close()
    return {"cashews": figures(times, {"cache.get": commands(read_raw), "cashews": asked})["cashews"]}


async def awaited(function: Callable[[], Awaitable[Any]]) -> float:
    """How long one call takes."""
    began = time.perf_counter()
    await function()
    return time.perf_counter() - began


def commands(read: Callable[[], Any]) -> float:
    """What a read costs in Redis commands: those of many, with what the process sends in the background meanwhile."""
    before = all_commands()
    for _ in range(READS):
        read()
    return (all_commands() - before) / READS


def all_commands() -> int:
    """Those that Redis has carried out until now, but for INFO."""
    from hotdata.freshness import redis

    stats = redis.client().info("commandstats")
    return sum(stat["calls"] for name, stat in stats.items() if name != "cmdstat_info")


def figures(times: Times, asked: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """Microseconds, and how many times those of `cache.get`."""
    found = {
        name: {share: median(percentile(reads, share) for reads in rounds) * 1e6 for share in (0.5, 0.99)}
        for name, rounds in times.items()
    }
    base = found["cache.get"]
    return {
        name: {
            "p50_us": by_share[0.5],
            "p99_us": by_share[0.99],
            "times_p50": by_share[0.5] / base[0.5],
            "times_p99": by_share[0.99] / base[0.99],
            "commands": asked[name],
        }
        for name, by_share in found.items()
    }


def measure(how: str) -> dict[str, dict[str, Any]]:
    return in_threads() if how == "threads" else asyncio.run(in_a_loop())
