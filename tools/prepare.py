"""Brings the database up to date, puts the demo's jobs and sources into it, and sees that somebody can log in.

Prints the password of the user `admin` if it had to make one, and nothing else: messages go to standard error.
"""

from __future__ import annotations

import os
import secrets
import sys

import django
from django.core.management import call_command

ADMIN = "admin"


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    django.setup()
    call_command("migrate", interactive=False, verbosity=0)
    call_command("setup_hotdata", stdout=sys.stderr)
    sys.stdout.write(first_admin())


def first_admin() -> str:
    """Make a superuser if there is none; return the password, which is stored nowhere, or an empty text."""
    from django.contrib.auth import get_user_model

    users = get_user_model().objects
    if users.filter(is_superuser=True, is_active=True).exists():
        return ""
    password = secrets.token_urlsafe(12)
    users.create_superuser(ADMIN, password=password)
    return password


if __name__ == "__main__":
    main()
