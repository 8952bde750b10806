"""The bell: wakes the schedulers at once when something changed, over Redis pub/sub.

It carries no news and promises nothing. Whoever hears it looks into the database, where polling would have
found the change within its interval; a bell that nobody hears, or that can't be rung, costs that time only.
"""

from __future__ import annotations

import functools
import random
import threading
import time
from collections.abc import Callable
from typing import Any, Self

from django.conf import settings
from django.core.cache import caches
from django.core.signals import setting_changed
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

from hotdata.conf import conf
from hotdata.logs import EventLogger

logger = EventLogger(__name__)

# All in seconds.
TIMEOUT = 0.25  # for each step of talking to Redis; an edit waits for no more than a few of them
QUIET = 5.0  # after a bell that couldn't be rung, until the next try
LOOK_UP = 0.15  # how long a listener blocks at a time, and so about how long it takes to stop
SILENCE = 5.0  # after which a listener asks whether the connection still lives, and then for the answer
BACKOFF_FIRST = 0.1
BACKOFF_LONGEST = 3.0


class Line:
    """A client of its own, with short timeouts, of the Redis that holds the entries; and the channel's name."""

    def __init__(self) -> None:
        cache: dict[str, Any] = settings.CACHES[conf().cache]
        location = cache["LOCATION"]
        # With replicas, the first is the one that is written to.
        url = location if isinstance(location, str) else location[0]
        self.redis = Redis.from_url(
            url,
            password=cache.get("OPTIONS", {}).get("PASSWORD"),
            socket_timeout=TIMEOUT,
            socket_connect_timeout=TIMEOUT,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )
        # Channels know no databases: the number keeps two sites apart that have the same prefix.
        database = self.redis.connection_pool.connection_kwargs.get("db", 0)
        self.channel = f"{caches[conf().cache].make_key('bell')}@{database}"


_line = functools.cache(Line)


class _Mood:
    """Whether the last ring of this process went well. Written without a lock: at worst two threads try at once."""

    quiet_until = 0.0  # monotonic
    fine = True


def ring() -> None:
    """Wake whoever listens. Returns soon and raises nothing, whatever Redis does."""
    if time.monotonic() < _Mood.quiet_until:
        return
    try:
        line = _line()
        line.redis.publish(line.channel, b"")
    except Exception as error:  # noqa: BLE001 - an edit must not fail for want of a bell, whatever is wrong with it
        _Mood.quiet_until = time.monotonic() + QUIET
        if _Mood.fine:
            # Without the error's text: one about a bad URL quotes it, with the password.
            logger.warning("bell.not_rung", error=type(error).__name__)
        _Mood.fine = False
        return
    if not _Mood.fine:
        logger.info("bell.rung_again")
    _Mood.fine = True


class Listener:
    """Calls `hear`, in a thread of its own, for each ring while the ``with`` block lasts.

    Also on each new connection, since a ring may have been missed before. `hear` must return soon.
    """

    def __init__(self, hear: Callable[[], None]) -> None:
        self._hear = hear
        self._stopped = threading.Event()
        self._lost = False
        self._failures = 0
        self._thread = threading.Thread(target=self._listen, name="hotdata-bell", daemon=True)
        self.connected = False
        """Whether a ring would be heard now, as far as we know."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopped.set()
        self._thread.join(TIMEOUT)

    def _listen(self) -> None:
        while not self._stopped.is_set():
            try:
                self._follow(_line())
            except Exception as error:  # noqa: BLE001 - whatever it is, polling goes on, and the next try may succeed
                self._lose(error)
                ceiling = min(BACKOFF_LONGEST, BACKOFF_FIRST * (1 << min(self._failures, 10)))
                self._stopped.wait(ceiling * random.uniform(0.5, 1.0))  # noqa: S311 - spreads load, guards nothing

    def _follow(self, line: Line) -> None:
        """Listen until told to stop. Raises what Redis raises, and RedisConnectionError after too long a silence."""
        with line.redis.pubsub() as subscription:  # type: ignore[no-untyped-call]
            subscription.subscribe(line.channel)
            heard_at, asked = time.monotonic(), False
            while not self._stopped.is_set():
                message = subscription.get_message(timeout=LOOK_UP)
                now = time.monotonic()
                if message is not None:
                    heard_at, asked = now, False
                    if message["type"] == "subscribe":
                        self._find()
                    if message["type"] != "pong":
                        self._hear()
                elif asked and now - heard_at > 2 * SILENCE:
                    # A host that vanished closes no connection.
                    raise RedisConnectionError("There was no answer to a ping.")
                elif not asked and now - heard_at > SILENCE:
                    subscription.ping()
                    asked = True

    def _find(self) -> None:
        if self._lost:
            logger.info("bell.found")
        self.connected, self._lost, self._failures = True, False, 0

    def _lose(self, error: Exception) -> None:
        self.connected = False
        self._failures += 1
        if not self._lost:
            logger.warning("bell.lost", error=type(error).__name__)
        self._lost = True


def _forget(*, setting: str, **_: Any) -> None:
    if setting == "CACHES":
        _line.cache_clear()
        _Mood.quiet_until, _Mood.fine = 0.0, True


setting_changed.connect(_forget)
