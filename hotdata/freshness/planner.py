"""Which keys of a source are kept fresh, and when each is refreshed: the hot set and its plan.

The hot set is what is pinned, and beside it what is read most. Guests, keys that tasks fetched, are there while they
are read most, and when Redis has lost them: nobody else would bring them back. Each key of the set has an interval by
the √ rule (see `rates`): the more it is read the shorter, within the source's bounds, and so that all together take no
more than `BUDGET_SHARE` of the upstream's budget. While a value stays the same its interval is stretched, and what that
saves goes to the others.

A plan is worked out anew each time, from what is stored and what is read, and kept nowhere. A key is due by its own
last refresh, so keys don't come due together unless they were fetched together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice, takewhile

from django.utils import timezone

from hotdata.exceptions import CacheUnavailable
from hotdata.freshness import entries, hotkeys, wording
from hotdata.freshness.definitions import Definition
from hotdata.freshness.entries import Stored
from hotdata.freshness.rates import Demand, rates
from hotdata.models import Source
from hotdata.models.hotkeys import guest_keys, remembered

BUDGET_SHARE = 0.8
"""Of the calls per minute, that a plan takes at most; the others are for what readers miss, and for probes."""
UNREAD = 0.0
"""Reads per minute that a pinned key counts for while nobody reads it: it gets the longest interval at any budget."""
HOT_WEIGHT = 1.0
"""Of a read of a key that is not pinned."""
STRETCH = 1.5
"""What an interval is multiplied by for each refresh in a row that brought the same value."""
MOST_STRETCHES = 12
EARLY = 0.5
"""Of its interval: with no more than this left a key may fill up a batch."""

MINUTE = timedelta(minutes=1)
ROUNDING = 1e-6
"""Two intervals that differ by no more than this part of them are the same."""

Reason = Callable[[], str]
"""Why a key is refreshed when it is, in words of the language that is active when it is called."""


@dataclass(frozen=True, kw_only=True)
class PlannedKey:
    """A key of the hot set, when it is refreshed, and why then."""

    key: str
    pinned: bool
    weight: float
    """How much a read of it counts."""
    reads_per_minute: float
    interval: timedelta
    """From one refresh to the next."""
    fetched_at: datetime | None
    """None when nothing is stored."""
    due_at: datetime
    early_at: datetime
    """From then on it may fill up a batch that goes out anyway."""
    reason: Reason = field(repr=False, compare=False)

    @property
    def why(self) -> str:
        """Why then: a few words for operators, in the active language."""
        return self.reason()


@dataclass(frozen=True, kw_only=True)
class Plan:
    """When each key of a source's hot set is refreshed."""

    source: str
    keys: tuple[PlannedKey, ...]
    """Those that are due first come first."""
    calls_per_minute: float
    """What it takes: in the long run, while the source's windows are open, and with batches as full as can be."""
    budget: float
    """What it may take, in calls per minute."""
    batch_size: int

    def due(self, now: datetime) -> list[str]:
        """The keys to refresh at `now`. The last batch is filled up with those that are due next, if soon."""
        due = [planned.key for planned in takewhile(lambda planned: planned.due_at <= now, self.keys)]
        early = (planned.key for planned in self.keys[len(due) :] if planned.early_at <= now)
        return due + list(islice(early, -len(due) % self.batch_size))

    @property
    def next_due(self) -> datetime | None:
        """When the first key is due, which may be past; None without keys."""
        return self.keys[0].due_at if self.keys else None


def hot_set(source: Source) -> list[str]:
    """The keys that are kept hot: the pinned ones in their order, then the others, most-read first.

    While Redis is away, what is read most is what the last snapshot says.
    """
    weights, now = _weights(source), timezone.now()
    try:
        reads = _reads(source, weights, now)
    except CacheUnavailable:
        reads = remembered(source.name, now)
    return [candidate.key for candidate in _hot(source, weights, reads)]


def remember_hot(source: Source, now: datetime) -> None:
    """Remember in the database what is read most, for when Redis is flushed; nothing while Redis is away."""
    with suppress(CacheUnavailable):
        hotkeys.snapshot(source.name, now=now, limit=source.hot_keys + len(_weights(source)))


def due_keys(source: Source, now: datetime) -> list[str]:
    """The keys of the hot set to refresh at `now`. Raises as `plan` does."""
    return plan(source, now).due(now)


def plan(source: Source, now: datetime) -> Plan:
    """The plan of `source` at `now`. Raises CacheUnavailable; and BadSource for windows or a pattern that are none."""
    planning, weights = _Planning(source, now), _weights(source)
    hot = _hot(source, weights, _reads(source, weights, now))
    stored = entries.read_many(source.name, (candidate.key for candidate in hot))
    guests = guest_keys(source.name, now)
    definition = Definition(
        source=source, pinned=frozenset(weights), pattern=source.build_pattern(), guests=frozenset(guests)
    )
    return planning.plan([*_fetchable(definition, hot, stored), *_lost(source, guests, hot)], stored)


# The hot set


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    key: str
    pinned: bool
    weight: float
    reads_per_minute: float
    lost: bool = False
    """Whether it is there only because Redis has lost what a task fetched."""

    @property
    def demand(self) -> float:
        return self.weight * self.reads_per_minute


def _weights(source: Source) -> dict[str, float]:
    """The weights of the pinned keys, in their order."""
    return {pinned.key: pinned.weight for pinned in source.pinned.all()}


def _reads(source: Source, weights: Mapping[str, float], now: datetime) -> dict[str, float]:
    """The reads per minute of the most-read keys, of which some may be the pinned ones. Raises CacheUnavailable."""
    return hotkeys.hot_reads(source.name, now=now, limit=source.hot_keys + len(weights))


def _hot(source: Source, weights: Mapping[str, float], reads: Mapping[str, float]) -> list[_Candidate]:
    """The hot set, where `reads` are most-read first."""
    others = islice((key for key in reads if key not in weights), source.hot_keys)
    return [
        _Candidate(
            key=key,
            pinned=key in weights,
            weight=weights.get(key, HOT_WEIGHT),
            reads_per_minute=reads.get(key, UNREAD),
        )
        for key in (*weights, *others)
    ]


def _fetchable(
    definition: Definition, hot: Sequence[_Candidate], stored: Mapping[str, Stored]
) -> list[_Candidate]:
    """Those of `hot` that are stored, or may be fetched for a reader: of what none can have, the plan makes none."""
    return [candidate for candidate in hot if candidate.key in stored or definition.serves(candidate.key)]


def _lost(source: Source, guests: Iterable[str], hot: Iterable[_Candidate]) -> Iterator[_Candidate]:
    """Those of `guests` that are not in `hot`, and have no entry although the time of theirs isn't over.

    No more than a minute's calls can bring: the others come into a later plan.
    """
    there = {candidate.key for candidate in hot}
    lost = entries.missing(source.name, [key for key in guests if key not in there])
    for key in lost[: source.calls_per_minute * source.batch_size]:
        yield _Candidate(key=key, pinned=False, weight=HOT_WEIGHT, reads_per_minute=UNREAD, lost=True)


# The plan


class _Planning:
    """One plan being worked out. Raises BadSource for windows that are none."""

    def __init__(self, source: Source, now: datetime) -> None:
        self._source = source
        self._now = now
        self._windows = source.build_windows()
        self._opening = self._windows.opens_at(now)
        self._budget = BUDGET_SHARE * source.calls_per_minute
        # No key can be refreshed by more calls than there are, however many others are in its batches.
        self._shortest = max(source.shortest_interval, MINUTE / self._budget)
        self._longest = max(source.longest_interval, MINUTE / self._budget)

    def plan(self, hot: Sequence[_Candidate], stored: Mapping[str, Stored]) -> Plan:
        batch_size = self._source.batch_size
        demands = [self._demand(candidate, stored.get(candidate.key)) for candidate in hot]
        per_minute = rates(demands, self._budget * batch_size)
        planned = (
            self._planned(candidate, stored.get(candidate.key), MINUTE / rate)
            for candidate, rate in zip(hot, per_minute, strict=True)
        )
        return Plan(
            source=self._source.name,
            keys=tuple(sorted(planned, key=lambda key: key.due_at)),
            calls_per_minute=max(math.fsum(per_minute) / batch_size, max(per_minute, default=0.0)),
            budget=self._budget,
            batch_size=batch_size,
        )

    def _demand(self, candidate: _Candidate, stored: Stored | None) -> Demand:
        # A weight that is lower by the square stretches the interval, and leaves to the others what that saves.
        stretch = _stretch(stored)
        return Demand(
            weight=candidate.demand / stretch**2,
            shortest=min(self._shortest * stretch, self._longest) / MINUTE,
            longest=self._longest / MINUTE,
        )

    def _planned(self, candidate: _Candidate, stored: Stored | None, interval: timedelta) -> PlannedKey:
        due_at, early_at, reason = self._when(candidate, stored, interval)
        # While the windows are closed, whatever was due before has the same opening.
        opening = self._opening if due_at <= self._opening else self._windows.opens_at(due_at)
        if opening > max(due_at, self._now):
            due_at = early_at = opening
            reason = partial(wording.resting, self._windows, opening)
        return PlannedKey(
            key=candidate.key,
            pinned=candidate.pinned,
            weight=candidate.weight,
            reads_per_minute=candidate.reads_per_minute,
            interval=interval,
            fetched_at=None if stored is None else _moment(stored.fetched_at),
            due_at=due_at,
            early_at=early_at,
            reason=reason,
        )

    def _when(
        self, candidate: _Candidate, stored: Stored | None, interval: timedelta
    ) -> tuple[datetime, datetime, Reason]:
        """From when on it is due, may fill up a batch, and why; as if the windows were open."""
        if stored is None:
            return self._now, self._now, wording.lost if candidate.lost else wording.not_fetched
        fetched_at, soft_expiry = _moment(stored.fetched_at), _moment(stored.soft_expiry)
        if fetched_at > self._now + interval:
            return self._now, self._now, wording.clock_ahead
        due_at, reason = fetched_at + interval, self._reason(candidate, stored, interval)
        if candidate.pinned and soft_expiry < due_at and self._stays_fresh(interval):
            due_at, reason = soft_expiry, wording.before_stale
        return due_at, max(due_at - EARLY * interval, fetched_at + self._source.shortest_interval), reason

    def _stays_fresh(self, interval: timedelta) -> bool:
        """Whether a key that is refreshed at `interval` is meant never to be stale."""
        return self._source.longest_interval <= self._source.soft_ttl and not self._is_short(interval)

    def _is_short(self, interval: timedelta) -> bool:
        """Whether the budget doesn't suffice even for the longest interval."""
        return interval > self._source.longest_interval * (1 + ROUNDING)

    def _reason(self, candidate: _Candidate, stored: Stored, interval: timedelta) -> Reason:
        longest = self._source.longest_interval
        if self._is_short(interval):
            return partial(wording.short_of_budget, interval, longest)
        at_longest, stretch = interval >= longest * (1 - ROUNDING), _stretch(stored)
        if candidate.demand and stretch > 1:
            instead_of = None if at_longest else interval / stretch
            return partial(wording.unchanged, stored.unchanged, interval, instead_of)
        if at_longest:
            return partial(wording.at_least, interval, bool(self._source.max_age))
        by_budget = interval > self._shortest * (1 + ROUNDING)
        return partial(wording.in_demand, candidate.reads_per_minute, interval, by_budget)


def _stretch(stored: Stored | None) -> float:
    return 1.0 if stored is None else STRETCH ** min(stored.unchanged, MOST_STRETCHES)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
