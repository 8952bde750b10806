"""`cleanup_logs`: what it says, how it is stopped, what it refuses."""

from __future__ import annotations

import io
import json
import signal
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django import Settings

from hotdata.models import ApiCall, Cleaning, Run
from hotdata.models.runs import State
from hotdata.retention.cleanup import TTL
from tests.builders import make_call, make_job, make_run, unsaved_call
from tests.processes import PythonProcess
from tests.threads import eventually

pytestmark = pytest.mark.django_db


def cleanup_logs(*arguments: str) -> str:
    """What the command says."""
    out = io.StringIO()
    call_command("cleanup_logs", *arguments, stdout=out)
    return out.getvalue()


def lines(said: str) -> dict[str, str]:
    """The line of each kind."""
    return {line.split()[0]: " ".join(line.split()[1:]) for line in said.splitlines()}


def make_history(*ages: int) -> None:
    """A finished run and an API call of each age, in days."""
    job = make_job()
    for age in ages:
        then = timezone.now() - timedelta(days=age, minutes=1)
        make_run(job, state=State.SUCCEEDED, created_at=then)
        make_call(started_at=then)


def test_it_says_for_each_kind_what_it_deleted_and_what_it_kept_and_why() -> None:
    make_history(10, 91, 92)
    make_run(make_job(), state=State.RUNNING, created_at=timezone.now() - timedelta(days=1000))
    assert lines(cleanup_logs()) == {
        "kind": "deleted kept",
        "runs": "2 younger than 90 days; 1 that have not ended",
        "calls": "2 younger than 90 days",
        "freshness": "0 younger than 90 days",
        "components": "0 younger than 365 days",
        "alerts": "0 younger than 365 days",
        "deliveries": "0 younger than 90 days",
        "usage": "0 younger than 1,096 days",
        "edits": "0 all: edit history is never deleted, 2",
        "actions": "0 all: what people did is never deleted, 0",
        "statements": "0 all: issued statements are never deleted, 0",
        "reports": "0 all: reports outlive the records that they count, 0",
    }
    assert (Run.objects.count(), ApiCall.objects.count()) == (2, 1)


def test_a_dry_run_says_the_same_and_deletes_nothing() -> None:
    make_history(10, 91, 92)
    dry = cleanup_logs("--dry-run")
    assert Run.objects.count() == ApiCall.objects.count() == 3
    assert lines(dry)["kind"] == "would delete kept"
    assert dry.splitlines()[1:] == cleanup_logs().splitlines()[1:]


def test_kinds_and_days_can_be_chosen(settings: Settings) -> None:
    settings.HOTDATA_RETENTION = {"runs": 7, "calls": "forever"}
    make_history(6, 8, 40)
    assert lines(cleanup_logs("--dry-run"))["runs"].startswith("2 younger than 7 days")
    assert lines(cleanup_logs("--dry-run"))["calls"] == "0 all, for ever"
    assert list(lines(cleanup_logs("--kind", "runs", "calls", "--days", "30"))) == ["kind", "runs", "calls"]
    assert (Run.objects.count(), ApiCall.objects.count()) == (2, 2)


def test_programs_are_told_in_json() -> None:
    make_history(91)
    told = json.loads(cleanup_logs("--json", "--kind", "runs"))
    assert told == {"dry_run": False, "kinds": {"runs": {"days": 90, "deleted": 1, "kept": {}}}}
    assert json.loads(cleanup_logs("--json", "--dry-run"))["dry_run"] is True


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--days", "0"], "--days: between 1 and 36,500 days for runs, not 0."),
        (["--days", "99999999999"], "--days: between 1 and 36,500 days for runs, not 99,999,999,999."),
        (["--kind", "usage", "--days", "30"], "--days: between 62 and 36,500 days for usage, not 30."),
        (["--days", "many"], "argument --days: invalid int value: 'many'"),
        (["--kind", "statements"], "argument --kind: invalid choice: 'statements'"),
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_is_deleted(arguments: list[str], said: str) -> None:
    make_history(1000)
    with pytest.raises(CommandError) as refused:
        cleanup_logs(*arguments)
    assert said in str(refused.value)
    assert Run.objects.exists()


def test_a_second_one_says_that_another_is_at_work() -> None:
    make_history(1000)
    assert Cleaning.begin("elsewhere:7:x", TTL)
    with pytest.raises(CommandError, match="Another clean-up is at work: elsewhere:7, since "):
        cleanup_logs()
    assert Run.objects.exists()


def test_its_help_says_what_is_kept_how_long_and_that_it_can_be_stopped(
    capsys: pytest.CaptureFixture[str], settings: Settings
) -> None:
    settings.HOTDATA_RETENTION = {"runs": 7, "calls": "forever"}
    with pytest.raises(SystemExit):
        call_command("cleanup_logs", "--help")
    said = " ".join(capsys.readouterr().out.split())
    assert "runs 7 calls forever freshness 90 " in said
    assert "Runs that have not ended are kept whatever their age" in said
    assert "Ctrl-C or SIGTERM stop it after the batch" in said


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_by_a_signal_it_says_what_it_did_and_another_call_goes_on(
    child_environment: dict[str, str], number: signal.Signals
) -> None:
    make_many_calls()
    with PythonProcess(["manage.py", "cleanup_logs", "--json"], child_environment) as process:
        process.wait_until(lambda: ApiCall.objects.count() < MANY)
        process.send(number)
        assert process.wait() == 130
        told = json.loads(process.output.partition("Stopped. Call it again")[0])["kinds"]["calls"]
    assert 0 < told["deleted"] == MANY - ApiCall.objects.count() < MANY
    assert told["finished"] is False
    again = json.loads(cleanup_logs("--json", "--dry-run"))["kinds"]["calls"]
    assert again["deleted"] == ApiCall.objects.count()


@pytest.mark.django_db(transaction=True)
def test_killed_it_leaves_nothing_that_the_next_one_would_not_go_on_with(
    child_environment: dict[str, str],
) -> None:
    make_many_calls()
    with PythonProcess(["manage.py", "cleanup_logs"], child_environment) as process:
        process.wait_until(lambda: ApiCall.objects.count() < MANY)
        process.kill()
    left = ApiCall.objects.count()
    assert 0 < left < MANY
    with pytest.raises(CommandError, match="Another clean-up is at work"):
        cleanup_logs()  # nobody knows yet that it is dead
    Cleaning.objects.update(expires_at=timezone.now())  # as half a minute later
    assert json.loads(cleanup_logs("--json"))["kinds"]["calls"]["deleted"] == left
    eventually(lambda: not ApiCall.objects.exists())


MANY = 20_000


def make_many_calls() -> None:
    """More than are deleted in the time between a look and a signal."""
    then = timezone.now() - timedelta(days=1000)
    ApiCall.objects.bulk_create((unsaved_call(started_at=then) for _ in range(MANY)), batch_size=2000)
