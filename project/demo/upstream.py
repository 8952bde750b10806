"""A local upstream that serves a world of its own over HTTP, and fails on request.

Every right answer is the same for the same question and time, whichever process gives it, and says how long it
stays right. Whatever happens to an answer on its way, the request is in the log before it.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import json
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, unquote

from project.demo import world
from project.demo.faults import CHANCE, PLAYS, Fault, FaultPlan, Reply, Rule
from project.demo.log import Log, Served

BATCH_LIMIT = 100
BODY_LIMIT_BYTES = 64 * 1024
STOP_TIMEOUT = timedelta(seconds=5)

EXAMPLE_RULE = {"prefix": "/stocks", "fault": "429", "share": 1.0, "count": 10, "retry_after": 5}
INDEX = {
    "stocks": ["/stocks/AAPL", "/stocks?symbols=AAPL,MSFT"],
    "news": ["/news/technology", "/news?topics=general,business"],
    "weather": ["/weather/北京", "/weather/London"],
    "forecast": ["/forecast/北京:2026-01-31"],
    "topics": list(world.TOPICS),
    "cities": list(world.CITIES),
    "log": {"read": "GET /log", "clear": "DELETE /log"},
    "faults": {
        "names": list(PLAYS),
        "for one request": "/stocks/AAPL?fault=429&retry_after=5",
        "for all below a path": {"PUT /faults": EXAMPLE_RULE},
        "read": "GET /faults",
        "clear": "DELETE /faults",
    },
}


# What is asked


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request target, taken apart. ``key`` is what is asked for: ``AAPL``, or ``AAPL,MSFT`` of a batch."""

    target: str
    path: str
    query: Mapping[str, str]
    parts: tuple[str, ...]

    @classmethod
    def parse(cls, raw: str) -> Asked:
        # http.server reads the line as Latin-1, while curl sends a typed 北京 as bare UTF-8.
        target = raw.encode("latin-1", "replace").decode("utf-8", "replace")
        path, _, query = target.partition("?")
        return cls(
            target=target,
            path=unquote(path),
            query=dict(parse_qsl(query)),
            parts=tuple(unquote(part) for part in path.split("/")[1:]),
        )

    @property
    def key(self) -> str:
        if len(self.parts) > 1:
            return self.parts[1]
        return self.query.get("symbols") or self.query.get("topics") or ""

    def names(self, parameter: str) -> list[str]:
        """The names of a batch, each once. ValueError when there is none, or too many."""
        names = list(dict.fromkeys(name for name in self.query.get(parameter, "").split(",") if name))
        if not 1 <= len(names) <= BATCH_LIMIT:
            raise ValueError(f"Ask for 1 to {BATCH_LIMIT} names: ?{parameter}=A,B")
        return names


def find(asked: Asked, now: datetime) -> Any:
    """What the upstream knows about `asked`, or None. ValueError when it is asked in a wrong way."""
    match asked.parts:
        case ("",):
            return INDEX
        case ("stocks",):
            quotes = (world.quote(symbol, now) for symbol in asked.names("symbols"))
            return {"quotes": [found for found in quotes if found]}
        case ("news",):
            topics = ((topic, world.news(topic, now)) for topic in asked.names("topics"))
            return {"topics": {topic: found for topic, found in topics if found}}
        case ("stocks", symbol):
            return world.quote(symbol, now)
        case ("news", topic):
            return world.news(topic, now)
        case ("weather", city):
            return world.weather(city, now)
        case ("forecast", key):
            return world.forecast(key, now)
    return None


def to_json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return Reply(
        status=status,
        body=body,
        headers={"Content-Type": "application/json; charset=utf-8", **(headers or {})},
    )


def answer(asked: Asked, now: datetime) -> Reply:
    """The right answer, cacheable until it changes. ValueError as in `find`."""
    found = find(asked, now)
    if found is None:
        return to_json({"error": f"There is no {asked.path}", "index": "/"}, 404)
    left = world.unchanged_for(asked.parts[0], now)
    reply = to_json(found, headers={"Cache-Control": f"max-age={int(left.total_seconds())}"})
    etag = '"' + hashlib.blake2b(reply.body, digest_size=12).hexdigest() + '"'
    return replace(reply, headers={**reply.headers, "ETag": etag})


# The server


class DemoUpstream:
    """The upstream as a thread of this process, for tests and for the command.

        with DemoUpstream() as upstream:
            requests.get(f"{upstream.url}/stocks/AAPL")
            assert upstream.requests[0].status == 200

    ``port=0`` takes a free port at the first start, and the same one at later starts, so that stop and start
    play an outage. ``on_served`` is called with every request when it is over. Raises ValueError for a host
    that is not loopback (it fails on request, for anyone who can reach it), and OSError when it can't listen.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        latency: timedelta = timedelta(0),
        fault_rate: float = 0.0,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        on_served: Callable[[Served], None] = lambda served: None,
    ) -> None:
        if not _is_loopback(host):
            raise ValueError(f"The demo upstream listens on loopback only (127.0.0.1, ::1), not on {host!r}.")
        if not 0 <= port <= 65535:
            raise ValueError(f"The port must be between 0 and 65535, not {port}.")
        if latency < timedelta(0):
            raise ValueError("The latency can't be negative.")
        self.host, self.port, self.latency = host, port, latency
        self.clock, self.on_served = clock, on_served
        self.faults = FaultPlan(fault_rate)
        self.log = Log()
        self._server: _Server | None = None

    @property
    def url(self) -> str:
        """Without a slash at the end. Holds the true port after the first start."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def requests(self) -> list[Served]:
        """What was asked since the last `clear`, oldest first; the newest `LOG_LIMIT` of it."""
        return self.log.requests

    def wait_for(self, count: int, timeout: timedelta = timedelta(seconds=5)) -> list[Served]:
        """The requests, as soon as there are `count` of them, answered or not. TimeoutError after `timeout`."""
        return self.log.wait_for(count, timeout)

    def set_fault(
        self,
        prefix: str,
        fault: str,
        share: float = 1.0,
        count: int | None = None,
        retry_after: int | None = None,
    ) -> None:
        """Let requests below `prefix` fail from now on. ValueError for what can't be."""
        cause = Fault(name=fault, retry_after=retry_after)
        self.faults.add(Rule(prefix=prefix, fault=cause, share=share, count=count))

    def clear(self) -> None:
        """Forget all requests and all faults that were set."""
        self.log.clear()
        self.faults.clear()

    def start(self) -> None:
        if self._server is not None:
            raise RuntimeError("The demo upstream is running already.")
        self._server = _Server(self)
        self.port = self._server.server_address[1]
        threading.Thread(
            target=self._server.serve_forever, args=(0.02,), name="demo-upstream", daemon=True
        ).start()

    def stop(self) -> None:
        """Stop listening and cut all connections. Does nothing when it isn't running."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _Server(ThreadingHTTPServer):
    """Knows its open connections, so that `stop` can cut them."""

    daemon_threads = True
    request_queue_size = 1024  # hundreds of clients connect at once in tests; the default is 5

    def __init__(self, upstream: DemoUpstream) -> None:
        self.upstream = upstream
        self.stopping = threading.Event()
        self._open: set[socket.socket] = set()
        self._closed_one = threading.Condition()
        self.address_family = socket.AF_INET6 if ":" in upstream.host else socket.AF_INET
        super().__init__((upstream.host, upstream.port), _Exchange)

    def server_bind(self) -> None:
        # Not HTTPServer's, which asks DNS for the name of the host and may wait seconds for it.
        socketserver.TCPServer.server_bind(self)

    def stop(self) -> None:
        self.stopping.set()
        self.shutdown()
        with self._closed_one:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self._closed_one.wait_for(lambda: not self._open, STOP_TIMEOUT.total_seconds())
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._closed_one:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        with self._closed_one:
            self._open.discard(request)
            self._closed_one.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that goes away is what happens to servers; anything else is a mistake here, and is shown.
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Exchange(BaseHTTPRequestHandler):
    """One connection, and the request on it that is being answered."""

    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    served: Served | None = None  # the request as the log has it; None for those that only steer the upstream

    @property
    def home(self) -> str:
        return self.server.upstream.url + "/"

    def do_GET(self) -> None:
        asked, upstream = Asked.parse(self.path), self.server.upstream
        match asked.parts:
            case ("log",):
                self.reply(to_json(upstream.log.describe()))
            case ("faults",):
                self.reply(to_json(upstream.faults.describe()))
            case _:
                self._serve(asked)

    do_HEAD = do_GET

    def do_DELETE(self) -> None:
        match Asked.parse(self.path).parts:
            case ("log",):
                self.server.upstream.log.clear()
            case ("faults",):
                self.server.upstream.faults.clear()
            case _:
                self.send_error(405)
                return
        self.begin(204, {})

    def do_PUT(self) -> None:
        if Asked.parse(self.path).parts != ("faults",):
            self.send_error(405)
            return
        try:
            self.server.upstream.set_fault(**json.loads(self._read_body()))
        except ValueError as error:
            self.fail(400, f"This can't be a fault: {error}")
            return
        except TypeError:  # no object, or one with too few or unknown names
            self.fail(400, f"Send an object such as {json.dumps(EXAMPLE_RULE)}; prefix and fault are needed.")
            return
        self.reply(to_json(self.server.upstream.faults.describe()))

    def _read_body(self) -> bytes:
        length = int(self.headers.get("Content-Length", 0))
        if not 0 < length <= BODY_LIMIT_BYTES:
            self.close_connection = True  # what isn't read would be taken for the next request
            raise ValueError(f"a JSON object of at most {BODY_LIMIT_BYTES} bytes is expected")
        return self.rfile.read(length)

    def _serve(self, asked: Asked) -> None:
        """Answer as of the arrival, however late: a slow answer is an old one, as with real upstreams."""
        upstream, now = self.server.upstream, self.server.upstream.clock()
        try:
            fault, reply = upstream.faults.pick(asked.path, asked.query), answer(asked, now)
        except ValueError as error:
            fault, reply = None, to_json({"error": str(error)}, 400)
        self._arrive(asked, now, fault)
        try:
            self.pause(upstream.latency * CHANCE.uniform(0.5, 1.5))
            if fault:
                fault.play(self, reply)
            else:
                self.reply(reply)
        finally:
            served, self.served = self.served, None
            if served:
                upstream.on_served(served)

    def _arrive(self, asked: Asked, now: datetime, fault: Fault | None) -> None:
        name = fault.name if fault else ""
        self.served = Served(path=asked.path, key=asked.key, target=asked.target, at=now, fault=name)
        self._number = self.server.upstream.log.arrive(self.served)
        self._arrived = time.monotonic()

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Send the head of the answer, and before it tell the log."""
        if self.served:
            taken = timedelta(seconds=time.monotonic() - self._arrived)
            self.served = replace(self.served, status=status, duration=taken)
            self.server.upstream.log.update(self._number, self.served)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def write(self, data: bytes) -> None:
        if self.command != "HEAD":
            self.wfile.write(data)

    def reply(self, reply: Reply) -> None:
        etag = reply.headers.get("ETag")
        if etag and self._client_has(etag):
            self.begin(304, {name: reply.headers[name] for name in ("ETag", "Cache-Control")})
            return
        self.begin(reply.status, {**reply.headers, "Content-Length": str(len(reply.body))})
        self.write(reply.body)

    def fail(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        self.reply(to_json({"error": message}, status, headers))

    def pause(self, length: timedelta) -> None:
        self.server.stopping.wait(length.total_seconds())

    def _client_has(self, etag: str) -> bool:
        known = self.headers.get("If-None-Match", "").split(",")
        return any(tag.strip().removeprefix("W/") in (etag, "*") for tag in known)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """As http.server wants it, in JSON. A body may be unread, so the connection can't go on."""
        self.close_connection = True
        self.fail(code, message or HTTPStatus(code).phrase)

    def version_string(self) -> str:
        return "demo-upstream"

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: `on_served` does, once per request."""
