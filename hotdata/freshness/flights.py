"""Flights: how a key is fetched because somebody reads it, once in the whole fleet.

Of all processes, the one that gets the key's lease fetches it; the others wait for its entry to appear. Within
a process one thread waits for all, so two hundred readers of a missing key make one call and a few looks at Redis.
Each source has threads of its own: an upstream that hangs holds up no other.
No reader waits for a write to the database: what goes on record is written behind their backs.
Everybody's patience is bounded. The fetch itself goes on, in a thread of its own, when the patience of who began it
has ended: the next reader finds what it brought.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

from django.db import connections

from hotdata.conf import conf
from hotdata.exceptions import CacheUnavailable, HotdataError, NotReady, UnknownKey
from hotdata.freshness import absences, entries, leases, recording
from hotdata.freshness.entries import Stored
from hotdata.freshness.fetching import Fetch
from hotdata.freshness.leases import Lease
from hotdata.freshness.outcomes import RefreshFailed
from hotdata.logs import EventLogger
from hotdata.models import Source

logger = EventLogger(__name__)

FETCHES = 16  # of a source at a time, in one process
FIRST_LOOK, LONGEST_LOOK = 0.01, 0.05  # seconds between two looks for what another process fetches


class _Flight:
    """The wait of one thread for a key, in which the process's others join."""

    def __init__(self) -> None:
        self.landed = threading.Event()


class _Airport:
    """What this process waits for and fetches. A fork begins with nothing."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.flights: dict[tuple[str, str], _Flight] = {}
        self.pools: dict[str, ThreadPoolExecutor] = {}

    def pool(self, source: str) -> ThreadPoolExecutor:
        """The threads that fetch for `source`, begun when they are needed."""
        with self.lock:
            if source not in self.pools:
                self.pools[source] = ThreadPoolExecutor(FETCHES, thread_name_prefix=f"hotdata-fetch-{source}")
            return self.pools[source]


_airport = _Airport()


def _begin_anew() -> None:
    _airport.__init__()  # type: ignore[misc]


os.register_at_fork(after_in_child=_begin_anew)


def wait_for(source: Source, key: str, *, until: float) -> Stored:
    """The entry of the checked `key`, which has none: fetched by whoever may, `until` that time of the monotonic clock.

    Raises NotReady, with the time after which to ask again; UnknownKey when the upstream has no such thing; and
    CacheUnavailable.
    """
    while (left := until - time.monotonic()) > 0:
        flight, own = _board(source.name, key)
        if own:
            try:
                stored = _fly(source, key, until)
            finally:
                _land(source.name, key, flight)
        else:
            flight.landed.wait(left)
            stored = entries.read(source.name, key)
        if stored is not None:
            return stored
        if absences.known(source.name, key):
            raise absent(source.name, key)
        _check_rested(source.name, key)
    # The time may have gone by while others were waited for.
    stored = entries.read(source.name, key)
    if stored is not None:
        return stored
    raise NotReady(f"Nothing has been fetched for {key!r} yet.", source=source.name, key=key)


def start(source: Source, keys: Iterable[str]) -> Future[None] | None:
    """Fetch, in the background, those of the checked `keys` that nobody fetches already. Raises CacheUnavailable."""
    fetch = Fetch(
        source=source, patience=min(conf().read_patience, source.timeout), record=recording.write_later
    )
    ours = fetch.acquire(keys)
    return _airport.pool(source.name).submit(_run_quietly, fetch, ours) if ours else None


def _run_quietly(fetch: Fetch, ours: Mapping[str, Lease]) -> None:
    """A fetch in a thread of the pool; raises nothing."""
    try:
        fetch.run(ours)
    except (RefreshFailed, CacheUnavailable):
        pass  # on record, or said by who noticed
    except HotdataError as error:
        logger.warning("flight.failed", source=fetch.source.name, error=error)
    except Exception:
        logger.exception("flight.failed", source=fetch.source.name)
    finally:
        connections.close_all()  # the next fetch may be long in coming


def absent(source: str, key: str) -> UnknownKey:
    """The error for a key of which the upstream said lately that it doesn't exist."""
    return UnknownKey(f"The upstream of {source!r} has nothing for {key!r}.", source=source, key=key)


def _check_rested(source: str, key: str) -> None:
    """Raise NotReady for a key whose fetch failed a moment ago."""
    state, left = leases.look(source, key)
    if state == "resting":
        error = NotReady(f"{key!r} could not be fetched a moment ago.", source=source, key=key)
        error.retry_after = left
        raise error


def _board(source: str, key: str) -> tuple[_Flight, bool]:
    """The process's flight for `key`, and whether it is the caller's to fly."""
    with _airport.lock:
        there = _airport.flights.get((source, key))
        if there is not None:
            return there, False
        made = _airport.flights[source, key] = _Flight()
        return made, True


def _land(source: str, key: str, flight: _Flight) -> None:
    with _airport.lock:
        _airport.flights.pop((source, key), None)
    flight.landed.set()


def _fly(source: Source, key: str, until: float) -> Stored | None:
    """Get the lease and fetch, or wait for who has it. None when it came to nothing, or took too long."""
    pause = FIRST_LOOK
    while (left := until - time.monotonic()) > 0:
        fetching = start(source, [key])
        if fetching is not None:
            with suppress(TimeoutError):
                fetching.result(left)
            return entries.read(source.name, key)
        stored = entries.read(source.name, key)
        if stored is not None or leases.look(source.name, key)[0] == "resting":
            return stored
        time.sleep(min(pause, left))
        pause = min(2 * pause, LONGEST_LOOK)
    return None
