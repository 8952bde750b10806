"""The background of a process that reads: one thread, for all that a reader must not wait for.

It adds what was counted to Redis every few seconds, has what could not be put on record tried again, and hands wishes
for stale keys on at once. Where no scheduler serves wishes, it has the keys fetched here, one call for each in the
whole fleet. It starts with the first read, also in a process that was forked, and ends with the process.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections import defaultdict
from contextlib import suppress

from django.db import close_old_connections
from django.utils import timezone

from hotdata.exceptions import CacheUnavailable, UnknownSource
from hotdata.freshness import flights, hotkeys, meters, recording, wants
from hotdata.freshness.definitions import definition_of
from hotdata.freshness.wants import Wish
from hotdata.logs import EventLogger

logger = EventLogger(__name__)

FLUSH_INTERVAL = 5.0  # seconds


class _Background:
    def __init__(self) -> None:
        self.started = False
        self.news = threading.Event()
        self._lock = threading.Lock()

    def start(self) -> None:
        with self._lock:
            if not self.started:
                threading.Thread(target=self._run, name="hotdata-background", daemon=True).start()
                self.started = True

    def _run(self) -> None:
        flush_at = time.monotonic() + FLUSH_INTERVAL
        while True:
            self.news.wait(max(0.0, flush_at - time.monotonic()))
            self.news.clear()
            try:
                see_to(wants.pending())
                if time.monotonic() >= flush_at:
                    flush_at = time.monotonic() + FLUSH_INTERVAL
                    recording.retry()
                    flush()
            except CacheUnavailable:
                pass  # said once by who noticed; what was counted is kept
            except Exception:
                logger.exception("background.turn_failed")
            finally:
                close_old_connections()


_background = _Background()


def _begin_anew() -> None:
    _background.__init__()  # type: ignore[misc]


os.register_at_fork(after_in_child=_begin_anew)


def ensure() -> None:
    """Have the thread run. Costs next to nothing when it does."""
    if not _background.started:
        _background.start()


def want(source: str, key: str) -> None:
    """Have the checked `key`, whose value is stale, refreshed soon. Returns at once."""
    if wants.ask(source, key):
        _background.news.set()


def see_to(wishes: list[Wish]) -> None:
    """Hand `wishes` on to who serves them, or fetch here if nobody does. Raises CacheUnavailable."""
    if not wishes:
        return
    if wants.are_served():
        wants.hand_on(wishes)
        return
    keys: defaultdict[str, list[str]] = defaultdict(list)
    for source, key in wishes:
        keys[source].append(key)
    for source, wished in keys.items():
        with suppress(UnknownSource):
            definition = definition_of(source)
            if definition.is_refreshed_at(timezone.now()):
                flights.start(definition.source, wished)


def flush() -> None:
    """Add all that was counted in this process to Redis. Raises CacheUnavailable."""
    hotkeys.flush()
    meters.flush()


@atexit.register
def _flush_at_exit() -> None:
    if not _background.started:
        return
    try:
        flush()
    except CacheUnavailable:
        return
