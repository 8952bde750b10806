"""Replies: what came of one call of an upstream, and what that says of the upstream."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from hotdata.endpoints import Request
from hotdata.exceptions import UpstreamError, UpstreamPayload
from hotdata.models import ApiCall

TOO_MANY_REQUESTS, SERVER_ERROR, UNAVAILABLE = 429, 500, 503
COOLDOWN = timedelta(seconds=10)  # after a 429 that doesn't say how long


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What came of one call: for each key asked for, its value or why there is none."""

    keys: tuple[str, ...]
    started_at: datetime
    values: Mapping[str, Any | UpstreamError] = field(default_factory=dict)
    not_modified: bool = False
    etag: str = ""
    last_modified: str = ""
    call: ApiCall | None
    """None when no call was made, for want of time or because of the gate."""

    @property
    def refusal(self) -> UpstreamError | None:
        """What all of its keys failed with, if that is one error: the call as a whole came to nothing."""
        errors = {id(value): value for value in self.values.values() if isinstance(value, UpstreamError)}
        whole = len(errors) == 1 and all(isinstance(value, UpstreamError) for value in self.values.values())
        return next(iter(errors.values())) if whole else None

    @property
    def is_outage(self) -> bool:
        """Whether the upstream is down, rather than unhappy with what it was asked for: what the breaker counts."""
        error = self.refusal
        if error is None or error.permanent or error.status == TOO_MANY_REQUESTS:
            return False
        # With a status of its own making, what is wrong with the body doesn't matter.
        return not isinstance(error, UpstreamPayload) or (error.status or 0) >= SERVER_ERROR

    @property
    def cooldown(self) -> timedelta | None:
        """How long the upstream wants to be left alone."""
        error = self.refusal
        if error is None or error.status not in (TOO_MANY_REQUESTS, UNAVAILABLE):
            return None
        return error.retry_after or (COOLDOWN if error.status == TOO_MANY_REQUESTS else None)


def unasked(request: Request, error: UpstreamError) -> Reply:
    """What comes of a call that isn't made."""
    values = dict.fromkeys(request.keys, error)
    return Reply(keys=request.keys, started_at=datetime.now(UTC), values=values, call=None)


def light(error: UpstreamError) -> UpstreamError:
    """`error` without the frames that it came through.

    They hold the whole answer. And one of them is to hold the error, so all of it would stay until Python next
    looks for circles, which in a process that has grown is seldom.
    """
    link: BaseException | None = error
    while link is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return error
