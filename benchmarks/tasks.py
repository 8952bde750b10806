"""The tasks that the benchmarks schedule; found by hotdata because `benchmarks` is an app of their settings."""

from __future__ import annotations

import hotdata
from benchmarks import calls
from hotdata.exceptions import RunCancelled

PATIENCE = 600.0  # seconds


@hotdata.task
def noop() -> None:
    """Do nothing."""


@hotdata.task
def noted() -> None:
    """Write down when this was called, and for when it was due."""
    run = hotdata.current_run()
    calls.note(run.job, run.scheduled_for.timestamp() if run.scheduled_for else 0.0)


@hotdata.task
def patient() -> None:
    """Wait to be cancelled; write down the beginning, and when the news came."""
    run = hotdata.current_run()
    calls.note("began")
    try:
        run.wait(PATIENCE)
    except RunCancelled:
        calls.note("told")
        raise
