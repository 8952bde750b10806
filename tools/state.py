"""What a developer's site keeps between runs: the directory `.local`, its lock and its file `env`."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class AlreadyRunning(Exception):
    """Another `make run` of this directory is running, or is still stopping."""


class State:
    """The directory with the state of one checkout, readable by its user only."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.redis = directory / "redis"
        self._env = directory / "env"
        self._lock = directory / "lock"

    @contextmanager
    def lock(self) -> Iterator[int]:
        """Hold the state alone, and yield the descriptor to which the lock is bound.

        The lock is free again when the last process that inherited the descriptor is gone, so it also stands for
        servers that survive us for a moment.
        """
        self._make()
        with self._lock.open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                raise AlreadyRunning(file.read().strip() or "unknown") from error
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield file.fileno()

    def variables(self) -> dict[str, str]:
        """Return what the file `env` sets, after making it if this is the first run."""
        if not self._env.exists():
            self._make()
            self._write({"SECRET_KEY": secrets.token_urlsafe(48), "DEBUG": "1"})
        return read_variables(self._env)

    def remember(self, name: str, value: str) -> None:
        if self.variables().get(name) != value:
            self._write({**self.variables(), name: value})

    def _make(self) -> None:
        self.directory.mkdir(exist_ok=True)
        self.directory.chmod(0o700)

    def _write(self, variables: dict[str, str]) -> None:
        new = self._env.with_name("env.new")
        new.unlink(missing_ok=True)
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(
                "# The settings of `make run` in this directory. What the environment sets comes first.\n"
            )
            file.writelines(f"{name}={value}\n" for name, value in variables.items())
        new.replace(self._env)


def read_variables(path: Path) -> dict[str, str]:
    """Return the variables of a file of `NAME=value` lines; none if there is no such file."""
    if not path.is_file():
        return {}
    lines = (line.strip().removeprefix("export ") for line in path.read_text(encoding="utf-8").splitlines())
    pairs = (line.partition("=") for line in lines if "=" in line and not line.startswith("#"))
    return {name.strip(): value.strip().strip("'\"") for name, _, value in pairs}
