"""`manage.py runscheduler` in processes of its own: stopped, killed, doubled, and cut off from what it needs."""

from __future__ import annotations

import signal
import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from redis import Redis

from hotdata.conf import conf
from hotdata.models import ChangeCounter, Job, Lease, Node, Run
from hotdata.models.runs import Cause, State
from hotdata.models.schedules import Kind
from tests.builders import make_job, make_run
from tests.scheduling.processes import LEADING, STARTED, STOPPED, SchedulerProcess
from tests.threads import PATIENCE, eventually
from tools.sockets import reserved_port

SECOND = timedelta(seconds=1)
NEVER = 100 * PATIENCE  # seconds: no test waits that long

pytestmark = pytest.mark.django_db(transaction=True)


def make_idle_job(task: str, **fields: Any) -> Job:
    """A job that runs only when it is told to."""
    return make_job(task=task, cron="0 0 1 1 *", **fields)


def make_secondly(**fields: Any) -> Job:
    return make_job(task="echo", trigger=Kind.INTERVAL, interval=SECOND, cron="", **fields)


def ask_for_run(job: Job, **params: Any) -> Run:
    """Ask for a run whose parameters only the processes can check: their tasks aren't registered here."""
    return make_run(job, node="", params=job.params | params)


def state_of(run: Run) -> str:
    return Run.objects.values_list("state", flat=True).get(pk=run.pk)


def is_heard(environment: dict[str, str]) -> bool:
    """Whether some scheduler listens to the bell."""
    with closing(Redis.from_url(environment["REDIS_URL"])) as redis:
        ours = str(redis.get_connection_kwargs()["db"])
        return any(client["db"] == ours for client in redis.client_list(_type="pubsub"))


def assert_each_second_has_one_account(job: Job) -> None:
    """From the job's first due time to its last, there is no gap and no overlap between the records."""
    expected = job.created_at + SECOND
    for run in Run.objects.of_job(job.name).filter(cause=Cause.SCHEDULE).order_by("scheduled_for"):
        assert run.scheduled_for is not None
        assert (run.coalesced_since or run.scheduled_for) == expected
        assert run.scheduled_for == expected + run.coalesced * SECOND
        expected = run.scheduled_for + SECOND


# Stopping


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_and_it_leaves_nothing_behind(
    child_environment: dict[str, str], number: signal.Signals
) -> None:
    with SchedulerProcess(child_environment) as scheduler:
        scheduler.wait_for(LEADING)
        scheduler.send(number)
        assert scheduler.wait() == 0, scheduler.output
    assert scheduler.says(STOPPED)
    assert not Node.objects.exists()
    assert Lease.objects.get().holder == ""


def test_a_run_that_goes_on_gets_its_grace_and_what_waits_is_handed_back(
    child_environment: dict[str, str], tmp_path: Path
) -> None:
    end = tmp_path / "end"
    running = ask_for_run(make_idle_job("report"), steps=1, wait_for=str(end))
    with SchedulerProcess(child_environment, "--workers=1") as scheduler:
        scheduler.wait_until(lambda: Run.objects.filter(pk=running.pk, progress_done=1).exists())
        waiting = ask_for_run(make_idle_job("echo"))
        ChangeCounter.bump()
        scheduler.wait_until(lambda: not Run.objects.filter(pk=waiting.pk, node="").exists())
        scheduler.send(signal.SIGTERM)
        scheduler.wait_until(lambda: Run.objects.filter(pk=waiting.pk, node="").exists())
        end.touch()
        assert scheduler.wait() == 0, scheduler.output
    assert (state_of(running), state_of(waiting)) == (State.SUCCEEDED, State.QUEUED)


def test_a_run_that_outlasts_the_grace_is_cancelled_and_the_exit_code_tells(
    child_environment: dict[str, str], tmp_path: Path
) -> None:
    started = tmp_path / "started"
    run = ask_for_run(make_idle_job("sleep_for"), seconds=60, started=str(started))
    with SchedulerProcess(child_environment, "--grace=0.1") as scheduler:
        scheduler.wait_until(started.exists)
        scheduler.send(signal.SIGTERM)
        assert scheduler.wait() == 1, scheduler.output
    assert state_of(run) == State.CANCELLED


def test_a_second_signal_ends_the_grace_and_what_is_cut_off_is_run_again(
    child_environment: dict[str, str], tmp_path: Path
) -> None:
    started = tmp_path / "started"
    run = ask_for_run(make_idle_job("sleep_for", recover=True), seconds=60, started=str(started))
    with SchedulerProcess(child_environment, "--grace=600") as scheduler:
        scheduler.wait_until(started.exists)
        scheduler.send(signal.SIGTERM)
        scheduler.wait_for("have 600 s to end")
        scheduler.send(signal.SIGTERM)
        assert scheduler.wait() == 1, scheduler.output
    assert state_of(run) == State.CANCELLED
    assert Run.objects.filter(recovers=run, cause=Cause.RECOVERY, state=State.QUEUED, node="").exists()


def test_a_third_signal_ends_it_as_it_is(child_environment: dict[str, str], tmp_path: Path) -> None:
    started = tmp_path / "started"
    run = ask_for_run(make_idle_job("sleep_deaf"), seconds=60, started=str(started))
    with SchedulerProcess(child_environment, "--grace=600") as scheduler:
        scheduler.wait_until(started.exists)
        scheduler.send(signal.SIGTERM)
        scheduler.wait_for("have 600 s to end")
        scheduler.send(signal.SIGINT)
        scheduler.send(signal.SIGTERM)
        assert scheduler.wait() in (-signal.SIGTERM, 1), scheduler.output
    assert state_of(run) in (State.RUNNING, State.ABANDONED)


# Following


def test_a_run_now_and_a_cancellation_are_heard_of_over_redis(
    child_environment: dict[str, str], tmp_path: Path
) -> None:
    """Polling would take longer than anybody waits here."""
    job, started = make_idle_job("sleep_for"), tmp_path / "started"
    slow = {"poll_interval": NEVER, "lease_ttl": 4 * NEVER}
    with SchedulerProcess(child_environment, **slow) as scheduler:
        scheduler.wait_for(LEADING)
        eventually(lambda: is_heard(child_environment))
        run = ask_for_run(job, seconds=60, started=str(started))
        ChangeCounter.bump()
        eventually(started.exists)
        assert run.cancel("alice", timezone.now())
        eventually(lambda: state_of(run) == State.CANCELLED)


# Killing


def test_after_a_kill_what_was_running_is_abandoned_and_what_was_queued_runs(
    child_environment: dict[str, str], tmp_path: Path
) -> None:
    job = make_idle_job("sleep_for", recover=False)
    started, brisk = tmp_path / "started", {"poll_interval": 0.2, "lease_ttl": 0.8, "node_timeout": 1.5}
    lost = ask_for_run(job, seconds=60, started=str(started))
    with SchedulerProcess(child_environment, "--workers=1", **brisk) as killed:
        killed.wait_until(started.exists)
        queued = ask_for_run(make_idle_job("echo"), text="from the queue")
        handed_over = make_run(make_idle_job("echo"), node=Node.objects.get().name)
        killed.kill()
    assert state_of(lost) == State.RUNNING, "nobody knows better yet"
    with SchedulerProcess(child_environment, **brisk) as restarted:
        restarted.wait_until(lambda: state_of(lost) == State.ABANDONED)
        restarted.wait_until(lambda: state_of(queued) == state_of(handed_over) == State.SUCCEEDED)
    lost.refresh_from_db()
    assert lost.finished_at is not None
    assert "not heard of" in lost.reason


def test_after_the_leader_was_killed_the_standby_fires_and_each_due_time_has_one_account(
    child_environment: dict[str, str],
) -> None:
    """It does so within the lease's time and what a scheduler needs here to start and fire: measured, not supposed."""
    job, began = make_secondly(), time.monotonic()
    with (
        SchedulerProcess(child_environment) as first,
        SchedulerProcess(child_environment) as second,
    ):
        eventually(lambda: Run.objects.exists())
        start = time.monotonic() - began
        first.wait_until(lambda: first.says(LEADING) or second.says(LEADING))
        leader, standby = (first, second) if first.says(LEADING) else (second, first)
        standby.wait_for(STARTED)
        leader.wait_until(lambda: Run.objects.filter(state=State.SUCCEEDED).exists())
        assert not standby.says(LEADING)
        leader.kill()
        known = Run.objects.count()
        eventually(lambda: Run.objects.count() > known, within=conf().lease_ttl.total_seconds() + start)
        standby.wait_for(LEADING)
        standby.send(signal.SIGTERM)
        assert standby.wait() == 0, standby.output
    assert_each_second_has_one_account(job)


def test_after_the_leader_was_stopped_the_standby_leads_without_waiting_for_its_lease_to_run_out(
    child_environment: dict[str, str],
) -> None:
    job, slow = make_secondly(), {"lease_ttl": NEVER}
    with SchedulerProcess(child_environment, **slow) as leader:
        leader.wait_for(LEADING)
        with SchedulerProcess(child_environment, **slow) as standby:
            standby.wait_until(lambda: Node.objects.count() == 2)
            assert not standby.says(LEADING)
            leader.send(signal.SIGTERM)
            assert leader.wait() == 0, leader.output
            standby.wait_for(LEADING)
            known = Run.objects.count()
            standby.wait_until(lambda: Run.objects.count() > known)
            standby.send(signal.SIGTERM)
            assert standby.wait() == 0, standby.output
    assert_each_second_has_one_account(job)


def test_a_leader_that_slept_finds_itself_deposed_and_fires_nothing(
    child_environment: dict[str, str],
) -> None:
    """It wakes in the middle of its sleep, with due times that it believes are its own."""
    job = make_secondly()
    brisk = {"poll_interval": 0.2, "lease_ttl": 0.8, "node_timeout": 30}
    with SchedulerProcess(child_environment, **brisk) as sleeper:
        sleeper.wait_for(LEADING)
        with SchedulerProcess(child_environment, **brisk) as other:
            other.wait_for(STARTED)
            sleeper.send(signal.SIGSTOP)
            other.wait_for(LEADING)
            known = Run.objects.count()
            other.wait_until(lambda: Run.objects.count() > known)
            sleeper.send(signal.SIGCONT)
            sleeper.wait_for("scheduler.standing_by")
            for scheduler in (sleeper, other):
                scheduler.send(signal.SIGTERM)
                assert scheduler.wait() == 0, scheduler.output
    assert_each_second_has_one_account(job)


# What it needs is away


def test_without_redis_it_starts_and_fires(child_environment: dict[str, str]) -> None:
    job = make_secondly()
    with reserved_port(20_000) as port:
        away = {**child_environment, "REDIS_URL": f"redis://127.0.0.1:{port}/0"}
        with SchedulerProcess(away) as scheduler:
            scheduler.wait_until(lambda: Run.objects.of_job(job.name).filter(state=State.SUCCEEDED).exists())
            scheduler.send(signal.SIGTERM)
            assert scheduler.wait() == 0, scheduler.output
