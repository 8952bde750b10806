"""`make run` as its user sees it, on a copy of the checkout."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tools.sockets import reserved_port, wait_until

ROOT = Path(__file__).resolve().parents[2]
NEEDED = ["hotdata", "project", "tools", "manage.py", "Procfile.dev"]
UP = "hotdata is running."
TIMEOUT = 60  # seconds

Starter = Callable[[], subprocess.Popen[Any]]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in NEEDED:
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    return tmp_path


@pytest.fixture
def port() -> Iterator[int]:
    with reserved_port(20_000) as port:
        yield port


@pytest.fixture
def start(checkout: Path, port: int) -> Iterator[Starter]:
    """Start the site with an environment that has nothing but PATH; what is left of it is killed at the end."""
    started = []

    def start() -> subprocess.Popen[Any]:
        with (checkout / "output").open("w") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "tools.dev", "run"],
                cwd=checkout,
                env={"PATH": os.defpath, "PORT": str(port)},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        started.append(process)
        return process

    yield start
    for process in started:
        process.terminate()
        try:
            process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


def output(checkout: Path) -> str:
    return (checkout / "output").read_text()


def wait_for_start(checkout: Path, process: subprocess.Popen[Any]) -> None:
    wait_until(lambda: UP in output(checkout) or process.poll() is not None, timeout=TIMEOUT)
    assert UP in output(checkout), output(checkout)


def processes_of(checkout: Path) -> list[str]:
    """Return the command lines of what runs in the checkout."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(checkout) in os.readlink(process / "cwd"):
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:  # gone meanwhile, or not ours
            continue
    return found


@pytest.mark.slow
def test_a_signal_ends_it_with_nothing_left_and_the_next_run_has_its_data(
    checkout: Path, start: Starter
) -> None:
    """The password is shown by the first run alone."""
    redis_url = f"unix://{checkout}/.local/redis/redis.sock"
    for how, kept in ((signal.SIGINT, None), (signal.SIGTERM, b"SIGINT"), (signal.SIGHUP, b"SIGTERM")):
        process = start()
        wait_for_start(checkout, process)
        assert len(processes_of(checkout)) > 4
        assert ("Password of the user admin" in output(checkout)) == (kept is None)
        with Redis.from_url(redis_url) as client:
            assert client.get("kept") == kept
            client.set("kept", how.name)
        process.send_signal(how)
        assert process.wait(TIMEOUT) == 0
        assert processes_of(checkout) == []
        assert "Traceback" not in output(checkout)


@pytest.mark.slow
def test_the_line_to_try_answers_with_fresh_data_that_a_run_has_fetched(
    checkout: Path, start: Starter
) -> None:
    wait_for_start(checkout, start())
    said = output(checkout)
    assert "no answer yet" not in said, said
    url = re.search(r"curl (http://127.0.0.1:\d+/api/hot/stock/AAPL)", said)
    assert url is not None, said
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url[1], timeout=10) as answer:
        entry = json.load(answer)
    assert (entry["key"], entry["state"]) == ("AAPL", "fresh")
    assert entry["value"]["price"] > 0
    assert entry["age"] >= 0
    assert datetime.fromisoformat(entry["fetched_at"]).tzinfo is not None
    with closing(sqlite3.connect(checkout / ".local" / "hotdata.sqlite3")) as database:
        ask = "SELECT count(*) FROM hotdata_run WHERE job_name = 'update_stocks' AND state = 'succeeded'"
        assert wait_until(lambda: database.execute(ask).fetchone() == (1,), timeout=TIMEOUT)


def test_a_second_one_is_refused_and_nothing_outlives_the_first_when_it_is_killed(
    checkout: Path, start: Starter
) -> None:
    first = start()
    wait_for_start(checkout, first)
    second = start()
    assert second.wait(TIMEOUT) == 1
    assert f"running already, or still stopping (process {first.pid})" in output(checkout)
    assert first.poll() is None
    first.kill()
    first.wait()
    assert wait_until(lambda: not processes_of(checkout), timeout=20), processes_of(checkout)


def test_a_port_in_use_is_named_with_the_way_out(checkout: Path, start: Starter, port: int) -> None:
    with socket.create_server(("127.0.0.1", port)):
        process = start()
        assert process.wait(TIMEOUT) == 1
    assert f"port {port} is in use. Take another one: PORT={port + 1} make run" in output(checkout)
    assert processes_of(checkout) == []
