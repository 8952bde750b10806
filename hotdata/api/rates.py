"""How often the API may be asked: with one token, by one address without a token, and with tokens that are wrong.

The window moves (the moving window of `limits`): in no minute, whenever it begins, are there more than the limit.
Requests of all processes are counted together, in Redis, in one round trip. While Redis is away each process counts its
own in memory: nobody is refused for that, or waits for it.

What is counted is who asked, so a limit that one has used up costs nobody else anything. That goes for wrong tokens,
too: who sends too many of them hears so, but a right one from the same address goes on to be taken. Behind one address
there may be a whole company, and one forgotten program with an old token must not lock it out; and 256 random bits
are not found by trying, however often.
"""

from __future__ import annotations

import functools
import math
import os
import time
from datetime import timedelta
from typing import Any

import limits
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import MovingWindowRateLimiter

from hotdata.conf import conf
from hotdata.exceptions import CacheUnavailable, TooManyRequests
from hotdata.freshness import redis

WRONG_TOKENS = "10/minute"
WHOSE = {
    "token": "with this token",
    "address": "from one address without a token",
    "wrong-token": "from one address with tokens that are not valid",
}

parse = functools.cache(limits.parse)


def count_token(name: str) -> None:
    """Count a request with the token `name`. Raises TooManyRequests."""
    _count("token", name, conf().rate_limit)


def count_address(address: str) -> None:
    """Count a request from `address` that comes without a token. Raises TooManyRequests."""
    _count("address", address, conf().rate_limit_address)


def count_wrong_token(address: str) -> None:
    """Count a request from `address` with a token that is refused. Raises TooManyRequests."""
    _count("wrong-token", address, WRONG_TOKENS)


def _count(limit: str, who: str, rate: str) -> None:
    if not rate:
        return
    item = parse(rate)
    try:
        with redis.guarded():
            wait = _hit(_shared(redis.client().connection_pool), item, limit, who)
    except CacheUnavailable:
        wait = _hit(_own(), item, limit, who)
    if wait is not None:
        raise TooManyRequests(
            f"Too many requests: {rate.replace('/', ' a ')} may come {WHOSE[limit]}.",
            limit=limit,
            amount=item.amount,
            window=timedelta(seconds=item.get_expiry()),
            retry_after=wait,
        )


def _hit(limiter: MovingWindowRateLimiter, item: Any, *who: str) -> timedelta | None:
    """Count one request; how long to wait where it is one too many, and then it isn't counted."""
    if limiter.hit(item, *who):
        return None
    free_at = limiter.get_window_stats(item, *who).reset_time  # when the oldest request leaves the window
    return timedelta(seconds=max(1, math.ceil(free_at - time.time())))


@functools.lru_cache(maxsize=1)
def _shared(pool: Any) -> MovingWindowRateLimiter:
    """Counts in the Redis of the entries, over its connections, with their timeouts."""
    # The URL says of what kind the server is; where it is, the connections know.
    storage = RedisStorage("redis://", connection_pool=pool, key_prefix=redis.name("rate"))
    return MovingWindowRateLimiter(storage)


@functools.cache
def _own() -> MovingWindowRateLimiter:
    """Counts in this process."""
    return MovingWindowRateLimiter(MemoryStorage())


os.register_at_fork(after_in_child=_own.cache_clear)  # its locks may have been held in the parent
