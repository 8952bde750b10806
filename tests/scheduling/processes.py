"""`manage.py runscheduler` as a real process that a test starts, watches and kills."""

from __future__ import annotations

from collections.abc import Mapping

from tests.processes import PythonProcess

LEADING = "scheduler.leading"
STARTED = "workers. Ctrl-C stops it."
STOPPED = "nothing was cut off"


class SchedulerProcess(PythonProcess):
    """One scheduler; the settings are hotdata's, in small letters and without their prefix."""

    def __init__(self, environment: Mapping[str, str], *arguments: str, **settings: object) -> None:
        set_for_it = {f"HOTDATA_{name.upper()}": str(value) for name, value in settings.items()}
        super().__init__(["manage.py", "runscheduler", *arguments], {**environment, **set_for_it})
