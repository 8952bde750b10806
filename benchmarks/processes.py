"""Contenders as real processes: started, watched, measured from outside, and never left behind.

What a process uses is read from ``/proc``, so these benchmarks need Linux. PostgreSQL's own log counts the
statements, for every contender in the same way: the cluster that carries no ``pg_stat_statements`` has that.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from benchmarks.calls import VARIABLE, Calls
from tools.children import spawn, stop

ROOT = Path(__file__).resolve().parent.parent
START_TIMEOUT = 120.0  # seconds; a neighbour with 10,000 jobs takes its time
POLL = 0.005  # seconds
TICKS = os.sysconf("SC_CLK_TCK")  # of /proc/<pid>/stat, in a second
RELOAD = 0.5  # seconds within which PostgreSQL's sessions follow a changed setting

SCHEDULER = ("manage.py", "runscheduler")
LEADING = "scheduler.leading"
STARTED = "Ctrl-C stops it."

LOG = "BENCH_POSTGRES_LOG"
WHO = "contender"
STATEMENT = re.compile(rf"^{WHO}\|LOG:  (?:statement|execute [^:]*): (?!BEGIN)", re.MULTILINE)


class Contender:
    """One process for as long as the block lasts; killed at its end if it still runs then."""

    def __init__(self, *command: str, calls: Calls | None = None, **variables: str) -> None:
        self._command = [sys.executable, *command]
        self._environment: Mapping[str, str] = {
            **os.environ,
            "PYTHONUNBUFFERED": "1",
            "LOG_LEVEL": "INFO",
            "PGAPPNAME": WHO,  # tells its statements from those of the benchmark
            **({VARIABLE: str(calls.path)} if calls else {}),
            **variables,
        }
        self._said = ""

    def __enter__(self) -> Self:
        self.began = time.monotonic()
        self._process = spawn(
            self._command,
            farewell=signal.SIGKILL,
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.send_signal(signal.SIGCONT)  # one that was stopped could not hear the next
        stop(self._process)
        self._reader.join()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._said += line

    @property
    def pid(self) -> int:
        return self._process.pid

    def finish(self, timeout: float) -> str:
        """Wait until it has ended by itself, and well; all that it said. Raises RuntimeError otherwise."""
        deadline = time.monotonic() + timeout
        while self._process.poll() is None and time.monotonic() < deadline:
            time.sleep(POLL)
        self._reader.join(timeout=1)
        if self._process.poll() != 0:
            raise RuntimeError(f"{' '.join(self._command)} came to nothing:\n{self._said}")
        return self._said

    def says(self, text: str) -> bool:
        return text in self._said

    def wait_for(self, text: str) -> float:
        """Wait until it has said `text`; the seconds since its start. Raises RuntimeError when it has ended."""
        self.wait_until(lambda: self.says(text))
        return time.monotonic() - self.began

    def wait_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while not condition():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{' '.join(self._command)} came to nothing:\n{self._said}")
            time.sleep(POLL)

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def cpu(self) -> float:
        """Seconds of processor time that it has used."""
        # The name in parentheses may hold spaces; user and system time are the 14th and 15th field.
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def rss(self) -> float:
        """Resident memory in MB."""
        (line,) = re.findall(
            r"^VmRSS:\s+(\d+) kB$", Path(f"/proc/{self.pid}/status").read_text(), re.MULTILINE
        )
        return int(line) / 1024

    def use(self, seconds: float) -> Use:
        """Watch it for so long. On PostgreSQL its statements are counted, with commits and without BEGIN."""
        with _counted() as counted:
            began, cpu = time.time(), self.cpu()
            time.sleep(seconds)
            cpu, ended = self.cpu() - cpu, time.time()
        return Use(cpu=cpu, began=began, ended=ended, statements=counted.statements)


@dataclass(frozen=True, kw_only=True)
class Use:
    """What a process used in a stretch of time."""

    cpu: float
    """Seconds of processor time."""
    began: float
    """In Unix seconds, as the end."""
    ended: float
    statements: int | None
    """None where nothing counts them."""

    def figures(self, *, fires: int | None = None) -> dict[str, Any]:
        """As they are printed: share of one core, and statements a second or for each fire."""
        seconds = self.ended - self.began
        figures: dict[str, Any] = {"cpu_percent": self.cpu / seconds * 100}
        if self.statements is not None and fires is None:
            figures["statements_per_second"] = self.statements / seconds
        elif self.statements is not None and fires:
            figures["statements_per_fire"] = self.statements / fires
        return figures


class _counted:
    """Inside the block PostgreSQL logs each statement; at its end they are counted."""

    def __init__(self) -> None:
        self._log = Path(os.environ[LOG]) if LOG in os.environ else None
        self.statements: int | None = None

    def __enter__(self) -> Self:
        if self._log:
            self._configure("SET log_statement = 'all'")
            self._offset = self._log.stat().st_size
        return self

    def __exit__(self, *exc: object) -> None:
        if self._log:
            # Read first: what comes in while the setting is taken back is not the stretch's.
            with self._log.open(errors="replace") as log:
                log.seek(self._offset)
                self.statements = len(STATEMENT.findall(log.read()))
            self._configure("RESET log_statement")

    def _configure(self, change: str) -> None:
        from django.db import connection

        with connection.cursor() as cursor:
            cursor.execute("ALTER SYSTEM SET log_line_prefix = '%a|'")
            cursor.execute("ALTER SYSTEM SET log_parameter_max_length = 0")
            cursor.execute(f"ALTER SYSTEM {change}")
            cursor.execute("SELECT pg_reload_conf()")
        time.sleep(RELOAD)
