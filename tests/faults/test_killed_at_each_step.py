"""A scheduler that is killed at a named step of its work; another one takes over, and the books balance.

All due times of the jobs lie in the past when the first process starts, so that its first claim has them all, and
the step at which it dies is met with work in hand. `tests.testapp.faults` names the steps.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from hotdata.models import Job, Run, Schedule
from hotdata.models.policies import Overlap
from hotdata.models.runs import Cause, State
from hotdata.models.schedules import Kind
from tests.builders import make_job
from tests.faults import accounts
from tests.scheduling.processes import LEADING, SchedulerProcess
from tests.testapp import faults
from tests.threads import eventually

SECOND = timedelta(seconds=1)
DUE_TIMES = 4
BRISK = {"poll_interval": 0.2, "lease_ttl": 0.8, "node_timeout": 1.5}

NEVER_BEGAN = [  # the runs wait, on record or still to be made: none is lost
    "lease locked",
    "due schedules locked",
    "runs inserted",
    "schedules advanced",
    "claim about to be committed",
    "claim committed",
    "about to be submitted",
    "about to be started",
]
BEGAN = [
    "started",
    "in the task",
    "about to record outcomes",
    "outcomes written",
    "outcomes about to be committed",
]
EITHER = ["submitted", "outcomes committed"]  # other threads are at work by then, and may have come further
COUNTING = ["calls about to be counted", "calls about to be committed", "calls committed"]  # in test_usage.py
SETTLING = ["settlement begun", "lost runs abandoned", "settlement about to be committed"]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def judge(tmp_path: Path) -> Path:
    return tmp_path / "attempts-begun"


@pytest.fixture
def jobs(judge: Path) -> list[Job]:
    """Jobs of all sorts, each due `DUE_TIMES` times, which is now past."""
    return [
        overdue_job(judge, recover=True),
        overdue_job(judge, coalesce=False, recover=True),
        overdue_job(judge, coalesce=False, max_instances=2),
        overdue_job(judge, task="sign_and_stumble", max_retries=1, retry_delay=SECOND / 10, recover=True),
    ]


def overdue_job(judge: Path, task: str = "sign_and_work", **fields: Any) -> Job:
    """A job that was due last a moment ago, and that nobody has fired for as long as it stands."""
    now = accounts.now()
    fields = {"max_instances": 10, "overlap": Overlap.ALLOW_ALL} | fields
    job = make_job(
        task=task,
        params={"path": str(judge)},
        trigger=Kind.INTERVAL,
        interval=SECOND,
        cron="",
        starts_at=now - DUE_TIMES * SECOND,
        ends_at=now - SECOND / 2,
        **fields,
    )
    Schedule.objects.filter(id=job.name).update(next_run_time=job.starts_at)
    return job


def armed(environment: Mapping[str, str], tmp_path: Path, step: str) -> tuple[dict[str, str], Path]:
    """`environment` in which the first process to reach `step` dies there, and the file that tells that it did."""
    done = tmp_path / step.replace(" ", "-")
    return {**environment, faults.STEP: step, faults.DONE: str(done)}, done


def all_is_done() -> bool:
    """Whether nothing is due, and all that was has ended."""
    return not Schedule.objects.filter(next_run_time__isnull=False).exists() and not accounts.unsettled()


def assert_the_books_balance(jobs: list[Job], judge: Path) -> None:
    for job in jobs:
        due = accounts.due_times(job, since=job.starts_at, until=job.ends_at)
        assert len(due) == DUE_TIMES
        accounts.assert_each_due_time_has_one_account(job.name, due)
        if job.recover:
            accounts.assert_each_abandoned_run_was_recovered_once(job.name)
    accounts.assert_all_came_to_an_end()
    accounts.assert_what_succeeded_took_effect_once(judge, Run.objects.all())


def states() -> set[str]:
    return set(Run.objects.values_list("state", flat=True))


@pytest.mark.parametrize("step", [*NEVER_BEGAN, *BEGAN, *EITHER])
def test_a_standby_makes_up_for_a_leader_that_is_killed(
    child_environment: dict[str, str], tmp_path: Path, judge: Path, jobs: list[Job], step: str
) -> None:
    environment, done = armed(child_environment, tmp_path, step)
    with SchedulerProcess(environment, **BRISK) as one, SchedulerProcess(environment, **BRISK) as other:
        eventually(lambda: one.ended or other.ended)
        survivor, killed = (other, one) if one.ended else (one, other)
        assert killed.wait() == -signal.SIGKILL, killed.output
        assert done.exists()
        survivor.wait_for(LEADING)
        survivor.wait_until(all_is_done)
        survivor.send(signal.SIGTERM)
        assert survivor.wait() == 0, survivor.output
    assert_the_books_balance(jobs, judge)
    if step in NEVER_BEGAN:
        assert states() == {State.SUCCEEDED, State.SKIPPED}
        assert not Run.objects.filter(cause=Cause.RECOVERY).exists()
    elif step in BEGAN:
        assert Run.objects.filter(state=State.ABANDONED).exists()


@pytest.mark.slow
@pytest.mark.parametrize("step", SETTLING)
def test_a_leader_that_is_killed_while_it_settles_is_made_up_for(
    child_environment: dict[str, str], tmp_path: Path, judge: Path, jobs: list[Job], step: str
) -> None:
    """The third finds what the first was running, and what the second made or did not make of it."""
    steps = [armed(child_environment, tmp_path, name) for name in ("in the task", step)]
    with ExitStack() as stack:
        for environment, done in steps:
            doomed = stack.enter_context(SchedulerProcess(environment, **BRISK))
            assert doomed.wait() == -signal.SIGKILL, doomed.output
            assert done.exists()
        third = stack.enter_context(SchedulerProcess(child_environment, **BRISK))
        third.wait_until(all_is_done)
        third.send(signal.SIGTERM)
        assert third.wait() == 0, third.output
    assert_the_books_balance(jobs, judge)
    assert Run.objects.filter(state=State.ABANDONED).exists()
    assert Run.objects.filter(cause=Cause.RECOVERY).exists()


def test_each_step_is_killed_at() -> None:
    """Nobody adds a step and forgets to die there."""
    assert {*NEVER_BEGAN, *BEGAN, *EITHER, *SETTLING, *COUNTING} == set(faults.STEPS)
