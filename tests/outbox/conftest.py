"""A real mail server and a real webhook, to which the settings point."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_django import Settings

from tests.outbox.mailers import send_through
from tests.outbox.servers import MailServer, Webhook, mail_server, webhook


@pytest.fixture
def mail(settings: Settings) -> Iterator[MailServer]:
    """A mail server that the site sends through, whom Django's test runner has not replaced."""
    with mail_server() as server:
        send_through(settings, host="127.0.0.1", port=server.port, timeout=5)
        yield server


@pytest.fixture
def hook(settings: Settings) -> Iterator[Webhook]:
    """A webhook, to which the first of the alert URLs points."""
    with webhook() as server:
        settings.HOTDATA_ALERT_URLS = [f"json://127.0.0.1:{server.port}/s3cret-token"]
        yield server
