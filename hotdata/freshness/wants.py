"""Wants: keys whose readers got a stale value. They are asked for here, and refreshed by who keeps data fresh.

A process asks for a key at most once a second, however many readers it has, and hands its wishes on in the
background: a reader waits for nothing. Redis holds each wish once. Who serves them, a run of the task `refresh_due`,
says so with a sign that it renews; while there is none, the processes that read have to see to it themselves.
"""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from datetime import timedelta

from hotdata.exceptions import CacheUnavailable
from hotdata.freshness import redis

ASK_AGAIN = 1.0  # seconds
MAX_ASKED = 10_000  # keys that a process remembers to have asked for, and wishes that Redis holds
SIGN_LASTS = timedelta(seconds=3)
BETWEEN = "\0"
"""Stands between source and key; neither can have it."""

Wish = tuple[str, str]


class _Asked:
    """What this process has asked for lately, and what it has yet to hand on. Thread-safe."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.at: dict[Wish, float] = {}
        self.pending: dict[Wish, None] = {}


_asked = _Asked()


def _begin_anew() -> None:
    _asked.__init__()  # type: ignore[misc]


os.register_at_fork(after_in_child=_begin_anew)


def ask(source: str, key: str) -> bool:
    """Wish for a refresh of the checked `key`, in memory; False when this was done within the last second."""
    wish, now = (source, key), time.monotonic()
    if now - _asked.at.get(wish, -ASK_AGAIN) < ASK_AGAIN:
        return False
    with _asked.lock:
        if now - _asked.at.get(wish, -ASK_AGAIN) < ASK_AGAIN:
            return False
        if len(_asked.at) >= MAX_ASKED:
            _asked.at.clear()
        _asked.at[wish] = now
        _asked.pending[wish] = None
    return True


def pending() -> list[Wish]:
    """The wishes that have not been handed on; from now on they are the caller's."""
    with _asked.lock:
        taken, _asked.pending = _asked.pending, {}
    return list(taken)


def hand_on(wishes: list[Wish]) -> None:
    """Put `wishes` where who serves them finds them. Raises CacheUnavailable; they are lost then, and asked again."""
    if not wishes:
        return
    now = time.time()
    with redis.guarded(), redis.client().pipeline(transaction=False) as pipe:
        pipe.zadd(_name(), {BETWEEN.join(wish): now for wish in wishes}, nx=True)
        pipe.zremrangebyrank(_name(), MAX_ASKED, -1)
        pipe.execute()


def take(limit: int) -> dict[str, list[str]]:
    """Up to `limit` wishes, oldest first, as keys by source. Nobody else gets them. Raises CacheUnavailable."""
    with redis.guarded():
        taken = redis.client().zpopmin(_name(), limit)
    return _by_source([member for member, _ in taken])


def wait(seconds: float) -> dict[str, list[str]]:
    """Wait up to `seconds` for a wish and take it. Raises CacheUnavailable. Less than the socket's timeout."""
    with redis.guarded():
        found = redis.client().bzpopmin(_name(), seconds)
    return _by_source([found[1]] if found else [])


def announce() -> None:
    """Show that wishes are served; to be called at least each second. Raises CacheUnavailable."""
    with redis.guarded():
        redis.client().set(redis.name("serving"), b"", px=SIGN_LASTS)


def withdraw() -> None:
    """Show that they are served no more; if that can't be shown, the sign expires."""
    try:
        with redis.guarded():
            redis.client().delete(redis.name("serving"))
    except CacheUnavailable:
        return


def are_served() -> bool:
    """Whether somebody serves wishes. Raises CacheUnavailable."""
    with redis.guarded():
        return bool(redis.client().exists(redis.name("serving")))


def _name() -> str:
    return redis.name("want")


def _by_source(members: list[bytes]) -> dict[str, list[str]]:
    wished: defaultdict[str, list[str]] = defaultdict(list)
    for member in members:
        source, _, key = member.decode(errors="replace").partition(BETWEEN)
        wished[source].append(key)
    return dict(wished)
