"""A scheduler at work in a process of its own, and the judgement of what it did when something went away.

Whatever happens to it, the same is asked: each due time has one account, no attempt began twice, every run came
to an end, and the process ends in order when it is told to, having raised nothing that it didn't expect.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from hotdata.models import ChangeCounter, Job, Run
from hotdata.models.runs import State
from hotdata.models.schedules import Kind
from tests.builders import make_job, make_run
from tests.faults.accounts import (
    assert_all_came_to_an_end,
    assert_each_second_has_one_account,
    assert_what_succeeded_took_effect_once,
    unsettled,
)
from tests.scheduling.processes import STOPPED, SchedulerProcess

JOBS = 3
SECOND = timedelta(seconds=1)
BACK_AT_WORK = timedelta(seconds=2)  # from the return of what was away to the first fire


class Site:
    """A scheduler at work on a few jobs of a second each."""

    def __init__(self, scheduler: SchedulerProcess, directory: Path) -> None:
        self.scheduler = scheduler
        self._directory = directory
        self._judge = directory / "judge"
        self._jobs = [self._make_secondly() for _ in range(JOBS)]
        scheduler.wait_until(lambda: Run.objects.filter(state=State.SUCCEEDED).exists())

    def _make_secondly(self) -> Job:
        """A job of a second, which tells the file `judge` of each attempt that it begins."""
        params = {"path": str(self._judge)}
        return make_job(task="sign_and_work", params=params, trigger=Kind.INTERVAL, interval=SECOND, cron="")

    def start_a_run(self, seconds: float) -> Run:
        """A run that is being worked on, and will be for `seconds`."""
        job = make_job(task="sleep_for", cron="0 0 1 1 *")
        started = self._directory / f"started-{job.name}"
        run = make_run(job, node="", params={"seconds": seconds, "started": str(started)})
        ChangeCounter.bump()
        self.scheduler.wait_until(started.exists)
        return run

    def lasts(self, seconds: float) -> None:
        """Let the state of affairs last; fails at once when the process ends."""
        until = time.monotonic() + seconds
        self.scheduler.wait_until(lambda: time.monotonic() >= until)

    def is_back_at_work(self, since: datetime) -> None:
        """Within `BACK_AT_WORK` of `since` it fires, and works on what it fired."""
        fired = Run.objects.filter(created_at__gte=since, state=State.SUCCEEDED).order_by("started_at")
        self.scheduler.wait_until(fired.exists)
        first = fired.first()
        assert first is not None
        assert first.started_at is not None
        assert first.started_at - since < BACK_AT_WORK, self.scheduler.output

    def ends_well(self) -> None:
        """It works off what there is, stops in order when it is told to, and the books are in order."""
        for job in self._jobs:
            job.paused = True
            job.save()
        self.scheduler.wait_until(lambda: not unsettled())
        self.scheduler.send(signal.SIGTERM)
        assert self.scheduler.wait() == 0, self.scheduler.output
        assert self.scheduler.says(STOPPED)
        assert not self.scheduler.says("Traceback"), self.scheduler.output
        assert_all_came_to_an_end()
        for job in self._jobs:
            assert_each_second_has_one_account(job)
        runs = Run.objects.filter(job__in=[job.name for job in self._jobs])
        assert_what_succeeded_took_effect_once(self._judge, runs)


@contextmanager
def site(environment: Mapping[str, str], directory: Path) -> Iterator[Site]:
    with SchedulerProcess(environment, "--workers=8") as scheduler:
        yield Site(scheduler, directory)


def succeeded(*runs: Run) -> bool:
    ids = [run.pk for run in runs]
    return Run.objects.filter(pk__in=ids, state=State.SUCCEEDED).count() == len(ids)
