"""An upgrade as docs/operations.md tells it: the database is migrated, then one node after the other starts anew."""

from __future__ import annotations

import signal
import subprocess
import sys
from datetime import timedelta

import pytest

from hotdata.models import Job, Run
from hotdata.models.runs import State
from hotdata.models.schedules import Kind
from tests.builders import make_job
from tests.faults import accounts
from tests.processes import ROOT
from tests.scheduling.processes import LEADING, STARTED, SchedulerProcess
from tests.threads import eventually

SECOND = timedelta(seconds=1)
FIRES_BETWEEN = 3

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


def succeeded(job: Job) -> int:
    return Run.objects.of_job(job.name).filter(state=State.SUCCEEDED).count()


def wait_for_more_fires(job: Job, *nodes: SchedulerProcess) -> None:
    """Wait until the job has run a few times more."""
    enough = succeeded(job) + FIRES_BETWEEN
    eventually(lambda: succeeded(job) >= enough or all(node.ended for node in nodes))
    assert succeeded(job) >= enough, [node.output for node in nodes]


def migrate(environment: dict[str, str]) -> None:
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "--no-input", "--verbosity=0"],
        env=environment | {"DJANGO_SETTINGS_MODULE": "tests.settings"},
        cwd=ROOT,
        check=True,
        timeout=120,
    )


def test_a_rolling_restart_loses_no_fire_and_fires_none_twice(child_environment: dict[str, str]) -> None:
    job = make_job(
        task="echo", trigger=Kind.INTERVAL, interval=SECOND, cron="", misfire_grace_time=60 * SECOND
    )
    with SchedulerProcess(child_environment) as leader:
        leader.wait_for(LEADING)
        with SchedulerProcess(child_environment) as standby:
            standby.wait_for(STARTED)
            wait_for_more_fires(job, leader)
            migrate(child_environment)
            wait_for_more_fires(job, leader)
            standby.send(signal.SIGTERM)
            assert standby.wait() == 0, standby.output
        with SchedulerProcess(child_environment) as renewed:
            renewed.wait_for(STARTED)
            leader.send(signal.SIGTERM)
            assert leader.wait() == 0, leader.output
            renewed.wait_for(LEADING)
            wait_for_more_fires(job, renewed)
            renewed.send(signal.SIGTERM)
            assert renewed.wait() == 0, renewed.output
    accounts.assert_each_second_has_one_account(job, at_least=3 * FIRES_BETWEEN)
    never = Run.objects.of_job(job.name).filter(state__in=accounts.NEVER_RAN)
    assert not never.exists(), [accounts.described(run) for run in never]
