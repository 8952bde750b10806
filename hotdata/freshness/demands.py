"""Demands: keys that somebody wants fetched now, whether they are due or not.

Who serves wishes, a run of the task `refresh_due`, takes demands as well, before all that is due, within the same
budget. A demand goes before what speaks against a fetch: a refresh window that is closed, the rest of a key whose last
fetch failed, and an absence that was noted. It doesn't go before the gate, nor before a source being switched off.

While nobody serves, one key at a time can be fetched by the process that is asked.
"""

from __future__ import annotations

import copy
import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta

from hotdata.exceptions import UpstreamTimeout
from hotdata.freshness import absences, entries, leases, redis
from hotdata.freshness.fetching import Fetch
from hotdata.freshness.outcomes import Refreshed
from hotdata.models import Source

LASTS = timedelta(minutes=1)
"""Of demands that nobody takes: who was there to serve them has died."""
MOST = 10_000
BETWEEN = "\0"
"""Stands between source and key; neither can have it."""

LONGEST_HERE = timedelta(seconds=10)
"""Of a call that a person waits for."""
PATIENCE = timedelta(seconds=2)  # at the gate
LOOK_AGAIN = 0.05  # seconds


def put(source: str, keys: Sequence[str]) -> None:
    """Have the checked `keys` fetched by who serves wishes. Raises CacheUnavailable."""
    if not keys:
        return
    leases.end_rests(source, keys)
    absences.forget(source, keys)
    now = time.time()
    with redis.guarded(), redis.client().pipeline(transaction=True) as pipe:
        pipe.zadd(_name(), {f"{source}{BETWEEN}{key}": now for key in keys})
        pipe.zremrangebyrank(_name(), MOST, -1)
        pipe.expire(_name(), LASTS)
        pipe.execute()


def take(limit: int) -> dict[str, list[str]]:
    """Up to `limit` demands, oldest first, as keys by source. Nobody else gets them. Raises CacheUnavailable."""
    with redis.guarded():
        taken = redis.client().zpopmin(_name(), limit)
    demanded: defaultdict[str, list[str]] = defaultdict(list)
    for member, _ in taken:
        source, _, key = member.decode(errors="replace").partition(BETWEEN)
        demanded[source].append(key)
    return dict(demanded)


def await_newer(source: str, key: str, fetched_at: float, *, patience: timedelta) -> bool:
    """Wait until the checked `key` has a value newer than that of `fetched_at`; whether it came in time.

    False as soon as its fetch is known to have failed. Raises CacheUnavailable.
    """
    until = time.monotonic() + patience.total_seconds()
    while True:
        stored = entries.read(source, key)
        if stored is not None and stored.fetched_at > fetched_at:
            return True
        if leases.look(source, key)[0] == "resting" or time.monotonic() >= until:
            return False
        time.sleep(LOOK_AGAIN)


def fetch_here(source: Source, key: str) -> Refreshed | None:
    """Fetch and store the checked `key`, within a few seconds; None when somebody else fetches it just now.

    Raises as `refresh` does, and UpstreamTimeout.
    """
    leases.end_rests(source.name, [key])
    absences.forget(source.name, [key])
    hurried = copy.copy(source)
    hurried.timeout = min(source.timeout, LONGEST_HERE)
    until = time.monotonic() + (hurried.timeout + PATIENCE).total_seconds()

    def check(done: int, total: int) -> None:
        if done < total and time.monotonic() > until:  # a fetcher that doesn't keep to its time
            raise UpstreamTimeout("It did not answer in time.", source=source.name, key=key)

    stored = entries.read(source.name, key)
    seen = {key: 0.0 if stored is None else stored.fetched_at}
    fetch = Fetch(source=hurried, patience=PATIENCE, seen=seen, progress=check)
    ours = fetch.acquire([key])
    return fetch.run(ours) if ours else None


def _name() -> str:
    return redis.name("demand")
