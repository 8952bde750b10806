"""Sources: how they are defined and how they stand, and "refresh now"."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from hotdata.freshness import demands, meters, wants
from hotdata.freshness.meters import Served
from hotdata.freshness.upstream import gate_of
from hotdata.models import ApiCall, Source
from tests.api.test_jobs import pages, post, refused
from tests.builders import Staff, caches_at, make_call, make_source, store
from tests.freshness.hostile import closed_port

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clear_cache")]

LIST, ONE = "/api/sources", "/api/sources/stock"
SECRET = "3d8a-very-secret-51c7"


@pytest.fixture
def source() -> Source:
    return make_source(
        name="stock",
        title="Stocks",
        pinned=("AAPL", "MSFT"),
        secret_headers={"X-API-Key": "HOTDATA_SECRET_STOCKS"},
        objective_age=timedelta(minutes=1),
    )


def test_a_source_is_told_with_how_it_stands(staff: Staff, source: Source) -> None:
    store("stock", "AAPL", age=30)
    meters.note("stock", Served.FRESH, 10.0)
    meters.flush()
    make_call("stock")
    make_call("stock", outcome=ApiCall.Outcome.FAILED, error="503")
    gate_of(source).enter(hold=timedelta(seconds=5))
    answer = staff("view_source").get(ONE)
    told = answer.json()
    assert answer["Cache-Control"] == "private, no-store"
    assert (told["name"], told["title"], told["enabled"], told["rests"]) == ("stock", "Stocks", True, False)
    assert (told["calls"]["calls"], told["calls"]["failed"]) == (2, 1)
    assert told["calls"]["p50"] == pytest.approx(0.02, rel=0.06)
    assert (told["gate"]["breaker"], told["gate"]["budget"], told["gate"]["under_way"]) == (
        "closed",
        60_000,
        1,
    )
    assert (told["reads"]["reads"], told["reads"]["fresh"]) == (1, 1.0)
    assert (told["objective"]["age"], told["objective"]["met_share"]) == (60.0, 1.0)
    assert (told["hot_keys"]["count"], told["hot_keys"]["missing"]) == (2, 1)
    assert told["hot_keys"]["oldest"]["key"] == "AAPL"
    assert 30 <= told["hot_keys"]["oldest"]["age"] < 40
    assert datetime.fromisoformat(told["last_success"]).utcoffset() is not None


def test_a_source_is_told_with_its_definition(staff: Staff, source: Source) -> None:
    told = staff("view_source").get(ONE).json()
    assert told["pinned_keys"] == 2
    definition = told["definition"]
    assert (definition["base_url"], definition["path"]) == ("https://upstream.example", "/stocks/{key}")
    assert (definition["soft_ttl"], definition["max_age"]) == (300.0, None)
    left_out = {"id", "name", "title", "enabled"}
    assert definition.keys() == {field.name for field in Source._meta.concrete_fields} - left_out


def test_secrets_are_named_and_never_shown(
    staff: Staff, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOTDATA_SECRET_STOCKS", SECRET)
    Source.objects.update(headers={"X-Odd": f"Bearer {SECRET}"}, query={"token": SECRET})
    answer = staff("view_source").get(ONE)
    assert answer.json()["definition"]["secret_headers"] == {"X-API-Key": "HOTDATA_SECRET_STOCKS"}
    assert SECRET not in answer.content.decode()
    assert answer.json()["definition"]["headers"] == {"X-Odd": "Bearer [secret]"}


def test_sources_are_listed_by_name_in_pages(staff: Staff) -> None:
    for name in "cab":
        make_source(name=name)
    make_source(name="d", enabled=False)
    found = pages(staff("view_source"), LIST, limit=2)
    assert [[source["name"] for source in page] for page in found] == [["a", "b"], ["c", "d"]]
    assert found[1][1]["rests"]
    assert found[0][0]["objective"] is None
    assert "definition" not in found[0][0]


def test_no_sources_are_an_empty_page(staff: Staff) -> None:
    assert staff("view_source").get(LIST).json() == {"items": [], "next": None}


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "cursor=!", "name=stock", "cursor=AA"])
def test_a_query_that_makes_no_sense_is_400(staff: Staff, query: str) -> None:
    refused(staff("view_source").get(f"{LIST}?{query}"), 400)


def test_the_list_costs_as_many_queries_for_many_sources_as_for_one(
    staff: Staff, django_assert_max_num_queries: Any
) -> None:
    client = staff("view_source")
    for number in range(20):
        make_call(make_source(name=f"source-{number}", pinned=("A", "B")).name)
    with django_assert_max_num_queries(8):
        assert len(client.get(LIST).json()["items"]) == 20
    with django_assert_max_num_queries(12):
        assert client.get(f"{LIST}/source-1").status_code == 200


def test_without_redis_what_the_database_knows_is_told(staff: Staff, source: Source, settings: Any) -> None:
    client = staff("view_source", "refresh_source")
    make_call("stock")
    settings.CACHES = caches_at(f"redis://{closed_port()}/0")
    for told in (client.get(ONE).json(), client.get(LIST).json()["items"][0]):
        assert told["calls"]["calls"] == 1
        assert (told["gate"], told["reads"], told["objective"], told["hot_keys"]) == (None,) * 4
    answer = post(client, f"{ONE}/refresh")
    refused(answer, 503)
    assert int(answer["Retry-After"]) > 0


@pytest.mark.parametrize("path", ["/nothing", "/%00", "/stock/", "/stock/keys", "/" + "x" * 5000])
def test_a_source_that_is_not_there_is_404(staff: Staff, source: Source, path: str) -> None:
    refused(staff("view_source").get(LIST + path), 404)


# Refresh


def test_the_hot_keys_of_a_source_are_refreshed_on_demand(staff: Staff, source: Source) -> None:
    wants.announce()
    answer = post(staff("refresh_source"), f"{ONE}/refresh")
    assert (answer.status_code, answer.json()) == (202, {"source": "stock", "keys": 2})
    assert demands.take(10) == {"stock": ["AAPL", "MSFT"]}
    assert LogEntry.objects.get().change_message == "Refresh of 2 keys asked for."


def test_nothing_is_refreshed_where_nobody_would_do_it(staff: Staff, source: Source) -> None:
    answer = post(staff("refresh_source"), f"{ONE}/refresh")
    assert "refresh_due" in refused(answer, 503)
    assert int(answer["Retry-After"]) > 0
    assert demands.take(10) == {}
    assert not LogEntry.objects.exists()


def test_a_source_that_is_switched_off_is_not_refreshed(staff: Staff) -> None:
    make_source(name="stock", enabled=False, pinned=("AAPL",))
    wants.announce()
    assert refused(post(staff("refresh_source"), f"{ONE}/refresh"), 409) == "stock is switched off."
    assert demands.take(10) == {}


def test_a_source_without_hot_keys_has_nothing_to_refresh(staff: Staff) -> None:
    make_source(name="stock")
    assert post(staff("refresh_source"), f"{ONE}/refresh").json() == {"source": "stock", "keys": 0}
    assert not LogEntry.objects.exists()


# Who may


def test_sources_are_for_who_may_see_them_and_refreshed_by_who_may(staff: Staff, source: Source) -> None:
    wants.announce()
    for path in (LIST, ONE):
        refused(Client().get(path), 401)
        assert "hotdata.view_source" in refused(staff("view_job", "refresh_source").get(path), 403)
    refused(post(Client(), f"{ONE}/refresh"), 401)
    assert "hotdata.refresh_source" in refused(post(staff("view_source"), f"{ONE}/refresh"), 403)
    assert "CSRF" in refused(post(staff("refresh_source", check_csrf=True), f"{ONE}/refresh"), 403)
    answer = staff("refresh_source").get(f"{ONE}/refresh")
    assert (answer.status_code, answer["Allow"]) == (405, "POST")
    assert demands.take(10) == {}
