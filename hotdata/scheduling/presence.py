"""A process's row among the nodes: made before it takes any run, kept warm, removed when it leaves.

The heartbeat comes from a thread of its own, so that a long statement elsewhere doesn't make the node look
dead. When the process dies the row stays, grows old, and tells the leader whose runs to settle.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Self

from django.db import Error as AnyDatabaseError
from django.db import close_old_connections, connections
from django.db.models.functions import Now

from hotdata.logs import EventLogger
from hotdata.models import Node
from hotdata.version import VERSION

logger = EventLogger(__name__)

BEATS_PER_TIMEOUT = 3
RETRY = 1.0  # seconds until the next try of a heartbeat that failed, at most


class Presence:
    """Announces this process as a node for as long as the ``with`` block lasts; `later`, from `announce` on."""

    def __init__(
        self, *, timeout: timedelta, running: Callable[[], int] = lambda: 0, later: bool = False
    ) -> None:
        host = socket.gethostname()
        self.name = f"{host[:60]}:{os.getpid()}:{secrets.token_hex(2)}"
        self.leading = False
        self._host = host
        self._running = running
        self._later = later
        self._interval = timeout.total_seconds() / BEATS_PER_TIMEOUT
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="hotdata-heartbeat", daemon=True)

    def __enter__(self) -> Self:
        if not self._later:
            self.announce()
        return self

    def __exit__(self, *exc: object) -> None:
        self._left.set()
        if self._announced:
            self._thread.join()
        # When the database is away now, the row grows old like that of a node that died.
        with contextlib.suppress(AnyDatabaseError):
            Node.objects.filter(name=self.name).delete()

    def announce(self) -> None:
        """Make the row, unless that is done, and see to it from then on. Raises what the database raises."""
        if not self._announced:
            self.beat()  # as one that may have been made already, when it was the answer that was lost
            self._thread.start()

    @property
    def _announced(self) -> bool:
        return self._thread.ident is not None

    def lead(self, leading: bool) -> None:
        """Show whether this node leads; written at once."""
        self.leading = leading
        Node.objects.filter(name=self.name).update(leading=leading)

    def _beat(self) -> None:
        failures, pause = 0, self._interval
        while not self._left.wait(pause):
            try:
                self.beat()
            except Exception as error:  # one turn of the loop: without it the node would look dead
                failures += 1
                if failures == 1:
                    known = isinstance(error, AnyDatabaseError)
                    logger.warning(
                        "node.heartbeat_failed",
                        node=self.name,
                        error=error,
                        exc_info=None if known else error,
                    )
                # After an outage a new leader waits a little more than one interval for the living to be heard.
                pause = min(RETRY, self._interval)
                close_old_connections()
            else:
                if failures:
                    logger.warning("node.heartbeat_back", node=self.name, failures=failures)
                failures, pause = 0, self._interval
        connections.close_all()

    def beat(self) -> None:
        """Say that this node is alive. Makes its row again if somebody tidied it away."""
        shown = {"heartbeat_at": Now(), "leading": self.leading, "running": self._running()}
        if not Node.objects.filter(name=self.name).update(**shown):
            Node.objects.create(
                name=self.name,
                host=self._host,
                pid=os.getpid(),
                version=VERSION,
                leading=self.leading,
            )
