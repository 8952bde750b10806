"""How each source stands: its gate, its calls, what its readers got, and how old its hot keys are.

For any number of sources at once, in two queries and a few round trips to Redis. Without Redis only what the database
knows is there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from hotdata.exceptions import CacheUnavailable
from hotdata.freshness import gate, meters
from hotdata.freshness.gate import GateState
from hotdata.freshness.meters import Measures
from hotdata.freshness.upstream import gate_of
from hotdata.models import Source
from hotdata.observing import keys, upstreams
from hotdata.observing.freshness import Objective, objective_of
from hotdata.observing.keys import KeyAge, WatchedSource
from hotdata.observing.upstreams import Traffic

READS_OVER = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True)
class HotKeys:
    """The hot keys of a source, as far as they are watched."""

    count: int
    oldest: KeyAge | None
    """Of those that have a value."""
    missing: int
    overdue: int


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How a source stands. None of what Redis would have to tell and doesn't."""

    traffic: Traffic
    """Of the last day."""
    rests: bool
    """It is switched off, or no refresh window is open."""
    gate: GateState | None = None
    reads: Measures | None = None
    """Of the last hour."""
    objective: Objective | None = None
    """Judged by these; None for a source that has none, too."""
    hot: HotKeys | None = None


@dataclass(frozen=True, kw_only=True)
class Standings:
    """How several sources stand, by name."""

    by_source: Mapping[str, Standing] = field(default_factory=dict)
    away: str = ""
    """Why Redis told nothing."""


def standings(sources: Sequence[Source], now: datetime) -> Standings:
    """How `sources` stand at `now`."""
    if not sources:
        return Standings()
    names = [source.name for source in sources]
    traffic = upstreams.upstreams(names, now)
    watched = {found.name: found for found in keys.watched_sources(now) if found.name in names}
    told: Mapping[str, _Told] = {}
    away = ""
    try:
        told = _ask_redis(sources, list(watched.values()), now)
    except CacheUnavailable as error:
        away = str(error)
    return Standings(
        by_source={
            source.name: _standing(
                source, traffic.wholes[source.name], watched.get(source.name), told.get(source.name)
            )
            for source in sources
        },
        away=away,
    )


@dataclass(frozen=True, kw_only=True)
class _Told:
    """What Redis tells of a source."""

    gate: GateState
    reads: Measures
    hot: HotKeys


def _ask_redis(
    sources: Sequence[Source], watched: Sequence[WatchedSource], now: datetime
) -> dict[str, _Told]:
    names = [source.name for source in sources]
    gates = gate.look_each([gate_of(source) for source in sources])
    reads = meters.totals(names, since=now - READS_OVER, until=now)
    ages: dict[str, list[KeyAge]] = {name: [] for name in names}
    for age in keys.key_ages(watched, now):
        ages[age.source.name].append(age)
    return {
        name: _Told(gate=state, reads=reads[name], hot=_hot_keys(ages[name]))
        for name, state in zip(names, gates, strict=True)
    }


def _hot_keys(ages: Sequence[KeyAge]) -> HotKeys:
    there = [key for key in ages if key.age is not None]
    return HotKeys(
        count=len(ages),
        oldest=max(there, key=lambda key: key.age or timedelta(), default=None),
        missing=sum(key.is_missing for key in ages),
        overdue=sum(key.is_overdue for key in ages),
    )


def _standing(
    source: Source, traffic: Traffic, watched: WatchedSource | None, told: _Told | None
) -> Standing:
    rests = watched.rests if watched is not None else not source.enabled
    if told is None:
        return Standing(traffic=traffic, rests=rests)
    return Standing(
        traffic=traffic,
        rests=rests,
        gate=told.gate,
        reads=told.reads,
        objective=objective_of(source, told.reads),
        hot=told.hot,
    )
