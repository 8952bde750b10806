"""A task in a process of its own: recorded as in a thread, and killed for real. Every process here is a real one."""

from __future__ import annotations

import contextlib
import gc
import logging
import multiprocessing
import multiprocessing.forkserver
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.core.management import call_command

from hotdata import registry
from hotdata.execution import isolation, progress
from hotdata.execution.context import CurrentRun, captured_output
from hotdata.execution.outcome import Outcome
from hotdata.execution.runner import execute, perform
from hotdata.execution.threads import ThreadExecutor
from hotdata.models import Job, Run
from hotdata.models.policies import Isolation
from hotdata.models.runs import Cause, State
from tests.builders import NODE, make_job, make_run
from tests.scheduling.processes import SchedulerProcess
from tests.testapp import tasks as testapp
from tests.threads import eventually, in_thread

# Processes and pipes are the same whatever the database is; the test that asks it from a process runs on both.
pytestmark = pytest.mark.only_on("sqlite")

LONG = 1000  # seconds; no test gets that far
SECRET = "hush-hush-hush"
SERVER = multiprocessing.forkserver._forkserver  # type: ignore[attr-defined]
TASKS = (
    testapp.append_line,
    testapp.backtrack,
    testapp.count_jobs,
    testapp.describe_run,
    testapp.die,
    testapp.echo,
    testapp.freeze,
    testapp.leave_behind,
    testapp.listen_late,
    testapp.print_much,
    testapp.raise_error,
    testapp.refuse_for_good,
    testapp.report,
    testapp.return_not_json,
    testapp.sleep_deaf,
    testapp.sleep_for,
    testapp.spin,
    testapp.stumble_oddly,
    testapp.tell_signals,
)


@pytest.fixture(scope="module", autouse=True)
def _no_fork_server_from_before_or_after() -> Iterator[None]:
    """The server keeps the environment in which it was started: that of these tests, and of no others."""
    stop_fork_server()
    yield
    stop_fork_server()


def stop_fork_server() -> None:
    """The next run starts a new one."""
    SERVER._stop()


@pytest.fixture(autouse=True)
def _site_of_the_tests(child_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Processes find the test's own database, and both sides the tasks of the test app."""
    # Each process imports the main module of whoever starts it: that of manage.py is small, and pytest's is not.
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "tests.settings")
    monkeypatch.setenv("DATABASE_URL", child_environment["DATABASE_URL"])
    monkeypatch.setenv("HOTDATA_SECRET_TEST", SECRET)
    for function in TASKS:
        registry.task(function)
    yield
    for function in TASKS:
        registry.tasks.remove(function.__name__)


def make_isolated_job(task: str, **fields: Any) -> Job:
    return make_job(task=task, isolation=Isolation.PROCESS, **fields)


def make_idle_job(task: str) -> Job:
    """A job that a scheduler runs only when it is told to."""
    return make_isolated_job(task, cron="0 0 1 1 *")


def executed(job: Job, **params: Any) -> Run:
    """The record of a run of `job` after it was executed."""
    run = make_run(job, params=params)
    assert execute(run.id, NODE) is not None
    return Run.objects.get(pk=run.pk)


def performed(task: str, current: CurrentRun | None = None, **params: Any) -> Outcome:
    """What performing a run in a process comes to, without a record."""
    run = Run(id=1, task=task, params=params, node=NODE, attempt=1)
    return perform(run, current or in_process())


def in_process(**facts: Any) -> CurrentRun:
    return CurrentRun(id=1, isolated=True, **facts)


def alive(process: int) -> bool:
    """Whether the process is there, and not only as a zombie whose parent has not looked yet."""
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def open_descriptors() -> set[int]:
    """The numbers of all open files, but for that of the directory that is read for it."""
    return {int(name) for name in os.listdir("/proc/self/fd") if Path("/proc/self/fd", name).exists()}


def isolated_processes() -> list[str]:
    """The ids of all that the fork server has forked and that is not gone."""
    server = SERVER._forkserver_pid
    return Path(f"/proc/{server}/task/{server}/children").read_text().split()


def kill_all(processes: list[int]) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def processes_in(path: Path) -> list[int]:
    """The ids that a task wrote into the file, once it is there."""
    eventually(path.exists)
    return [int(word) for word in path.read_text().split()]


# As in a thread


def cancelled_when_done(run: Run, steps: int) -> None:
    """Execute `run`, and cancel it as soon as its progress says that `steps` are done."""
    contexts: list[CurrentRun] = []
    ended = in_thread(lambda: execute(run.id, NODE, on_context=contexts.append))
    eventually(lambda: contexts and contexts[0].done == steps)
    contexts[0].cancel()
    ended.result(20)


def on_record(run: Run) -> dict[str, Any]:
    """All that tells how a run went, without what differs between any two runs: ids and times."""
    run.refresh_from_db()
    return {
        "state": run.state,
        "reason": run.reason,
        "result": run.result,
        "error": run.error,
        "traceback": re.sub(r' +File ".*/execution/runner.py".*\n(    .*\n)+', "", run.traceback),
        "log": re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}", "TIME", run.log),
        "progress": (run.progress_done, run.progress_total),
        "notable": run.notable,
        "attempts": [(attempt["state"], attempt["error"]) for attempt in run.attempts],
    }


@pytest.mark.parametrize(
    ("task", "params", "state"),
    [
        pytest.param(
            "echo", {"text": "北京", "number": 2**53, "items": ["a", ""]}, "succeeded", id="a result"
        ),
        pytest.param("raise_error", {}, "retrying", id="an error"),
        pytest.param("stumble_oddly", {}, "retrying", id="text that can't be stored"),
        pytest.param("report", {"steps": 3}, "succeeded", id="log and progress"),
        pytest.param("report", {"steps": 2, "wait_for": "/nowhere"}, "cancelled", id="a cancellation"),
        pytest.param("refuse_for_good", {}, "failed", id="a permanent error"),
        pytest.param("return_not_json", {}, "failed", id="no JSON"),
        pytest.param("echo", {"text": "x" * 110_000}, "failed", id="a result that is too large"),
        pytest.param("print_much", {"characters": 100_001}, "succeeded", id="more than a log holds"),
        pytest.param("echo", {"number": "one"}, "failed", id="bad parameters"),
        pytest.param("unheard_of", {}, "failed", id="an unknown task"),
    ],
)
def test_a_process_records_what_a_thread_records(task: str, params: dict[str, Any], state: str) -> None:
    records = {}
    with captured_output():
        for isolated in Isolation.values:
            run = make_run(make_job(task=task, isolation=isolated, max_retries=1), params=params)
            if state == State.CANCELLED:
                cancelled_when_done(run, params["steps"])
            else:
                execute(run.id, NODE)
            records[isolated] = on_record(run)
    assert records["process"] == records["thread"]
    assert records["process"]["state"] == state


def test_the_task_is_told_the_same_facts_about_its_run() -> None:
    due = datetime(2026, 11, 23, 6, 59, tzinfo=UTC)
    job = make_isolated_job("describe_run", time_zone="Asia/Shanghai", timeout=timedelta(minutes=2))
    run = make_run(job, cause=Cause.SCHEDULE, scheduled_for=due)
    execute(run.id, NODE)
    run.refresh_from_db()
    left = run.result.pop("time_left")
    assert run.result.pop("process") != os.getpid()
    assert run.result == {
        "id": run.id,
        "job": job.name,
        "scheduled_for": "2026-11-23T06:59:00Z",
        "attempt": run.attempt,
        "timeout": "PT120S",
        "time_zone": "Asia/Shanghai",
        "isolated": True,
    }
    assert 60 < left <= 120


def test_log_and_progress_reach_the_record_while_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "INTERVAL", 0.05)
    run = make_run(make_isolated_job("report"), params={"steps": 3, "wait_for": str(tmp_path / "on")})
    ended = in_thread(lambda: execute(run.id, NODE))
    eventually(lambda: Run.objects.filter(pk=run.pk, progress_done=3, log__contains="printed 3").exists())
    run.refresh_from_db()
    assert (run.state, run.progress_total) == (State.RUNNING, 3)
    assert [word for word in ("logged 1", "printed 1", "noted 1") if word not in run.log] == []
    (tmp_path / "on").touch()
    ended.result(20)
    run.refresh_from_db()
    assert (run.state, run.notable) == (State.SUCCEEDED, True)


def test_several_at_once_start_one_fork_server_and_keep_their_words_apart() -> None:
    stop_fork_server()
    job = make_isolated_job("report")
    runs = [make_run(job, params={"steps": steps}) for steps in range(1, 7)]
    executor = ThreadExecutor(node=NODE, workers=6)
    executor.start()
    executor.submit(runs)
    eventually(lambda: not Run.objects.exclude(state=State.SUCCEEDED).exists())
    executor.stop(timedelta(seconds=5))
    for run in runs:
        run.refresh_from_db()
        steps = run.params["steps"]
        assert (run.result, run.progress_done, run.log.count("noted")) == (steps, steps, steps)


def test_runjob_works_in_a_process_as_well() -> None:
    make_isolated_job("report", name="reporting")
    out = StringIO()
    call_command("runjob", "reporting", "--param", "steps=2", stdout=out)
    assert "printed 2" in out.getvalue()
    assert Run.objects.get().state == State.SUCCEEDED


@pytest.mark.only_on("sqlite", "postgres")
def test_the_process_asks_the_database_over_a_connection_of_its_own() -> None:
    job = make_isolated_job("count_jobs")
    run = executed(job, name=job.name)
    assert (run.state, run.result) == (State.SUCCEEDED, {"jobs": 1, "opened_before": False}), run.error
    assert Job.objects.filter(pk=job.pk).exists(), "our own connection is whole"


def test_signals_are_taken_and_loggers_are_set_up_as_in_any_program() -> None:
    assert performed("tell_signals").result == {
        "SIGTERM": True,
        "SIGINT": True,
        "leads_its_group": True,
        "root_level": logging.INFO,
    }


def test_a_secret_in_what_the_task_says_is_not_recorded() -> None:
    outcome = performed("raise_error", message=f"asked with key={SECRET}")
    assert outcome.error == "RuntimeError: asked with key=[secret]"
    assert SECRET not in outcome.traceback + outcome.log


# Killed for real

DEAF = [
    pytest.param("spin", id="a loop that ignores SIGTERM"),
    pytest.param("sleep_deaf", id="time.sleep"),
    pytest.param("backtrack", id="a call that lets no other thread run"),
    pytest.param("freeze", id="stopped in the middle of a message"),
]


def deaf(task: str, started: Path) -> dict[str, Any]:
    return {"started": str(started)} | ({"seconds": LONG} if task == "sleep_deaf" else {})


@pytest.mark.parametrize("task", DEAF)
def test_a_task_that_hears_nothing_is_killed_at_its_timeout(task: str, tmp_path: Path) -> None:
    begun = time.monotonic()
    outcome = performed(task, in_process(timeout=timedelta(seconds=0.2)), **deaf(task, tmp_path / "started"))
    assert (outcome.state, outcome.error) == (State.TIMED_OUT, "It was killed at its timeout of 0.2 s.")
    assert time.monotonic() - begun < 10
    assert isolated_processes() == [], "it is dead when its outcome is known"


@pytest.mark.parametrize("task", DEAF)
def test_a_task_that_hears_nothing_is_killed_when_it_is_cancelled(task: str, tmp_path: Path) -> None:
    current = in_process()
    outcome = in_thread(lambda: performed(task, current, **deaf(task, tmp_path / "started")))
    eventually((tmp_path / "started").exists)
    current.cancel()
    assert outcome.result(10).state == State.CANCELLED
    assert isolated_processes() == []


def test_a_task_that_listens_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "NOTICE", 10)
    outcome = performed("listen_late", in_process(timeout=timedelta(seconds=0.1)), seconds=0.4)
    assert (outcome.state, outcome.error) == (
        State.TIMED_OUT,
        "RunTimedOut: The run went over its timeout.",
    )
    assert "in listen_late" in outcome.traceback


def test_the_timeout_counts_from_when_the_task_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "NOTICE", 0)
    stop_fork_server()  # a new one needs longer than the timeout to load Django
    timeout = timedelta(seconds=0.25)
    outcome = performed("echo", in_process(timeout=timeout))
    assert outcome.state == State.SUCCEEDED, outcome.error
    assert outcome.duration > timeout, "else this has shown nothing"


def test_what_the_task_has_started_goes_with_it(tmp_path: Path) -> None:
    started = tmp_path / "started"
    outcome = performed("spin", in_process(timeout=timedelta(seconds=0.5)), started=str(started), family=2)
    assert outcome.state == State.TIMED_OUT
    family = processes_in(started)
    assert len(family) == 3
    eventually(lambda: not any(map(alive, family)), within=5)


def test_what_a_task_leaves_behind_when_it_returns_ends_as_well() -> None:
    left = performed("leave_behind").result
    eventually(lambda: not alive(left), within=5)


def test_a_task_that_outlasts_the_schedulers_grace_is_killed_and_recorded(tmp_path: Path) -> None:
    run = make_run(make_isolated_job("spin"), params={"started": str(tmp_path / "started")})
    executor = ThreadExecutor(node=NODE, workers=1)
    executor.start()
    executor.submit([run])
    process, *_ = processes_in(tmp_path / "started")
    assert not executor.stop(timedelta(seconds=0.1))
    assert not alive(process)
    run.refresh_from_db()
    assert run.state == State.CANCELLED, "and not abandoned"


# The scheduler's death


def test_a_killed_scheduler_takes_its_processes_with_it(
    child_environment: dict[str, str], tmp_path: Path
) -> None:
    spinning, backtracking = tmp_path / "spinning", tmp_path / "backtracking"
    make_run(make_idle_job("spin"), node="", params={"started": str(spinning), "family": 1})
    make_run(make_idle_job("backtrack"), node="", params={"started": str(backtracking)})
    with SchedulerProcess(child_environment) as scheduler:
        scheduler.wait_until(lambda: spinning.exists() and backtracking.exists())
        processes = processes_in(spinning) + processes_in(backtracking)
        assert all(map(alive, processes))
        scheduler.kill()
        try:
            eventually(lambda: not any(map(alive, processes)), within=3)
        finally:
            kill_all(processes)  # or the end of the block waits for them


def test_ctrl_c_in_the_terminal_leaves_them_their_grace(
    child_environment: dict[str, str], tmp_path: Path
) -> None:
    run = make_run(
        make_idle_job("sleep_for"), node="", params={"seconds": 0.5, "started": str(tmp_path / "started")}
    )
    with SchedulerProcess(child_environment) as scheduler:
        scheduler.wait_until((tmp_path / "started").exists)
        os.killpg(scheduler._process.pid, signal.SIGINT)
        assert scheduler.wait() == 0, scheduler.output
    run.refresh_from_db()
    assert run.state == State.SUCCEEDED, run.error


# Sudden ends


@pytest.mark.parametrize(
    ("params", "said"),
    [
        pytest.param({"exit_code": 3}, "exit code 3", id="os._exit"),
        pytest.param({"exit_code": 0}, "exit code 0", id="os._exit as if all was well"),
        pytest.param({"number": signal.SIGKILL}, "exit code -9 (SIGKILL)", id="out of memory"),
        pytest.param({"number": signal.SIGTERM}, "exit code -15 (SIGTERM)", id="SIGTERM"),
        pytest.param(
            {"exit_code": 3, "leave_fork": True}, "exit code 3", id="with a fork that holds its pipes"
        ),
    ],
)
def test_a_process_that_dies_fails_the_run_and_its_last_words_are_kept(
    params: dict[str, Any], said: str
) -> None:
    outcome = performed("die", in_process(timeout=timedelta(seconds=10)), **params)
    assert (outcome.state, outcome.error) == (State.FAILED, f"Its process ended with {said}.")
    assert outcome.log == "the last word"
    assert (outcome.progress_done, outcome.progress_total) == (3, 10)
    assert not outcome.permanent


def test_a_run_whose_process_died_is_tried_again() -> None:
    run = executed(make_isolated_job("die", max_retries=1), exit_code=3)
    assert run.state == State.RETRYING
    assert run.attempts[0]["error"] == "Its process ended with exit code 3."


def test_a_killed_fork_server_takes_no_run_with_it(tmp_path: Path) -> None:
    go_on = tmp_path / "go on"
    current = in_process()
    outcome = in_thread(lambda: performed("report", current, steps=1, wait_for=str(go_on)))
    eventually(lambda: current.done == 1)
    os.kill(SERVER._forkserver_pid, signal.SIGKILL)
    go_on.touch()
    assert outcome.result(20).state == State.SUCCEEDED
    assert performed("echo", text="and the next").state == State.SUCCEEDED


# No process


def test_what_can_be_refused_is_refused_without_a_process() -> None:
    stop_fork_server()
    assert "no parameter 'colour'" in performed("echo", colour="red").error
    assert "No task named 'unheard_of'" in performed("unheard_of").error
    assert SERVER._forkserver_pid is None


def test_a_process_that_cannot_be_started_for_want_of_descriptors_fails_the_run() -> None:
    performed("echo")
    gc.collect()  # what other tests left open must not be closed in the middle of this one
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = open_descriptors()
    one_more = min(set(range(len(before) + 1)) - before) + 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (one_more, hard))
    try:
        outcome = performed("echo")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert outcome.state == State.FAILED
    assert "No process could be started: [Errno 24] Too many open files" in outcome.error
    assert open_descriptors() == before


def test_a_fork_server_that_cannot_load_the_site_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("SECRET_KEY", "short")
        stop_fork_server()
        outcome = performed("echo")
        stop_fork_server()
    assert outcome.state == State.FAILED
    assert "No process could be started: " in outcome.error
    assert performed("echo").state == State.SUCCEEDED


def test_where_the_server_does_not_find_the_app_a_process_loads_it_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_fork_server()
    monkeypatch.chdir(tmp_path)
    outcome = performed("describe_run")
    stop_fork_server()
    assert outcome.state == State.SUCCEEDED, outcome.error


# Leaving nothing


def test_many_runs_leave_no_descriptor_process_or_thread_behind() -> None:
    performed("echo")
    gc.collect()  # what earlier tests left is not this one's
    descriptors, threads = len(open_descriptors()), set(threading.enumerate())
    for _ in range(8):
        performed("echo")
        performed("die", exit_code=3)
    performed("sleep_deaf", in_process(timeout=timedelta(seconds=0.1)), seconds=LONG)
    eventually(lambda: len(open_descriptors()) <= descriptors and set(threading.enumerate()) <= threads)
    assert multiprocessing.active_children() == []
    assert isolated_processes() == []


def test_a_scheduler_without_such_jobs_loads_nothing_for_them(child_environment: dict[str, str]) -> None:
    script = (
        "import django, sys; django.setup(); import hotdata.execution.threads;"
        "sys.exit(any(name in sys.modules for name in ('pebble', 'hotdata.execution.isolation')))"
    )
    environment = {**child_environment, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    assert subprocess.run([sys.executable, "-c", script], env=environment).returncode == 0
