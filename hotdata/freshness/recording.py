"""Records: what a refresh leaves in the database, and how it gets there without a reader waiting for that.

A run writes its records itself. A reader's fetch leaves its own to one thread of the process, which writes together
what came together, and so does a run that can't write. While the database is locked or away they wait there, as many as
there is room for, and are tried again: with the next one, and in processes that read every few seconds.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from django.db import InterfaceError, OperationalError, connections, transaction
from django.utils import timezone

from hotdata.logs import EventLogger
from hotdata.models import ApiCall, SourceUsage
from hotdata.models.hotkeys import Guest, note_guests
from hotdata.models.usage import day_of

logger = EventLogger(__name__)

MAX_WAITING = 1000  # records, of mostly one call each


@dataclass(frozen=True, kw_only=True)
class Record:
    """What one refresh leaves in the database."""

    source: str
    calls: Sequence[ApiCall]
    guests: Mapping[str, Guest] = field(default_factory=dict)
    """By key, those that were refreshed of its guests, old and new."""

    def write(self) -> None:
        """Write all of it, or nothing; and then what waits."""
        _write([self])
        retry()


class _Recorder:
    """The records that wait, and the thread that writes them. Thread-safe."""

    def __init__(self) -> None:
        self.pool = ThreadPoolExecutor(1, thread_name_prefix="hotdata-record")
        self._lock = threading.Lock()
        self._waiting: list[Record] = []
        self._writing = False
        self._away = False
        self._lost = 0

    def add(self, record: Record) -> None:
        with self._lock:
            self._waiting.append(record)
            self._bound()
        self.start()

    def start(self) -> None:
        """Write what waits, in the thread, unless it does already."""
        with self._lock:
            if self._writing or not self._waiting:
                return
            self._writing = True
        try:
            self.pool.submit(self._run)
        except RuntimeError:  # the process is about to end, and waits for this thread
            self._run()

    def _run(self) -> None:
        try:
            while (taken := self._take()) and self._write(taken):
                pass
        finally:
            connections.close_all()  # the next record may be long in coming

    def _take(self) -> list[Record]:
        with self._lock:
            taken, self._waiting = self._waiting, []
            self._writing = bool(taken)
            return taken

    def _write(self, taken: list[Record]) -> bool:
        """Write `taken`; if the database is away, let it wait and return False."""
        try:
            _write(taken)
        except (OperationalError, InterfaceError) as error:
            with self._lock:
                self._waiting[:0] = taken
                self._bound()
                self._writing = False
                begun, self._away = not self._away, True
            if begun:
                logger.warning("records.waiting", count=len(taken), error=error)
            return False
        except Exception:
            logger.exception("records.lost", count=len(taken))
        with self._lock:
            lost, self._lost, self._away = self._lost, 0, False
        if lost:
            logger.error("records.lost", count=lost)
        return True

    def _bound(self) -> None:
        """Give up the oldest of what there is no room for."""
        surplus = len(self._waiting) - MAX_WAITING
        if surplus > 0:
            del self._waiting[:surplus]
            self._lost += surplus  # said when the database is back, and not for each


_recorder = _Recorder()


def _begin_anew() -> None:
    _recorder.__init__()  # type: ignore[misc]


# What waits is the parent's to write, and the thread stayed with it.
os.register_at_fork(after_in_child=_begin_anew)


def write_later(record: Record) -> None:
    """Have `record` written soon, and return at once. It is lost if the process is killed before."""
    _recorder.add(record)


def retry() -> None:
    """Try again to write what waits, if anything does. Returns at once."""
    _recorder.start()


def _write(records: Sequence[Record]) -> None:
    calls = [call for record in records for call in record.calls]
    for call in calls:
        call.pk = None  # a try that was rolled back has given it one, which may be another's by now
    with transaction.atomic():
        ApiCall.objects.bulk_create(calls)
        # In one order everywhere, since each locks its source until the end.
        for record in sorted(records, key=lambda record: record.source):
            if record.guests:
                note_guests(record.source, record.guests, timezone.now())
        # Last: everybody who has called the same source today waits for this row until the end.
        SourceUsage.add([_usage(call) for call in calls])


def _usage(call: ApiCall) -> SourceUsage:
    """What `call` adds to the usage of its source."""
    failed = call.outcome == ApiCall.Outcome.FAILED
    return SourceUsage(
        day=day_of(call.started_at), source=call.source, calls=1, failed_calls=int(failed), size=call.size
    )
