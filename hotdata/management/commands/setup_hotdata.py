"""`manage.py setup_hotdata`: the sources and jobs that a new installation begins with."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from hotdata import defaults
from hotdata.conf import conf


class Command(BaseCommand):
    help = (
        "Make the default sources and jobs. Safe to call at each start: what was made before is left alone, "
        "also when it was edited or deleted since. New refresh jobs also run once at once."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        kept = 0
        try:
            for provision in defaults.provide():
                if provision.outcome == "kept":
                    kept += 1
                else:
                    self.stdout.write(f"{provision.outcome} {provision.kind} {provision.name}")
        except ValidationError as error:
            raise CommandError(
                f"The defaults can't be made with {conf().demo_upstream} as upstream: {'; '.join(error.messages)} "
                "See HOTDATA_DEMO_UPSTREAM and HOTDATA_ALLOW_PRIVATE."
            ) from error
        if kept:
            self.stdout.write(f"{kept} defaults left as they are.")
