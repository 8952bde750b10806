"""Many readers of one key, as a process: ``python -m benchmarks.readers CONTENDER URL``, steered by lines of JSON.

It says READY when it is at work. Each line that it is sent is a round, which all of its readers begin at the same
moment; when that is over it prints what they saw. They are threads, those of an asynchronous contender tasks.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from benchmarks import caches

READY = "readers.ready"
READERS = 50
PAUSE = 0.1  # seconds between two reads of one reader, where a round has more than one
TTL = 2.0  # seconds for which a value is fresh
KEPT = 3600.0  # seconds for which it is kept
SOURCE = "bench"
TIMEOUT = 5.0  # seconds for the upstream

Quote = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Round:
    """What the readers of all processes do at the same time."""

    key: str
    at: float
    """When it begins, in Unix seconds."""
    seconds: float = 0.0
    """For how long they go on reading; 0: each reads once."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One read."""

    wait: float
    """Seconds."""
    age: float | None
    """Of the value in seconds; None when there was an error instead."""


def upstream_at(url: str) -> Callable[[str], Quote]:
    """How the contenders without an upstream of their own ask it: with connections that are kept."""
    session = requests.Session()
    session.mount("http://", HTTPAdapter(pool_maxsize=READERS))

    def fetch(key: str) -> Quote:
        response = session.get(f"{url}/stocks/{key}", timeout=TIMEOUT)
        response.raise_for_status()
        quote: Quote = response.json()
        return quote

    return fetch


# Contenders that are read in threads


def hotdata(url: str) -> Callable[[str], Quote]:
    import hotdata

    return lambda key: hotdata.get(SOURCE, key).value


def get_or_set(url: str) -> Callable[[str], Quote]:
    """Django's own."""
    from django.core.cache import caches as django_caches

    fetch = upstream_at(url)
    return lambda key: django_caches["default"].get_or_set(key, lambda: fetch(key), TTL)


def dogpile(url: str, *, in_background: bool = False) -> Callable[[str], Quote]:
    fetch = upstream_at(url)
    region = caches.dogpile(in_background=in_background)
    return lambda key: region.get_or_create(key, lambda: fetch(key), TTL)


IN_THREADS: dict[str, Callable[[str], Callable[[str], Quote]]] = {
    "hotdata": hotdata,
    "cache.get_or_set": get_or_set,
    "dogpile.cache": dogpile,
    "dogpile.cache in background": lambda url: dogpile(url, in_background=True),
}


def in_threads(read: Callable[[str], Quote]) -> None:
    with ThreadPoolExecutor(READERS) as threads:
        for line in sys.stdin:
            turn = Round(**json.loads(line))
            readers = [threads.submit(read_in, turn, read) for _ in range(READERS)]
            tell([seen for reader in readers for seen in reader.result()])


def read_in(turn: Round, read: Callable[[str], Quote]) -> list[Seen]:
    """The reads of one reader."""
    seen: list[Seen] = []
    time.sleep(max(0.0, turn.at - time.time()))
    while not seen or time.time() < turn.at + turn.seconds:
        began, quote = time.perf_counter(), None
        with suppress(Exception):  # whatever it is: it is what the reader gets
            quote = read(turn.key)
        seen.append(_seen(began, quote))
        time.sleep(PAUSE if turn.seconds else 0.0)
    return seen


def _seen(began: float, quote: Quote | None) -> Seen:
    age = time.time() - quote["at"] if quote is not None else None
    return Seen(wait=time.perf_counter() - began, age=age)


def tell(seen: list[Seen]) -> None:
    print(json.dumps([asdict(read) for read in seen]), flush=True)


# Contenders that are read in a loop


def cashews_early(cache: Any) -> Callable[..., Any]:
    """For stale values. Against a missing one its documentation knows only the lock."""
    return cache.early(ttl=timedelta(seconds=KEPT), early_ttl=timedelta(seconds=TTL), key="{key}")


def cashews_lock(cache: Any) -> Callable[..., Any]:
    return cache(ttl=timedelta(seconds=TTL), key="{key}", lock=True)


IN_A_LOOP = {"cashews early": cashews_early, "cashews lock": cashews_lock}


async def in_a_loop(way: Callable[[Any], Callable[..., Any]], url: str) -> None:
    loop, cache, fetch = asyncio.get_running_loop(), caches.cashews(), upstream_at(url)
    threads = ThreadPoolExecutor(READERS)

    @way(cache)
    async def read(key: str) -> Quote:
        return await loop.run_in_executor(threads, fetch, key)

    while line := await loop.run_in_executor(None, sys.stdin.readline):
        turn = Round(**json.loads(line))
        readers = await asyncio.gather(*(read_in_loop(turn, read) for _ in range(READERS)))
        tell([seen for reader in readers for seen in reader])
    await cache.close()


async def read_in_loop(turn: Round, read: Callable[[str], Awaitable[Quote]]) -> list[Seen]:
    """As `read_in`."""
    seen: list[Seen] = []
    await asyncio.sleep(max(0.0, turn.at - time.time()))
    while not seen or time.time() < turn.at + turn.seconds:
        began, quote = time.perf_counter(), None
        with suppress(Exception):
            quote = await read(turn.key)
        seen.append(_seen(began, quote))
        await asyncio.sleep(PAUSE if turn.seconds else 0.0)
    return seen


def main() -> None:
    import logging

    import django

    logging.disable(logging.CRITICAL)
    django.setup()
    contender, url = sys.argv[1:]
    print(READY, flush=True)
    if contender in IN_THREADS:
        in_threads(IN_THREADS[contender](url))
    else:
        asyncio.run(in_a_loop(IN_A_LOOP[contender], url))


if __name__ == "__main__":
    main()
