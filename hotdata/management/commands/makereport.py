"""`manage.py makereport`: makes a report of a day or a week that is over, or a month's statement; or does so again."""

from __future__ import annotations

import argparse
from typing import Any

import msgspec
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from hotdata.conf import conf
from hotdata.exceptions import HotdataError
from hotdata.reporting.kinds import KINDS
from hotdata.reporting.orders import Again, Order
from hotdata.reporting.periods import FORMS, last_complete, parse

EPILOG = """\
examples:
  manage.py makereport daily_report
  manage.py makereport weekly_report --period 2026-W47
  manage.py makereport daily_report --period 2026-11-25 --remake --mail
  manage.py makereport monthly_billing --period 2026-10 --correct

What is there already is left as it is, and that is no error. --mail posts that, too.

--remake works a report out from the records once more. Where fewer of them are left than it counts, since old ones
were deleted, it stays as it is: --force replaces it all the same.

A statement is never replaced. --correct issues a correction, if what is on record now comes to something else: there
was late usage, or prices were edited.
"""
NOT_SO = {
    Again.REMAKE: "A statement stays as it was issued: --remake and --force are only for reports. Say --correct to "
    "issue a correction, if what is on record now comes to something else.",
    Again.CORRECT: "--correct is only for statements (monthly_billing). Say --remake to make a report again.",
}
"""What is said where something can't be made again in this way."""
HINTS = {
    Again.REMAKE: "Say --remake to make it again.",
    Again.CORRECT: "Say --correct to issue a correction, if what is on record now comes to something else.",
}
THE_SAME = "What is on record now comes to the same: there is nothing to correct."


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
        parser.add_argument(
            "--remake", action="store_true", help="of a report: make it again if it is there already"
        )
        parser.add_argument(
            "--force", action="store_true", help="with --remake: even if it then counts fewer records"
        )
        parser.add_argument(
            "--correct",
            action="store_true",
            help="of a statement: issue a correction if it would come to something else now",
        )
        parser.add_argument(
            "--mail",
            action=argparse.BooleanOptionalAction,
            default=None,
            help="mail it, once more if it was there already (default: only what is new)",
        )
        parser.add_argument("--json", action="store_true", help="print what it holds as JSON")

    def handle(
        self,
        *args: Any,
        kind: str,
        period: str | None,
        remake: bool,
        force: bool,
        correct: bool,
        mail: bool | None,
        json: bool,
        **options: Any,
    ) -> None:
        found = KINDS.get(kind)
        if found is None:
            raise CommandError(f"There is no kind of report named {kind!r}. Kinds: {', '.join(KINDS)}.")
        for way, is_asked in ((Again.REMAKE, remake or force), (Again.CORRECT, correct)):
            if is_asked and found.again != way:
                raise CommandError(NOT_SO[way])
        if force and not remake:
            raise CommandError("--force is only for --remake.")
        if mail and not conf().report_mail:
            raise CommandError("HOTDATA_REPORT_MAIL names nobody whom it could be mailed to.")
        now = timezone.now()
        try:
            of = last_complete(found.length, now) if period is None else parse(period, found.length)
            if not json:
                self.stdout.write(f"{found.name} {of.name}: working it out …")
                self.stdout.flush()
            order = Order(by="makereport", now=now, remake=remake, force=force, correct=correct, mail=mail)
            made = found.make(of, order)
        except (HotdataError, ValueError) as error:
            raise CommandError(str(error)) from error
        if json:
            self.stdout.write(msgspec.json.format(msgspec.json.encode(made.read()), indent=2).decode())
            return
        self.stdout.write(made.said)
        if not made.done:
            self.stdout.write(THE_SAME if correct else HINTS[found.again])
