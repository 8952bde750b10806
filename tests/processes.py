"""Processes that a test starts, watches and kills."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from tests.threads import eventually
from tools.children import spawn, stop

ROOT = Path(__file__).resolve().parent.parent


class PythonProcess:
    """``python`` with the given arguments for as long as the block lasts; killed at its end if it still runs then."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        self._arguments = arguments
        self._environment = {
            **environment,
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "PYTHONUNBUFFERED": "1",
        }
        self.lines: list[str] = []

    def __enter__(self) -> Self:
        self._process = spawn(
            [sys.executable, *self._arguments],
            farewell=signal.SIGKILL,
            cwd=ROOT,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *exc: object) -> None:
        stop(self._process, how=signal.SIGKILL)
        self._reader.join()

    def _read(self) -> None:
        with self._process.stdout as lines:
            self.lines += lines

    @property
    def output(self) -> str:
        return "".join(self.lines)

    def says(self, text: str) -> bool:
        return text in self.output

    def wait_for(self, text: str) -> None:
        """Wait until it has said `text`."""
        self.wait_until(lambda: self.says(text))

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` holds; fails at once, with all that the process said, when it has ended."""
        eventually(lambda: condition() or self._process.poll() is not None)
        assert condition(), self.output

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        """As the kernel does when memory runs out: without a last word."""
        self._process.kill()
        self._process.wait(10)

    def wait(self) -> int:
        """Its exit code, once it has ended."""
        code = self._process.wait(30)
        self._reader.join()
        return code
