"""The plan of a source, for staff: each hot key with when it is refreshed and why, and the gate."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from hotdata.freshness.upstream import gate_of
from hotdata.models import Source
from tests.builders import Staff, caches_at, make_source, store
from tests.freshness.hostile import closed_port

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clear_cache")]

PATH = "/api/freshness/stock/plan"


@pytest.fixture(autouse=True)
def source() -> Source:
    return make_source(name="stock", pinned=("AAPL", "MSFT"), soft_ttl=timedelta(minutes=5))


def refused(answer: Any, status: int) -> str:
    assert answer.status_code == status
    assert answer.json().keys() == {"error"}
    return str(answer.json()["error"])


def test_each_key_is_told_with_when_it_is_refreshed_and_why(staff: Staff, source: Source) -> None:
    stored = store("stock", "AAPL", age=10, soft_ttl=300)
    gate_of(source).enter(hold=timedelta(seconds=5))
    told = staff("view_source").get(PATH).json()
    assert (told["source"], told["gate"]["calls"], told["gate"]["breaker"]) == ("stock", 1, "closed")
    missing, there = told["keys"]
    assert (missing["key"], missing["why"], missing["fetched_at"]) == ("MSFT", "not fetched yet", None)
    assert (there["key"], there["pinned"]) == ("AAPL", True)
    assert datetime.fromisoformat(there["due_at"]) > timezone.now()
    assert datetime.fromisoformat(there["fetched_at"]).timestamp() == pytest.approx(stored.fetched_at)
    assert there["why"].startswith("at least every")


def test_who_may_not_see_sources_sees_no_plan(staff: Staff) -> None:
    refused(Client().get(PATH), 401)
    refused(staff("view_job").get(PATH), 403)


def test_what_cannot_be_planned_says_why(staff: Staff, settings: Any) -> None:
    client = staff("view_source")
    assert "'nothing'" in refused(client.get("/api/freshness/nothing/plan"), 404)
    Source.objects.update(windows="whenever")
    assert refused(client.get(PATH), 409).startswith("windows: ")
    Source.objects.update(windows="")
    settings.CACHES = caches_at(f"redis://{closed_port()}/0")
    refused(client.get(PATH), 503)
