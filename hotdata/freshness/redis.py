"""The way to Redis, for all that the freshness engine keeps there; and what a Redis that is away may cost.

What Redis raises is raised as CacheUnavailable. After a call that got no answer, this process leaves Redis alone for
`REST`: who asks meanwhile is told at once. Then one caller tries, for all of them, and the others are still told at
once. So a dead Redis costs a process one timeout a second, and its threads don't queue for it.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from django.core.cache import caches
from django.core.signals import setting_changed
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from hotdata.conf import conf
from hotdata.exceptions import CacheUnavailable
from hotdata.logs import EventLogger

logger = EventLogger(__name__)

REST = 1.0  # seconds
# Put into words only where it is shown: while Redis is away each read meets it, and most have another answer.
AWAY = gettext_lazy("Redis can't be reached: it did not answer a moment ago.")
NO_ANSWER = (RedisConnectionError, RedisTimeoutError, OSError)
FAILURES = (RedisError, OSError)


class Outage:
    """Whether Redis is away, as far as this process knows, and who may find out. Thread-safe."""

    def __init__(self) -> None:
        self.on = False
        self._try_at = 0.0  # monotonic
        self._lock = threading.Lock()

    def check(self) -> None:
        """Raise CacheUnavailable while Redis is away, but for the one caller in `REST` who is to try."""
        with self._lock:
            now = time.monotonic()
            if self.on and now < self._try_at:
                raise CacheUnavailable(AWAY)
            self._try_at = now + REST

    def note(self, error: Exception) -> CacheUnavailable:
        """Learn from `error`, which a call to Redis raised, and return what it means to the caller."""
        if isinstance(error, NO_ANSWER):
            with self._lock:
                self._try_at = time.monotonic() + REST
                begun, self.on = not self.on, True
            if begun:
                # Without the error's text: one about a bad URL quotes it, with the password.
                logger.warning("redis.lost", error=type(error).__name__)
            message = _("Redis can't be reached (%(error)s).")
            return CacheUnavailable(message % {"error": type(error).__name__})
        self.end()
        message = _("Redis refused what it was asked (%(error)s).")
        return CacheUnavailable(message % {"error": type(error).__name__})

    def end(self) -> None:
        """Redis has answered."""
        with self._lock:
            ended, self.on = self.on, False
        if ended:
            logger.info("redis.found")


outage = Outage()


def _begin_anew() -> None:
    outage.__init__()  # type: ignore[misc]


os.register_at_fork(after_in_child=_begin_anew)  # its lock may have been held in the parent


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Around each call to Redis. Raises CacheUnavailable for what Redis raises, and at once while it is away."""
    if outage.on:
        outage.check()
    try:
        yield
    except FAILURES as error:
        raise outage.note(error) from error
    if outage.on:
        outage.end()


@functools.cache
def cache() -> Any:
    """The cache that holds the entries, one for all threads: its client is made to be shared.

    Django has one for each thread. To look that up costs 2 µs, and a read has 6 to spare.
    """
    return caches.create_connection(conf().cache)


def client(*, write: bool = True) -> Any:
    """The client of the Redis that holds the entries. (Its types say of each answer that it may be any of all.)

    What needs no `write` may come from a replica, where there are any (django-redis takes every LOCATION but the
    first for one). That is for readers alone: who decides by what is stored whether to fetch it must not decide by
    what was true a moment ago.
    """
    return cache().client.get_client(write=write)


def name(*parts: str) -> str:
    """The Redis key of what is called `parts` here, with the cache's prefix and version before it."""
    return str(cache().client.make_key(":".join(parts)))


class Script:
    """A Lua script. Redis is told its hash, and its text only if it doesn't know it. To be run inside `guarded`."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._hash = hashlib.sha1(text.encode()).hexdigest()  # noqa: S324 - Redis's choice

    def run(self, keys: Sequence[str], *args: Any) -> Any:
        """Its answer, in one round trip."""
        try:
            return client().evalsha(self._hash, len(keys), *keys, *args)
        except NoScriptError:
            return client().eval(self._text, len(keys), *keys, *args)

    def run_each(self, calls: Iterable[tuple[Sequence[str], Sequence[Any]]]) -> list[Any]:
        """Its answers to several `calls`, each with its keys and arguments, in one round trip.

        Those of redis-py take two: before each pipeline it asks whether Redis knows the script.
        """
        calls = list(calls)
        try:
            return self._run_each(calls)
        except NoScriptError:
            client().script_load(self._text)
            return self._run_each(calls)

    def _run_each(self, calls: Iterable[tuple[Sequence[str], Sequence[Any]]]) -> list[Any]:
        with client().pipeline(transaction=False) as pipe:
            for keys, args in calls:
                pipe.evalsha(self._hash, len(keys), *keys, *args)
            answers: list[Any] = pipe.execute()
            return answers


def _forget(*, setting: str, **_: Any) -> None:
    if setting == "CACHES":
        outage.__init__()  # type: ignore[misc]  # another Redis, of which nothing is known
    if setting in ("CACHES", "HOTDATA_CACHE"):
        cache.cache_clear()


setting_changed.connect(_forget)
