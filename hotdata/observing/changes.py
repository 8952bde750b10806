"""Finds changes of components, among many, by component, what it came to, time and text."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q

from hotdata.models import ComponentChange
from hotdata.observing.finding import Found, compared, limited, only, place_at


@dataclass(frozen=True, kw_only=True)
class ChangeSearch:
    """What is looked for. All that is given has to hold."""

    component: str = ""
    after: str | None = None
    """The state that it came to; empty for what is gone."""
    since: datetime | None = None
    """Changes are found by time in the order of their ids, which is the one they were recorded in."""
    until: datetime | None = None
    before: int | None = None
    """Only changes with a smaller id: where an earlier search left off."""
    text: str = ""
    """A part of the component's name or of what was seen."""

    def find(self) -> Found:
        """The changes, newest first."""
        way = ComponentChange.objects.filter(self._in_time())
        if self.component:
            way = only(way, "component", self.component)
        rest = Q()
        if self.after is not None:
            rest &= compared(ComponentChange, "after", "exact", self.after)
        if term := self.text.strip():
            rest &= Q(component__icontains=term) | Q(detail__icontains=term)
        return limited(way, "id", rest, within="component" if self.component else "")

    def _in_time(self) -> Q:
        found = Q()
        if self.before is not None:
            found &= Q(id__lt=self.before)
        if self.since is not None:
            first = place_at(ComponentChange.objects.all(), "at", self.since)
            found &= Q(pk__in=[]) if first is None else Q(id__gte=first)
        if self.until is not None:
            end = place_at(ComponentChange.objects.all(), "at", self.until)
            found &= Q() if end is None else Q(id__lt=end)
        return found
