"""Run the demo upstream as a process of its own, until it is told to stop."""

from __future__ import annotations

import errno
import signal
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from project.demo.upstream import DemoUpstream, Served

STOP_SIGNALS = {signal.SIGINT, signal.SIGTERM}

EXAMPLES = """
try it:
  curl http://127.0.0.1:8100/                                  what there is
  curl http://127.0.0.1:8100/stocks/AAPL                       a price that moves every second
  curl 'http://127.0.0.1:8100/stocks?symbols=AAPL,MSFT'        many at once
  curl http://127.0.0.1:8100/weather/北京
  curl http://127.0.0.1:8100/log                               who asked for what; clear it with -X DELETE

let it fail:
  curl -i 'http://127.0.0.1:8100/stocks/AAPL?fault=429&retry_after=5'
  curl -X PUT http://127.0.0.1:8100/faults -d '{"prefix": "/stocks", "fault": "500", "count": 10}'
  curl -X PUT http://127.0.0.1:8100/faults -d '{"prefix": "/news", "fault": "slow", "share": 0.5}'
  curl -X DELETE http://127.0.0.1:8100/faults                  be good again
"""


class Command(BaseCommand):
    help = (
        "Play an upstream that sells stocks, news, weather and forecasts over HTTP on this machine, "
        "with latency and with failures on request, to see how hotdata copes. Ctrl-C stops it."
    )
    requires_system_checks: list[str] = []  # it needs no database, and starts in a moment

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        parser = super().create_parser(prog_name, subcommand, epilog=EXAMPLES, **kwargs)
        # Django's own formatter would fold the examples into one paragraph.
        parser.formatter_class = RawDescriptionHelpFormatter
        return parser

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="loopback address to listen on (%(default)s)")
        parser.add_argument("--port", type=int, default=8100, help="0 takes a free one (%(default)s)")
        parser.add_argument(
            "--latency",
            type=float,
            default=30,
            metavar="MS",
            help="milliseconds an answer takes, give or take half (%(default)s)",
        )
        parser.add_argument(
            "--fault-rate",
            type=float,
            default=0.0,
            metavar="SHARE",
            help="share of requests that fail by chance: 0.05 for one in twenty (%(default)s)",
        )
        parser.add_argument("--quiet", action="store_true", help="no line per request")

    def handle(self, *args: Any, **options: Any) -> None:
        upstream = self._build(**options)
        # Blocked before the first thread starts, so that all inherit it and `sigwait` alone gets the signals:
        # no handler runs amid a lock or a print, and a second Ctrl-C doesn't break the clean end.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        try:
            self._start(upstream)
            self.stdout.write(f"Demo upstream at {upstream.url}  Try: curl {upstream.url}/stocks/AAPL")
            self.stdout.flush()
            signal.sigwait(STOP_SIGNALS)
            upstream.stop()
        finally:
            # Whoever called this from Python, and every process that they start later, hears signals again.
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _build(
        self, host: str, port: int, latency: float, fault_rate: float, quiet: bool, **_: Any
    ) -> DemoUpstream:
        try:
            return DemoUpstream(
                host,
                port,
                timedelta(milliseconds=latency),
                fault_rate,
                on_served=(lambda served: None) if quiet else self._show,
            )
        except (ValueError, OverflowError) as error:
            raise CommandError(str(error)) from error

    def _start(self, upstream: DemoUpstream) -> None:
        try:
            upstream.start()
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise CommandError(f"Can't listen on {upstream.url}: {error.strerror}.") from error
            raise CommandError(
                f"Port {upstream.port} of {upstream.host} is in use. Stop what listens there, "
                "or take another with --port (--port 0 takes a free one)."
            ) from error

    def _show(self, served: Served) -> None:
        taken = "" if served.duration is None else f"{served.duration / timedelta(milliseconds=1):.0f} ms"
        fault = f"  fault {served.fault}" if served.fault else ""
        # The target is a stranger's text: what a terminal could take for a command isn't printed.
        target = "".join(letter if letter.isprintable() else "?" for letter in served.target)
        self.stdout.write(f"{served.at:%H:%M:%S}  {served.status or '---'}  {taken:>7}  {target}{fault}")
        self.stdout.flush()
