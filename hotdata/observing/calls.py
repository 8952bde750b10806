"""Finds API calls, among a million of them, by source, outcome, run, time and text."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q, QuerySet

from hotdata.models import ApiCall, Run
from hotdata.observing.finding import Condition, Found, compared, limited, one_of, only, walked

FAILED = ApiCall.Outcome.FAILED


@dataclass(frozen=True, kw_only=True)
class CallSearch:
    """What is looked for. All that is given has to hold."""

    source: str = ""
    outcome: ApiCall.Outcome | None = None
    run: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    before: datetime | None = None
    """Only calls that began earlier: where an earlier search left off."""
    text: str = ""
    """A part of the keys or of the error."""

    def find(self) -> Found:
        """The calls, newest first."""
        rest = Q()
        failed = self.outcome == FAILED
        way: QuerySet[ApiCall] = ApiCall.objects.filter(self._in_time(compared if failed else walked))
        if failed:
            way = one_of(way, "outcome", [FAILED])
        elif self.outcome:
            rest &= compared(ApiCall, "outcome", "exact", self.outcome)
        if self.source and failed:
            way = way.filter(compared(ApiCall, "source", "exact", self.source))
        elif self.source:
            way = only(way, "source", self.source)
        if self.run is not None:
            rest &= Q(run_id=self.run)
        if term := self.text.strip():
            rest &= Q(keys__icontains=term) | Q(error__icontains=term)
        within = "-source" if self.source and not failed else ""
        return limited(way, "started_at", rest, within=within, condition=compared if failed else walked)

    def _in_time(self, condition: Condition) -> Q:
        """The time; of a run's calls, the time of the run, which spares every call a place in one more index."""
        bounds = [("gte", self.since), ("lt", self.until), ("lt", self.before)]
        if self.run is not None:
            times = Run.objects.filter(id=self.run).values_list("created_at", "finished_at").first()
            bounds += zip(("gte", "lte"), times or (), strict=False)
        found = Q()
        for lookup, moment in bounds:
            if moment is not None:
                found &= condition(ApiCall, "started_at", lookup, moment)
        return found
