"""``/metrics``: for whom it is, in which formats, and what it says when it can't tell."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db import OperationalError
from django.http import HttpResponse
from django.test import Client
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain
from pytest_django import Settings

from hotdata.observing import metrics
from hotdata.observing.metrics import readings
from hotdata.observing.patience import at_most
from hotdata.observing.totals import BeingCounted
from tests.builders import Staff
from tests.observing.test_patience import take_long

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clear_cache")]

ELSEWHERE = {"REMOTE_ADDR": "203.0.113.7"}
OPENMETRICS = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75"


@pytest.fixture(autouse=True)
def _new_readings() -> Iterator[None]:
    readings.forget()
    yield
    readings.forget()


def get(client: Client | None = None, **extra: str) -> HttpResponse:
    answer = (client or Client()).get("/metrics", **extra)
    assert isinstance(answer, HttpResponse)
    return answer


# For whom


def test_it_is_for_who_asks_from_this_machine() -> None:
    answer = get()
    assert answer.status_code == 200
    assert b"hotdata_redis_up 1.0" in answer.content
    assert answer["Cache-Control"] == "private, no-store"


def test_it_is_for_networks_that_the_settings_name(settings: Settings) -> None:
    assert get(**ELSEWHERE).status_code == 401
    settings.HOTDATA_METRICS_NETWORKS = ["203.0.113.0/24"]
    assert get(**ELSEWHERE).status_code == 200
    assert get().status_code == 401


@pytest.mark.parametrize("header", ["X_FORWARDED_FOR", "FORWARDED", "X_REAL_IP", "VIA"])
def test_who_comes_through_a_proxy_of_this_machine_is_not_from_here(header: str) -> None:
    assert get(**{f"HTTP_{header}": "127.0.0.1"}).status_code == 401


def test_behind_proxies_that_are_trusted_nobody_makes_an_address_up(settings: Settings) -> None:
    settings.HOTDATA_TRUSTED_PROXIES = 1
    assert get().status_code == 401, "it has passed by the proxy"
    assert get(HTTP_X_FORWARDED_FOR="127.0.0.1, 203.0.113.7").status_code == 401
    assert get(HTTP_X_FORWARDED_FOR="203.0.113.7, 127.0.0.1").status_code == 200


def test_it_is_for_staff_who_may_read_metrics(staff: Staff) -> None:
    assert get(staff(), **ELSEWHERE).status_code == 403
    assert get(staff("view_job"), **ELSEWHERE).status_code == 403
    assert get(staff("view_metrics", is_staff=False), **ELSEWHERE).status_code == 403
    assert get(staff("view_metrics"), **ELSEWHERE).status_code == 200


@pytest.mark.parametrize("method", ["post", "put", "delete"])
def test_it_is_only_read(method: str) -> None:
    assert getattr(Client(), method)("/metrics").status_code == 405


# In which form


def test_it_is_text_that_prometheus_reads() -> None:
    answer = get()
    assert answer["Content-Type"].startswith("text/plain; version=0.0.4")
    families = {family.name for family in plain(answer.content.decode())}
    assert {"hotdata_build_info", "hotdata_runs_waiting", "hotdata_nodes"} <= families


def test_who_asks_for_openmetrics_gets_that() -> None:
    answer = get(HTTP_ACCEPT=OPENMETRICS)
    assert answer["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert answer["Vary"] == "Accept"
    families = {family.name for family in openmetrics(answer.content.decode())}
    assert {"hotdata_build", "hotdata_runs_waiting", "hotdata_nodes"} <= families


@pytest.mark.parametrize(
    "accept", ["", "application/openmetrics-text; version=x", "text/plain; version=\x00", ",;=", "*/*"]
)
def test_what_is_no_format_gets_the_plain_one(accept: str) -> None:
    answer = get(HTTP_ACCEPT=accept)
    assert answer["Content-Type"].startswith("text/plain")


def test_it_is_in_no_language() -> None:
    answer = get(HTTP_ACCEPT_LANGUAGE="zh-CN")
    assert "Language" not in answer["Vary"]
    assert "Content-Language" not in answer


# When it can't tell


def test_a_database_that_is_away_makes_it_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(now: object) -> None:
        raise OperationalError("connection to secret-host failed")

    monkeypatch.setattr(metrics, "read", away)
    answer = get()
    assert answer.status_code == 503
    assert b"secret-host" not in answer.content


def test_a_database_that_takes_too_long_makes_it_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(now: object) -> None:
        with at_most(timedelta(milliseconds=50)):
            take_long()

    monkeypatch.setattr(metrics, "read", endless)
    assert get().status_code == 503


def test_totals_that_are_just_being_counted_make_it_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    def counting(now: object) -> None:
        raise BeingCounted("The totals of runs are just being counted.")

    monkeypatch.setattr(metrics, "read", counting)
    assert get().status_code == 503
