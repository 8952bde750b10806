"""Recipients, and servers that take what is sent to them."""

from __future__ import annotations

import pytest
from pytest_django import Settings

from tests.freshness.conftest import redis_down
from tests.outbox.conftest import hook, mail

__all__ = ["hook", "mail", "redis_down"]


@pytest.fixture
def ada(settings: Settings) -> str:
    """The one who is told of alerts."""
    settings.HOTDATA_ALERT_MAIL = ["ada@example.com"]
    return "ada@example.com"
