"""Endings: each end of a run, or of one of its attempts, is said once in the process's log, by whoever records it."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django.db import transaction

from hotdata.logs import EventLogger

if TYPE_CHECKING:
    from hotdata.models.runs import Run

SHOWN_OF_AN_ERROR = 200  # characters
LEVELS = {
    "succeeded": logging.INFO,
    "skipped": logging.INFO,
    "cancelled": logging.WARNING,
    "retrying": logging.WARNING,
    "missed": logging.WARNING,
}
"""What isn't here is an error."""

logger = EventLogger(__name__)


def say(run: Run) -> None:
    """Say how `run`, or its latest attempt, ended, as it is on record now."""
    state = str(run.state)
    logger.log(
        LEVELS.get(state, logging.ERROR),
        f"run.{state}",
        job=run.job_id,
        run=run.pk,
        attempt=run.attempt or None,
        duration=run.duration,
        state=state,
        source=_source_of(run.params),
        reason=run.reason or None,
        due_times=1 + run.coalesced if run.coalesced else None,
        error=run.error[:SHOWN_OF_AN_ERROR] or None,
    )


def say_later(runs: Iterable[Run]) -> None:
    """`say` of each of `runs` once the transaction that records it is through."""
    runs = list(runs)
    if runs:
        transaction.on_commit(lambda: _say_each(runs))


def _say_each(runs: Iterable[Run]) -> None:
    for run in runs:
        say(run)


def _source_of(params: Any) -> str | None:
    """The source that a run with these parameters is about, as the built-in tasks call it."""
    source = params.get("source") if isinstance(params, dict) else None
    return source if isinstance(source, str) else None
