"""The servers of the tests end with the tests, however these end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.services import DRIVING, kind_at, mixed
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


@dataclass(frozen=True, kw_only=True)
class Item:
    """As much of a test as its place among the others depends on."""

    nodeid: str
    slow: bool = False

    def get_closest_marker(self, name: str) -> object:
        return True if self.slow and name == "slow" else None


@pytest.mark.parametrize(("others", "driving"), [(90, 10), (91, 10), (92, 10), (93, 10), (10, 0)])
def test_tests_that_drive_a_browser_begin_the_share_of_one_worker(others: int, driving: int) -> None:
    items = [Item(nodeid=f"tests/test_x.py::{n}", slow=n == 50) for n in range(others)]
    items += [Item(nodeid=f"{DRIVING}test_x.py::{n}") for n in range(driving)]
    ordered = mixed(items, 4)
    assert sorted(ordered, key=items.index) == items
    assert ordered[0].slow or others <= 50
    pending, shares = list(ordered), []
    for workers in (4, 3, 2, 1):  # as pytest-xdist divides them
        size = len(pending) // workers
        shares.append(pending[:size])
        pending = pending[size:]
    assert [item.nodeid.startswith(DRIVING) for item in shares[3]] == [
        place < driving for place in range(len(shares[3]))
    ]
