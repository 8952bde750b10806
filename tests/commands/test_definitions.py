"""`exportdefs` and `applydefs`: what they say, write and refuse, and how they exit."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from hotdata.management.commands import exportdefs as exporting
from hotdata.models import Job, Source
from tests.builders import make_job, make_source
from tests.processes import ROOT

pytestmark = pytest.mark.django_db

FILE = """\
version: 1
sources:
  s:
    base_url: https://a.example
    path: /{key}
jobs:
  j:
    task: refresh_source
    params:
      source: s
    cron: '*/5 * * * *'
    time_zone: UTC
"""


def said(command: str, *arguments: Any, **options: Any) -> str:
    out = io.StringIO()
    call_command(command, *map(str, arguments), stdout=out, **options)
    return out.getvalue()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "definitions.yaml"
    path.write_text(FILE)
    return path


# applydefs


def test_it_shows_what_it_did_and_a_second_time_there_is_nothing_to_do(file: Path) -> None:
    first = said("applydefs", file).splitlines()
    assert first[:3] == ["+ source s", '+     base_url: "https://a.example"', '+     path: "/{key}"']
    assert first[-1].startswith("Applied plan ")
    assert first[-1].endswith(": 2 created, 0 changed, 0 deleted, 0 unchanged.")
    assert said("applydefs", file) == "Nothing to do: 0 created, 0 changed, 0 deleted, 2 unchanged.\n"
    assert said("exportdefs") == FILE


def test_who_and_why_is_on_record(file: Path) -> None:
    said("applydefs", file)
    said("applydefs", file, "--reason", "never seen")  # nothing is changed
    file.write_text(FILE.replace("*/5", "*/6"))
    said("applydefs", file, "--reason", "half as often")
    edits = Job.history.order_by("history_id").values_list("history_user_id", "history_change_reason")
    assert list(edits) == [("applydefs", "applied from definitions.yaml"), ("applydefs", "half as often")]


def test_a_dry_run_shows_the_plan_whose_number_can_be_expected(file: Path) -> None:
    dry = said("applydefs", file, "--dry-run")
    assert not Job.objects.exists()
    number = dry.splitlines()[-1].split()[1].rstrip(",")
    assert dry.splitlines()[-1] == (
        f"Plan {number}, not applied: 2 created, 0 changed, 0 deleted, 0 unchanged."
    )
    with pytest.raises(CommandError, match=f"The plan is {number} and not 'other'"):
        said("applydefs", file, "--expect", "other")
    assert not Job.objects.exists()
    said("applydefs", file, "--expect", number)
    assert Job.objects.exists()


def test_a_dry_run_can_tell_by_its_exit_code_whether_something_would_change(file: Path) -> None:
    with pytest.raises(SystemExit) as left:
        said("applydefs", file, "--dry-run", "--exit-code")
    assert left.value.code == 2
    said("applydefs", file)
    said("applydefs", file, "--dry-run", "--exit-code")
    with pytest.raises(CommandError, match="--exit-code goes with --dry-run"):
        said("applydefs", file, "--exit-code")


def test_colour_is_for_terminals_alone(file: Path) -> None:
    assert "\x1b" not in said("applydefs", file, "--dry-run")
    assert "\x1b[32;1m+ source s" in said("applydefs", file, "--dry-run", force_color=True)


def test_all_problems_are_told_and_nothing_is_applied(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(FILE.replace("cron:", "corn:").replace("path:", "paht:"))
    err = io.StringIO()
    with pytest.raises(CommandError, match="Nothing is applied"):
        said("applydefs", file, stderr=err)
    assert err.getvalue().splitlines() == [
        "line 5: sources.s.paht: there is no such field. Did you mean path?",
        "line 11: jobs.j.corn: there is no such field. Did you mean cron?",
    ]
    assert not Source.objects.exists()


def test_pruning_is_asked_for(file: Path) -> None:
    make_job(name="other")
    assert "jobs.other is not in the file, and left alone" in said("applydefs", file)
    assert Job.objects.filter(name="other").exists()
    assert "- job other" in said("applydefs", file, "--prune")
    assert not Job.objects.filter(name="other").exists()


def test_a_file_that_can_not_be_read_is_told(tmp_path: Path) -> None:
    for path, why in ((tmp_path / "none.yaml", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(CommandError, match=f"can't be read: {why}"):
            said("applydefs", path)


@pytest.mark.django_db(transaction=True)
def test_one_site_is_piped_into_another(child_environment: dict[str, str]) -> None:
    def run(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env={**child_environment, "DJANGO_SETTINGS_MODULE": "tests.settings"},
            input=stdin,
            capture_output=True,
            timeout=60,
            check=False,
        )

    done = run("applydefs", "-", stdin=FILE.encode())
    assert done.returncode == 0, done.stderr
    assert Job.objects.get().cron == "*/5 * * * *"
    assert Job.history.get().history_change_reason == "applied from standard input"
    assert run("exportdefs").stdout == FILE.encode()
    refused = run("applydefs", "-", stdin=b"version: 1\njobs: &a []")
    assert refused.returncode == 1
    assert b"anchors and aliases" in refused.stderr
    changed = FILE.replace("*/5", "*/6").encode()
    assert run("applydefs", "-", "--dry-run", "--exit-code", stdin=changed).returncode == 2


# exportdefs


def test_a_file_is_written_as_a_whole_with_the_rights_that_it_had(tmp_path: Path) -> None:
    make_job(name="j")
    path, link = tmp_path / "definitions.yaml", tmp_path / "link.yaml"
    said("exportdefs", "-o", path)
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask
    assert path.read_text() == said("exportdefs")
    path.chmod(0o640)
    link.symlink_to(path)
    make_job(name="k")
    said("exportdefs", "--output", link)
    assert link.is_symlink()
    assert "  k:" in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o640
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["definitions.yaml", "link.yaml"]


def test_a_disk_that_is_full_leaves_the_file_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "definitions.yaml"
    path.write_text("as it was")

    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exporting.os, "fsync", full)
    with pytest.raises(CommandError, match="can't be written: No space left on device"):
        said("exportdefs", "-o", path)
    assert path.read_text() == "as it was"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(CommandError, match="can't be written: No such file or directory"):
        said("exportdefs", "-o", tmp_path / "nowhere" / "definitions.yaml")


def test_some_jobs_and_sources_can_be_chosen() -> None:
    for name in ("a", "b"):
        make_job(name=name)
        make_source(name=name)
    assert said("exportdefs", "--jobs", "a, b").splitlines()[:2] == ["version: 1", "jobs:"]
    only = said("exportdefs", "--sources", "b")
    assert "  b:" in only
    assert "  a:" not in only
    assert "jobs:" not in only
    with pytest.raises(CommandError, match="There is no job 'c'"):
        said("exportdefs", "--jobs", "c")


@pytest.mark.parametrize("command", ["exportdefs", "applydefs"])
def test_their_help_shows_how_they_are_used(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        call_command(command, "--help")
    assert f"manage.py {command} " in capsys.readouterr().out.partition("examples:")[2]
