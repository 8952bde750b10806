"""How the site sends mail in a test: Django 6.1 has MAILERS in place of the EMAIL_ settings."""

from __future__ import annotations

from typing import Any

from django.core import mail

SMTP = "django.core.mail.backends.smtp.EmailBackend"
NAMES = {
    "host": "EMAIL_HOST",
    "port": "EMAIL_PORT",
    "username": "EMAIL_HOST_USER",
    "password": "EMAIL_HOST_PASSWORD",
    "timeout": "EMAIL_TIMEOUT",
}


def mail_settings(backend: str = SMTP, **options: Any) -> dict[str, Any]:
    """The settings by which mail goes through `backend`, with these options of it."""
    if hasattr(mail, "mailers"):
        return {"MAILERS": {"default": {"BACKEND": backend, "OPTIONS": options}}}
    return {"EMAIL_BACKEND": backend} | {NAMES[name]: value for name, value in options.items()}


def send_through(settings: Any, backend: str = SMTP, **options: Any) -> None:
    """Send mail so until the end of the test."""
    for name, value in mail_settings(backend, **options).items():
        setattr(settings, name, value)
