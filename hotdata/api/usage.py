"""What is read with each token of the API, counted; and when each was used last.

A reader waits for none of it. Each process counts in memory, and a thread of its own adds the counts to those on record
every few seconds, and when the process ends. While the database is away they are kept and tried again. What a process
counted in the seconds before it is killed is lost; and a batch may count twice if the connection breaks while the
database says that it has it.

What HTTP caches on the way answer by themselves is not seen here.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from dataclasses import dataclass
from datetime import date, datetime

from django.db import Error as AnyDatabaseError
from django.db import InterfaceError, OperationalError, connections
from django.utils import timezone

from hotdata.exceptions import UnknownSource
from hotdata.freshness.definitions import definition_of
from hotdata.logs import EventLogger
from hotdata.models import ApiToken, TokenUsage
from hotdata.models.usage import day_of

logger = EventLogger(__name__)

FLUSH_INTERVAL = 5.0  # seconds
MOST_ROWS = 1000  # in one statement

Subject = tuple[date, str, str]
"""A day, a token's name and a source's."""


@dataclass(slots=True)
class _Counts:
    reads: int = 0
    failed: int = 0
    size: int = 0

    def add(self, more: _Counts) -> None:
        self.reads += more.reads
        self.failed += more.failed
        self.size += more.size


class _Tally:
    """What was counted in this process since its last flush. Thread-safe."""

    def __init__(self) -> None:
        self.started = self.away = False
        self.news = threading.Event()
        self.flushing = threading.Lock()
        self._lock = threading.Lock()
        self._counts: dict[Subject, _Counts] = {}
        self._uses: dict[int, datetime] = {}

    def count(self, of: Subject, counts: _Counts) -> None:
        with self._lock:
            self._counts.setdefault(of, _Counts()).add(counts)
        self._tell()

    def use(self, token: int, at: datetime) -> None:
        with self._lock:
            self._uses[token] = max(at, self._uses.get(token, at))
        self._tell()

    def take(self) -> tuple[dict[Subject, _Counts], dict[int, datetime]]:
        with self._lock:
            taken = self._counts, self._uses
            self._counts, self._uses = {}, {}
            return taken

    def put_back(self, counts: dict[Subject, _Counts]) -> None:
        for of, each in counts.items():
            self.count(of, each)

    def _tell(self) -> None:
        """Have the thread know that there is something to write. Costs next to nothing when it does."""
        if not self.news.is_set():
            self.news.set()
        if not self.started:
            self._start()

    def _start(self) -> None:
        with self._lock:
            if not self.started:
                threading.Thread(target=_run, args=[self], name="hotdata-usage", daemon=True).start()
                self.started = True


def _run(tally: _Tally) -> None:
    while True:
        tally.news.wait()
        time.sleep(FLUSH_INTERVAL)
        tally.news.clear()
        try:
            flush()
        except Exception:
            logger.exception("usage.lost")
        finally:
            connections.close_all()  # the next read may be long in coming


_tally = _Tally()


def _begin_anew() -> None:
    _tally.__init__()  # type: ignore[misc]


# The counts are the parent's, who flushes them; and the thread stayed with it.
os.register_at_fork(after_in_child=_begin_anew)


def count(token: ApiToken, source: str, *, reads: int, failed: int, size: int) -> None:
    """Count that `reads` keys of `source` were asked for with `token`, `failed` of which got no value.

    `size` is that of the answer in bytes. Returns at once.
    """
    if failed < reads or _exists(source):
        _tally.count((day_of(timezone.now()), token.name, source), _Counts(reads, failed, size))


def note_use(token: ApiToken) -> None:
    """Have it noted that `token` is used now; in the database once a minute at most."""
    now = timezone.now()
    if token.use_is_news(now):
        _tally.use(token.pk, now)


def flush() -> None:
    """Write what was counted since the last flush. While the database is away, it is kept for the next one."""
    with _tally.flushing:
        counts, uses = _tally.take()
        rows = list(counts.items())
        written = 0
        try:
            while written < len(rows):
                TokenUsage.add([_row(of, each) for of, each in rows[written : written + MOST_ROWS]])
                written += MOST_ROWS
            for token in sorted(uses):
                ApiToken.note_use(token, uses[token])
        except (OperationalError, InterfaceError) as error:
            _tally.put_back(dict(rows[written:]))
            _note(error)
        else:
            _note(None)


def _note(away: Exception | None) -> None:
    """Say once that the database is away, and once that it is back."""
    if away is not None and not _tally.away:
        logger.warning("usage.waiting", error=away)
    elif away is None and _tally.away:
        logger.info("usage.written")
    _tally.away = away is not None


def _row(of: Subject, counts: _Counts) -> TokenUsage:
    day, token, source = of
    return TokenUsage(
        day=day,
        token=token,
        source=source,
        reads=counts.reads,
        failed_reads=counts.failed,
        size=counts.size,
    )


def _exists(source: str) -> bool:
    """Whether there is such a source: a name that somebody made up makes no row."""
    try:
        definition_of(source)
    except (UnknownSource, AnyDatabaseError):
        return False
    return True


@atexit.register
def _flush_at_exit() -> None:
    """Also waits for what the thread is writing: it ends with the process, wherever it is."""
    if _tally.started:
        flush()
