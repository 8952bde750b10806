"""The attempts of a run, as the record has them: those that have ended, and the one that is under way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.utils.dateparse import parse_datetime

from hotdata.models import Run
from hotdata.models.runs import State


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One attempt. What an older version didn't write is missing."""

    number: int
    state: State
    started_at: datetime | None
    duration: timedelta | None
    """Until now, of the one that is under way."""
    node: str
    error: str

    @property
    def label(self) -> Any:
        return self.state.label


def attempts_of(run: Run, now: datetime) -> Iterator[Attempt]:
    """The attempts of `run`, the first one first."""
    ended = run.attempts if isinstance(run.attempts, list) else []
    for number, known in enumerate((line for line in ended if isinstance(line, dict)), 1):
        state = known.get("state")
        seconds, began = known.get("duration"), known.get("started_at")
        yield Attempt(
            number=known.get("number", number),
            state=State(state) if state in State.values else State.FAILED,
            started_at=parse_datetime(began) if isinstance(began, str) else None,
            duration=timedelta(seconds=seconds) if isinstance(seconds, int | float) else None,
            node=str(known.get("node", "")),
            error=str(known.get("error", "")),
        )
    if run.state == State.RUNNING:
        yield Attempt(
            number=run.attempt,
            state=State.RUNNING,
            started_at=run.started_at,
            duration=now - run.started_at if run.started_at else None,
            node=run.node,
            error="",
        )
