"""`manage.py runscheduler`: fires the jobs and works on their runs."""

from __future__ import annotations

import argparse
import gc
import os
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from hotdata.bell import Listener
from hotdata.conf import conf
from hotdata.execution.context import captured_output
from hotdata.execution.threads import ThreadExecutor
from hotdata.scheduling.presence import Presence
from hotdata.scheduling.scheduler import Scheduler

LONGEST_GRACE = 86_400  # seconds
CUT_OFF = 1  # exit code

EPILOG = """\
Start any number of these, on any number of machines, against one database: one leads and fires, the others
stand by and take over within seconds. Stop one with SIGTERM or Ctrl-C: it fires nothing more, another takes
over at once, what it has not started is handed back, and running runs get the grace to end. After that, or at a
second signal, they are cancelled; those of jobs with "recover" are run again elsewhere. A third signal ends the
process as it is, and what runs then counts as abandoned.

Exit code: 0 when nothing was cut off, 1 when running runs had to be cancelled.
"""


def positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number, not {text!r}") from None
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number of seconds, not {text!r}") from None
    if not 0 <= number <= LONGEST_GRACE:
        raise argparse.ArgumentTypeError(f"must be between 0 and {LONGEST_GRACE}")
    return number


class Command(BaseCommand):
    help = "Fire the jobs that the admin defines, and work on their runs, until stopped."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return super().create_parser(
            prog_name,
            subcommand,
            epilog=EPILOG,
            **kwargs,
        )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        parser.add_argument(
            "--workers",
            type=positive,
            default=conf().workers,
            metavar="N",
            help="runs to work on at a time (default: %(default)s)",
        )
        parser.add_argument(
            "--grace",
            type=seconds,
            default=conf().grace.total_seconds(),
            metavar="SECONDS",
            help="how long running runs may go on after a signal to stop (default: %(default)s)",
        )

    def run_from_argv(self, argv: list[str]) -> None:
        """As always, but without waiting for threads that ignored their cancellation: their runs are on record."""
        try:
            super().run_from_argv(argv)
        except SystemExit as leaving:
            sys.stdout.flush()
            sys.stderr.flush()
            if leaving.code == CUT_OFF:
                os._exit(CUT_OFF)
            raise

    def handle(self, *args: Any, workers: int, grace: float, **options: Any) -> None:
        executor: ThreadExecutor | None = None
        with Presence(
            timeout=conf().node_timeout,
            running=lambda: executor.running if executor else 0,
            later=True,  # by the scheduler's loop, which waits for a database that is away, and can be stopped
        ) as presence:
            executor = ThreadExecutor(node=presence.name, workers=workers)
            listener = Listener(lambda: look(scheduler, executor))
            scheduler = Scheduler(presence=presence, executor=executor, hears=lambda: listener.connected)
            stop_on_signals(scheduler, executor)
            spare_the_collector()
            with captured_output(), listener:
                executor.start()
                self.stdout.write(f"Scheduler {presence.name} with {workers} workers. Ctrl-C stops it.")
                self.stdout.flush()  # it may go into a pipe, and nothing follows for a while
                try:
                    scheduler.start()
                finally:
                    # Also when the loop fails: what it handed over gets its grace, and comes to its end on record.
                    self.stdout.write(f"Stopping; {executor.running} running runs have {grace:g} s to end.")
                    finished = executor.stop(timedelta(seconds=grace))
        if not finished:
            self.stderr.write("Some runs were cut off; their records say so.")
            sys.exit(CUT_OFF)
        self.stdout.write("Stopped; nothing was cut off.")


def spare_the_collector() -> None:
    """Keep Python's garbage collector from walking all of Django again and again while a burst is fired.

    A claim makes tens of thousands of objects that live until their runs end; by default each 700 of them
    cause a collection. Measured on a burst of 10,000: a fifth of the time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


def look(scheduler: Scheduler, executor: ThreadExecutor) -> None:
    """What is done when the bell rings: somebody changed a job, asked for a run, or cancelled one."""
    scheduler.wakeup()
    executor.look()


def stop_on_signals(scheduler: Scheduler, executor: ThreadExecutor) -> None:
    """Let the first SIGTERM or SIGINT stop `scheduler`, the second end the grace, and the third the process."""

    def listen(handler: Callable[[int, object], None] | signal.Handlers) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, handler)

    def stop(number: int, frame: object) -> None:
        listen(hurry)
        scheduler.stop()

    def hurry(number: int, frame: object) -> None:
        listen(signal.SIG_DFL)
        executor.hurry()

    listen(stop)
