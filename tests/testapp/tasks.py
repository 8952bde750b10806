"""Tasks for runs in processes of their own; what they do shows in files that the test reads."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.db import connection

import hotdata
from hotdata.exceptions import HotdataError
from hotdata.models import Job

logger = logging.getLogger(__name__)


@hotdata.task
def append_line(path: str, line: str = "ran") -> str:
    """Add a line to a file."""
    with Path(path).open("a") as file:
        file.write(line + "\n")
    return line


@hotdata.task
def sleep_for(seconds: float, started: str = "") -> float:
    """Sleep, listening to cancellation; the file `started` appears at the beginning."""
    if started:
        Path(started).touch()
    hotdata.current_run().wait(seconds)
    return seconds


@hotdata.task
def sleep_deaf(seconds: float, started: str = "") -> float:
    """Sleep without listening to anything; the file `started` appears at the beginning."""
    if started:
        Path(started).touch()
    time.sleep(seconds)
    return seconds


@hotdata.task
def raise_error(message: str = "broken on purpose") -> None:
    """Fail."""
    raise RuntimeError(message)


@hotdata.task
def print_much(characters: int = 1_000_000) -> None:
    """Print more than a log holds."""
    print("x" * characters)


@hotdata.task
def return_not_json() -> Any:
    """Return what can't be recorded."""
    return {object()}


@hotdata.task
def echo(text: str = "", number: int = 0, items: list[str] | None = None) -> dict[str, Any]:
    """Return the parameters."""
    return {"text": text, "number": number, "items": items}


@hotdata.task
def log_line(text: str) -> None:
    """Log a warning."""
    logger.warning(text)


# For runs in a process of their own


@hotdata.task
def describe_run() -> dict[str, Any]:
    """Return what the task is told about its run, and in which process it is."""
    run = hotdata.current_run()
    return {
        "id": run.id,
        "job": run.job,
        "scheduled_for": run.scheduled_for,
        "attempt": run.attempt,
        "timeout": run.timeout,
        "time_zone": run.time_zone,
        "time_left": run.time_left(),
        "isolated": run.isolated,
        "process": os.getpid(),
    }


@hotdata.task
def report(steps: int, wait_for: str = "") -> int:
    """Log, print and report progress, as many times; then wait until the file `wait_for` is there."""
    run = hotdata.current_run()
    for step in range(1, steps + 1):
        logger.warning("logged %s", step)
        print("printed", step)
        run.log(f"noted {step}")
        run.progress(step, steps)
    run.notable = True
    while wait_for and not Path(wait_for).exists():
        run.wait(0.02)
    return steps


@hotdata.task
def keep_step(steps: int, allowed: str) -> int:
    """Take a step for each byte in the file `allowed`, as they come, and report each; stops when it is told to."""
    run = hotdata.current_run()
    run.progress(0, steps)
    for step in range(1, steps + 1):
        while not Path(allowed).exists() or Path(allowed).stat().st_size < step:
            run.wait(0.02)
        print("step", step)
        run.progress(step, steps)
    return steps


@hotdata.task
def stumble_oddly() -> None:
    """Print, and fail with, what has no UTF-8 and what no database holds."""
    print("half of \udc80, and \x00")
    raise ValueError("half of \udc80, and \x00")


@hotdata.task
def refuse_for_good(message: str = "never again", retry_after: float = 90) -> None:
    """Fail in a way that no retry can mend."""
    error = HotdataError(message)
    error.permanent = True
    error.retry_after = timedelta(seconds=retry_after)
    raise error


@hotdata.task
def spin(started: str, family: int = 0) -> None:
    """Ignore SIGTERM and everything else, in a loop without a pause; `started` holds the ids of all processes."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    children = [subprocess.Popen(["sleep", "1000"]) for _ in range(family)]
    _tell(started, os.getpid(), *(child.pid for child in children))
    while True:
        pass


@hotdata.task
def listen_late(seconds: float) -> None:
    """Sleep without listening, and then look whether to stop."""
    time.sleep(seconds)
    hotdata.current_run().check()


@hotdata.task
def backtrack(started: str) -> None:
    """Match a regular expression that comes to no end, and lets no other thread run meanwhile."""
    _tell(started, os.getpid())
    re.match(r"(a+)+$", "a" * 100 + "b")


@hotdata.task
def freeze(started: str) -> None:
    """Be stopped in the middle of a message to the scheduler, as a whole machine may be."""
    voice = hotdata.current_run().captured._voice  # type: ignore[attr-defined]
    with voice._lock:
        os.write(voice._channel.fileno(), b'{"type":"Wro')
        _tell(started, os.getpid())
        os.kill(os.getpid(), signal.SIGSTOP)


@hotdata.task
def leave_behind() -> int:
    """Start a process that goes on when the task has returned; return its id."""
    return subprocess.Popen(["sleep", "1000"]).pid


@hotdata.task
def die(exit_code: int | None = None, number: int | None = None, leave_fork: bool = False) -> None:
    """Log a last word, and be gone: by `os._exit` or by a signal. A fork may stay behind that holds all it held."""
    print("the last word", end="")
    hotdata.current_run().progress(3, 10)
    if leave_fork and os.fork() == 0:
        time.sleep(1000)
    if exit_code is not None:
        os._exit(exit_code)
    os.kill(os.getpid(), number or signal.SIGKILL)
    time.sleep(1000)


@hotdata.task
def count_jobs(name: str) -> dict[str, Any]:
    """Ask the database, from a connection of the process's own."""
    opened_before = connection.connection is not None
    return {"jobs": Job.objects.filter(name=name).count(), "opened_before": opened_before}


@hotdata.task
def tell_signals() -> dict[str, Any]:
    """Return how this process takes signals, and which group it is in."""
    return {
        "SIGTERM": signal.getsignal(signal.SIGTERM) is signal.SIG_DFL,
        "SIGINT": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
        "leads_its_group": os.getpgrp() == os.getsid(0) == os.getpid(),
        "root_level": logging.getLogger().level,
    }


def _tell(path: str, *processes: int) -> None:
    """Write the ids into the file at `path`, which is there only once it is whole."""
    unfinished = Path(path + ".tmp")
    unfinished.write_text(" ".join(map(str, processes)))
    unfinished.rename(path)
