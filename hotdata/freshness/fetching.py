"""Fetching keys under their leases: what the readers' flights and the refresher have in common.

Of all who want a key at the same time, one fetches it. A key whose fetch failed rests for a moment, for all of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from hotdata.exceptions import CacheUnavailable
from hotdata.freshness import absences, entries, leases
from hotdata.freshness.entries import Stored
from hotdata.freshness.leases import Lease
from hotdata.freshness.outcomes import Refreshed, RefreshFailed
from hotdata.freshness.recording import Record
from hotdata.freshness.refresh import Progress, refresh
from hotdata.models import Source

REST = timedelta(seconds=5)
LONGEST_WISHED = timedelta(seconds=30)  # of a rest that an upstream asks for; the gate keeps to all of it
SAME = 1e-3  # seconds, within which two times of the epoch are one that was rounded
SLACK = timedelta(seconds=1)  # from the end of a call until what it brought is stored


@dataclass(frozen=True, kw_only=True)
class Fetch:
    """How some keys of a source are to be fetched."""

    source: Source
    patience: timedelta
    """How long a call may wait at the gate."""
    seen: Mapping[str, float] | None = None
    """By key, when what its caller saw had been fetched. What is newer, or was not there then, is not fetched again.

    By default that is so for what is fresh.
    """
    rest: timedelta = REST
    """How long a key whose fetch failed is left alone, by everybody; a little longer if the upstream asks for it.

    One that was postponed is left alone until the gate may let it through.
    """
    record: Callable[[Record], None] = Record.write
    """What becomes of its records."""
    run_id: int | None = None
    progress: Progress = lambda done, total: None

    @property
    def longest(self) -> timedelta:
        """How long it may take: the wait at the gate, the call, and storing what it brought."""
        return self.patience + self.source.timeout + SLACK

    def fetchable(self, keys: Sequence[str]) -> list[str]:
        """Those of the checked `keys` that nobody fetches, that don't rest, and that may be there.

        Raises CacheUnavailable.
        """
        free = leases.free(self.source.name, keys)
        absent = absences.among(self.source.name, free)
        absent -= entries.read_many(self.source.name, absent).keys()
        return [key for key in free if key not in absent]

    def acquire(self, keys: Iterable[str]) -> dict[str, Lease]:
        """The leases on those of the checked `keys` that nobody fetches, and that don't rest.

        Raises CacheUnavailable.
        """
        return leases.acquire_each(self.source.name, keys, lasts=self.longest)

    def run(self, ours: Mapping[str, Lease]) -> Refreshed | None:
        """Fetch and store what `ours` are leases on, and end these. None when there was nothing to do.

        Raises as `refresh` does.
        """
        failed: Collection[str] = ours
        rest = self.rest
        postponed: dict[str, timedelta] = {}
        try:
            refreshed = self._refresh(ours, postponed)
            failed = _failed(refreshed, ours) if refreshed is not None else ()
            return refreshed
        except RefreshFailed as error:
            failed = _failed(error.result, ours)
            rest = max(rest, min(error.retry_after or rest, LONGEST_WISHED))
            raise
        finally:
            with suppress(CacheUnavailable):  # then they expire
                for key, lease in ours.items():
                    if key in postponed:
                        lease.end(rest=min(postponed[key], LONGEST_WISHED))
                    else:
                        lease.end(rest=rest if key in failed else timedelta(0))

    def _is_due(self, stored: Stored) -> bool:
        if self.seen is None:
            return stored.soft_expiry <= time.time()
        return stored.fetched_at <= self.seen.get(stored.key, 0.0) + SAME

    def _refresh(self, ours: Mapping[str, Lease], postponed: dict[str, timedelta]) -> Refreshed | None:
        """`run`, but for the leases. Notes which keys are `postponed`, and for how long."""
        # Whoever had the lease before may just have stored it.
        there = entries.read_many(self.source.name, ours)
        absent = absences.among(self.source.name, [key for key in ours if key not in there])
        due = [key for key in ours if key not in absent and (key not in there or self._is_due(there[key]))]
        if not due:
            return None
        # Not from now on: it may have waited for a thread, and others may fetch when the leases have expired.
        until = min(lease.until for lease in ours.values()) - SLACK.total_seconds()
        return refresh(
            self.source,
            due,
            progress=self.progress,
            time_left=lambda: until - time.monotonic(),
            patience=self.patience,
            postponed=postponed.__setitem__,
            record=self.record,
            run_id=self.run_id,
        )


def _failed(result: Refreshed, ours: Collection[str]) -> Collection[str]:
    """Of `ours`, those that failed; or all, when more did than the result names."""
    return result.failed if result.failures == len(result.failed) else ours
