"""`sendtestalert`: a message to everybody, and how each went."""

from __future__ import annotations

import io

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from hotdata.models import Delivery
from tests.outbox.conftest import hook, mail
from tests.outbox.servers import MailServer, Webhook

__all__ = ["hook", "mail"]

pytestmark = pytest.mark.django_db(transaction=True)


def test_each_channel_gets_a_message_and_says_how_it_went(
    mail: MailServer, hook: Webhook, settings: Settings
) -> None:
    settings.HOTDATA_ALERT_MAIL = ["ada@example.com"]
    out = io.StringIO()
    call_command("sendtestalert", stdout=out)
    assert out.getvalue() == "Mail to ada@example.com: Sent\nApprise to 0: Sent\n"
    assert mail.mails[0]["Subject"] == "hotdata: a test of alerts"
    assert len(hook.bodies) == 1


def test_what_is_not_taken_is_told_and_is_an_error(mail: MailServer, settings: Settings) -> None:
    settings.HOTDATA_ALERT_MAIL = ["ada@example.com", "bob@example.com"]
    mail.replies = {"RCPT bob@example.com": "550 no such user"}
    out = io.StringIO()
    with pytest.raises(CommandError, match="1 of 2 messages were not taken"):
        call_command("sendtestalert", stdout=out)
    assert "Mail to bob@example.com: Failed. The mail server answered 550: no such user" in out.getvalue()


def test_with_nobody_to_be_told_it_says_what_to_set() -> None:
    with pytest.raises(CommandError, match="HOTDATA_ALERT_MAIL or HOTDATA_ALERT_URLS"):
        call_command("sendtestalert")
    assert not Delivery.objects.exists()
