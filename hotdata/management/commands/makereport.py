"""`manage.py makereport`: makes a report of a day, a week or a month that is over, or makes it again."""

from __future__ import annotations

import argparse
from typing import Any

import msgspec
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from hotdata.exceptions import HotdataError
from hotdata.reporting.kinds import KINDS
from hotdata.reporting.periods import FORMS, last_complete, parse
from hotdata.reporting.reports import Order

EPILOG = """\
examples:
  manage.py makereport daily_report
  manage.py makereport weekly_report --period 2026-W47
  manage.py makereport daily_report --period 2026-11-25 --remake --mail

A report that is there already is left as it is, and that is no error. --remake works it out from the records once
more. Where fewer of them are left than it counts, since old ones were deleted, it stays as it is: --force replaces it
all the same.
"""


class Command(BaseCommand):
    help = "Make a report of a period that is over: by default the last one. One that is there already stays."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return super().create_parser(prog_name, subcommand, epilog=EPILOG, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        parser.add_argument("kind", help=f"one of: {', '.join(KINDS)}")
        examples = ", ".join(example for _, example in FORMS.values())
        parser.add_argument(
            "--period", help=f"such as {examples}, as the kind has it (default: the last one that is over)"
        )
        parser.add_argument("--remake", action="store_true", help="make it again if it is there already")
        parser.add_argument(
            "--force", action="store_true", help="with --remake: even if it then counts fewer records"
        )
        parser.add_argument(
            "--mail",
            action=argparse.BooleanOptionalAction,
            default=None,
            help="mail it (default: only one that was not there before)",
        )
        parser.add_argument("--json", action="store_true", help="print what it holds as JSON")

    def handle(
        self,
        *args: Any,
        kind: str,
        period: str | None,
        remake: bool,
        force: bool,
        mail: bool | None,
        json: bool,
        **options: Any,
    ) -> None:
        found = KINDS.get(kind)
        if found is None:
            raise CommandError(f"There is no kind of report named {kind!r}. Kinds: {', '.join(KINDS)}.")
        if force and not remake:
            raise CommandError("--force is only for --remake.")
        now = timezone.now()
        try:
            of = last_complete(found.length, now) if period is None else parse(period, found.length)
            if not json:
                self.stdout.write(f"{found.name} {of.name}: working it out …")
                self.stdout.flush()
            order = Order(by="makereport", now=now, remake=remake, force=force, mail=mail)
            made = found.make(of, order)
        except (HotdataError, ValueError) as error:
            raise CommandError(str(error)) from error
        if json:
            self.stdout.write(msgspec.json.format(msgspec.json.encode(made.data), indent=2).decode())
            return
        self.stdout.write(made.said)
        if not made.done:
            self.stdout.write("Say --remake to make it again.")
