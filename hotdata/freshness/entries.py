"""Entries: one Redis string per key, with the value and all that is known about it. One ``GET`` per read.

The string is a fence of 20 digits followed by JSON. The fence is the start of the request that brought the
value, in microseconds: a write goes through only over a fence that is not newer, so a slow answer can't put
older data over newer, whichever process wrote it. The check and the write are one Lua script.

Redis holds nothing that can't be fetched again; what it holds is data, never code.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from django_redis.serializers.base import BaseSerializer

from hotdata.freshness import redis
from hotdata.freshness.redis import outage
from hotdata.keys import storage_name
from hotdata.logs import EventLogger

logger = EventLogger(__name__)

FENCE_DIGITS = 20
END_OF_TIME = 32_503_680_000.0  # the year 3000, in seconds since the epoch

# KEYS[1] the entry. ARGV[1] its fence, ARGV[2] the JSON, ARGV[3] milliseconds to keep it.
# A fence is never ahead of the time at which it is written, so a node whose clock is ahead keeps nobody out.
# What doesn't begin with a fence and an object is no entry, and must not keep one out for ever.
WRITE_IF_NOT_OLDER = redis.Script(f"""
local fence = redis.call('GETRANGE', KEYS[1], 0, {FENCE_DIGITS}):match('^(%d+){{$')
local time = redis.call('TIME')
local now = string.format('%0{FENCE_DIGITS}.0f', time[1] * 1000000 + time[2])
if fence and fence <= now and fence > ARGV[1] then return 0 end
redis.call('SET', KEYS[1], (ARGV[1] > now and now or ARGV[1]) .. ARGV[2], 'PX', ARGV[3])
return 1
""")

# KEYS are entries. Gives the places of those that aren't there, from 1.
MISSING = redis.Script("""
local missing = {}
for place, name in ipairs(KEYS) do
  if redis.call('EXISTS', name) == 0 then missing[#missing + 1] = place end
end
return missing
""")
ASKED_AT_ONCE = 1000  # names that a script gets


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A value as a reader gets it."""

    source: str
    key: str
    value: Any
    fetched_at: datetime
    age: float
    """Seconds since the request that brought (or confirmed) the value was sent."""
    state: Literal["fresh", "stale"]
    etag: str
    """Changes exactly when the value does."""
    fresh_for: float
    """Seconds until it is stale; below 0 when it is."""
    kept_for: float
    """Seconds until it is gone, unless it is refreshed."""
    last_known: bool
    """Whether this is what the process has read last, since Redis is away or has lost it."""
    lost: bool
    """Of what is last known: whether Redis is there and has lost it, as in a flush."""
    fetched_now: bool
    """Whether there was nothing, and the reader waited while it was fetched."""


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """A value as it lies in Redis. Times are seconds since the epoch."""

    source: str
    key: str
    value: Any
    fetched_at: float
    soft_expiry: float
    hard_expiry: float
    changed_at: float
    """When the value last became another one."""
    unchanged: int = 0
    """Refreshes in a row that brought the same value."""
    hash: str = ""
    """Of the value: two that are the same have the same."""
    size: int = 0
    """Of the value as JSON, in bytes."""
    etag: str = ""
    last_modified: str = ""
    definition: str = ""
    """Which definition of the source it was fetched by. To another, "not modified" says nothing of the value."""
    placeholders: dict[str, str] = {}
    """What it was asked for with beside the key, so that one that isn't pinned can be asked for again."""

    def entry(
        self, now: float, *, last_known: bool = False, lost: bool = False, fetched_now: bool = False
    ) -> Entry:
        return Entry(
            source=self.source,
            key=self.key,
            value=self.value,
            fetched_at=datetime.fromtimestamp(self.fetched_at, UTC),
            age=max(0.0, now - self.fetched_at),
            state="fresh" if now < self.soft_expiry else "stale",
            etag=self.hash,
            fresh_for=self.soft_expiry - now,
            kept_for=self.hard_expiry - now,
            last_known=last_known,
            lost=lost,
            fetched_now=fetched_now,
        )

    @property
    def fence(self) -> bytes:
        return b"%0*d" % (FENCE_DIGITS, int(self.fetched_at * 1_000_000))


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Stored)


def decode(value: bytes) -> Stored | None:
    """What lies in Redis as an entry. Bytes that are none read as a missing one."""
    try:
        stored = _decoder.decode(memoryview(value)[FENCE_DIGITS:])
        if 0 <= stored.fetched_at < END_OF_TIME:
            return stored
        logger.warning("entry.impossible", fetched_at=stored.fetched_at)
        return None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        logger.warning("entry.unreadable", size=len(value))
        return None


class EntrySerializer(BaseSerializer):  # type: ignore[misc]  # django-redis has no types
    """django-redis's way from `Stored` to bytes and back, for who looks at entries through Django's cache.

    It isn't ours: django-redis tries first whether the bytes are a number, which costs each read 2 µs, and takes
    those that are for one.
    """

    def dumps(self, value: Stored) -> bytes:
        return value.fence + _encoder.encode(value)

    def loads(self, value: bytes) -> Stored | None:
        return decode(value)


def name_of(source: str, key: str) -> str:
    """The cache key of an entry, before django-redis puts its prefix and version in front."""
    return f"e:{source}:{storage_name(key)}"


def read(source: str, key: str, *, replica: bool = False) -> Stored | None:
    """The stored entry of a checked key, fresh or stale; None when there is none. Raises CacheUnavailable.

    It may come from a `replica`, where there are any, if the caller can do with what was true a moment ago.
    """
    # As `redis.guarded` does, which would cost this hot path a microsecond.
    if outage.on:
        outage.check()
    try:
        found = redis.client(write=not replica).get(redis.name(name_of(source, key)))
    except redis.FAILURES as error:
        raise outage.note(error) from error
    if outage.on:
        outage.end()
    return decode(found) if found is not None else None


def read_many(source: str, keys: Iterable[str], *, replica: bool = False) -> dict[str, Stored]:
    """`read` for those checked `keys` that have an entry, in one round trip. Raises CacheUnavailable."""
    asked = list(dict.fromkeys(keys))
    if not asked:
        return {}
    with redis.guarded():
        found = redis.client(write=not replica).mget([redis.name(name_of(source, key)) for key in asked])
    stored = {key: decode(value) for key, value in zip(asked, found, strict=True) if value is not None}
    return {key: entry for key, entry in stored.items() if entry is not None}


def missing(source: str, keys: Sequence[str]) -> list[str]:
    """Those of the checked `keys` that have no entry, in one round trip. No value travels. Raises CacheUnavailable."""
    pieces = [keys[at : at + ASKED_AT_ONCE] for at in range(0, len(keys), ASKED_AT_ONCE)]
    if not pieces:
        return []
    with redis.guarded():
        places = MISSING.run_each(
            ([redis.name(name_of(source, key)) for key in piece], []) for piece in pieces
        )
    return [piece[place - 1] for piece, found in zip(pieces, places, strict=True) for place in found]


def fetched_at(pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], datetime]:
    """When the entries of those `pairs` of source and checked key that have one were fetched, in one round trip.

    Only their fences travel, not their values. Raises CacheUnavailable.
    """
    asked = list(dict.fromkeys(pairs))
    if not asked:
        return {}
    with redis.guarded(), redis.client(write=False).pipeline(transaction=False) as pipe:
        for source, key in asked:
            pipe.getrange(redis.name(name_of(source, key)), 0, FENCE_DIGITS - 1)
        fences: list[bytes] = pipe.execute()
    found = zip(asked, fences, strict=True)
    return {pair: _moment(fence) for pair, fence in found if len(fence) == FENCE_DIGITS and fence.isdigit()}


def _moment(fence: bytes) -> datetime:
    return datetime.fromtimestamp(min(int(fence) / 1_000_000, END_OF_TIME), UTC)


def write(entries: Sequence[Stored]) -> list[bool]:
    """Store `entries` in one pipeline; for each, whether it was written or a newer one was there.

    Each is kept until its hard expiry. Raises CacheUnavailable; then any part of them may be written.
    """
    if not entries:
        return []
    now = time.time()
    with redis.guarded():
        written = WRITE_IF_NOT_OLDER.run_each(
            (
                [redis.name(name_of(entry.source, entry.key))],
                [entry.fence, _encoder.encode(entry), max(1, int((entry.hard_expiry - now) * 1000))],
            )
            for entry in entries
        )
    return [bool(answer) for answer in written]


def ping() -> None:
    """Raise CacheUnavailable unless Redis answers."""
    with redis.guarded():
        redis.client().ping()
