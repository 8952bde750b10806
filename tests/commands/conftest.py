"""Ways to call a management command: in this process, and as an operator does, in one of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.execution.conftest import job_of, register

__all__ = ["job_of", "register"]

ROOT = Path(__file__).resolve().parent.parent.parent

Manage = Callable[..., subprocess.CompletedProcess[str]]
StartManage = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start_manage(child_environment: dict[str, str]) -> StartManage:
    """Starts ``manage.py`` with the given arguments, the test's database and the test app."""
    environment = {**child_environment, "DJANGO_SETTINGS_MODULE": "tests.settings"}

    def start(*arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.fixture
def manage(start_manage: StartManage) -> Manage:
    """Runs ``manage.py`` with the given arguments to its end."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        with start_manage(*arguments) as process:
            out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    return run
