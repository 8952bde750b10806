"""Runs that wait for a node: asked for by hand, to be tried again, or held until others of their job have ended.

They have no schedule that says when to look. A look costs a few statements, so it is made only when something
may have changed, when the time has come of a run that the last look saw, or when one was just held.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from hotdata.conf import conf
from hotdata.models import Run
from hotdata.scheduling.jobstore import CLAIM_LIMIT


class WaitingRuns:
    """Takes them for `node`, and hands them to `submit`."""

    def __init__(self, *, node: str, submit: Callable[[Sequence[Run]], None]) -> None:
        self._node = node
        self._submit = submit
        self._news = True
        self.ready_at: datetime | None = None
        """When there will be something to take, as far as is known."""

    def note_news(self) -> None:
        """Whatever changed, runs may have come to wait, or may wait no longer."""
        self._news = True

    def may_be_ready(self, now: datetime) -> bool:
        """Whether a look is worth its cost. It is made by `take`, right after this."""
        news, self._news = self._news, False
        return news or (self.ready_at is not None and self.ready_at <= now)

    def take(self, now: datetime) -> bool:
        """Take what is ready, and find out when more will be; whether there may be more now."""
        Run.objects.release_held(now)
        taken = Run.objects.take(self._node, now, CLAIM_LIMIT)
        self._submit(taken)
        self.ready_at, held = Run.objects.outlook()
        if held:
            # Whoever ends the run that they wait for tells of it, unless it doesn't see them yet: then they were
            # claimed in the same instant, and are found a poll later.
            poll = now + conf().poll_interval
            self.ready_at = min(self.ready_at or poll, poll)
        return len(taken) == CLAIM_LIMIT
