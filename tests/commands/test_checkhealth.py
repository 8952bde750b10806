"""`checkhealth`: what it says, by its exit code, too, in a process of its own as a container's probe starts it."""

from __future__ import annotations

import io
import json
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from django.conf import settings as site_settings
from django.core.management import call_command
from django.db.models.functions import Now
from redis import Redis

from hotdata.conf import conf
from hotdata.management.commands.checkhealth import Command
from hotdata.models import Component, Lease
from tests.builders import make_source
from tests.commands.conftest import ROOT, Manage
from tests.freshness.conftest import redis_down
from tests.freshness.hostile import closed_port

__all__ = ["redis_down"]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("clear_cache")]

BASE = ("database", "redis", "migrations", "scheduler", "jobs")


def lead() -> None:
    """For as long as a test may last."""
    Lease.acquire("leader", conf().lease_ttl)
    Lease.objects.update(expires_at=Now() + 5 * conf().lease_ttl)


def states(said: str) -> dict[str, str]:
    """The states by component, in the order in which they were told."""
    return {line.split()[1].rstrip(":"): line.split()[0] for line in said.splitlines()}


def checkhealth(*arguments: str) -> tuple[int, str, str]:
    """Its exit code, and what it says on either stream, in this process."""
    out, err = io.StringIO(), io.StringIO()
    command = Command(stdout=out, stderr=err)
    with pytest.raises(SystemExit) as leaving:
        command.run_from_argv(["manage.py", "checkhealth", *arguments])
    return int(leaving.value.code or 0), out.getvalue(), err.getvalue()


def check(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """As the fixture `manage`, in another environment."""
    return subprocess.run(
        [sys.executable, "manage.py", "checkhealth", *arguments],
        cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_with_all_well_it_says_so_and_leaves_nothing(manage: Manage, redis: Redis) -> None:
    lead()
    make_source(name="stock")
    done = manage("checkhealth")
    assert done.returncode == 0, done.stderr
    assert states(done.stdout) == dict.fromkeys([*BASE, "source:stock"], "ok")
    assert not Component.objects.exists()
    assert redis.dbsize() == 0


def test_what_is_degraded_is_told_first_unless_only_what_is_down_counts(manage: Manage) -> None:
    lead()
    make_source(name="stock", pinned=("AAPL",))
    done = manage("checkhealth")
    assert done.returncode == 1, done.stderr
    assert next(iter(states(done.stdout).items())) == ("source:stock", "degraded")
    call_command("checkhealth", "--fail-on", "down")  # would leave with another code


def test_what_is_down_is_told_before_what_is_degraded(manage: Manage) -> None:
    make_source(name="stock", pinned=("AAPL",))
    done = manage("checkhealth", "--fail-on", "down")
    assert done.returncode == 2, done.stderr
    assert list(states(done.stdout).items())[:2] == [("scheduler", "down"), ("source:stock", "degraded")]
    assert "scheduler: No scheduler leads (last: none). Start runscheduler.\n" in done.stdout


def test_as_json_it_is_what_the_job_records() -> None:
    lead()
    code, out, _ = checkhealth("--json")
    told = json.loads(out)
    assert (code, told["state"], list(told["parts"])) == (0, "ok", list(BASE))
    assert told["parts"]["jobs"] == {"state": "ok", "detail": "No job is overdue."}


def test_only_the_components_that_are_asked_for_are_looked_at() -> None:
    make_source(name="stock", pinned=("AAPL",))
    make_source(name="news", pinned=("top",))
    code, out, _ = checkhealth("--component", "redis", "--component", "source:stock")
    assert (code, states(out)) == (1, {"source:stock": "degraded", "redis": "ok"})
    code, out, _ = checkhealth("--component", "database")
    assert (code, states(out)) == (0, {"database": "ok"})


def test_what_does_not_exist_is_not_checked() -> None:
    make_source(name="news")
    code, out, err = checkhealth("--component", "source:stock", "--component", "redis")
    assert (code, out) == (3, "")
    assert "There is no component source:stock. There are: database, redis," in err
    assert "source:news." in err


@pytest.mark.parametrize(
    "arguments", [["--foo"], ["--timeout", "0"], ["--timeout", "soon"], ["--fail-on", "ok"]]
)
def test_words_that_are_not_understood_check_nothing(arguments: list[str]) -> None:
    code, out, err = checkhealth(*arguments)
    assert (code, out) == (3, "")
    assert arguments[0] in err


def test_the_help_says_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert checkhealth("--help")[0] == 0
    assert "Exit code: 0 all is ok, 1 something is degraded, 2 something is down" in capsys.readouterr().out


@pytest.mark.usefixtures("redis_down")
def test_without_redis_it_says_so() -> None:
    code, out, _ = checkhealth("--component", "redis")
    assert (code, states(out)) == (2, {"redis": "down"})


def test_what_is_away_is_down_and_its_password_is_not_told() -> None:
    url = f"postgres://ada:hunter2@{closed_port()}/hotdata"
    done = check({"DATABASE_URL": url, "REDIS_URL": f"redis://ada:hunter2@{closed_port()}/0"})
    assert done.returncode == 2, done.stderr
    assert states(done.stdout) == dict.fromkeys(BASE, "down")
    assert "hunter2" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.only_on("sqlite")
def test_a_database_that_hangs_is_given_up(tmp_path: Path) -> None:
    name = tmp_path / "locked.sqlite3"
    with closing(sqlite3.connect(name, isolation_level=None)) as locker:
        locker.execute("CREATE TABLE anything (id)")
        locker.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        environment = {"DATABASE_URL": f"sqlite:///{name}", "REDIS_URL": site_settings.REDIS_URL}
        done = check(environment, "--timeout", "0.5", "--component", "database", "--component", "redis")
        # SQLite itself would wait for twenty seconds.
        assert time.monotonic() - began < 15
    assert (done.returncode, states(done.stdout)) == (2, {"database": "down", "redis": "ok"})
    assert "database: Timed out after 0.5 seconds.\n" in done.stdout
