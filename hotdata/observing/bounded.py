"""Checks that keep nobody waiting: those of Redis and those of the database go on in a thread each, and are given up.

They are django-health-check's, which says how long each took. A database that hangs can't be interrupted: it holds one
daemon thread of the process, and who checks next is told that there is no answer, until there is one.
"""

from __future__ import annotations

import asyncio
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from asgiref.sync import async_to_sync
from django.db import connections
from health_check.base import HealthCheck
from health_check.exceptions import ServiceUnavailable, ServiceWarning

from hotdata.models.components import Health
from hotdata.observing.health import DATABASE, LOOKS, REDIS, Look, Part, careful, source_looks


class Aside(Executor):
    """One daemon thread, which does one thing after the other, and which no process waits for when it ends."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._begin_anew()
        os.register_at_fork(after_in_child=self._begin_anew)

    def _begin_anew(self) -> None:
        self._tasks: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._started = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Have ``fn()`` called; one whose future is cancelled before its turn isn't."""
        future: Future[Any] = Future()
        with self._lock:
            if not self._started:
                threading.Thread(target=self._work, name=f"hotdata-{self._name}", daemon=True).start()
                self._started = True
        self._tasks.put((future, lambda: fn(*args, **kwargs)))
        return future

    def _work(self) -> None:
        while True:
            future, call = self._tasks.get()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call())
                except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
                    future.set_exception(error)
            # One connection for what was asked for together; and none is held from one probe to the next, so that
            # each shows that there is room for another.
            if self._tasks.empty():
                connections.close_all()


ask_database, ask_redis = Aside("ask-database"), Aside("ask-redis")


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a check found, and how long it took."""

    part: Part
    took: timedelta


class Round:
    """Checks that are made together: of a database that is down, only the first one is kept waiting."""

    database: Part | None = None


@dataclass
class BoundedCheck(HealthCheck):  # type: ignore[misc]  # django-health-check tells no types
    """One of the checks of `health`, for django-health-check."""

    name: str
    look: Look = field(repr=False)
    round: Round = field(repr=False)
    timeout: timedelta = field(repr=False)
    seen: Seen | None = field(repr=False, default=None)
    """What was found, unless that takes too long."""

    def run(self) -> None:
        """Look, and raise ServiceWarning for what is degraded, and ServiceUnavailable for what is down."""
        start = time.monotonic()  # the wait for the thread is not the check's
        before = self.round.database
        if self.name != REDIS and before is not None and before.state == Health.DOWN:
            part = Part(state=Health.DOWN, detail="The database is down.")
        else:
            part = careful(self.look)
        if self.name == DATABASE:
            self.round.database = part
        self.seen = Seen(part=part, took=timedelta(seconds=time.monotonic() - start))
        if part.state == Health.DEGRADED:
            raise ServiceWarning(part.detail)
        if part.state == Health.DOWN:
            raise ServiceUnavailable(part.detail)

    async def see(self) -> Seen:
        """What it finds; one that takes too long is ``down``, and so is one that can't be made."""
        result = await self.get_result(ask_redis if self.name == REDIS else ask_database)
        if self.seen is not None:
            return self.seen
        part = Part(state=Health.DOWN, detail=f"{result.error.message}.")
        return Seen(part=part, took=timedelta(seconds=result.time_taken))


def look_at(names: Sequence[str], *, timeout: timedelta) -> dict[str, Seen]:
    """What the checks of `names`, which are some of `LOOKS`, find within `timeout` and a second."""
    this = Round()
    checks = [BoundedCheck(name=name, look=LOOKS[name], round=this, timeout=timeout) for name in names]

    async def see_all() -> list[Seen]:
        return await asyncio.gather(*(check.see() for check in checks))

    return dict(zip(names, async_to_sync(see_all)(), strict=True))


def look_at_sources(*, timeout: timedelta) -> dict[str, Part]:
    """What the checks of all enabled sources find. Raises TimeoutError, and what the database raises."""

    def look_at_each() -> dict[str, Part]:
        return {name: careful(look) for name, look in source_looks().items()}

    parts: dict[str, Part] = ask_database.submit(look_at_each).result(timeout.total_seconds())
    return parts
