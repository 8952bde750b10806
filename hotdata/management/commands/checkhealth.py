"""`manage.py checkhealth`: how each component is now, for people and for a container's probe."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Collection
from concurrent.futures import TimeoutError as TooLate
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as AnyDatabaseError

from hotdata.models.components import Health
from hotdata.observing.bounded import look_at, look_at_sources
from hotdata.observing.health import DATABASE, LOOKS, ORDER, Part, Report

LONGEST = 3600  # seconds
CODES = {Health.OK: 0, Health.DEGRADED: 1, Health.DOWN: 2}
NOT_CHECKED = 3
ALL_SOURCES = "sources"

EPILOG = """\
Components: database, redis, migrations, scheduler (somebody leads), jobs (none is overdue), and source:NAME.
They are looked at by this process; nothing goes on record, and no web server is needed.

Exit code: 0 all is ok, 1 something is degraded, 2 something is down, 3 nothing was checked, as for a component
that doesn't exist. With "--fail-on down" it is 0 also when something is degraded: a container should not be
started again because an upstream fails.
"""


def seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number of seconds, not {text!r}") from None
    if not 0 < number <= LONGEST:
        raise argparse.ArgumentTypeError(f"must be more than 0 and at most {LONGEST}")
    return number


class Command(BaseCommand):
    help = "Check the health of all components, or of some, and say it by the exit code, too."
    requires_system_checks = []

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return super().create_parser(prog_name, subcommand, epilog=EPILOG, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        parser.add_argument(
            "--component",
            action="append",
            default=[],
            metavar="NAME",
            help="only this one; may be given several times",
        )
        parser.add_argument("--json", action="store_true", help="as JSON, as the job health_check records it")
        parser.add_argument(
            "--timeout",
            type=seconds,
            default=5.0,
            metavar="SECONDS",
            help="what has not answered by then is down (default: %(default)s)",
        )
        parser.add_argument(
            "--fail-on",
            choices=[Health.DEGRADED.value, Health.DOWN.value],
            default=Health.DEGRADED.value,
            help="the least that the exit code tells (default: %(default)s)",
        )

    def run_from_argv(self, argv: list[str]) -> None:
        """As always, but for the exit code of words that aren't understood, which is argparse's 2, our `down`."""
        try:
            self.create_parser(argv[0], argv[1]).parse_args(argv[2:])
        except CommandError as error:
            self.stderr.write(str(error))
            sys.exit(NOT_CHECKED)
        super().run_from_argv(argv)

    def handle(
        self, *args: Any, component: list[str], json: bool, timeout: float, fail_on: str, **options: Any
    ) -> None:
        report = Report(parts=_look(component, timeout))
        self.stdout.write(_as_json(report) if json else "\n".join(_lines(report)))
        if report.state != Health.DEGRADED or fail_on == Health.DEGRADED:
            sys.exit(CODES[report.state])


def _look(wanted: Collection[str], timeout: float) -> dict[str, Part]:
    """How the `wanted` components are, or all; known within `timeout` and a second."""
    until = time.monotonic() + timeout
    own = [name for name in LOOKS if name in wanted or not wanted]
    parts = {name: seen.part for name, seen in look_at(own, timeout=timedelta(seconds=timeout)).items()}
    sources = set(wanted) - LOOKS.keys()
    database_is_down = DATABASE in parts and parts[DATABASE].state == Health.DOWN
    if sources or not (wanted or database_is_down):
        parts |= _look_at_sources(sources, max(0.0, until - time.monotonic()))
    return parts


def _look_at_sources(wanted: Collection[str], timeout: float) -> dict[str, Part]:
    try:
        found = look_at_sources(timeout=timedelta(seconds=timeout))
    except (AnyDatabaseError, TooLate) as error:
        unseen = Part(state=Health.DOWN, detail=f"The database did not tell of it ({type(error).__name__}).")
        return dict.fromkeys(wanted or [ALL_SOURCES], unseen)
    unknown = sorted(set(wanted) - found.keys())
    if unknown:
        raise CommandError(
            f"There is no component {', '.join(unknown)}. There are: {', '.join([*LOOKS, *found])}.",
            returncode=NOT_CHECKED,
        )
    return {name: part for name, part in found.items() if name in wanted or not wanted}


def _lines(report: Report) -> list[str]:
    """A line for each component, the worst first."""
    parts = sorted(report.parts.items(), key=lambda named: -ORDER.index(named[1].state))
    return [f"{part.state:<9} {name}: {' '.join(part.detail.split())}" for name, part in parts]


def _as_json(report: Report) -> str:
    return json.dumps(report.to_json(), ensure_ascii=False)
