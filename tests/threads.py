"""Threads and conditions for tests: what fails in a thread fails the test, and nothing is waited for without end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from django.db import connections

Result = TypeVar("Result")

PATIENCE = 60.0  # seconds: how long what never happens is waited for, so it costs nothing to have much of it
LOOK_AGAIN = 0.01  # seconds


def in_thread(function: Callable[[], Result]) -> Future[Result]:
    """Call `function` in a thread with database connections of its own, which are closed before it is done."""
    future: Future[Result] = Future()

    def work() -> None:
        try:
            result = function()
        except BaseException as error:
            connections.close_all()
            future.set_exception(error)
        else:
            connections.close_all()
            future.set_result(result)

    threading.Thread(target=work, name=f"test-{function.__qualname__}", daemon=True).start()
    return future


def eventually(condition: Callable[[], Result], *, within: float = PATIENCE) -> Result:
    """Wait until `condition` gives something true, and return that; an AssertionError after `within` seconds."""
    until = time.monotonic() + within
    while not (result := condition()):
        assert time.monotonic() < until, f"not within {within} s"
        time.sleep(LOOK_AGAIN)
    return result
