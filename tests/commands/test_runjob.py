"""`runjob`: a job here and now, or once later."""

from __future__ import annotations

import io
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.db import OperationalError

import hotdata
from hotdata.models import Job, Node, Run, Schedule
from hotdata.models.runs import Cause, State
from hotdata.models.schedules import Kind
from tests.builders import make_job
from tests.commands.conftest import Manage, StartManage
from tests.execution.conftest import JobOf
from tests.threads import PATIENCE, eventually

pytestmark = pytest.mark.django_db

LONG = 60  # seconds; no test gets that far
NOW = datetime(2026, 11, 23, 6, 59, tzinfo=UTC)


@pytest.fixture
def job_of(job_of: JobOf) -> JobOf:
    """Makes a job named ``job`` whose task is the given function."""
    return lambda function, **fields: job_of(function, **({"name": "job"} | fields))


def echo(text: str = "", number: int = 0, items: list[str] | None = None) -> dict[str, Any]:
    return {"text": text, "number": number, "items": items}


def fail() -> None:
    raise ConnectionError("no answer")


def runjob(*arguments: str) -> str:
    """What the command says."""
    out = io.StringIO()
    call_command("runjob", *arguments, stdout=out)
    return out.getvalue()


def refused(*arguments: str) -> str:
    """What the command says as it refuses."""
    with pytest.raises(CommandError) as refusal:
        runjob(*arguments)
    return str(refusal.value)


# Here and now


def test_a_job_runs_here_and_now_and_is_on_record_like_any_other(job_of: JobOf) -> None:
    job = job_of(echo, params={"text": "hello"})
    out = runjob("job")
    run = Run.objects.get()
    assert (run.job_id, run.cause, run.requested_by) == (job.name, Cause.CLI, "runjob")
    assert (run.state, run.result["text"]) == (State.SUCCEEDED, "hello")
    assert f"job: run {run.id} succeeded after 0.0" in out
    assert '"text": "hello"' in out


def test_the_schedule_is_not_touched(job_of: JobOf) -> None:
    job_of(echo)
    before = Schedule.objects.values().get()
    runjob("job")
    assert Schedule.objects.values().get() == before


def test_no_node_is_left_behind(job_of: JobOf) -> None:
    job_of(fail)
    refused("job")
    assert not Node.objects.exists()


def test_a_paused_job_can_be_run_by_hand(job_of: JobOf) -> None:
    job_of(echo, paused=True)
    runjob("job")
    assert Run.objects.get().state == State.SUCCEEDED


def test_what_the_task_prints_and_logs_is_shown(job_of: JobOf) -> None:
    def talk() -> None:
        print("printed")
        hotdata.current_run().log("logged")

    job_of(talk)
    assert "printed\nlogged\njob: run " in runjob("job")


def test_a_failed_run_is_a_failed_command(job_of: JobOf) -> None:
    job_of(fail)
    assert refused("job") == "ConnectionError: no answer"
    assert Run.objects.get().state == State.FAILED


def test_a_run_that_will_be_tried_again_says_so_and_is_a_failed_command(job_of: JobOf) -> None:
    job_of(fail, max_retries=1)
    out = io.StringIO()
    with pytest.raises(CommandError, match="no answer"):
        call_command("runjob", "job", stdout=out)
    run = Run.objects.get()
    assert (run.state, run.node) == (State.RETRYING, "")
    assert "waiting to retry after" in out.getvalue()
    assert f"The scheduler tries it again at {run.ready_at:%Y-%m-%dT%H:%M:%S}" in out.getvalue()


def test_a_run_that_goes_over_its_timeout_is_a_failed_command(job_of: JobOf) -> None:
    job_of(lambda: hotdata.current_run().wait(LONG), timeout=timedelta(seconds=0.05))
    assert refused("job") == "RunTimedOut: The run went over its timeout."


# Parameters


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["number=3"], {"number": 3}),
        (["text=3"], {"text": "3"}),
        (["text=a=b"], {"text": "a=b"}),
        (["text="], {"text": ""}),
        (["text=北京"], {"text": "北京"}),
        (['items=["a","b"]'], {"items": ["a", "b"]}),
        (["items=null"], {"items": None}),
        (["text=one", "number=1", "number=2"], {"text": "one", "number": 2}),
    ],
)
def test_parameters_are_json_or_plain_text_where_the_task_takes_text(
    job_of: JobOf, given: list[str], expected: dict[str, Any]
) -> None:
    job_of(echo, params={"text": "as defined", "number": 7, "items": ["x"]})
    runjob("job", *(f"--param={param}" for param in given))
    defined = {"text": "as defined", "number": 7, "items": ["x"]}
    assert Run.objects.get().result == defined | expected
    assert Job.objects.get().params == defined


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("number", "--param 'number' must have the form name=value."),
        ("number=three", "number: Expected `int`, got `str`."),
        ('number="3"', "number: Expected `int`, got `str`."),
        ("colour=red", "has no parameter 'colour'; it takes: text, number, items."),
        ("items=[1]", "items: Expected `str`, got `int`"),
    ],
)
def test_parameters_that_do_not_fit_are_refused_and_nothing_runs(
    job_of: JobOf, given: str, says: str
) -> None:
    job_of(echo)
    assert says in refused("job", "--param", given)
    assert not Run.objects.exists()


@pytest.mark.parametrize("later", [(), ("--at", "in 5 minutes")])
def test_a_parameter_that_names_no_source_is_refused_as_the_text_that_it_is(later: tuple[str, ...]) -> None:
    make_job(name="refresh", task="refresh_source", params={"source": "stock"})
    says = refused("refresh", "--param", "source=7", *later)
    assert says == "source: There is no source '7'. Sources: none."
    assert (Run.objects.count(), Job.objects.count()) == (0, 1)


def test_a_job_that_does_not_exist_is_refused_with_those_that_do(job_of: JobOf) -> None:
    job_of(echo, name="update_stocks")
    assert refused("stocks") == "There is no job named 'stocks'. Jobs: update_stocks."


def test_a_name_that_no_database_takes_is_refused(job_of: JobOf) -> None:
    with pytest.raises(CommandError, match="There is no job named"):
        runjob("\udcff")


def test_a_database_that_is_locked_is_a_sentence(job_of: JobOf, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise OperationalError("database is locked")

    job = job_of(lambda: None)
    monkeypatch.setattr(Job, "request_run", fail)
    with pytest.raises(CommandError, match="The database can't be used now: database is locked"):
        runjob(job.name)


def test_without_any_job_the_command_says_how_to_get_some() -> None:
    assert refused("stocks") == "There is no job named 'stocks'. Jobs: none; see setup_hotdata."


def test_a_job_whose_task_is_gone_is_refused() -> None:
    make_job(name="job", task="no_such_task")
    assert refused("job").startswith("No task named 'no_such_task' is registered.")
    assert refused("job", "--param", "a=1").startswith("No task named 'no_such_task' is registered.")


# Later


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("in 5 minutes", NOW + timedelta(minutes=5)),
        ("15:30", datetime(2026, 11, 23, 7, 30, tzinfo=UTC)),
        ("2026-11-24 09:30", datetime(2026, 11, 24, 1, 30, tzinfo=UTC)),
    ],
)
def test_a_run_for_later_is_a_one_off_job(job_of: JobOf, at: str, expected: datetime) -> None:
    job = job_of(echo, params={"number": 1}, time_zone="Asia/Shanghai", max_retries=2)
    with time_machine.travel(NOW, tick=False):
        out = runjob("job", "--at", at, "--param", "number=2")
    once = Job.objects.exclude(pk=job.pk).get()
    assert (once.trigger, once.run_at) == (Kind.DATE, expected)
    assert (once.task, once.params, once.max_retries) == (job.task, {"number": 2}, 2)
    assert once.name.startswith("job-at-20261")
    assert Schedule.objects.get(id=once.name).next_run_time == expected
    shanghai = expected + timedelta(hours=8)
    assert out == f"{once.name} will run at {shanghai:%Y-%m-%dT%H:%M:%S}+08:00.\n"
    assert not Run.objects.exists()
    job.refresh_from_db()
    assert (job.trigger, job.params) == (Kind.CRON, {"number": 1})


def test_a_one_off_of_a_paused_job_runs_all_the_same(job_of: JobOf) -> None:
    job = job_of(echo, paused=True, pause_note="upstream is down")
    runjob("job", "--at", "in 5 minutes")
    once = Job.objects.exclude(pk=job.pk).get()
    assert (once.paused, once.pause_note) == (False, "")


def test_a_one_off_of_a_job_that_is_over_runs_all_the_same(job_of: JobOf) -> None:
    job = job_of(echo)
    Job.objects.filter(pk=job.pk).update(
        starts_at=NOW - timedelta(days=2), ends_at=NOW - timedelta(days=1), jitter=timedelta(seconds=1)
    )
    runjob("job", "--at", "in 5 minutes")
    once = Job.objects.exclude(pk=job.pk).get()
    assert (once.starts_at, once.ends_at) == (None, None)


def test_a_one_off_of_a_job_with_the_longest_name_has_a_name_that_fits(job_of: JobOf) -> None:
    job_of(echo, name="j" * 100)
    out = runjob("j" * 100, "--at", "in 5 minutes")
    assert len(out.split()[0]) <= 100


@pytest.mark.parametrize(
    ("at", "says"),
    [
        ("soon", "'soon' is no time that can be read."),
        ("2020-01-01", "lies in the past."),
        ("25:00", "25:00 is no time of day."),
    ],
)
def test_a_time_that_makes_no_sense_is_refused_and_no_job_is_made(job_of: JobOf, at: str, says: str) -> None:
    job_of(echo)
    assert says in refused("job", "--at", at)
    assert Job.objects.count() == 1


def test_the_same_one_off_twice_is_refused_with_a_sentence(job_of: JobOf) -> None:
    job_of(echo)
    with time_machine.travel(NOW, tick=False):
        runjob("job", "--at", "15:30")
        assert "already exists" in refused("job", "--at", "15:30")


# As a process


@pytest.mark.django_db(transaction=True)
def test_the_exit_code_is_0_for_a_run_that_succeeded_and_1_for_one_that_did_not(manage: Manage) -> None:
    make_job(name="good", task="echo")
    make_job(name="bad", task="raise_error")
    good = manage("runjob", "good", "--param", "text=hello")
    assert good.returncode == 0
    assert '"text": "hello"' in good.stdout
    bad = manage("runjob", "bad")
    assert bad.returncode == 1
    assert bad.stderr.endswith("CommandError: RuntimeError: broken on purpose\n")
    assert "Traceback" not in bad.stderr
    assert list(Run.objects.order_by("id").values_list("state", "cause")) == [
        ("succeeded", "cli"),
        ("failed", "cli"),
    ]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("task", ["sleep_for", "sleep_deaf"])
def test_ctrl_c_cancels_the_run_whether_its_task_listens_or_not(
    start_manage: StartManage, tmp_path: Path, task: str
) -> None:
    started = tmp_path / "started"
    make_job(name="sleep", task=task, params={"seconds": LONG, "started": str(started)})
    with start_manage("runjob", "sleep") as process:
        try:
            eventually(started.exists)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    run = Run.objects.get()
    assert (run.state, run.reason) == (State.CANCELLED, "Cancelled while it was running.")
    assert process.returncode == 1
    assert "cancelled after" in out
    assert err.endswith("CommandError: Cancelled while it was running.\n")
    assert not Node.objects.exists()
