"""An upstream on loopback that does what no upstream should.

It speaks HTTP over bare sockets, because a server library would not let it break the protocol. The first segment
of a request's path names what happens: ``/half``, ``/status/429``. Use it as a context manager; leaving stops it
and everything it still has open.

    with HostileUpstream() as upstream:
        transport.get(upstream.url("/half"), ...)
"""

from __future__ import annotations

import functools
import gzip
import socket
import ssl
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit

from tools.children import spawn

ROOT = Path(__file__).resolve().parent.parent.parent
LARGE = 100 * 1024 * 1024
DRIP = 0.05  # seconds between two bytes

Behaviour = Callable[["HostileUpstream", socket.socket, str], bool]
"""Answers one request for a target; returns whether the connection stays open."""


def whole(
    body: bytes = b'{"price": 1}',
    *,
    status: str = "200 OK",
    headers: str = "Content-Type: application/json\r\n",
) -> bytes:
    return f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


@functools.cache
def bomb_body() -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return (
        b"".join(packer.compress(bytes(1024 * 1024)) for _ in range(LARGE // 1024 // 1024)) + packer.flush()
    )


def ok(upstream: HostileUpstream, peer: socket.socket, target: str) -> bool:
    peer.sendall(whole())
    return True


def status(upstream: HostileUpstream, peer: socket.socket, target: str) -> bool:
    """``/status/429?Retry-After=7``: that status, with the query as headers."""
    parts = urlsplit(target)
    headers = "".join(f"{name}: {values[0]}\r\n" for name, values in parse_qs(parts.query).items())
    peer.sendall(whole(b"{}", status=f"{parts.path.rpartition('/')[2]} Status", headers=headers))
    return True


def unknown(upstream: HostileUpstream, peer: socket.socket, target: str) -> bool:
    peer.sendall(whole(b"{}", status="404 Not Found"))
    return True


def redirect(upstream: HostileUpstream, peer: socket.socket, target: str) -> bool:
    """``/redirect?<where to, quoted>``, with a body that never ends."""
    location = unquote(urlsplit(target).query)
    peer.sendall(f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: {LARGE}\r\n\r\n".encode())
    return upstream.pour(peer, b"x" * 65536, LARGE)


def not_modified(upstream: HostileUpstream, peer: socket.socket, target: str) -> bool:
    peer.sendall(b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\n\r\n')
    return True


def html(upstream: HostileUpstream, peer: socket.socket, target: str) -> bool:
    peer.sendall(whole(b"<html>Please log in</html>", headers="Content-Type: text/html\r\n"))
    return True


def cookie(upstream: HostileUpstream, peer: socket.socket, target: str) -> bool:
    peer.sendall(whole(headers="Set-Cookie: session=stolen; Path=/\r\n"))
    return True


def large(upstream: HostileUpstream, peer: socket.socket, target: str) -> bool:
    peer.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n".encode())
    return upstream.pour(peer, b"x" * 65536, LARGE)


def chunks(upstream: HostileUpstream, peer: socket.socket, target: str) -> bool:
    """Chunk after chunk, without an end."""
    peer.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    return upstream.pour(peer, b"10000\r\n" + b"x" * 65536 + b"\r\n", LARGE)


def bomb(upstream: HostileUpstream, peer: socket.socket, target: str) -> bool:
    """100 MB of zeros in 100 kB of gzip."""
    peer.sendall(whole(bomb_body(), headers="Content-Encoding: gzip\r\n"))
    return True


def zipped(upstream: HostileUpstream, peer: socket.socket, target: str) -> bool:
    peer.sendall(whole(gzip.compress(b'{"price": 1}'), headers="Content-Encoding: gzip\r\n"))
    return True


def badly_zipped(upstream: HostileUpstream, peer: socket.socket, target: str) -> bool:
    peer.sendall(whole(b"this is no gzip", headers="Content-Encoding: gzip\r\nRetry-After: 7\r\n"))
    return True


def brotli(upstream: HostileUpstream, peer: socket.socket, target: str) -> bool:
    peer.sendall(whole(b"\x0b\x02\x80{}\x03", headers="Content-Encoding: br\r\n"))
    return True


def half(upstream: HostileUpstream, peer: socket.socket, target: str) -> bool:
    """Half of the announced body, and goodbye."""
    peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 24\r\n\r\n" + b'{"price": 1}')
    return False


def half_chunked(upstream: HostileUpstream, peer: socket.socket, target: str) -> bool:
    peer.sendall(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n18\r\n{"price": 1}')
    return False


def silent(upstream: HostileUpstream, peer: socket.socket, target: str) -> bool:
    """Nothing, for as long as the server lives."""
    upstream.stopped.wait()
    return False


def silent_body(upstream: HostileUpstream, peer: socket.socket, target: str) -> bool:
    """Headers without a length and some of the body at once, and then nothing."""
    peer.sendall(b'HTTP/1.1 200 OK\r\n\r\n{"price": 1}')
    upstream.stopped.wait()
    return False


def dripped_headers(upstream: HostileUpstream, peer: socket.socket, target: str) -> bool:
    return upstream.drip(peer, b"HTTP/1.1 200 OK\r\nX-Padding: " + b"x" * 60_000)


def dripped_body(upstream: HostileUpstream, peer: socket.socket, target: str) -> bool:
    """A body without a length: cut anywhere, it looks whole."""
    peer.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    return upstream.drip(peer, b" " * 60_000)


def continues(upstream: HostileUpstream, peer: socket.socket, target: str) -> bool:
    """``100 Continue``, for ever."""
    return upstream.pour(peer, b"HTTP/1.1 100 Continue\r\n\r\n", LARGE, every=DRIP)


def early_hints(upstream: HostileUpstream, peer: socket.socket, target: str) -> bool:
    """An interim answer that http.client takes for the answer itself."""
    peer.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\n" + whole())
    return True


def many_headers(upstream: HostileUpstream, peer: socket.socket, target: str) -> bool:
    peer.sendall(b"HTTP/1.1 200 OK\r\n")
    return upstream.pour(peer, b"X-Header: x\r\n" * 100, LARGE)


def broken_headers(upstream: HostileUpstream, peer: socket.socket, target: str) -> bool:
    """A line without a colon; urllib3 logs the URL of such an answer as a warning."""
    peer.sendall(b"HTTP/1.1 200 OK\r\nno colon in here\r\nContent-Length: 2\r\n\r\n{}")
    return False


def garbage(upstream: HostileUpstream, peer: socket.socket, target: str) -> bool:
    peer.sendall(b"\x00\xff\x16 this is no HTTP\r\n\r\n" * 10)
    return False


def reset(upstream: HostileUpstream, peer: socket.socket, target: str) -> bool:
    """A TCP reset in the middle of the body."""
    peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


def hang_up(upstream: HostileUpstream, peer: socket.socket, target: str) -> bool:
    return False


BEHAVIOURS: dict[str, Behaviour] = {
    behaviour.__name__.replace("_", "-"): behaviour
    for behaviour in (
        ok,
        status,
        redirect,
        not_modified,
        html,
        cookie,
        large,
        chunks,
        bomb,
        zipped,
        badly_zipped,
        brotli,
        half,
        half_chunked,
        silent,
        silent_body,
        dripped_headers,
        dripped_body,
        continues,
        early_hints,
        many_headers,
        broken_headers,
        garbage,
        reset,
        hang_up,
    )
}


class HostileUpstream:
    """The server. ``requests`` are the heads it received, ``connections`` how many it accepted.

    With `tls`, a server's context, it speaks https. `behaviours` adds paths of the test's own.
    """

    def __init__(
        self, *, tls: ssl.SSLContext | None = None, behaviours: dict[str, Behaviour] | None = None
    ) -> None:
        self.requests: list[str] = []
        self.connections = 0
        self.stopped = threading.Event()
        self._tls = tls
        self._behaviours = BEHAVIOURS | (behaviours or {})
        self._left = threading.Condition()
        self._peers: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def url(self, target: str, *, scheme: str = "") -> str:
        return f"{scheme or ('https' if self._tls else 'http')}://{self.address}{target}"

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._start(self._accept)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stopped.set()
        with self._left:
            for peer in [self._listener, *self._peers]:
                with suppress(OSError):  # wakes the thread that waits for it; closing would not
                    peer.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(timeout=10)
        self._listener.close()

    def was_left_alone(self, *, timeout: float) -> bool:
        """Whether every client has closed its connections, at the latest after `timeout` seconds."""
        with self._left:
            return self._left.wait_for(lambda: not self._peers, timeout=timeout)

    def drip(self, peer: socket.socket, data: bytes) -> bool:
        for byte in data:
            peer.sendall(bytes([byte]))
            if self.stopped.wait(DRIP):
                break
        return False

    def pour(self, peer: socket.socket, data: bytes, total: int, *, every: float = 0) -> bool:
        for _ in range(total // len(data)):
            peer.sendall(data)
            if self.stopped.wait(every):
                break
        return False

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return  # stopped
            with self._left:
                if self.stopped.is_set():
                    peer.close()
                    return
                self.connections += 1
                self._peers.append(peer)
                self._start(self._serve, peer)

    def _serve(self, peer: socket.socket) -> None:
        plain = peer
        with suppress(OSError):
            if self._tls:
                # A duplicate, so that stopping can still shut down what TLS has taken the descriptor from.
                peer = self._tls.wrap_socket(plain.dup(), server_side=True)
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while head := self._receive(peer):
                if not self._answer(peer, head):
                    break
        with self._left:
            self._peers.remove(plain)
            peer.close()
            plain.close()
            self._left.notify_all()

    def _receive(self, peer: socket.socket) -> str:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            received = peer.recv(65536)
            if not received:
                return ""
            head += received
        return head.decode("latin-1")

    def _answer(self, peer: socket.socket, head: str) -> bool:
        self.requests.append(head)
        target = head.split(" ", 2)[1]
        return self._behaviours.get(urlsplit(target).path.split("/")[1], unknown)(self, peer, target)


class FullUpstream:
    """A port that no new connection gets through to: its queue of connections is full, and nobody accepts."""

    def __enter__(self) -> Self:
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(0)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._waiting = []
        for _ in range(4):
            waiting = socket.socket()
            waiting.setblocking(False)
            waiting.connect_ex(self._listener.getsockname())
            self._waiting.append(waiting)
        return self

    def __exit__(self, *exc_info: object) -> None:
        for waiting in self._waiting:
            waiting.close()
        self._listener.close()


def closed_port() -> str:
    """An address at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def hostile_process() -> Iterator[str]:
    """The upstream in a process of its own, whose memory is not this one's; gives its address."""
    command = [sys.executable, "-m", "tests.freshness.hostile"]
    with spawn(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


if __name__ == "__main__":
    with HostileUpstream() as alone:
        print(alone.address, flush=True)
        sys.stdin.read()
