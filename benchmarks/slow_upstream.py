"""An upstream that answers after a fixed time, counts its calls, and fails when told to: ``slow_upstream()``.

It runs in a process of its own. ``/stocks/AAPL`` is one quote, ``/stocks?symbols=A,B`` several; each tells when it
was made, so that a reader can tell how old it is, whatever cache it came through.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any
from urllib.parse import parse_qs, urlsplit

import requests

from benchmarks.processes import ROOT
from tools.children import spawn, stop

CONTROL = "/control"
TIMEOUT = 5.0  # seconds, for what steers it


class SlowUpstream:
    """Such an upstream, as the benchmarks steer it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.host = url.removeprefix("http://")

    def calls(self) -> int:
        """The calls it got since it was last steered."""
        calls: int = requests.get(self.url + CONTROL, timeout=TIMEOUT).json()
        return calls

    def answer(self, status: int) -> None:
        """Answer so from now on, and count from 0."""
        requests.put(self.url + CONTROL, json=status, timeout=TIMEOUT).raise_for_status()


@contextmanager
def slow_upstream(latency: float) -> Iterator[SlowUpstream]:
    """One that takes `latency` seconds for each call, for as long as the block lasts."""
    command = [sys.executable, "-m", "benchmarks.slow_upstream", str(latency)]
    process = spawn(command, farewell=signal.SIGKILL, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        with process.stdout as said:
            yield SlowUpstream(said.readline().strip())
    finally:
        stop(process)


# The process


class Server(ThreadingHTTPServer):
    request_queue_size = 1024
    daemon_threads = True

    def __init__(self, latency: float) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.latency = latency
        self.begin(200)

    def begin(self, status: int) -> None:
        self.status = status
        self.numbers = count(1)  # whose next number is one step, which no other thread comes into
        self.calls = 0


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def do_GET(self) -> None:
        server, target = self.server, urlsplit(self.path)
        if target.path == CONTROL:
            self.reply(200, server.calls)
            return
        server.calls = max(server.calls, next(server.numbers))
        status, made_at = server.status, time.time()
        time.sleep(server.latency)
        self.reply(status, find(target.path, target.query, made_at))

    def do_PUT(self) -> None:
        self.server.begin(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.reply(200, None)

    def reply(self, status: int, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: this is a stub under load."""


def find(path: str, query: str, made_at: float) -> Any:
    symbols = parse_qs(query).get("symbols")
    if symbols is None:
        return quote(path.rpartition("/")[2], made_at)
    return {"quotes": [quote(symbol, made_at) for symbol in symbols[0].split(",")]}


def quote(symbol: str, made_at: float) -> dict[str, Any]:
    return {"symbol": symbol, "price": 231.4, "change": -0.8, "currency": "USD", "at": made_at}


if __name__ == "__main__":
    with Server(float(sys.argv[1])) as server:
        print(f"http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()
