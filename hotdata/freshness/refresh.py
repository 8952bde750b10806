"""Refreshes keys of a source: look up what is stored, ask the upstream, store what is good, record the calls.

One bad key never stops the others. A key that fails keeps the value it had: only a value that was fetched and
read without error is ever written. What has arrived is stored as the refresh goes on, so one that is cut off
has done its part; the calls that are under way then are not waited for, and not recorded. Only where the reason is that
Redis is away, they are: its gates may have forgotten them.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, wait
from datetime import UTC, datetime, timedelta
from functools import cached_property
from queue import Empty, SimpleQueue
from typing import Any

import msgspec
from django.db import Error as AnyDatabaseError
from django.db import InterfaceError, OperationalError
from django.utils import timezone
from django.utils.translation import override

from hotdata.endpoints import Request
from hotdata.exceptions import (
    CacheUnavailable,
    GateClosed,
    UpstreamError,
    UpstreamForbidden,
)
from hotdata.freshness import absences, entries, meters
from hotdata.freshness.definitions import Definition, defined
from hotdata.freshness.entries import END_OF_TIME, Stored
from hotdata.freshness.outcomes import Refreshed, RefreshFailed
from hotdata.freshness.recording import Record, write_later
from hotdata.freshness.replies import Reply
from hotdata.freshness.upstream import reason, upstream_of
from hotdata.keys import MAX_LENGTH, check_key
from hotdata.models import ApiCall, Source
from hotdata.models.hotkeys import Guest, guests
from hotdata.text import shortened, storable

FLUSH_INTERVAL = 0.25  # seconds between two writes of what has arrived
RECORD_INTERVAL = 1.0  # seconds between two batches of calls that are put on record
GATHERING = 0.02  # seconds in which what arrives together is written together, while more is under way
PATIENCE = timedelta(minutes=1)
TTL_JITTER = (
    0.1  # of a TTL, by which it may be shorter: what was fetched together need not become stale together
)
DIVISIBLE = frozenset({400, 404, 410, 422})
"""Statuses by which one bad key may have condemned its whole batch."""
BUSY = frozenset({"budget", "concurrency"})
"""Reasons of a gate that is closed because of other calls, and not because of what the upstream did."""

Progress = Callable[[int, int], None]
"""Called with the keys done and the keys asked for; may raise to cut the refresh off."""


def refresh(
    source: Source,
    keys: Iterable[str],
    *,
    placeholders: Mapping[str, Mapping[str, str]] = {},
    progress: Progress = lambda done, total: None,
    time_left: Callable[[], float | None] = lambda: None,
    patience: timedelta = PATIENCE,
    postponed: Callable[[str, timedelta], None] = lambda key, delay: None,
    record: Callable[[Record], None] = Record.write,
    run_id: int | None = None,
) -> Refreshed:
    """Fetch `keys` of `source` and store their values.

    What the path and query ask for beside a key is in `placeholders`, by key, or was pinned with it; else it is what
    the key was asked for with when its value was stored, also if Redis has lost that since. A key that the source
    doesn't serve by itself is its guest from now on, until its entry is gone.

    `time_left` gives the seconds that are left for all of it, of which up to `patience` may be spent in waiting for
    the gate. What its budget or concurrency lets through only later is postponed, and `postponed` is called with the
    key and the time after which to ask again. Raises RefreshFailed when of the others all failed, or more than the
    source tolerates, or when there are no others; CacheUnavailable, before the first call, when there is nowhere to
    store to; BadSource and UnknownTask for a definition that can't be used, and UpstreamForbidden for a secret that
    is not set; and whatever `progress` and `record` raise. The latter is called each second in
    which a call ended, and at the end. What the database could not take then is written when it can.
    """
    # What is said here goes on record. It may be a visitor's request that waits for it, in the visitor's language.
    with override("en"):
        return _Refresh(
            source, list(keys), placeholders, progress, time_left, patience, postponed, record, run_id
        ).run()


class _Refresh:
    """One refresh under way."""

    def __init__(
        self,
        source: Source,
        keys: list[str],
        placeholders: Mapping[str, Mapping[str, str]],
        progress: Progress,
        time_left: Callable[[], float | None],
        patience: timedelta,
        postponed: Callable[[str, timedelta], None],
        record: Callable[[Record], None],
        run_id: int | None,
    ) -> None:
        self._source = source
        self._keys = keys
        self._progress = progress
        self._time_left = time_left
        self._patient_until = time.monotonic() + patience.total_seconds()
        self._postponed = postponed
        self._record = record
        self._run_id = run_id
        self._known: dict[str, Stored] = {}
        self._pending: set[Future[Reply]] = set()
        self._landed: SimpleQueue[Future[Reply]] = SimpleQueue()
        self._arrived: list[Stored] = []
        self._guests: dict[str, Guest] = {}
        self._calls: list[ApiCall] = []
        self._record_at = time.monotonic() + RECORD_INTERVAL
        self._errors: list[UpstreamError] = []
        self._done = 0
        self._upstream = upstream_of(source)
        self._given = placeholders
        self._placeholders: dict[str, Mapping[str, str]] = {}
        self._result = Refreshed(source=source.name, asked=len(keys))

    @cached_property
    def _definition(self) -> Definition:
        return defined(self._source)

    def run(self) -> Refreshed:
        self._keys = self._well_formed()
        self._known = entries.read_many(self._source.name, self._keys)
        self._placeholders = self._brought()
        self._keys = self._askable()
        self._ask(self._upstream.batches(self._keys, self._placeholders))
        patience = 0.0
        try:
            while self._pending:
                for future in self._landings():
                    self._pending.remove(future)
                    self._take(future.result())
                self._store()
                self._record_in_time()
                self._progress(self._done, self._result.asked)
        except CacheUnavailable:
            patience = self._source.timeout.total_seconds()
            raise
        finally:
            self._call_off(patience)
            try:
                self._leave_record()
            except (OperationalError, InterfaceError):
                write_later(self._due_record())
                raise
            with contextlib.suppress(CacheUnavailable):
                meters.flush()
        return self._judge()

    def _well_formed(self) -> list[str]:
        """The keys in their one form, each once; those that have none have failed before anybody is asked."""
        good: dict[str, None] = {}
        for key in dict.fromkeys(self._keys):
            try:
                good[check_key(key)] = None
            except ValueError as error:
                self._done += 1
                self._fail(shortened(storable(key), MAX_LENGTH), UpstreamForbidden(str(error)))
        self._result.asked = len(good) + self._result.failures
        return list(good)

    def _brought(self) -> dict[str, Mapping[str, str]]:
        """By key, what it is asked for with: of several, what was given comes before what was pinned or stored."""
        if not self._upstream.placeholders:
            return {}
        stored = {key: known.placeholders for key, known in self._known.items()}
        brought = {**stored, **self._source.placeholders_by_key(), **self._given}
        unknown = [key for key in self._keys if key not in brought]
        if not unknown:
            return brought
        lost = guests(self._source.name, timezone.now(), unknown)
        return brought | {key: guest.placeholders for key, guest in lost.items()}

    def _askable(self) -> list[str]:
        """The keys that bring all that they must be asked for with; the others have failed likewise."""
        good = []
        for key in self._keys:
            try:
                self._upstream.check_filling(key, self._placeholders.get(key, {}))
            except UpstreamForbidden as error:
                self._done += 1
                self._fail(key, error)
            else:
                good.append(key)
        return good

    def _ask(self, requests: Iterable[Request]) -> None:
        for request in requests:
            call = self._upstream.submit(request, self._condition(request), self._timeout, self._patience)
            self._pending.add(call)
            # Not `concurrent.futures.wait`, whose work for each call that ends grows with those under way.
            call.add_done_callback(self._landed.put)

    def _landings(self) -> list[Future[Reply]]:
        """The calls that have ended: waits for one, and a moment for others. None if that takes too long."""
        landed: list[Future[Reply]] = []
        until = time.monotonic() + FLUSH_INTERVAL
        while len(landed) < len(self._pending):
            try:
                landed.append(self._landed.get(timeout=max(0.0, until - time.monotonic())))
            except Empty:
                break
            if len(landed) == 1:
                until = time.monotonic() + GATHERING
        return landed

    def _condition(self, request: Request) -> Stored | None:
        """What the upstream may call "not modified": the value of a single key, fetched by this very definition."""
        known = self._known.get(request.keys[0]) if len(request.keys) == 1 else None
        return known if known is not None and known.definition == self._definition_for(known.key) else None

    def _definition_for(self, key: str) -> str:
        return self._upstream.definition_for(self._placeholders.get(key, {}))

    def _timeout(self) -> timedelta:
        """What a call that begins now may take: the source's timeout, but no more than is left of the run."""
        left = self._time_left()
        whole = self._source.timeout
        return whole if left is None else min(whole, timedelta(seconds=left))

    def _patience(self) -> float:
        """Seconds that a call may still wait at the gate."""
        left, patience = self._time_left(), self._patient_until - time.monotonic()
        return patience if left is None else min(patience, left)

    def _take(self, reply: Reply) -> None:
        """Sort what a call brought: values to store, and failures. Other calls may be made in its place."""
        if reply.call is not None:
            self._calls.append(reply.call)
        if len(reply.keys) > 1 and reply.refusal is not None and reply.refusal.status in DIVISIBLE:
            self._ask_by_halves(reply.keys)
            return
        values = reply.values
        for key in reply.keys:
            self._done += 1
            value = self._known[key].value if reply.not_modified else values[key]
            if isinstance(value, GateClosed) and value.reason in BUSY:
                self._postpone(key, value)
            elif isinstance(value, UpstreamError):
                self._fail(key, value)
                self._note_absence(key, value)
            else:
                self._arrived.append(self._stored(key, value, reply))

    def _ask_by_halves(self, keys: Sequence[str]) -> None:
        """Ask again for a batch that was refused as a whole, so that the key that it was refused for stops no other."""
        middle = len(keys) // 2
        for half in (keys[:middle], keys[middle:]):
            self._ask(self._upstream.batches(half, self._placeholders))

    def _note_absence(self, key: str, error: UpstreamError) -> None:
        """Remember what the upstream doesn't have, unless there is a value to serve."""
        lasts = self._source.absent_ttl
        if error.status in absences.DEFINITE and lasts is not None and key not in self._known:
            absences.note(self._source.name, key, lasts)

    def _fail(self, key: str, error: UpstreamError) -> None:
        self._errors.append(error)
        self._result.fail(key, reason(error))

    def _postpone(self, key: str, closed: GateClosed) -> None:
        self._errors.append(closed)
        self._result.postponed += 1
        self._postponed(key, closed.retry_after)

    def _stored(self, key: str, value: Any, reply: Reply) -> Stored:
        fetched_at = reply.started_at.timestamp()
        known = self._known.get(key)
        unchanged = known is not None and known.value == value
        self._result.unchanged += unchanged
        encoded = msgspec.json.encode(value, order="deterministic")
        shorter = 1 - random.uniform(0, TTL_JITTER)  # noqa: S311 - spreads load, guards nothing
        return Stored(
            source=self._source.name,
            key=key,
            value=value,
            fetched_at=fetched_at,
            soft_expiry=fetched_at + self._source.soft_ttl.total_seconds() * shorter,
            hard_expiry=fetched_at + self._source.hard_ttl.total_seconds() * shorter,
            changed_at=known.changed_at if known is not None and unchanged else fetched_at,
            unchanged=known.unchanged + 1 if known is not None and unchanged else 0,
            hash=hashlib.sha256(encoded).hexdigest()[:16],
            size=len(encoded),
            etag=reply.etag,
            last_modified=reply.last_modified,
            definition=self._definition_for(key),
            placeholders={name: self._placeholders[key][name] for name in self._upstream.placeholders},
        )

    def _store(self) -> None:
        arrived, self._arrived = self._arrived, []
        written = entries.write(arrived)
        self._note_guests(entry for entry, went in zip(arrived, written, strict=True) if went)
        self._result.refreshed += sum(written)
        self._result.outrun += len(written) - sum(written)

    def _note_guests(self, written: Iterable[Stored]) -> None:
        """Note which of the entries nobody could have fetched again, had they been lost."""
        for entry in written:
            if not self._definition.can_be_asked_again(entry.key, entry.placeholders):
                until = datetime.fromtimestamp(min(entry.hard_expiry, END_OF_TIME), UTC)
                self._guests[entry.key] = Guest(placeholders=entry.placeholders, kept_until=until)

    def _call_off(self, patience: float) -> None:
        """Make no more calls. Those that have ended, or do so within `patience` seconds, are to be recorded."""
        begun = [future for future in self._pending if not future.cancel()]
        for future in wait(begun, patience).done:
            if future.exception() is None and (call := future.result().call) is not None:
                self._calls.append(call)

    def _record_in_time(self) -> None:
        """Put calls on record as they end, for a gate that has to know what others have asked lately."""
        if self._calls and time.monotonic() >= self._record_at:
            self._record_at = time.monotonic() + RECORD_INTERVAL
            with contextlib.suppress(AnyDatabaseError):  # at the end it must succeed
                self._leave_record()

    def _leave_record(self) -> None:
        self._record(self._due_record())
        self._result.calls += len(self._calls)
        self._calls, self._guests = [], {}

    def _due_record(self) -> Record:
        for call in self._calls:
            call.run_id = self._run_id
        return Record(source=self._source.name, calls=self._calls, guests=self._guests)

    def _judge(self) -> Refreshed:
        failures, tried = self._result.failures, self._result.asked - self._result.postponed
        too_many = failures and (failures == tried or failures > tried * self._source.max_failed_share)
        if too_many or (self._result.postponed and not tried):
            raise RefreshFailed(self._result, self._errors)
        return self._result
