"""The neighbours' caches in the benchmark's Redis, with the best settings that their documentation knows.

Their serializers are their own: pickle, which is quicker than JSON, and lets who can write to Redis run code.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from django.conf import settings

if TYPE_CHECKING:
    from cashews import Cache
    from dogpile.cache import CacheRegion

LOCK_TIMEOUT = 10  # seconds; without one, who is killed in mid-fetch would keep the others out for ever
LOCK_SLEEP = 0.01  # seconds between two tries; their own 0.1 makes waiters wait longer
CONNECTIONS = 100


def dogpile(*, in_background: bool = False) -> CacheRegion:
    """A region with locks in Redis. `in_background`: a thread refreshes what has expired, and nobody waits for it."""
    from dogpile.cache import make_region

    region = make_region(async_creation_runner=_create_in_thread if in_background else None)
    return region.configure(
        "dogpile.cache.redis",
        arguments={
            "url": settings.REDIS_URL,
            "distributed_lock": True,
            "thread_local_lock": False,  # as it asks for with locks in Redis
            "lock_timeout": LOCK_TIMEOUT,
            "lock_sleep": LOCK_SLEEP,
            "socket_timeout": 5.0,
        },
    )


def _create_in_thread(region: CacheRegion, key: str, creator: Callable[[], Any], mutex: Any) -> None:
    """As in its documentation: the lock is released by the thread."""

    def create() -> None:
        try:
            # What fails leaves its readers the old value; the next one tries again.
            with suppress(Exception):
                region.set(key, creator())
        finally:
            mutex.release()

    threading.Thread(target=create, daemon=True).start()


def cashews() -> Cache:
    """A cache of its own; to be made and used in one event loop."""
    from cashews import Cache
    from cashews.backends.redis import Redis
    from cashews.picklers import PicklerType
    from cashews.wrapper.backend_settings import register_backend

    # It knows redis:// only, and Redis is reached over a Unix socket here.
    register_backend("unix", Redis, pass_uri=True, pickler=PicklerType.DEFAULT)
    cache = Cache()
    cache.setup(settings.REDIS_URL, max_connections=CONNECTIONS)
    return cache
