"""Leases on keys: whoever holds one fetches the key, and nobody else in the whole fleet does.

A lease is a string in Redis that expires by itself, so a holder that dies keeps nobody out for longer than its call
could have lasted. It holds a token, and only who knows it can end it: one that has lost its lease, because it took
too long, doesn't end the next one's. A fetch that failed leaves a short rest in the lease's place: else each
of those who waited for it would try again, one after the other.

The protocol follows the memcache leases of Nishtala et al., *Scaling Memcache at Facebook* (NSDI 2013).
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from hotdata.freshness import redis
from hotdata.keys import storage_name

RESTING = b"rest"
MILLISECOND = timedelta(milliseconds=1)

# KEYS[1] the lease, ARGV[1] its token, ARGV[2] the milliseconds of rest, 0 for none.
END = redis.Script(f"""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], '{RESTING.decode()}', 'PX', ARGV[2])
end
return 1
""")


@dataclass(frozen=True, kw_only=True)
class Lease:
    """The right to fetch one key."""

    name: str
    token: str
    until: float
    """When it expires, at the earliest, by the monotonic clock of who has it."""

    def end(self, *, rest: timedelta = timedelta(0)) -> bool:
        """Give it up; for `rest` nobody gets it. False when it was lost before. Raises CacheUnavailable."""
        with redis.guarded():
            return bool(END.run([self.name], self.token, rest // MILLISECOND))


def name_of(source: str, key: str) -> str:
    """The Redis key of a lease."""
    return redis.name("l", source, storage_name(key))


def acquire_each(source: str, keys: Iterable[str], *, lasts: timedelta) -> dict[str, Lease]:
    """The leases on those of the checked `keys` on which nobody has one, and which don't rest; in one round trip.

    Raises CacheUnavailable.
    """
    until = time.monotonic() + lasts.total_seconds()
    tried = {key: Lease(name=name_of(source, key), token=secrets.token_hex(8), until=until) for key in keys}
    if not tried:
        return {}
    with redis.guarded(), redis.client().pipeline(transaction=False) as pipe:
        for lease in tried.values():
            pipe.set(lease.name, lease.token, nx=True, px=max(1, lasts // MILLISECOND))
        taken = pipe.execute()
    return {key: lease for (key, lease), got in zip(tried.items(), taken, strict=True) if got}


def end_rests(source: str, keys: Sequence[str]) -> None:
    """Let those of the checked `keys` be fetched at once that rest after a failure. Raises CacheUnavailable."""
    if not keys:
        return
    with redis.guarded():
        END.run_each(([name_of(source, key)], [RESTING, 0]) for key in keys)


def free(source: str, keys: Sequence[str]) -> list[str]:
    """Those of the checked `keys` on which nobody has a lease, and which don't rest. Raises CacheUnavailable."""
    if not keys:
        return []
    with redis.guarded():
        there = redis.client().mget([name_of(source, key) for key in keys])
    return [key for key, value in zip(keys, there, strict=True) if value is None]


def look(source: str, key: str) -> tuple[Literal["free", "held", "resting"], timedelta]:
    """How the lease on the checked `key` stands, and for how long it does at most. Raises CacheUnavailable."""
    with redis.guarded(), redis.client().pipeline(transaction=False) as pipe:
        value, left = pipe.get(name_of(source, key)).pttl(name_of(source, key)).execute()
    if value is None:
        return "free", timedelta(0)
    return ("resting" if value == RESTING else "held"), max(0, left) * MILLISECOND
