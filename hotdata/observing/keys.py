"""How old the hot keys of all sources are, against the age they may have. The worst come first.

Which keys are hot is taken from the snapshot that the refresh writes, at most a minute or two old: to work that out
anew takes a query and a round trip for each source, and this looks at all of them at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import BigIntegerField, BooleanField, DurationField, F, FloatField, IntegerField, Value

from hotdata.exceptions import BadSource
from hotdata.freshness import entries
from hotdata.models import HotKey, Source
from hotdata.models.hotkeys import LIFE
from hotdata.windows import Windows

MOST_KEYS = 500
"""Of a source, that are looked at: what is pinned, then what is read most."""
TOLERATED = timedelta(seconds=5)
"""Beyond the limit: a refresh begins when it is reached, and takes its time."""


@dataclass(frozen=True, kw_only=True)
class WatchedSource:
    """A source, and the keys of it that are kept hot."""

    id: int
    name: str
    title: str
    limit: timedelta
    """How old a value may be: until it is stale, or the source's maximum age, if that is longer."""
    rests: bool
    """It is switched off, or no refresh window is open: its keys grow old as they should."""
    keys: tuple[str, ...]

    def __str__(self) -> str:
        return self.title or self.name


@dataclass(frozen=True, kw_only=True)
class KeyAge:
    """How old the value of a hot key is."""

    source: WatchedSource
    key: str
    age: timedelta | None
    """None when there is no value."""

    @property
    def share(self) -> float | None:
        """Of the limit; 1 is all of it."""
        return None if self.age is None else self.age / self.source.limit

    @property
    def is_missing(self) -> bool:
        return self.age is None and not self.source.rests

    @property
    def is_overdue(self) -> bool:
        """Whether it is older than it may be."""
        return self.age is not None and not self.source.rests and self.age > self.source.limit + TOLERATED


def watched_sources(now: datetime) -> list[WatchedSource]:
    """All sources by name, with their hot keys. One query."""
    pinned = Source.objects.order_by().values_list(
        "name",
        "title",
        "enabled",
        "soft_ttl",
        "max_age",
        "windows",
        "hot_keys",
        "id",
        "pinned__key",
        Value(None, output_field=FloatField()),
    )
    read = HotKey.objects.filter(seen_at__gt=now - LIFE).order_by()
    # One statement, since a page that shows this shows much else: of the second kind of row only the name, the key and
    # the reads are looked at.
    rows = pinned.union(
        read.values_list(
            F("source"),
            Value(""),
            Value(True, output_field=BooleanField()),
            Value(None, output_field=DurationField()),
            Value(None, output_field=DurationField()),
            Value(""),
            Value(0, output_field=IntegerField()),
            Value(0, output_field=BigIntegerField()),
            F("key"),
            F("reads_per_minute"),
        ),
        all=True,
    )
    definitions: dict[str, list[Any]] = {}
    keys: dict[str, list[str]] = {}
    hot: dict[str, list[tuple[float, str]]] = {}
    for name, *definition, key, rate in rows:
        if rate is not None:
            hot.setdefault(name, []).append((-rate, key))
            continue
        definitions[name] = definition
        pinned_keys = keys.setdefault(name, [])
        if key is not None:
            pinned_keys.append(key)
    return [
        _watched(name, keys[name], hot.get(name, []), now, *definitions[name]) for name in sorted(definitions)
    ]


def key_ages(sources: Iterable[WatchedSource], now: datetime) -> list[KeyAge]:
    """The age of each hot key of `sources`, worst first; one round trip to Redis. Raises CacheUnavailable."""
    pairs = [(source, key) for source in sources for key in source.keys]
    fetched = entries.fetched_at((source.name, key) for source, key in pairs)
    ages = []
    for source, key in pairs:
        at = fetched.get((source.name, key))
        age = None if at is None else max(now - at, timedelta(0))
        ages.append(KeyAge(source=source, key=key, age=age))
    return sorted(ages, key=_badness, reverse=True)


def _badness(key: KeyAge) -> tuple[bool, bool, float]:
    return (not key.source.rests, key.is_missing, key.share or 0.0)


def _watched(
    name: str,
    pinned: list[str],
    hot: list[tuple[float, str]],
    now: datetime,
    title: str,
    enabled: bool,
    soft_ttl: timedelta,
    max_age: timedelta | None,
    windows: str,
    hot_keys: int,
    id: int,
) -> WatchedSource:
    known = set(pinned)
    others = [key for _, key in sorted(hot) if key not in known][:hot_keys]
    return WatchedSource(
        id=id,
        name=name,
        title=title,
        limit=max(soft_ttl, max_age or soft_ttl),
        rests=rests(enabled, windows, now),
        keys=tuple([*pinned, *others][:MOST_KEYS]),
    )


def rests(enabled: bool, windows: str, now: datetime) -> bool:
    """Whether a source with these is left as it is: switched off, or outside its refresh windows."""
    try:
        return not (enabled and Windows.parse(windows).is_open(now))
    except BadSource:  # written behind the model's back; the refresh leaves such a source alone
        return True
