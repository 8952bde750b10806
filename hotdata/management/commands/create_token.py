"""`manage.py create_token`: makes a token of the API, and prints it, this once."""

from __future__ import annotations

import argparse
import re
from datetime import datetime
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError
from django.utils import timezone

from hotdata.management.when import parse_when
from hotdata.models import ApiToken
from hotdata.text import storable

SPAN = re.compile(r"\d+\s*[a-z]+", re.IGNORECASE)
EPILOG = """\
examples:
  manage.py create_token ada ci
  manage.py create_token ada website --read-only --expires 90d
  manage.py create_token ada ci-2027 --expires 2028-01-01 > token.txt

The token alone goes to standard output, and what there is to say of it to standard error. Nobody can show it again.
"""


class Command(BaseCommand):
    help = "Make a token of the API for a user, whose permissions it has."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return super().create_parser(prog_name, subcommand, epilog=EPILOG, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        parser.add_argument("user", help="whose token it is")
        parser.add_argument("name", help="what it is for; a word that no token had before")
        parser.add_argument(
            "--expires", metavar="WHEN", help="90d, 12h, or '2027-01-31 09:30'; never, without it"
        )
        parser.add_argument("--read-only", action="store_true", help="whatever the user may, only look")

    def handle(
        self, *args: Any, user: str, name: str, expires: str | None, read_only: bool, **options: Any
    ) -> None:
        try:
            token, secret = self._make(user, name, expires, read_only)
        except ValidationError as error:
            raise CommandError("; ".join(error.messages)) from error
        except OperationalError as error:
            raise CommandError(f"The database can't be used now: {error}") from error
        self.stderr.write(_described(token), self.style.NOTICE)
        self.stdout.write(secret)

    def _make(self, username: str, name: str, expires: str | None, read_only: bool) -> tuple[ApiToken, str]:
        users: Any = get_user_model()._default_manager
        user = users.filter(**{users.model.USERNAME_FIELD: storable(username)}).first()
        if user is None:
            raise CommandError(f"There is no user {username!r}.")
        if not user.is_active:
            raise CommandError(f"{username} is not active, so a token would open nothing.")
        return ApiToken.issue(
            name=storable(name),
            user=user,
            by="create_token",
            read_only=read_only,
            expires_at=None if expires is None else _expiry(expires),
        )


def _expiry(text: str) -> datetime:
    text = f"in {text}" if SPAN.fullmatch(text.strip()) else text
    try:
        return parse_when(text, now=timezone.now(), time_zone=settings.TIME_ZONE)
    except (ValueError, OverflowError) as error:
        raise CommandError(f"--expires: {error}") from error


def _described(token: ApiToken) -> str:
    may = "only look at what" if token.read_only else "do what"
    until = "until it is revoked"
    if token.expires_at is not None:
        until = f"until {timezone.localtime(token.expires_at).isoformat(timespec='seconds')}"
    return f"Token {token.name}: it may {may} {token.user} may, {until}. It is shown this once:"
