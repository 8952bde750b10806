"""`manage.py cleanup_logs`: deletes old records, and says what it kept."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from tqdm import tqdm

from hotdata.conf import FOREVER, RETAINED, conf
from hotdata.retention import cleanup
from hotdata.retention.cleanup import Account, CleaningAlready, CleanUp

CUT_OFF = 130
EPILOG = """\
kinds, and for how many days they are kept (HOTDATA_RETENTION, as in runs=30,usage=forever):
{kinds}

examples:
  manage.py cleanup_logs --dry-run
  manage.py cleanup_logs --kind runs calls --days 30

Runs that have not ended are kept whatever their age, and so are open alerts, messages that wait to be sent, and what
people edited and did. Of a job with "keep runs" only so many finished runs are kept, and those marked notable.
--days without --kind leaves alone what is kept for ever, and usage, from which statements are made.

It deletes in small batches with rests between them, so that it can be called while everything else is at work; only
one clean-up works at a time. Ctrl-C or SIGTERM stop it after the batch: it says what it has done until then, exits
with {cut_off}, and the next call goes on. Each batch is committed by itself.
"""


class Command(BaseCommand):
    help = "Delete records that are older than the settings say, in small batches. Can be stopped and called again."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        ages = "\n".join(f"  {kind:12}{_age(getattr(conf().retention, kind))}" for kind in RETAINED)
        epilog = EPILOG.format(kinds=ages, cut_off=CUT_OFF)
        return super().create_parser(prog_name, subcommand, epilog=epilog, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        parser.add_argument(
            "--kind", nargs="+", default=[], choices=RETAINED, help="only these; all by default"
        )
        parser.add_argument(
            "--days", type=int, help="delete what is older than this, whatever the setting says"
        )
        parser.add_argument("--dry-run", action="store_true", help="only say what would be deleted and kept")
        parser.add_argument("--json", action="store_true", help="say it as JSON")

    def handle(self, *args: Any, kind: list[str], days: int | None, dry_run: bool, **options: Any) -> None:
        try:
            shares = cleanup.shares(kind, days)
        except ValueError as error:
            raise CommandError(f"--{error}") from error
        others = [] if kind else cleanup.untouched()
        if dry_run:
            self._say([*CleanUp(shares, timezone.now()).count(), *others], "would delete", options["json"])
            return
        with tqdm(unit=" rows", unit_scale=True, disable=None, leave=False) as bar, _stops() as stopped:

            def progress(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)
                if stopped:
                    raise Stopped

            clean_up, cut_off = CleanUp(shares, timezone.now(), progress=progress), False
            try:
                clean_up.run()
            except CleaningAlready as error:
                raise CommandError(str(error)) from error
            except Stopped:
                cut_off = True
        self._say([*clean_up.accounts.values(), *others], "deleted", options["json"])
        if cut_off:
            self.stderr.write("Stopped. Call it again to go on.")
            sys.exit(CUT_OFF)

    def _say(self, accounts: list[Account], verb: str, as_json: bool) -> None:
        if as_json:
            told = {account.kind: account.to_json() for account in accounts}
            self.stdout.write(json.dumps({"dry_run": verb != "deleted", "kinds": told}, indent=2))
            return
        self.stdout.write(f"{'kind':12}{verb:>14}  kept")
        for account in accounts:
            self.stdout.write(f"{account.kind:12}{account.deleted:14,}  {_kept(account)}")


class Stopped(Exception):
    """A signal asked to stop."""


def _kept(account: Account) -> str:
    """What is kept of a kind, and why."""
    reasons = [f"{rows:,} that {why}" for why, rows in account.kept.items()]
    if account.days is None:
        return "; ".join(f"all: {why}, {rows:,}" for why, rows in account.kept.items()) or "all, for ever"
    if not account.finished:
        return "not finished"
    days = "a day" if account.days == 1 else f"{account.days:,} days"
    return "; ".join([f"younger than {days}", *reasons])


def _age(days: int | None) -> str:
    return FOREVER if days is None else f"{days:,}"


@contextmanager
def _stops() -> Iterator[list[int]]:
    """Inside the block SIGINT and SIGTERM are noted in the list, the first time; a second one stops at once."""
    noted: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(number)
        for each in before:
            signal.signal(each, signal.SIG_DFL)

    before = {each: signal.signal(each, note) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield noted
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
