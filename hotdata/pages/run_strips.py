"""The latest runs of a job as a row of marks, one for each: how it has been going."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from hotdata.models.runs import FAILURES, State
from hotdata.observing.jobs import BriefRun
from hotdata.pages import charts, places
from hotdata.pages.charts import Cell
from hotdata.pages.words import Clock, look, took

EMPTY = Cell()


class RunStrips:
    """The strips of one page, `length` marks each; those of runs lead to their pages where `linked`.

    A page has thousands of marks, so what is the same for all is looked up once.
    """

    def __init__(self, length: int, now: datetime, *, linked: bool) -> None:
        self._length = length
        self._clock = Clock(now)
        self._states = {state: str(state.label) for state in State}
        self._ended, self._going = _("%(state)s · %(when)s · %(took)s"), _("%(state)s · %(when)s")
        self._linked = linked

    def draw(self, latest: Sequence[BriefRun]) -> SafeString:
        """`latest` come newest first, and stand with the newest on the right."""
        runs = latest[: self._length][::-1]
        cells = [self._cell(run) for run in runs]
        return charts.strip([EMPTY] * (self._length - len(cells)) + cells, _summary(runs))

    def _cell(self, run: BriefRun) -> Cell:
        href = places.run(run.id) if self._linked else ""
        return Cell(look=look(run.state), label=self._told(run), href=href)

    def _told(self, run: BriefRun) -> str:
        """A run in a line."""
        words = {"state": self._states[run.state], "when": self._clock.say(run.at)}
        if run.duration is None:
            return self._going % words
        return self._ended % {**words, "took": took(run.duration)}


def _summary(runs: Sequence[BriefRun]) -> str:
    if not runs:
        return _("No runs yet")
    text = ngettext(
        "The last %(count)d run, of which failed: %(failed)d",
        "The last %(count)d runs, of which failed: %(failed)d",
        len(runs),
    )
    return text % {"count": len(runs), "failed": sum(run.state in FAILURES for run in runs)}
