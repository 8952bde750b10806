"""Keeps a running run and its record in touch: progress and log go out, a request to cancel comes in."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping

from django.db import Error as AnyDatabaseError
from django.db import close_old_connections, connections

from hotdata.execution.context import CurrentRun
from hotdata.logs import EventLogger
from hotdata.models import Run
from hotdata.models.runs import State
from hotdata.text import storable

logger = EventLogger(__name__)

INTERVAL = 1.0  # seconds


def attend(contexts: Mapping[int, CurrentRun]) -> None:
    """Do it once for the running runs in `contexts`, by run id: a query, and an update for each that has news."""
    contexts = dict(contexts)
    if not contexts:
        return
    running = Run.objects.filter(id__in=contexts, state=State.RUNNING)
    for run_id in running.exclude(cancel_requested_by="").values_list("id", flat=True):
        contexts[run_id].cancel()
    for run_id, context in contexts.items():
        news = context.news()
        if news is not None:
            done, total, log = news
            Run.objects.filter(id=run_id, state=State.RUNNING).update(
                progress_done=done, progress_total=total, log=storable(log)
            )


@contextlib.contextmanager
def attended(run_id: int, context: CurrentRun) -> Iterator[None]:
    """Inside the block, attend to one run from a thread of its own."""
    ended = threading.Event()

    def loop() -> None:
        while not ended.wait(INTERVAL):
            try:
                attend({run_id: context})
            except AnyDatabaseError as error:
                logger.warning("progress.not_written", run=run_id, error=error)
            close_old_connections()
        connections.close_all()

    thread = threading.Thread(target=loop, name="hotdata-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
