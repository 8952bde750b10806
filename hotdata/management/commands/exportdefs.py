"""`manage.py exportdefs`: writes jobs, sources and pinned keys to a file."""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from hotdata.definitions.export import CantExport, document, text_of

EPILOG = """\
examples:
  manage.py exportdefs -o definitions.yaml
  manage.py exportdefs --jobs update_stocks,update_news --sources stock

Written is what differs from the defaults, in a stable order. There are no secrets in it: sources name environment
variables. Whether a job is paused is left out, and so are one-offs and other jobs that will never be due again. With
--jobs or --sources only what they name is written.
"""


class Command(BaseCommand):
    help = "Write the definitions of jobs, sources and pinned keys as YAML, for review and for `applydefs`."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return super().create_parser(prog_name, subcommand, epilog=EPILOG, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        parser.add_argument("--jobs", metavar="A,B", type=_names, help="only these jobs")
        parser.add_argument("--sources", metavar="A,B", type=_names, help="only these sources")
        parser.add_argument(
            "-o", "--output", metavar="FILE", type=Path, help="write there, and not to the terminal"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        jobs, sources = options["jobs"], options["sources"]
        if (jobs, sources) != (None, None):
            jobs, sources = jobs or (), sources or ()
        try:
            written, over = document(jobs=jobs, sources=sources, now=timezone.now())
            text = text_of(written)
        except CantExport as error:
            raise CommandError(str(error)) from error
        if over:
            self.stderr.write(f"Left out, since they will never be due again: {', '.join(over)}.")
        if options["output"] is None:
            self.stdout.write(text, ending="")
            return
        try:
            replace(options["output"], text)
        except OSError as error:
            raise CommandError(f"{options['output']} can't be written: {error.strerror}") from error
        self.stderr.write(
            f"{len(written.sources)} sources and {len(written.jobs)} jobs are in {options['output']}."
        )


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def replace(path: Path, text: str) -> None:
    """Put `text` in the place of what is at `path`, as a whole or not at all. Raises OSError."""
    path = Path(os.path.realpath(path))  # what a link leads to, and not the link
    number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(number, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), _mode(path))
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _mode(path: Path) -> int:
    """The rights of the file that is there, or of a new one."""
    if path.exists():
        return path.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
