"""How one attempt of a run ended, before it is written down."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from hotdata.models import Run
from hotdata.models.runs import State

RETRIED = frozenset({State.FAILED, State.TIMED_OUT})


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The end of an attempt. ``state`` is what it came to; whether it is tried again is the recorder's decision."""

    run: Run
    node: str
    state: State
    finished_at: datetime
    duration: timedelta
    result: Any = None
    reason: str = ""
    error: str = ""
    traceback: str = ""
    log: str = ""
    progress_done: int = 0
    progress_total: int | None = None
    notable: bool = False
    permanent: bool = False
    retry_after: timedelta | None = None
