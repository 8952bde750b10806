"""How fresh is what readers of a source get? Puts together what was counted, and keeps it for longer than Redis does.

Redis has the counts by the minute, of the last two days. Once an hour `roll_up` writes those of past hours to the
database, where they stay as long as other records. Of an hour that is in both, the fuller account is believed:
counts only grow, so the other one has not got all yet, or lost some with Redis.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

from django.db import transaction
from django.utils import timezone

from hotdata.exceptions import UnknownSource
from hotdata.freshness import entries, meters, planner
from hotdata.freshness.meters import Measures, Served
from hotdata.logs import EventLogger
from hotdata.models import ApiCall, FreshnessHour, Source
from hotdata.models.hotkeys import forget_old

logger = EventLogger(__name__)

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
SETTLED_AFTER = (
    3  # finished hours; a process that couldn't reach Redis keeps its counts for one, and sends them late
)

COLUMNS = {
    Served.FRESH: "fresh",
    Served.STALE: "stale",
    Served.LAST_KNOWN: "last_known",
    Served.MISS: "misses",
    Served.ERROR: "errors",
}


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What a source's readers should get, and how far they got it."""

    age: timedelta
    share: float
    """Of the reads, that should get a value younger than `age`."""
    met_share: float | None
    """Of the reads, that did; None without reads."""

    @property
    def budget_left(self) -> float:
        """What is left of the error budget, the reads that need not meet the objective: 1 is all of it, 0 nothing.

        Below zero more was spent than there was; minus infinity where no read may miss and one did.
        """
        missed = 0.0 if self.met_share is None else 1 - self.met_share
        allowed = 1 - self.share
        if allowed > 0:
            return 1 - missed / allowed
        return -math.inf if missed > 0 else 1.0

    def to_json(self) -> dict[str, Any]:
        """Minus infinity, which JSON has not, is null."""
        return {
            "age": self.age.total_seconds(),
            "share": self.share,
            "met_share": self.met_share,
            "budget_left": self.budget_left if math.isfinite(self.budget_left) else None,
        }


@dataclass(frozen=True, kw_only=True)
class HotKeyAge:
    """How old the value of a hot key is now, in seconds."""

    key: str
    age: float


@dataclass(frozen=True, kw_only=True)
class Freshness:
    """What readers of a source got between `since` and `until`, and what was asked of its upstream. Ages in seconds."""

    source: str
    since: datetime
    until: datetime
    reads: int
    shares: Mapping[Served, float | None]
    """Of all reads, by how they were served; None without reads."""
    p50: float | None
    """The age that half of the values didn't exceed, at most 26 % too high; None when no value was read."""
    p99: float | None
    oldest_hot_key: HotKeyAge | None
    """Of the hot keys that have an entry now."""
    missing_hot_keys: int
    """Hot keys that have none."""
    last_success: datetime | None
    calls: int
    failed_calls: int
    budget: int
    """The calls that the source's limit allows in this time."""
    objective: Objective | None
    """None for a source that has none."""

    def to_json(self) -> dict[str, Any]:
        oldest = self.oldest_hot_key
        return {
            "source": self.source,
            "since": _local(self.since),
            "until": _local(self.until),
            "reads": self.reads,
            "shares": {served.value: share for served, share in self.shares.items()},
            "p50": self.p50,
            "p99": self.p99,
            "oldest_hot_key": oldest and {"key": oldest.key, "age": round(oldest.age, 3)},
            "missing_hot_keys": self.missing_hot_keys,
            "last_success": self.last_success and _local(self.last_success),
            "calls": self.calls,
            "failed_calls": self.failed_calls,
            "budget": self.budget,
            "objective": self.objective and self.objective.to_json(),
        }


def freshness_of(source: str, *, over: timedelta = HOUR, hot: Iterable[str] | None = None) -> Freshness:
    """What readers of `source` got in the last `over`: in whole minutes, of which the present one is the last.

    More than two days are measured in whole hours. `hot` are the keys to look for the oldest among; by default
    those that the planner keeps hot. Raises UnknownSource and CacheUnavailable.
    """
    row = Source.objects.prefetch_related("pinned").filter(name=source).first()
    if row is None:
        raise UnknownSource(f"There is no source {source!r}.", source=source)
    now = timezone.now()
    since = _since(now, over)
    measures = sum(measures_by_hour(source, since, now).values(), Measures())
    oldest, missing = _oldest(source, planner.hot_set(row) if hot is None else hot, now)
    return Freshness(
        source=source,
        since=since,
        until=now,
        reads=measures.reads,
        shares={served: measures.share(served) for served in Served},
        p50=measures.percentile(50),
        p99=measures.percentile(99),
        oldest_hot_key=oldest,
        missing_hot_keys=missing,
        last_success=ApiCall.objects.last_success(source),
        calls=measures.calls,
        failed_calls=measures.failed_calls,
        budget=row.calls_per_minute * math.ceil((now - since) / MINUTE),
        objective=objective_of(row, measures),
    )


def objective_of(source: Source, measures: Measures) -> Objective | None:
    """How far the reads in `measures` met what `source` should give; None for a source without an objective."""
    if source.objective_age is None:
        return None
    return Objective(
        age=source.objective_age,
        share=source.objective_share,
        met_share=measures.younger_than(source.objective_age),
    )


def roll_up(now: datetime) -> int:
    """Write the finished hours of every source that Redis knows to the database; return how many were written.

    The latest `SETTLED_AFTER` hours are written again if there is more to them by now, older ones once. It can be
    called at any time and any number of times. Also forgets hot keys that nobody has read for a day. Raises
    CacheUnavailable.
    """
    forget_old(now)
    return sum(
        _roll_up_source(source, now)
        for source in Source.objects.values_list("name", flat=True).order_by("name")
    )


def _roll_up_source(source: str, now: datetime) -> int:
    until = _hour(now)
    # The first hour that Redis still has in full.
    since = _hour(now - meters.KEPT) + HOUR
    settled = set(
        FreshnessHour.objects.filter(
            source=source, hour__gte=since, hour__lt=until - SETTLED_AFTER * HOUR
        ).values_list("hour", flat=True)
    )
    by_hour = _by_hour(meters.measured(source, since=since, until=until))
    written = sum(_write(source, hour, by_hour[hour]) for hour in sorted(by_hour.keys() - settled))
    if written:
        logger.info("freshness.rolled_up", source=source, hours=written)
    return written


@transaction.atomic
def _write(source: str, hour: datetime, measures: Measures) -> bool:
    """Write one hour, unless what is there already is as full or fuller."""
    row, new = FreshnessHour.objects.select_for_update().get_or_create(
        source=source, hour=hour, defaults=_columns(measures)
    )
    if new:
        return True
    if _fullness(measures) <= _fullness(_measures_of(row)):
        return False
    FreshnessHour.objects.filter(pk=row.pk).update(**_columns(measures))
    return True


def _since(now: datetime, over: timedelta) -> datetime:
    if over > meters.KEPT:
        return _hour(now - over)
    minutes = max(1, math.ceil(over / MINUTE))
    return now.replace(second=0, microsecond=0) - (minutes - 1) * MINUTE


def measures_by_hour(source: str, since: datetime, now: datetime) -> dict[datetime, Measures]:
    """What was counted for `source` since then, by hour of UTC; hours without any are not there.

    Raises CacheUnavailable.
    """
    by_hour = meters.by_hour(source, since=since, until=now)
    # Of an hour that began before `since` only Redis can tell the part that is asked for.
    for row in FreshnessHour.objects.filter(source=source, hour__gte=since, hour__lt=now):
        kept = _measures_of(row)
        by_hour[row.hour] = max(by_hour.get(row.hour, Measures()), kept, key=_fullness)
    return by_hour


def _by_hour(minutes: Mapping[datetime, Measures]) -> dict[datetime, Measures]:
    by_hour: dict[datetime, Measures] = {}
    for minute, measures in minutes.items():
        hour = _hour(minute)
        by_hour[hour] = by_hour.get(hour, Measures()) + measures
    return by_hour


def _columns(measures: Measures) -> dict[str, Any]:
    served = {column: measures.served.get(served, 0) for served, column in COLUMNS.items()}
    return {
        **served,
        "calls": measures.calls,
        "failed_calls": measures.failed_calls,
        "ages": list(measures.ages),
    }


def on_record(since: datetime, until: datetime) -> Iterator[tuple[str, int, Measures]]:
    """What the hours on record came to that began from `since` on and before `until`: source, hours, and their sum.

    By name, one source after the other; no more than a part of one is held.
    """
    rows = FreshnessHour.objects.filter(hour__gte=since, hour__lt=until).order_by("source", "hour").iterator()
    for source, hours in groupby(rows, key=lambda row: row.source):
        count, measures = 0, Measures()
        for row in hours:
            count, measures = count + 1, measures + _measures_of(row)
        yield source, count, measures


def _measures_of(row: FreshnessHour) -> Measures:
    return Measures(
        served={served: getattr(row, column) for served, column in COLUMNS.items()},
        ages=tuple(row.ages),
        calls=row.calls,
        failed_calls=row.failed_calls,
    )


def _fullness(measures: Measures) -> int:
    return measures.reads + measures.calls


def _oldest(source: str, hot: Iterable[str], now: datetime) -> tuple[HotKeyAge | None, int]:
    """The oldest of the `hot` keys, and how many of them have no entry."""
    keys = set(hot)
    stored = entries.read_many(source, keys)
    ages = [
        HotKeyAge(key=key, age=max(0.0, now.timestamp() - entry.fetched_at)) for key, entry in stored.items()
    ]
    return max(ages, key=lambda found: found.age, default=None), len(keys) - len(stored)


def _hour(moment: datetime) -> datetime:
    """The hour of UTC in which `moment` lies."""
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _local(moment: datetime) -> str:
    return timezone.localtime(moment).isoformat()
