"""Upstreams: asks a source for keys, over HTTP or through a fetcher, and says what came of it.

`Upstream.ask` never raises for what an upstream does: each key gets a value or the error that it failed with.
One upstream object serves a source in a process for as long as the source's definition stays the same, so
its connections are kept. Each call goes through the source's gate, which all processes share, or is not made.
"""

from __future__ import annotations

import contextvars
import hashlib
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from django.db import connections

from hotdata import registry
from hotdata.conf import conf
from hotdata.endpoints import Request
from hotdata.exceptions import (
    BadSource,
    CacheUnavailable,
    GateClosed,
    RunCancelled,
    RunTimedOut,
    UpstreamError,
    UpstreamPayload,
    UpstreamStatus,
    UpstreamTimeout,
)
from hotdata.freshness import meters, recent
from hotdata.freshness.entries import Stored
from hotdata.freshness.gate import Gate, Limits, Passage
from hotdata.freshness.replies import Reply, light, unasked
from hotdata.freshness.transport import Answer, Transport
from hotdata.freshness.values import plain, servable
from hotdata.headers import check_headers, parse_retry_after
from hotdata.models import ApiCall, Source
from hotdata.text import storable

SUCCESS = range(200, 300)
NOT_MODIFIED = 304
HOLD_SLACK = timedelta(seconds=1)  # from the end of a call until its passage is left
MAX_VALIDATOR = 200  # characters of an ETag or Last-Modified
# A definite "there is no such thing", or "not like this": asking again can't help.
PERMANENT = frozenset({400, 401, 403, 404, 405, 406, 410, 414, 422, 451})


class Upstream:
    """One source's upstream, as this process uses it."""

    def __init__(self, source: Source) -> None:
        self.name = source.name
        self._fetcher = registry.fetchers.get(source.fetcher) if source.fetcher else None
        self._endpoint = None if source.fetcher else source.build_endpoint()
        self._batch_size = source.batch_size
        self._rules = source.build_rules()
        self._gate = gate_of(source)
        self.definition = hashlib.sha256(repr(self._endpoint).encode()).hexdigest()[:16]
        self._transport = Transport(
            concurrency=source.concurrency,
            allow_private=conf().allow_private,
            max_bytes=conf().upstream_max_bytes,
        )
        self._pool = ThreadPoolExecutor(source.concurrency, thread_name_prefix=f"hotdata-{source.name}")

    @property
    def placeholders(self) -> tuple[str, ...]:
        """The names of the texts that each key must bring, beside itself, to be asked for."""
        return self._endpoint.placeholders if self._endpoint is not None else ()

    def check_filling(self, key: str, texts: Mapping[str, str]) -> None:
        """Raise UpstreamForbidden unless `texts` are all that `key` must bring."""
        if self._endpoint is not None:
            self._endpoint.check_filling(key, texts)

    def definition_for(self, texts: Mapping[str, str]) -> str:
        """What `definition` is for a key that brings `texts`: with others, it is asked for at another address."""
        if not self.placeholders:
            return self.definition
        brought = [(name, texts.get(name)) for name in self.placeholders]
        return hashlib.sha256(f"{self.definition} {brought!r}".encode()).hexdigest()[:16]

    def batches(
        self, keys: Sequence[str], placeholders: Mapping[str, Mapping[str, str]] = {}
    ) -> list[Request]:
        """The calls that are needed for `keys`, each of which `check_filling` must accept with its `placeholders`.

        Raises UpstreamForbidden when a secret is not set.
        """
        if self._endpoint is not None:
            return self._endpoint.batches(keys, placeholders)
        chunks = [keys[at : at + self._batch_size] for at in range(0, len(keys), self._batch_size)]
        return [Request(keys=tuple(chunk), url="", headers={}, public_url="") for chunk in chunks]

    def submit(
        self,
        request: Request,
        known: Stored | None,
        timeout: Callable[[], timedelta],
        patience: Callable[[], float] = lambda: 0.0,
    ) -> Future[Reply]:
        """`ask` in one of the source's threads, as part of the current run, once the gate has let it through.

        `timeout` is asked when its turn comes, `patience` for the seconds that it may still wait at the gate.
        """
        return self._pool.submit(
            contextvars.copy_context().run, self._ask_in_turn, request, known, timeout, patience
        )

    def _ask_in_turn(
        self,
        request: Request,
        known: Stored | None,
        timeout: Callable[[], timedelta],
        patience: Callable[[], float],
    ) -> Reply:
        hold = timeout()
        if hold <= timedelta(0):
            return unasked(request, _no_time())  # and what the gate would count stays for others
        try:
            passage = self._gate.wait(hold=hold + HOLD_SLACK, patience=patience)
            return self._ask_inside(passage, request, known, timeout)
        except GateClosed as closed:
            return unasked(request, closed)
        finally:
            # The gate or a fetcher may have used the database, and the thread be idle from now on.
            connections.close_all()

    def _ask_inside(
        self, passage: Passage, request: Request, known: Stored | None, timeout: Callable[[], timedelta]
    ) -> Reply:
        failed: bool | None = True
        cooldown = None
        try:
            left = timeout()
            if left <= timedelta(0):
                failed = None
                return unasked(request, _no_time())
            reply = self.ask(request, known, left)
            failed, cooldown = reply.is_outage, reply.cooldown
            return reply
        finally:
            passage.leave(failed=failed, cooldown=cooldown)

    def ask(self, request: Request, known: Stored | None, timeout: timedelta) -> Reply:
        """Make one call. `known` is what this definition brought for its only key, and may be "not modified"."""
        started_at, begun = datetime.now(UTC), time.perf_counter()
        recent.note(self.name, started_at)
        call = ApiCall(
            source=self.name, keys=",".join(request.keys), url=request.public_url, started_at=started_at
        )
        facts: dict[str, Any] = {}
        try:
            facts = (
                self._fetch(request.keys)
                if self._endpoint is None
                else self._get(request, known, timeout, call)
            )
        except UpstreamError as error:
            call.status = error.status or call.status  # an error of the body's may not know it
            facts = {"values": dict.fromkeys(request.keys, light(error))}
        facts["values"] = {key: self._accepted(value) for key, value in facts.get("values", {}).items()}
        call.duration = timedelta(seconds=time.perf_counter() - begun)
        _conclude(call, request.keys, facts)
        reply = Reply(keys=request.keys, started_at=started_at, call=call, **facts)
        call.cooldown = reply.cooldown
        meters.note_call(self.name, ok=not reply.is_outage)
        return reply

    def _get(
        self, request: Request, known: Stored | None, timeout: timedelta, call: ApiCall
    ) -> dict[str, Any]:
        assert self._endpoint is not None
        answer = self._transport.get(
            request.url, headers=_conditional(request.headers, known), timeout=timeout
        )
        call.status, call.size = answer.status, len(answer.body)
        if answer.status == NOT_MODIFIED and known is not None:
            return {"not_modified": True, "etag": known.etag, "last_modified": known.last_modified}
        if answer.status not in SUCCESS:
            raise _status_error(answer)
        values = self._endpoint.read(request, answer.body)
        return {
            "values": {key: servable(value) for key, value in values.items()},
            "etag": _validator(answer, "ETag"),
            "last_modified": _validator(answer, "Last-Modified"),
        }

    def _fetch(self, keys: tuple[str, ...]) -> dict[str, Any]:
        """Ask the registered fetcher, which is the application's own code and may raise anything."""
        assert self._fetcher is not None
        try:
            found = self._fetcher.function(list(keys))
            return {"values": {key: plain(found.get(key)) for key in keys}}
        except (RunCancelled, RunTimedOut, CacheUnavailable, UpstreamError):
            raise  # the end of the whole refresh, or said by the fetcher in our own words
        except Exception as error:
            raise UpstreamError(
                f"The fetcher {self._fetcher.name} raised {type(error).__name__}: {error}"
            ) from error

    def _accepted(self, value: Any | UpstreamError) -> Any | UpstreamError:
        """`value`, or the error that it counts as when the source's rules refuse it."""
        if isinstance(value, UpstreamError):
            return value
        try:
            self._rules.check(value)
        except UpstreamPayload as error:
            return error
        return value


def _no_time() -> UpstreamTimeout:
    return UpstreamTimeout("No time was left to ask for it.")


def _validator(answer: Answer, name: str) -> str:
    """The header `name` of an answer, for the next question to be asked on condition; empty if it can't be sent."""
    value = answer.headers.get(name, "")
    try:
        check_headers({name: value})
    except BadSource:
        return ""
    return value if len(value) <= MAX_VALIDATOR else ""


def _conditional(headers: Mapping[str, str], known: Stored | None) -> dict[str, str]:
    conditions = {}
    if known is not None and known.etag:
        conditions["If-None-Match"] = known.etag
    if known is not None and known.last_modified:
        conditions["If-Modified-Since"] = known.last_modified
    return {**headers, **conditions}


def _status_error(answer: Answer) -> UpstreamStatus:
    error = UpstreamStatus(
        f"The upstream answered {answer.status}.",
        status=answer.status,
        retry_after=parse_retry_after(answer.headers.get("Retry-After"), now=datetime.now(UTC)),
    )
    error.permanent = answer.status in PERMANENT
    return error


def _conclude(call: ApiCall, keys: tuple[str, ...], facts: dict[str, Any]) -> None:
    """Write into `call` how it ended. It failed when no key got a value."""
    values = facts.get("values", {})
    errors = [value for value in values.values() if isinstance(value, UpstreamError)]
    if facts.get("not_modified"):
        call.outcome = ApiCall.Outcome.NOT_MODIFIED
    elif len(errors) < len(keys):
        call.outcome = ApiCall.Outcome.OK
    else:
        call.outcome = ApiCall.Outcome.FAILED
    if errors:
        call.error = reason(errors[0])


def reason(error: UpstreamError) -> str:
    """`error` in words that any database takes: those of a fetcher may be anything."""
    return storable(f"{type(error).__name__}: {error}")


# One upstream per source


_upstreams: dict[str, tuple[object, Upstream]] = {}
_lock = threading.Lock()


def _begin_anew() -> None:
    global _lock
    _lock = threading.Lock()
    _upstreams.clear()


# Of its parent's upstreams a child would have all but the threads, and wait for these without end.
os.register_at_fork(after_in_child=_begin_anew)


def gate_of(source: Source) -> Gate:
    """The gate of `source`, by its limits as they are now; what Redis has lost of it comes from the records."""
    limits = Limits(
        calls_per_minute=source.calls_per_minute,
        burst=source.burst,
        concurrency=source.concurrency,
        failures=source.breaker_failures,
        pause=source.breaker_pause,
    )
    return Gate(source.name, limits, recent=partial(recent.recall, source.name, limits, source.timeout))


def upstream_of(source: Source) -> Upstream:
    """This process's upstream for `source`; a new one when the definition has changed. Raises BadSource."""
    limits = gate_of(source).limits
    definition = (source.fetcher, source.batch_size, source.build_rules(), limits, source.timeout, conf())
    key = (*definition, None if source.fetcher else repr(source.build_endpoint()))
    with _lock:
        there = _upstreams.get(source.name)
        if there is not None and there[0] == key:
            return there[1]
        made = Upstream(source)
        _upstreams[source.name] = (key, made)
    # The former one is not closed: another thread may be about to ask it. Its threads and connections end when
    # nobody refers to it any more.
    return made
