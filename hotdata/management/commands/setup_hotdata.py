"""`manage.py setup_hotdata`: the sources and jobs that a new installation begins with."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from hotdata.conf import conf
from hotdata.defaults.providing import Provision, provide
from hotdata.defaults.sources import PUBLIC, UPSTREAMS
from hotdata.models.history import edited_by

EPILOG = """\
examples:
  manage.py setup_hotdata
  manage.py setup_hotdata --upstream public

The sources are stock, news, weather and forecast. With the upstream "demo" they ask the one that demo_upstream
plays, at the setting HOTDATA_DEMO_UPSTREAM, and follow it when that changes. With "public" they ask real APIs, as
often as an address may that pays for nothing:

  stock     https://stock-api.kuaiyizhi.cn, with the key in HOTDATA_SECRET_STOCKS as X-API-Key, if it is set now
  news      the Hacker News search API, https://hn.algolia.com/api
  weather   Open-Meteo, https://open-meteo.com/en/docs: the weather now, for pinned cities with their coordinates
  forecast  likewise, for the days that the job cache_warmup fetches

On an installation that has its sources already, they move to the other upstream, and are refreshed at once. A source
that was edited in any way stays as it is. So does everything when --upstream is left out.
"""


class Command(BaseCommand):
    help = (
        "Make the default sources and jobs. Safe to call at each start: what was made before is left alone, "
        "also when it was edited or deleted since. New refresh jobs also run once at once."
    )

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return super().create_parser(prog_name, subcommand, epilog=EPILOG, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        parser.add_argument(
            "--upstream",
            choices=list(UPSTREAMS),
            help="whom the sources ask: by default the upstream that they have, and the demo on a new installation",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        kept = 0
        try:
            with edited_by("setup_hotdata"):
                for provision in provide(options["upstream"]):
                    if provision.outcome == "kept":
                        kept += 1
                    else:
                        self.stdout.write(_said(provision))
        except ValidationError as error:
            upstream = options["upstream"] if options["upstream"] == PUBLIC else conf().demo_upstream
            raise CommandError(
                f"The defaults can't be made with {upstream} as upstream: {'; '.join(error.messages)} "
                "See HOTDATA_DEMO_UPSTREAM and HOTDATA_ALLOW_PRIVATE."
            ) from error
        if kept:
            self.stdout.write(f"{kept} defaults left as they are.")


def _said(provision: Provision) -> str:
    what = f"{provision.kind} {provision.name}"
    match provision.outcome:
        case "moved":
            return f"moved {what} to {provision.base_url}"
        case "edited":
            return f"kept {what} at {provision.base_url}: it was edited since it was made"
        case "asked":
            return f"asked {what} to run now"
    return f"{provision.outcome} {what}"
