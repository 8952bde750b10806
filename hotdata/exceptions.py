"""The one tree of errors that hotdata raises while it works.

An error carries facts (``source``, ``key``, ``status``, ``retry_after``, ``permanent``), so that callers
decide by attribute and never by parsing a sentence. Mistakes in code or configuration are no part of this
tree: they are `RegistrationError` and Django's ``ImproperlyConfigured``, and appear at start.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from django.core.exceptions import ImproperlyConfigured


class RegistrationError(ImproperlyConfigured):
    """A task or fetcher can't be registered as it is written."""


class HotdataError(Exception):
    """Base of everything hotdata raises at run time.

    ``permanent`` says that trying again without a change can't help; such a failure is not retried.
    ``retry_after`` is how long whoever answered asked us to wait, where it said so.
    """

    permanent = False
    retry_after: timedelta | None = None


# Definitions


class BadTrigger(HotdataError):
    """A trigger that can't be built. ``field`` names the job field to blame."""

    permanent = True

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class BadParams(HotdataError):
    """Parameters that don't fit a task's signature. ``param`` names the one to blame, where it is one."""

    permanent = True

    def __init__(self, message: str, *, param: str = "") -> None:
        super().__init__(message)
        self.param = param


class UnknownTask(HotdataError):
    """No task of this name is registered in this process."""

    permanent = True


class BadSource(HotdataError):
    """A source definition that can't be used. ``field`` names the source field to blame."""

    permanent = True

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class BadPrice(HotdataError):
    """A price list that can't be used. ``field`` names the field to blame."""

    permanent = True

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class NotOver(HotdataError):
    """A report or a statement is of a period that is over; this one isn't."""

    permanent = True


class Sealed(HotdataError):
    """A statement once issued is never changed or deleted: a correction is a new one."""

    permanent = True

    def __init__(self) -> None:
        super().__init__(type(self).__doc__)


# Runs


class BadResult(HotdataError):
    """A task returned something that can't be recorded as JSON."""

    permanent = True


class TooManyRuns(HotdataError):
    """People have asked for so many runs of a job that wait or run that no more are taken for now."""


class RunCancelled(HotdataError):
    """Raised inside a task, at its next look at ``current_run()``, after somebody cancelled the run."""

    permanent = True


class RunTimedOut(HotdataError):
    """Raised inside a task, at its next look at ``current_run()``, after its deadline."""


class LostLease(HotdataError):
    """This node is not the leader any more; what it was about to fire is the new leader's."""


# Upstreams


class UpstreamError(HotdataError):
    """An upstream could not be asked, or its answer could not be used. Never holds a secret or a query string."""

    def __init__(
        self,
        message: str,
        *,
        source: str = "",
        key: str = "",
        status: int | None = None,
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(message)
        self.source = source
        self.key = key
        self.status = status
        self.retry_after = retry_after


class UpstreamUnreachable(UpstreamError):
    """No connection, or it broke before the answer was whole."""


class UpstreamTimeout(UpstreamError):
    """The answer was not whole at the deadline."""


class UpstreamForbidden(UpstreamError):
    """The address is one we refuse to talk to: scheme, host, port, private network, or a redirect."""

    permanent = True


class UpstreamStatus(UpstreamError):
    """The upstream answered with a status other than success."""


class UpstreamPayload(UpstreamError):
    """The answer is not what the source promises: not JSON, too large, too deep, empty, of the wrong shape."""


class GateClosed(UpstreamError):
    """The upstream must not be asked now. ``reason`` is what keeps the call back, ``retry_after`` for how long.

    For "concurrency", and for a "breaker" that waits for its probe, it may be less: a call under way can end sooner.
    "unknown" is a gate of which Redis knows nothing, while the database, where calls are on record, can't be asked.
    """

    retry_after: timedelta

    def __init__(
        self,
        *,
        source: str,
        reason: Literal["budget", "concurrency", "cooldown", "breaker", "unknown"],
        retry_after: timedelta,
    ) -> None:
        super().__init__(
            f"The gate of {source} is closed ({reason}): "
            f"it can be asked again in {round(retry_after.total_seconds(), 2):g} s.",
            source=source,
            retry_after=retry_after,
        )
        self.reason = reason


# Reads


class ReadError(HotdataError):
    """Base of what `hotdata.get` raises."""

    def __init__(self, message: str, *, source: str, key: str = "") -> None:
        super().__init__(message)
        self.source = source
        self.key = key


class UnknownSource(ReadError):
    """No source of this name."""

    permanent = True


class UnknownKey(ReadError):
    """The key is malformed, or the source doesn't serve it."""

    permanent = True


class NotReady(ReadError):
    """The key is served, but nothing is stored for it yet."""

    retry_after = timedelta(seconds=5)


class CacheUnavailable(HotdataError):
    """Redis can't be reached."""

    retry_after = timedelta(seconds=5)


# The API


class TokenRefused(HotdataError):
    """The token that a request brings is not taken: it is wrong, or it was right and isn't any more."""

    permanent = True


class TooManyRequests(HotdataError):
    """Somebody asked the API more often than they may: ``amount`` times in ``window``, counted by ``limit``."""

    retry_after: timedelta

    def __init__(
        self, message: str, *, limit: str, amount: int, window: timedelta, retry_after: timedelta
    ) -> None:
        super().__init__(message)
        self.limit = limit
        self.amount = amount
        self.window = window
        self.retry_after = retry_after


# Reports


class ReportRefused(HotdataError):
    """A report that can't be made now, or would be worse than the one that is there."""

    permanent = True
