"""What goes wrong on purpose: which request is hit by which fault, and what that looks like on the wire.

A request gets the first of: the fault that its query asks for, that of the rule with the longest matching path
prefix, or by chance one of `RANDOM_FAULTS`.
"""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Protocol

SLOW = timedelta(seconds=3)
HANG = timedelta(minutes=2)
DRIP_PAUSE = timedelta(milliseconds=200)
HUGE_BYTES = 16 * 1024 * 1024  # three times what hotdata accepts by default
HUGE_PIECE = b'"' + b"x" * (64 * 1024 - 3) + b'",'

# Those that cost a client no time: with a random hang now and then, the demo would look broken, not flaky.
RANDOM_FAULTS = ("500", "503", "429", "html", "half", "empty", "reset")

CHANCE = random.Random()  # noqa: S311 - plays dice for faults and latency, guards nothing


@dataclass(frozen=True, kw_only=True)
class Reply:
    """A whole answer, as it is sent when nothing goes wrong."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class Exchange(Protocol):
    """What a fault can do to the one request that it hits."""

    connection: socket.socket
    close_connection: bool

    @property
    def home(self) -> str: ...
    def begin(self, status: int, headers: Mapping[str, str]) -> None: ...
    def write(self, data: bytes) -> None: ...
    def reply(self, reply: Reply) -> None: ...
    def fail(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None: ...
    def pause(self, length: timedelta) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One way to fail. ``retry_after`` is in seconds, and only 429 and 503 tell it. ValueError if it can't be."""

    name: str
    retry_after: int | None = None

    def __post_init__(self) -> None:
        if self.name not in PLAYS:
            raise ValueError(f"There is no fault {self.name!r}; there are: {', '.join(PLAYS)}.")
        if self.retry_after is not None and (type(self.retry_after) is not int or self.retry_after < 0):
            raise ValueError(f"retry_after must be a whole number of seconds, not {self.retry_after!r}.")

    def play(self, exchange: Exchange, reply: Reply) -> None:
        """Answer `exchange` wrongly, where `reply` would have been right."""
        PLAYS[self.name](self, exchange, reply)


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A fault for a ``share`` of the requests below a path prefix, ``count`` times or until it is cleared."""

    prefix: str
    fault: Fault
    share: float = 1.0
    count: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.prefix, str) or not self.prefix.startswith("/"):
            raise ValueError(f"prefix must be a path that begins with a slash, not {self.prefix!r}.")
        if type(self.share) not in (int, float) or not 0 <= self.share <= 1:
            raise ValueError(f"share must be a number between 0 and 1, not {self.share!r}.")
        if self.count is not None and (type(self.count) is not int or self.count < 1):
            raise ValueError(f"count must be a whole number of at least 1, not {self.count!r}.")

    def describe(self) -> dict[str, Any]:
        """The rule in the words in which it is asked for."""
        return {
            "prefix": self.prefix,
            "fault": self.fault.name,
            "share": self.share,
            "count": self.count,
            "retry_after": self.fault.retry_after,
        }


class FaultPlan:
    """The rules in force. Safe to change while requests are served; a rule with a count hits exactly so many."""

    def __init__(self, random_share: float = 0.0) -> None:
        if not 0 <= random_share <= 1:
            raise ValueError(f"The fault rate must be between 0 and 1, not {random_share!r}.")
        self._random_share = random_share
        self._rules: dict[str, Rule] = {}
        self._lock = threading.Lock()

    def add(self, rule: Rule) -> None:
        """Put `rule` in force, in place of an earlier one for the same prefix."""
        with self._lock:
            self._rules[rule.prefix] = rule

    def clear(self) -> None:
        with self._lock:
            self._rules.clear()

    def describe(self) -> dict[str, Any]:
        with self._lock:
            rules = list(self._rules.values())
        return {"rules": [rule.describe() for rule in rules]}

    def pick(self, path: str, query: Mapping[str, str]) -> Fault | None:
        """The fault for one request, if any. ValueError when the query asks for one that doesn't exist."""
        if "fault" in query:
            seconds = query.get("retry_after", "")
            return Fault(name=query["fault"], retry_after=int(seconds) if seconds.isdecimal() else None)
        return self._by_rule(path) or self._by_chance()

    def _by_rule(self, path: str) -> Fault | None:
        with self._lock:
            matching = [prefix for prefix in self._rules if path.startswith(prefix)]
            if not matching:
                return None
            rule = self._rules[max(matching, key=len)]
            if CHANCE.random() >= rule.share:
                return None
            if rule.count == 1:
                del self._rules[rule.prefix]
            elif rule.count is not None:
                self._rules[rule.prefix] = replace(rule, count=rule.count - 1)
            return rule.fault

    def _by_chance(self) -> Fault | None:
        if CHANCE.random() >= self._random_share:
            return None
        return Fault(name=CHANCE.choice(RANDOM_FAULTS))


# How each fault looks on the wire


def _refuse(fault: Fault, exchange: Exchange, _: Reply) -> None:
    """An honest error status."""
    told = fault.name in ("429", "503") and fault.retry_after is not None
    headers = {"Retry-After": str(fault.retry_after)} if told else {}
    exchange.fail(int(fault.name), "This failure was asked for.", headers)


def _slow(_: Fault, exchange: Exchange, reply: Reply) -> None:
    """The right answer, late."""
    exchange.pause(SLOW)
    exchange.reply(reply)


def _hang(_: Fault, exchange: Exchange, __: Reply) -> None:
    """No answer at all, until the client gives up."""
    exchange.close_connection = True
    exchange.connection.settimeout(HANG.total_seconds())
    with contextlib.suppress(TimeoutError):
        exchange.connection.recv(1)  # returns when the client leaves, and when the server stops


def _html(_: Fault, exchange: Exchange, __: Reply) -> None:
    """A status that says success over a page for people, as proxies and login walls send it."""
    page = b"<!DOCTYPE html><title>Maintenance</title><h1>We will be right back.</h1>"
    exchange.reply(Reply(status=200, body=page, headers={"Content-Type": "text/html; charset=utf-8"}))


def _half(_: Fault, exchange: Exchange, reply: Reply) -> None:
    """Half of the promised bytes, then the end of the connection."""
    exchange.close_connection = True
    exchange.begin(200, {**reply.headers, "Content-Length": str(len(reply.body))})
    exchange.write(reply.body[: len(reply.body) // 2])


def _huge(_: Fault, exchange: Exchange, __: Reply) -> None:
    """Valid JSON that goes on and on. Chunked, so that no header warns of its size."""
    exchange.begin(200, {"Content-Type": "application/json", "Transfer-Encoding": "chunked"})
    for piece in _huge_pieces():
        exchange.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
    exchange.write(b"0\r\n\r\n")


def _huge_pieces() -> Iterator[bytes]:
    yield b'{"filler":['
    for _ in range(HUGE_BYTES // len(HUGE_PIECE)):
        yield HUGE_PIECE
    yield b'""]}'


def _empty(_: Fault, exchange: Exchange, __: Reply) -> None:
    """Success, and nothing in it."""
    exchange.reply(Reply(status=200, body=b"", headers={"Content-Type": "application/json"}))


def _redirect(_: Fault, exchange: Exchange, __: Reply) -> None:
    """A way to somewhere else: the index here, so that the log shows who followed it."""
    exchange.reply(Reply(status=302, body=b"", headers={"Location": exchange.home}))


def _drip(_: Fault, exchange: Exchange, reply: Reply) -> None:
    """The right answer byte by byte: no single read times out, and yet it doesn't end."""
    exchange.begin(200, {**reply.headers, "Content-Length": str(len(reply.body))})
    for byte in reply.body:
        exchange.write(bytes([byte]))
        exchange.pause(DRIP_PAUSE)


def _reset(_: Fault, exchange: Exchange, __: Reply) -> None:
    """The connection torn down (RST) instead of an answer."""
    exchange.close_connection = True
    # The descriptor itself is closed: the usual way says FIN first, and that is no reset.
    exchange.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    socket.close(exchange.connection.detach())


PLAYS: dict[str, Callable[[Fault, Exchange, Reply], None]] = {
    "404": _refuse,
    "429": _refuse,
    "500": _refuse,
    "503": _refuse,
    "slow": _slow,
    "hang": _hang,
    "html": _html,
    "half": _half,
    "huge": _huge,
    "empty": _empty,
    "redirect": _redirect,
    "drip": _drip,
    "reset": _reset,
}
