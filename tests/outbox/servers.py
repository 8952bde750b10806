"""The other end of the network: a mail server and a webhook that behave as a test tells them to."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class MailServer:
    """Speaks as much SMTP as a client of the standard library needs. What it has taken is in `mails`."""

    port: int = 0
    replies: dict[str, str] = field(default_factory=dict)
    """What is answered instead of OK, by verb; for RCPT also by ``RCPT address``. ``drop`` closes, ``hang`` waits."""
    mails: list[EmailMessage] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    """The verbs of all connections, in order; CONNECT is the first of each."""
    let_go: threading.Event = field(default_factory=threading.Event)

    def answer(self, verb: str, rest: str = "") -> str:
        self.asked.append(verb)
        return self.replies.get(f"{verb} {rest}") or self.replies.get(verb) or ""


class _Smtp(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        if not self._say("CONNECT", "", "220 here"):
            return
        while line := self.rfile.readline().decode().strip():
            verb, _, rest = line.partition(" ")
            address = rest.partition("<")[2].partition(">")[0]
            usual = {"DATA": "354 go on", "QUIT": "221 bye"}.get(verb.upper(), "250 OK")
            if not self._say(verb.upper(), address, usual):
                return
            if verb.upper() == "RCPT":
                self.mail_server.recipients.append(address)
            if verb.upper() == "DATA" and "DATA" not in self.mail_server.replies and not self._take():
                return

    def _take(self) -> bool:
        lines = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line)
        mail: Any = message_from_bytes(b"".join(lines), policy=policy.default)
        if not self.mail_server.replies.get("TAKEN"):
            self.mail_server.mails.append(mail)
        return self._say("TAKEN", "", "250 taken")

    def _say(self, verb: str, rest: str, usual: str) -> bool:
        reply = self.mail_server.answer(verb, rest) or usual
        if reply == "hang":
            self.mail_server.let_go.wait(60)
        if reply in ("drop", "hang"):
            return False
        self.wfile.write(f"{reply}\r\n".encode())
        return verb != "QUIT"

    @property
    def mail_server(self) -> MailServer:
        server: Any = self.server
        state: MailServer = server.state
        return state


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False


@contextmanager
def mail_server() -> Iterator[MailServer]:
    with _Server(("127.0.0.1", 0), _Smtp) as server:
        state = MailServer(port=server.server_address[1])
        server.state = state  # type: ignore[attr-defined]
        yield from _serving(server, state)


@dataclass
class Webhook:
    """Takes whatever is posted, with `status`; while `held`, it lets each caller wait."""

    port: int = 0
    status: int = 200
    held: bool = False
    bodies: list[bytes] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    location: str = ""
    let_go: threading.Event = field(default_factory=threading.Event)


@contextmanager
def webhook() -> Iterator[Webhook]:
    state = Webhook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            state.paths.append(self.path)
            state.bodies.append(body)
            if state.held:
                state.let_go.wait(60)
            self.send_response(state.status)
            if state.location:
                self.send_header("Location", state.location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST

        def log_message(self, *args: Any) -> None:
            """Nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, *args: Any) -> None:
            """A caller that has gone away is meant."""

    with Server(("127.0.0.1", 0), Handler) as server:
        state.port = server.server_address[1]
        yield from _serving(server, state)


def _serving(server: Any, state: Any) -> Iterator[Any]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        state.let_go.set()
        server.shutdown()
        thread.join()
