"""How close upstreams came to the budgets of their sources in a period, in any minute of the clock."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec
from django.db.models import Count

from hotdata.models import ApiCall, Source
from hotdata.observing.buckets import EPOCH, Number
from hotdata.reporting.periods import Period

MINUTE = timedelta(minutes=1)
CLOSE = 0.8
"""Of a budget; more is close to its limit. It is what a plan may take, so readers have asked for more."""
MOST = 50


class Peak(msgspec.Struct, frozen=True, kw_only=True):
    """The fullest minute of a source whose budget was used almost up."""

    source: str
    budget: int
    """Calls per minute, as it was when the report was made."""
    calls: int
    at: datetime
    close_minutes: int
    """In so many minutes it was close to its limit."""

    @property
    def share(self) -> float:
        return self.calls / self.budget


def peaks_of(period: Period) -> tuple[Peak, ...]:
    """The sources that came close to their budgets in `period`, the closest first; at most `MOST`. Two queries."""
    budgets = dict(Source.objects.values_list("name", "calls_per_minute"))
    calls = ApiCall.objects.filter(started_at__gte=period.start, started_at__lt=period.end).order_by()
    by_minute: Any = calls.values_list("source", Number("started_at", width=MINUTE)).annotate(n=Count("id"))
    peaks: dict[str, tuple[int, int]] = {}
    close: dict[str, int] = {}
    for source, minute, n in by_minute.iterator():
        if source not in budgets or n < CLOSE * budgets[source]:
            continue
        peaks[source] = max(peaks.get(source, (0, 0)), (n, int(minute)))
        close[source] = close.get(source, 0) + 1
    found = [
        Peak(
            source=source,
            budget=budgets[source],
            calls=n,
            at=EPOCH + minute * MINUTE,
            close_minutes=close[source],
        )
        for source, (n, minute) in peaks.items()
    ]
    return tuple(sorted(found, key=lambda peak: (-peak.share, peak.source))[:MOST])
