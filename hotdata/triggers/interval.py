"""Due times at a fixed distance from one another, always start + n x interval.

No fire, restart or edit elsewhere shifts the phase, because nothing is counted from the fire before.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from hotdata.exceptions import BadTrigger
from hotdata.triggers.base import MOMENT, Trigger

SECOND = timedelta(seconds=1)


@dataclass(frozen=True, kw_only=True)
class IntervalTrigger(Trigger):
    """Due at `anchor` and each `interval` after it. A ``starts_at`` takes the anchor's place."""

    interval: timedelta
    anchor: datetime

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.interval < SECOND:
            raise BadTrigger("interval", _("The interval must be one second or longer."))
        if self.interval % SECOND:
            raise BadTrigger("interval", _("The interval must be a whole number of seconds."))
        self._keep_utc("anchor", self.starts_at or self.anchor)

    def describe(self) -> str:
        seconds = self.interval // SECOND
        if seconds % 86400 == 0:
            return ngettext("Every %(n)d day", "Every %(n)d days", seconds // 86400) % {"n": seconds // 86400}
        if seconds % 3600 == 0:
            return ngettext("Every %(n)d hour", "Every %(n)d hours", seconds // 3600) % {"n": seconds // 3600}
        if seconds % 60 == 0:
            return ngettext("Every %(n)d minute", "Every %(n)d minutes", seconds // 60) % {"n": seconds // 60}
        return ngettext("Every %(n)d second", "Every %(n)d seconds", seconds) % {"n": seconds}

    def _first(self, lo: datetime, hi: datetime) -> datetime | None:
        numbers = self._numbers(lo, hi)
        return self.anchor + numbers[0] * self.interval if numbers else None

    def _last(self, lo: datetime, hi: datetime) -> datetime | None:
        numbers = self._numbers(lo, hi)
        return self.anchor + numbers[-1] * self.interval if numbers else None

    def _count(self, lo: datetime, hi: datetime) -> int:
        return len(self._numbers(lo, hi))

    def _numbers(self, lo: datetime, hi: datetime) -> range:
        """Each n for which anchor + n x interval lies in [lo, hi)."""
        lowest = -((self.anchor - lo) // self.interval)
        highest = (hi - MOMENT - self.anchor) // self.interval
        return range(max(lowest, 0), highest + 1)
