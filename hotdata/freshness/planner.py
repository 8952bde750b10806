"""What should be refreshed now: of each source's hot set, what is missing or past its soft expiry."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from hotdata.freshness import entries
from hotdata.freshness.entries import Stored
from hotdata.models import Source


def hot_set(source: Source) -> list[str]:
    """The keys of `source` that are kept hot: its pinned keys."""
    return source.pinned_keys()


def due_keys(source: Source, now: datetime) -> list[str]:
    """Those of the hot set that nobody has refreshed in time. Raises CacheUnavailable."""
    hot = hot_set(source)
    stored = entries.read_many(source.name, hot)
    return list(_due(hot, stored, now.timestamp()))


def _due(keys: Iterable[str], stored: dict[str, Stored], now: float) -> Iterable[str]:
    return (key for key in keys if key not in stored or stored[key].soft_expiry <= now)
