"""What all triggers have in common: a time zone, a window from start to end, and the questions one may ask.

A kind of trigger says what is due inside a half-open range of instants; the rest is derived here, once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from apscheduler.triggers.base import BaseTrigger
from django.utils.translation import gettext as _

from hotdata.exceptions import BadTrigger
from hotdata.triggers.zones import EARLIEST, LATEST, load_zone

MOMENT = timedelta.resolution


@dataclass(frozen=True, kw_only=True)
class DueTimes:
    """How many due times a range has, and the outermost two; both None when it has none."""

    count: int = 0
    first: datetime | None = None
    last: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Trigger(BaseTrigger, ABC):  # type: ignore[misc]  # APScheduler has no types
    """Says when a job is due.

    ``starts_at`` and ``ends_at`` are inclusive. Instants go in aware, and come out in UTC. Making a trigger
    raises `BadTrigger` with the job field to blame; a trigger that was made raises nothing any more.
    """

    time_zone: str = "UTC"
    starts_at: datetime | None = None
    ends_at: datetime | None = None

    def __post_init__(self) -> None:
        load_zone(self.time_zone)
        self._keep_utc("starts_at", self.starts_at)
        self._keep_utc("ends_at", self.ends_at)
        if self.starts_at and self.ends_at and self.ends_at < self.starts_at:
            raise BadTrigger("ends_at", _("The end lies before the start."))

    def next_after(self, instant: datetime) -> datetime | None:
        """The first due time strictly after `instant`."""
        return self._first(*self._window(instant, LATEST))

    def due_between(self, after: datetime, until: datetime) -> DueTimes:
        """The due times t with after < t <= until, counted without visiting each."""
        lo, hi = self._window(after, until)
        first = self._first(lo, hi)
        if first is None:
            return DueTimes()
        return DueTimes(count=self._count(first, hi), first=first, last=self._last(first, hi))

    def first_due(self, n: int, after: datetime, until: datetime) -> list[datetime]:
        """The `n` earliest due times t with after < t <= until, or as many as there are."""
        lo, hi = self._window(after, until)
        found: list[datetime] = []
        while len(found) < n and (due := self._first(lo, hi)) is not None:
            found.append(due)
            lo = due + MOMENT
        return found

    def preview(self, n: int, after: datetime) -> list[datetime]:
        """The next `n` due times after `after`, as the clock of the trigger's own time zone shows them."""
        zone = ZoneInfo(self.time_zone)
        return [due.astimezone(zone) for due in self.first_due(n, after, LATEST)]

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        """APScheduler's question: what follows the previous fire or, before the first, what is due from now on."""
        return self.next_after(previous_fire_time or now.astimezone(UTC) - MOMENT)

    @abstractmethod
    def describe(self) -> str:
        """The schedule in words of the active language."""

    @abstractmethod
    def _first(self, lo: datetime, hi: datetime) -> datetime | None:
        """The earliest due time in [lo, hi)."""

    @abstractmethod
    def _last(self, lo: datetime, hi: datetime) -> datetime | None:
        """The latest due time in [lo, hi)."""

    @abstractmethod
    def _count(self, lo: datetime, hi: datetime) -> int:
        """How many due times lie in [lo, hi)."""

    def _window(self, after: datetime, until: datetime) -> tuple[datetime, datetime]:
        """What is left of after < t <= until inside start and end, as a half-open range in UTC."""
        lo, hi = _in_range(after) + MOMENT, _in_range(until) + MOMENT
        if self.starts_at:
            lo = max(lo, self.starts_at)
        if self.ends_at:
            hi = min(hi, _in_range(self.ends_at) + MOMENT)
        return lo, hi

    def _keep_utc(self, name: str, value: datetime | None) -> None:
        """Store an instant in UTC, so that equal instants print, hash and subtract alike."""
        if value is None:
            return
        if value.utcoffset() is None:
            raise BadTrigger(name, _("The time needs a time zone."))
        try:
            value = value.astimezone(UTC)
        except OverflowError as error:
            raise BadTrigger(name, _("The time is out of range.")) from error
        object.__setattr__(self, name, value)


def _in_range(instant: datetime) -> datetime:
    # To UTC before anything is added: in its own zone, an instant in a repeated hour would jump back.
    return min(max(instant, EARLIEST), LATEST).astimezone(UTC)
