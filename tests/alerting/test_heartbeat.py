"""The heartbeat: a call for as long as all is well, and silence else. Its URL is a secret."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import Settings

from hotdata.alerting import heartbeat
from hotdata.alerting.heartbeat import HeartbeatFailed, beat
from hotdata.checks import check_apprise, check_heartbeat_url, check_mail, is_safe_to_call
from hotdata.models import Component, Look
from tests.freshness.conftest import closed_port
from tests.outbox.servers import Webhook

pytestmark = pytest.mark.django_db
SECRET = "3f1c9b7e-s3cret"


@pytest.fixture
def monitor(hook: Webhook, settings: Settings) -> Webhook:
    """Who waits for the call."""
    settings.HOTDATA_HEARTBEAT_URL = f"http://127.0.0.1:{hook.port}/ping/{SECRET}?rid=1"
    return hook


def component(name: str, state: str) -> None:
    now = timezone.now()
    Component.objects.create(name=name, state=state, since=now, checked_at=now)


def test_without_a_url_nobody_is_called() -> None:
    assert beat(timezone.now()) == "HOTDATA_HEARTBEAT_URL is not set."


def test_while_all_is_well_the_url_is_called(monitor: Webhook) -> None:
    component("redis", "ok")
    component("scheduler", "degraded")
    component("source:stock", "down")
    Look.objects.create(looked_at=timezone.now())
    assert beat(timezone.now()) == "Called."
    assert monitor.paths == [f"/ping/{SECRET}?rid=1"]


@pytest.mark.parametrize("name", heartbeat.PARTS)
def test_while_a_part_is_down_there_is_silence(monitor: Webhook, name: str) -> None:
    component(name, "down")
    assert beat(timezone.now()) == f"Not called: {name} down."
    assert monitor.paths == []


def test_while_nobody_looks_for_alerts_there_is_silence(monitor: Webhook) -> None:
    Look.objects.create(looked_at=timezone.now() - timedelta(minutes=11))
    assert beat(timezone.now()) == "Not called: nobody looks for alerts."
    assert monitor.paths == []


@pytest.mark.parametrize("status", [302, 404, 500])
def test_a_call_in_vain_is_an_error_that_does_not_name_the_url(
    monitor: Webhook, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monitor.status, monitor.location = status, "https://elsewhere.example/"
    with pytest.raises(HeartbeatFailed) as failed:
        beat(timezone.now())
    assert SECRET not in str(failed.value) + caplog.text
    assert failed.value.__context__ is None
    assert not failed.value.permanent
    assert len(monitor.paths) == 1


def test_nobody_there_is_an_error_that_does_not_name_the_url(settings: Settings) -> None:
    settings.HOTDATA_HEARTBEAT_URL = f"http://{closed_port()}/{SECRET}"
    with pytest.raises(HeartbeatFailed) as failed:
        beat(timezone.now())
    assert str(failed.value) == "The heartbeat URL was called in vain: UpstreamUnreachable."
    assert failed.value.__context__ is None


def test_a_monitor_that_hangs_costs_the_timeout(monitor: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "TIMEOUT", timedelta(seconds=0.3))
    monitor.held = True
    with pytest.raises(HeartbeatFailed, match="UpstreamTimeout"):
        beat(timezone.now())


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("https://hc-ping.com/3f1c", True),
        ("https://10.0.0.7:8443/3f1c", True),
        ("http://localhost:8000/3f1c", True),
        ("http://hc-ping.com/3f1c", False),
        ("https://user:password@hc-ping.com/", False),
        ("https://hc-ping.com:port/", False),
        ("ftp://localhost/", False),
        ("hc-ping.com/3f1c", False),
    ],
)
def test_a_secret_goes_over_https_or_stays_on_the_machine(settings: Settings, url: str, safe: bool) -> None:
    settings.HOTDATA_HEARTBEAT_URL = url
    assert is_safe_to_call(url) == safe
    errors = check_heartbeat_url(None)
    assert [error.id for error in errors] == ([] if safe else ["hotdata.E022"])
    assert url not in repr(errors)
    if not safe:
        with pytest.raises(HeartbeatFailed):
            beat(timezone.now())


def test_alert_urls_without_apprise_are_an_error_at_the_start(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.HOTDATA_ALERT_URLS = ["json://127.0.0.1/s3cret"]
    assert check_apprise(None) == []
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (error,) = check_apprise(None)
    assert error.id == "hotdata.E021"
    assert "s3cret" not in repr(error)


@pytest.mark.parametrize("setting", ["HOTDATA_ALERT_MAIL", "HOTDATA_REPORT_MAIL"])
def test_an_address_that_is_none_is_an_error_at_the_start(settings: Settings, setting: str) -> None:
    addresses = ["ada@example.com", "Ada <ada@example.com>", "x\r\nBcc: y@example.com"]
    setattr(settings, setting, addresses)
    errors = check_mail(None)
    assert [error.id for error in errors] == ["hotdata.E020"] * 2
    assert all(error.msg.startswith(setting) for error in errors)
