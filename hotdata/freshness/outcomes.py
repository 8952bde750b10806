"""Outcomes: what a refresh came to, for its record and for who asked for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from hotdata.exceptions import HotdataError, UpstreamError
from hotdata.freshness.upstream import reason

FAILURES_SHOWN = 100


@dataclass(kw_only=True)
class Refreshed:
    """What a refresh came to. Counts are keys, but for ``calls``."""

    source: str
    asked: int
    refreshed: int = 0
    unchanged: int = 0
    """Of the refreshed: those whose value is the one that was stored."""
    outrun: int = 0
    """Fetched, but not stored, since a newer value was there already."""
    calls: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    """By key, why; the first `FAILURES_SHOWN`."""
    failures: int = 0
    postponed: int = 0
    """Left for later, since the budget was used up by then; nobody was asked for these."""

    def fail(self, key: str, why: str) -> None:
        """Count `key` as failed, and tell why unless that is told of many already."""
        self.failures += 1
        if len(self.failed) < FAILURES_SHOWN:
            self.failed[key] = why


class RefreshFailed(HotdataError):
    """Too many keys failed, or all were postponed.

    ``result`` tells which failed and why; ``retry_after`` is the longest that was asked for.
    """

    def __init__(self, result: Refreshed, errors: Sequence[UpstreamError]) -> None:
        reasons = [f"{key}: {why}" for key, why in list(result.failed.items())[:3]] or [reason(errors[0])]
        said = f"{result.failures} of {result.asked} keys of {result.source} failed"
        if result.postponed:
            said += f" and {result.postponed} were postponed"
        super().__init__(f"{said}: {'; '.join(reasons)}")
        self.result = result
        self.permanent = all(error.permanent for error in errors)
        self.retry_after = max((error.retry_after for error in errors if error.retry_after), default=None)
