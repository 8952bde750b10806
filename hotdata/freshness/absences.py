"""Absences: keys of which an upstream has said, by a 404 or 410, that there is no such thing.

They are remembered for a short time, apart from the entries: what is known to be absent never stands in the way of
a value, nor in its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from hotdata.freshness import redis
from hotdata.keys import storage_name

DEFINITE = frozenset({404, 410})
"""Statuses that say so. Nothing else does: an error that may pass is no absence."""

MILLISECOND = timedelta(milliseconds=1)


def name_of(source: str, key: str) -> str:
    """The Redis key of an absence."""
    return redis.name("n", source, storage_name(key))


def note(source: str, key: str, lasts: timedelta) -> None:
    """Remember that the checked `key` is absent. Raises CacheUnavailable."""
    with redis.guarded():
        redis.client().set(name_of(source, key), b"", px=max(1, lasts // MILLISECOND))


def forget(source: str, keys: Sequence[str]) -> None:
    """Take it that the checked `keys` may be there by now. Raises CacheUnavailable."""
    if keys:
        with redis.guarded():
            redis.client().delete(*(name_of(source, key) for key in keys))


def known(source: str, key: str) -> bool:
    """Whether the checked `key` was found to be absent lately. Raises CacheUnavailable."""
    return bool(among(source, [key]))


def among(source: str, keys: Sequence[str]) -> set[str]:
    """Those of the checked `keys` that were found to be absent lately, in one round trip. Raises CacheUnavailable."""
    if not keys:
        return set()
    with redis.guarded():
        found = redis.client().mget([name_of(source, key) for key in keys])
    return {key for key, value in zip(keys, found, strict=True) if value is not None}
