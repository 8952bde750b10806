"""`manage.py applydefs`: makes jobs, sources and pinned keys what a file says."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError
from django.utils import timezone

from hotdata.definitions import applying
from hotdata.definitions.applying import PlanHasChanged
from hotdata.definitions.plans import Plan, Verb
from hotdata.definitions.reading import MOST_BYTES, BadDocument, parse

WOULD_CHANGE = 2
STDIN = "-"
EPILOG = """\
examples:
  manage.py applydefs definitions.yaml --dry-run
  manage.py applydefs definitions.yaml --expect 3f0c9a12b7de
  ssh stage manage.py exportdefs | manage.py applydefs - --dry-run --exit-code

All is applied or, when anything is wrong, nothing; and then all that is wrong is told, with lines. A field that the
file leaves out becomes what it is by default. What is already as the file says is not touched: its schedule keeps its
phase, and nothing of it goes on record. Paused jobs stay paused, and new ones are not.

What the file doesn't have is left alone: jobs, sources, and pinned keys of its sources. --prune deletes it, but for
jobs that will never be due again. Runs of a deleted job that wait are cancelled; one that has begun goes on.

Each plan has a number that stands for all of it. --expect refuses any other than the one that was looked at.

Exit code: 0 when it is applied, or there was nothing to do, or it would go well; 1 when anything is wrong; with
--exit-code, 2 when a dry run would change something.
"""


class Command(BaseCommand):
    help = "Make jobs, sources and pinned keys what a file of `exportdefs` says, and show what that changes."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return super().create_parser(prog_name, subcommand, epilog=EPILOG, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        parser.add_argument("file", metavar="FILE", help="a file, or - for what is piped in")
        parser.add_argument("--dry-run", action="store_true", help="only show what would change")
        parser.add_argument("--prune", action="store_true", help="delete what the file doesn't have")
        parser.add_argument(
            "--expect", metavar="PLAN", default="", help="apply only this plan, by its number"
        )
        parser.add_argument("--reason", metavar="TEXT", default="", help="why, for the edit history")
        parser.add_argument(
            "--exit-code", action="store_true", help="exit with 2 when a dry run would change something"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        dry_run: bool = options["dry_run"]
        if options["exit_code"] and not dry_run:
            raise CommandError("--exit-code goes with --dry-run.")
        try:
            plan = applying.apply(
                parse(_content(options["file"])),
                timezone.now(),
                prune=options["prune"],
                dry_run=dry_run,
                expect=options["expect"],
                reason=options["reason"] or f"applied from {_shown(options['file'])}",
            )
        except BadDocument as error:
            for problem in error.problems:
                self.stderr.write(problem)
            raise CommandError("Nothing is applied.") from error
        except PlanHasChanged as error:
            raise CommandError(str(error)) from error
        except OperationalError as error:
            raise CommandError(f"The database can't be used now, and nothing is applied: {error}") from error
        self._show(plan, dry_run=dry_run)
        if plan.steps and options["exit_code"]:
            sys.exit(WOULD_CHANGE)

    def _show(self, plan: Plan, *, dry_run: bool) -> None:
        colour = {
            Verb.CREATE: self.style.SUCCESS,
            Verb.CHANGE: self.style.WARNING,
            Verb.DELETE: self.style.ERROR,
        }
        for line in plan.lines():
            shown = colour.get(line[0], str)  # type: ignore[call-overload]
            self.stdout.write(shown(line))
        if not plan.steps:
            self.stdout.write(f"Nothing to do: {plan.summary}.")
        elif dry_run:
            self.stdout.write(f"Plan {plan.digest}, not applied: {plan.summary}.")
        else:
            self.stdout.write(f"Applied plan {plan.digest}: {plan.summary}.")


def _shown(name: str) -> str:
    return "standard input" if name == STDIN else Path(name).name


def _content(name: str) -> bytes:
    """What the file holds, or a byte more than it may."""
    try:
        if name == STDIN:
            return sys.stdin.buffer.read(MOST_BYTES + 1)
        with Path(name).open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except OSError as error:
        raise CommandError(f"{name} can't be read: {error.strerror}") from error
