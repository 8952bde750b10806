"""A way to run a function as a task, from a row in the database to its record."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from hotdata.models import Job
from tests.builders import make_job, registered

Register = Callable[..., str]
JobOf = Callable[..., Job]


@pytest.fixture
def register() -> Iterator[Register]:
    """Registers a function as a task until the test ends; gives the task's name."""
    with ExitStack() as stack:
        yield lambda function: stack.enter_context(registered(function))


@pytest.fixture
def job_of(db: None, register: Register) -> JobOf:
    """Makes a job whose task is the given function."""

    def make(function: Callable[..., Any], **fields: Any) -> Job:
        return make_job(task=register(function), **fields)

    return make
