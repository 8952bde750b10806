"""Steps at which a process kills itself, for tests of what a crash leaves; armed by its environment.

``FAULT_STEP`` names the step, and ``FAULT_DONE`` a file that the first process to reach it makes: with the file
in place nobody dies. The product knows nothing of this: its functions are wrapped when Django is ready, and a
name that doesn't exist there any more stops the process with an error.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hotdata

STEP = "FAULT_STEP"
DONE = "FAULT_DONE"
BEFORE, AFTER = "before", "after"

COMMIT = "django.db.backends.base.base:BaseDatabaseWrapper.commit"
CLAIM = "hotdata.scheduling.jobstore:JobStore.claim"
ADVANCE = "hotdata.models.schedules:ScheduleQuerySet.advance"
SUBMIT = "hotdata.execution.threads:ThreadExecutor.submit"
RUNS = "hotdata.models.runs:RunQuerySet"
START = f"{RUNS}.start"
RECORD = "hotdata.execution.clerk:record"
SETTLE = "hotdata.scheduling.scheduler:settle"
WRITE = "hotdata.models.bulk:update"
CALLS = "hotdata.freshness.recording:_write"


@dataclass(frozen=True, kw_only=True)
class Step:
    """A moment in a process's life: `when` (before or after) `function` is called, while `within` goes on."""

    when: str
    function: str
    within: str = ""
    worth: Callable[..., bool] = lambda *args: True
    """Given the call's arguments, whether this is the call that is meant."""


def with_something(first: Any, *rest: Any) -> bool:
    """Whether a function that takes many things was given any; a method gets itself first."""
    return bool(rest[0] if rest and not isinstance(first, list) else first)


# In the order in which a due time passes them.
STEPS = {
    "lease locked": Step(when=AFTER, function="hotdata.scheduling.lease:LeaseKeeper.lock", within=CLAIM),
    "due schedules locked": Step(when=BEFORE, function="hotdata.scheduling.jobstore:fire", within=CLAIM),
    "runs inserted": Step(
        when=AFTER, function="hotdata.models.bulk:insert", within=CLAIM, worth=with_something
    ),
    "schedules advanced": Step(when=AFTER, function=ADVANCE, worth=with_something),
    "claim about to be committed": Step(when=BEFORE, function=COMMIT, within=CLAIM),
    "claim committed": Step(when=AFTER, function=COMMIT, within=CLAIM),
    "about to be submitted": Step(when=BEFORE, function=SUBMIT, worth=with_something),
    "submitted": Step(when=AFTER, function=SUBMIT, worth=with_something),
    "about to be started": Step(when=BEFORE, function=START, worth=with_something),
    "started": Step(when=AFTER, function=START, worth=with_something),
    "in the task": Step(when=AFTER, function="tests.testapp.faults:sign"),
    "about to record outcomes": Step(when=BEFORE, function=WRITE, within=RECORD),
    "outcomes written": Step(when=AFTER, function=WRITE, within=RECORD),
    "outcomes about to be committed": Step(when=BEFORE, function=COMMIT, within=RECORD),
    "outcomes committed": Step(when=AFTER, function=RECORD),
    # Of the next leader, over what the last one left.
    "settlement begun": Step(when=BEFORE, function="hotdata.models.recoveries:abandon", within=SETTLE),
    "lost runs abandoned": Step(when=BEFORE, function="hotdata.models.recoveries:make", within=SETTLE),
    "settlement about to be committed": Step(when=BEFORE, function=COMMIT, within=SETTLE),
    # Of who puts calls on record.
    "calls about to be counted": Step(
        when=BEFORE, function="hotdata.freshness.recording:day_of", within=CALLS
    ),
    "calls about to be committed": Step(when=BEFORE, function=COMMIT, within=CALLS),
    "calls committed": Step(when=AFTER, function=CALLS),
}

_inside = threading.local()


# Arming


def arm() -> None:
    """Let this process die at the step that its environment names, if it names one."""
    if name := os.environ.get(STEP):
        step = STEPS[name]
        if step.within:
            _replace(step.within, functools.partial(_noting, step.within))
        _replace(step.function, functools.partial(_dying, step))


def _replace(path: str, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Put `wrap` of the function at `path`, as in ``module:Class.method``, in its place."""
    module, _, names = path.partition(":")
    *owners, name = names.split(".")
    owner = functools.reduce(getattr, owners, importlib.import_module(module))
    setattr(owner, name, wrap(getattr(owner, name)))


def _noting(path: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def noting(*args: Any, **kwargs: Any) -> Any:
        with _noted(path):
            return function(*args, **kwargs)

    return noting


@contextlib.contextmanager
def _noted(path: str) -> Iterator[None]:
    _inside.path = path
    try:
        yield
    finally:
        _inside.path = ""


def _dying(step: Step, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def dying(*args: Any, **kwargs: Any) -> Any:
        meant = step.within == getattr(_inside, "path", "") or not step.within
        meant = meant and step.worth(*args)
        if meant and step.when == BEFORE:
            die()
        result = function(*args, **kwargs)
        if meant and step.when == AFTER:
            die()
        return result

    return dying


def die() -> None:
    """End this process as a power cut does, if it is the first to come here."""
    with contextlib.suppress(FileExistsError):
        Path(os.environ[DONE]).open("x").close()
        os.kill(os.getpid(), signal.SIGKILL)
        # A thread may get a little further before the signal arrives.
        threading.Event().wait()


# Tasks that testify


def sign(path: str) -> None:
    """Add the run and the number of its attempt to the file, in one write: lines of many processes never mix."""
    run = hotdata.current_run()
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, f"{run.id} {run.attempt}\n".encode())
    finally:
        os.close(file)


@hotdata.task
def sign_and_work(path: str, seconds: float = 0) -> int:
    """Leave a trace that this attempt was begun, then take some time, heedless of being told to stop."""
    sign(path)
    threading.Event().wait(seconds)
    return hotdata.current_run().attempt


@hotdata.task
def sign_and_stumble(path: str) -> int:
    """Leave a trace that this attempt was begun, and fail at the first one."""
    sign(path)
    if hotdata.current_run().attempt == 1:
        raise RuntimeError("The first attempt fails on purpose.")
    return hotdata.current_run().attempt
