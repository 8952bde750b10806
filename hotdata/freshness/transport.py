"""How an upstream is asked: one guarded HTTP GET, over requests.

The upstream is not trusted. Whatever it does, a call ends at its deadline, takes a bounded amount of memory, goes
to no address but the one that was asked for, and leaves nothing behind that the next call would notice. What
can't be used is raised as one of the `UpstreamError`s; everything else, whatever its status, is an `Answer`.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from http.cookiejar import DefaultCookiePolicy
from time import monotonic

import requests
from urllib3.exceptions import DecodeError, HTTPError, LocationParseError
from urllib3.util import Url, parse_url

from hotdata.exceptions import (
    UpstreamError,
    UpstreamForbidden,
    UpstreamPayload,
    UpstreamUnreachable,
)
from hotdata.freshness.connections import Adapter
from hotdata.freshness.deadline import Call
from hotdata.headers import check_headers, parse_retry_after
from hotdata.version import VERSION

CHUNK_BYTES = 64 * 1024
ENCODINGS = frozenset({"", "identity", "gzip", "x-gzip", "deflate"})


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What an upstream sent, whole. ``headers`` are case-insensitive; ``body`` is decoded."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    duration: timedelta


class Transport:
    """Asks upstreams, from any number of threads. Survives a fork: the child opens connections of its own.

    ``concurrency`` is how many idle connections are kept for each upstream. ``allow_private`` are the
    ``host:port`` pairs that may be private and may be asked over plain http.
    """

    def __init__(self, *, concurrency: int, allow_private: Collection[str], max_bytes: int) -> None:
        self._concurrency = concurrency
        self._allowed = frozenset(pair.lower() for pair in allow_private)
        self._max_bytes = max_bytes
        self._open()

    def _open(self) -> None:
        self._process = os.getpid()
        self._adapter = Adapter(concurrency=self._concurrency)
        self._local = threading.local()

    def get(self, url: str, *, headers: Mapping[str, str], timeout: timedelta) -> Answer:
        """Return the answer to a GET of `url`, whole and at most `timeout` after the call, name lookup included.

        Raises BadSource for headers that may not be sent, UpstreamForbidden for a URL or address that may not be
        asked and for a redirect, UpstreamUnreachable, UpstreamTimeout, and UpstreamPayload for a body that is
        too large or can't be decoded. No error holds the query, a header or the body.
        """
        check_headers(headers)
        with Call(_check_url(url), timeout=timeout, allowed=self._allowed) as call:
            outcome = self._ask(call, url, headers)
        # Raised out here, where no exception of requests is being handled: as the context of this one it would
        # carry the URL and the headers to whoever reports it.
        if isinstance(outcome, UpstreamError):
            raise outcome
        return outcome

    def close(self) -> None:
        """Close the idle connections. A later call opens new ones."""
        self._adapter.close()

    def _ask(self, call: Call, url: str, headers: Mapping[str, str]) -> Answer | UpstreamError:
        outcome: Answer | UpstreamError
        try:
            outcome = self._exchange(call, url, headers)
        except UpstreamError as error:
            outcome = error.with_traceback(None)  # its frames hold the body, and this one the error
        except (requests.RequestException, HTTPError, HTTPException, OSError, ValueError) as error:
            outcome = _translate(error, call)
        # After the cut a body without a length looks whole, and a broken one looks like the upstream's fault.
        return outcome if monotonic() < call.deadline else call.timed_out()

    def _exchange(self, call: Call, url: str, headers: Mapping[str, str]) -> Answer:
        with self._session().get(
            url, headers=headers, timeout=call.remaining(), allow_redirects=False, stream=True
        ) as response:
            status = response.status_code
            if status < 200:
                # http.client takes it for the answer; the real one would be read as that of the next call.
                raise UpstreamUnreachable(f"{call.place} answered {status}, and then no more.", status=status)
            if 300 <= status < 400 and status != 304:
                target = _scheme_and_host(response.headers.get("Location"))
                raise UpstreamForbidden(
                    f"{call.place} redirects to {target}, which is not followed.", status=status
                )
            body = self._read(call, response)
        return Answer(
            status=status,
            headers=response.headers,
            body=body,
            duration=timedelta(seconds=monotonic() - call.started),
        )

    def _read(self, call: Call, response: requests.Response) -> bytes:
        """Return the decoded body. Leaving before its end makes the caller drop the connection."""
        encodings = {word.strip().lower() for word in response.headers.get("Content-Encoding", "").split(",")}
        problem = "" if encodings <= ENCODINGS else "is in an encoding that wasn't asked for"
        body = bytearray()
        try:
            while not problem and (chunk := response.raw.read(CHUNK_BYTES, decode_content=True)):
                body += chunk
                if len(body) > self._max_bytes:
                    problem = f"is larger than {self._max_bytes} bytes"
        except DecodeError:
            problem = "can't be decoded"
        if problem:
            raise UpstreamPayload(
                f"The answer of {call.place} {problem}.",
                status=response.status_code,
                retry_after=parse_retry_after(response.headers.get("Retry-After"), now=datetime.now(UTC)),
            )
        return bytes(body)

    def _session(self) -> requests.Session:
        """Return this thread's Session. It keeps no cookies, and takes nothing from the environment or ~/.netrc."""
        if self._process != os.getpid():
            self._open()  # forked: the connections are the parent's, and two readers would share its answers
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = _Session()
            session.trust_env = False
            session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
            session.headers.clear()
            session.headers.update(
                {
                    "User-Agent": f"hotdata/{VERSION}",
                    "Accept": "*/*",
                    "Accept-Encoding": "gzip, deflate, identity",
                }
            )
            session.mount("https://", self._adapter)
            session.mount("http://", self._adapter)
        return session


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> None:
        """Say that nothing is a redirect: even when told not to follow one, requests reads its body, unbounded."""


def _check_url(url: str) -> str:
    """Return `url` without what may be secret, or raise UpstreamForbidden if it may not be asked at all."""
    try:
        parsed = parse_url(url)  # also the parser of requests: no two readings of one URL
    except LocationParseError:
        parsed = Url()
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise UpstreamForbidden("Only an https:// address can be asked.")
    place = parsed._replace(auth=None, query=None, fragment=None).url
    if parsed.auth is not None:
        raise UpstreamForbidden(f"{place} has a user name or password in it; secrets belong in a header.")
    return place


def _scheme_and_host(location: str | None) -> str:
    """Return as much of a Location as may be repeated: its path and query may hold what we sent."""
    try:
        parsed = parse_url(location or "")
    except LocationParseError:
        parsed = Url()
    if not parsed.host:
        return "another path of its own" if location else "nowhere"
    host = parsed.host if re.fullmatch(r"[\[\]A-Za-z0-9.:-]{1,255}", parsed.host) else "an unreadable host"
    return f"{parsed.scheme or 'the same scheme'}://{host}"


def _translate(error: Exception, call: Call) -> UpstreamError:
    """Return what `error`, raised by requests or below, means to the caller."""
    cause = _root_cause(error)
    if isinstance(cause, TimeoutError):
        return call.timed_out()
    if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema):
        return UpstreamForbidden(f"{call.place} is not an address that can be asked.")
    # Only the system's words are repeated: those of requests hold the URL, those of http.client the answer.
    reason = getattr(cause, "verify_message", "") or getattr(cause, "strerror", "") or type(cause).__name__
    return UpstreamUnreachable(f"{call.place} can't be reached: {reason}.")


def _root_cause(error: BaseException) -> BaseException:
    while below := error.__cause__ or error.__context__:
        error = below
    return error
