"""A real mail server and a real webhook, to which the settings point."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_django import Settings

from tests.outbox.servers import MailServer, Webhook, mail_server, webhook


@pytest.fixture
def mail(settings: Settings) -> Iterator[MailServer]:
    """A mail server that the site sends through, whom Django's test runner has not replaced."""
    with mail_server() as server:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.port
        settings.EMAIL_HOST_USER = settings.EMAIL_HOST_PASSWORD = ""
        settings.EMAIL_USE_TLS = settings.EMAIL_USE_SSL = False
        settings.EMAIL_TIMEOUT = 5
        yield server


@pytest.fixture
def hook(settings: Settings) -> Iterator[Webhook]:
    """A webhook, to which the first of the alert URLs points."""
    with webhook() as server:
        settings.HOTDATA_ALERT_URLS = [f"json://127.0.0.1:{server.port}/s3cret-token"]
        yield server
