"""The next due times, each with what a change of clocks does to it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from hotdata.triggers.base import MOMENT, Trigger
from hotdata.triggers.cron import CronTrigger
from hotdata.triggers.crontab import parse

NOTHING = timedelta(0)


@dataclass(frozen=True, kw_only=True)
class Fire:
    """One due time."""

    at: datetime
    """On the clock of the trigger's zone."""
    turned: timedelta = NOTHING
    """By how much the clocks were turned since the due time before (of the first: since now)."""
    moved: bool = False
    """The time asked for doesn't exist that day: the clocks skip it, and this is right after that."""
    showing: int = 0
    """1 and 2 in an hour that the clock shows twice: which of the two it is. Else 0."""

    @property
    def turned_back(self) -> timedelta:
        """By how much they were turned back."""
        return -self.turned


def preview(trigger: Trigger, count: int, now: datetime) -> list[Fire]:
    """The next `count` due times after `now`."""
    fires: list[Fire] = []
    due_times = trigger.preview(count, now)
    before = now.astimezone(due_times[0].tzinfo) if due_times else now
    for at in due_times:
        fires.append(
            Fire(
                at=at,
                turned=_offset(at) - _offset(before),
                moved=_is_moved(trigger, at),
                showing=at.fold + 1 if _is_shown_twice(at) else 0,
            )
        )
        before = at
    return fires


def _offset(at: datetime) -> timedelta:
    return at.utcoffset() or NOTHING


def _is_shown_twice(at: datetime) -> bool:
    """Whether the clock shows this time of day again an hour later, or has shown it before."""
    return at.replace(fold=0).utcoffset() != at.replace(fold=1).utcoffset()


def _is_moved(trigger: Trigger, at: datetime) -> bool:
    """Whether this is no time that the expression names: then it stands for one that the clock skips."""
    if not isinstance(trigger, CronTrigger):
        return False
    wall = at.replace(tzinfo=None)
    return parse(trigger.expression).count(wall, wall + MOMENT) == 0
