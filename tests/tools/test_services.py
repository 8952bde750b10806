"""The servers of the tests end with the tests, however these end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services import kind_at
from tools.sockets import wait_until

ROOT = Path(__file__).resolve().parents[2]
HOLDER = """
import subprocess, sys
command = [sys.executable, "-m", "tools.servers", "redis", "postgres"]
subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True).wait()
"""


def test_nothing_of_them_is_left_after_a_kill() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as holder:
        addresses = json.loads(holder.stdout.readline())
        directory = Path(addresses["REDIS_URL"].removeprefix("unix://")).parents[1]
        assert str(directory) in addresses["DATABASE_URL"]
        assert directory.is_dir()
        holder.send_signal(signal.SIGKILL)
    assert wait_until(lambda: not directory.exists(), timeout=20)


@pytest.mark.parametrize(
    ("url", "kind"),
    [("sqlite:///x", "sqlite"), ("postgres://h/x", "postgres"), ("postgresql://h/x", "postgres"), ("", "")],
)
def test_the_kind_of_a_database_is_known_from_its_url(url: str, kind: str) -> None:
    assert kind_at(url) == kind
