"""`manage.py revoke_token`: a token of the API is refused from now on, for good."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError
from django.utils import timezone

from hotdata.models import ApiToken
from hotdata.text import storable


class Command(BaseCommand):
    help = "Revoke a token of the API, at once and for good."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="the token's name")

    def handle(self, *args: Any, name: str, **options: Any) -> None:
        try:
            self._revoke(name)
        except OperationalError as error:
            raise CommandError(f"The database can't be used now: {error}") from error

    def _revoke(self, name: str) -> None:
        now = timezone.now()
        token = ApiToken.objects.filter(name=storable(name)).first()
        if token is None:
            known = ", ".join(ApiToken.objects.valid(now).values_list("name", flat=True)) or "none"
            raise CommandError(f"There is no token named {name!r}. Valid tokens: {known}.")
        if token.revoke(by="revoke_token", now=now):
            self.stdout.write(f"{token.name} is revoked.")
        else:
            self.stdout.write(f"{token.name} was revoked already.")
