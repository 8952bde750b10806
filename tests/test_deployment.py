"""What stands in deploy/ and the Procfile can be taken as it is: commands, options and variables exist."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from gunicorn.config import Config

from tests.test_settings import CHECK, run

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
UNITS = sorted(DEPLOY.glob("*.service"))
INSTALLED = "/srv/hotdata/.venv/bin/"
EXAMPLE = (DEPLOY / "hotdata.env.example").read_text()
NEEDED = {"SECRET_KEY": "k" * 40}


def unit(path: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(path.read_text())
    return parser


def commands() -> list[tuple[str, list[str]]]:
    """What the units and the Procfile start, by where it stands."""
    found = [
        (path.name, shlex.split(unit(path)["Service"]["ExecStart"].removeprefix(INSTALLED))) for path in UNITS
    ]
    for line in (ROOT / "Procfile").read_text().splitlines():
        name, _, command = line.partition(": ")
        found += [
            (f"Procfile {name}", shlex.split(part.strip().removeprefix("exec ")))
            for part in command.split("&&")
        ]
    return found


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_systemd_takes_the_units(path: Path, tmp_path: Path) -> None:
    if not (analyze := shutil.which("systemd-analyze")):
        pytest.skip("systemd-analyze is not installed")
    here = tmp_path / path.name
    here.write_text(path.read_text().replace(INSTALLED, f"{Path(sys.executable).parent}/"))
    done = subprocess.run([analyze, "verify", here], capture_output=True, text=True, timeout=60, check=False)
    ours = [line for line in done.stderr.splitlines() if path.name in line]
    assert not ours


def test_there_is_a_unit_for_each_process() -> None:
    assert [path.name for path in UNITS] == ["hotdata-scheduler.service", "hotdata-web.service"]
    for path in UNITS:
        service = unit(path)["Service"]
        assert service["EnvironmentFile"] == "/etc/hotdata/hotdata.env"
        assert service["KillMode"] == "mixed"


@pytest.mark.parametrize(("where", "command"), commands(), ids=lambda value: str(value)[:40])
def test_each_command_and_its_options_exist(where: str, command: list[str]) -> None:
    program, *arguments = command
    if program == "gunicorn":
        without_shell = [part.replace("${PORT:-8000}", "8000") for part in arguments]
        options = Config().parser().parse_args(without_shell)
        assert options.args == ["project.wsgi"]
    else:
        assert (program, arguments[0]) == ("python", "manage.py")
        help_text = subprocess.run(
            [sys.executable, "manage.py", arguments[1], "--help"],
            cwd=ROOT,
            env={**NEEDED, "DATABASE_URL": "sqlite://:memory:"},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
        for option in arguments[2:]:
            assert not option.startswith("--") or option.partition("=")[0] in help_text, where


def test_the_grace_fits_into_the_time_that_systemd_gives() -> None:
    service = unit(DEPLOY / "hotdata-scheduler.service")["Service"]
    grace = re.search(r"--grace (\d+)", service["ExecStart"])
    assert grace is not None
    assert int(grace[1]) < int(service["TimeoutStopSec"])


def test_each_variable_of_the_example_is_one_that_the_settings_take() -> None:
    variables = dict(re.findall(r"^#?([A-Z_0-9]+)=(.*)$", EXAMPLE, re.MULTILINE))
    documented = set(
        re.findall(r"^\| ([A-Z_0-9]+) \|", (ROOT / "project/settings.py").read_text(), re.MULTILINE)
    )
    assert {name for name in variables if not name.startswith("HOTDATA_")} <= documented
    assert {"SECRET_KEY", "DATABASE_URL", "REDIS_URL", "ALLOWED_HOSTS"} <= variables.keys()
    done = run(CHECK, **variables | NEEDED)
    assert done.returncode == 0, done.stderr
