"""`manage.py cleanup_logs`: deletes old runs, API calls and hours of freshness."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from hotdata.conf import conf
from hotdata.observing import retention
from hotdata.observing.retention import CleanUp


class Command(BaseCommand):
    help = (
        "Delete runs, API calls and hours of freshness older than some days, in batches. Runs that have not ended "
        "are kept whatever their age. Can be stopped at any time and called again."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--days",
            type=int,
            default=conf().retention_days,
            help="delete what is older than this (default: %(default)s)",
        )
        parser.add_argument("--dry-run", action="store_true", help="only say what would be deleted")

    def handle(self, *args: Any, days: int, dry_run: bool, **options: Any) -> None:
        try:
            age = retention.age_of(days)
        except ValueError as error:
            raise CommandError(f"--{error}") from error
        if dry_run:
            self.stdout.write(f"Would delete {_said(retention.count(age), days)}.")
            return
        with tqdm(unit=" rows", disable=None, leave=False) as bar:

            def progress(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            deleted = retention.clean_up(age, progress=progress)
        self.stdout.write(f"Deleted {_said(deleted, days)}.")


def _said(counts: CleanUp, days: int) -> str:
    return (
        f"{counts.runs:,} runs, {counts.api_calls:,} API calls and {counts.freshness_hours:,} hours of freshness "
        f"older than {days} days"
    )
