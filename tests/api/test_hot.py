from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client
from django.utils import timezone

from tests.builders import caches_at, make_source, rest, store
from tests.freshness.hostile import closed_port

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clear_cache")]

ODD_PATHS = [
    "/api/hot/stock/%2e%2e",
    "/api/hot/stock/..%2f..%2fadmin",
    "/api/hot/stock/a%2Fb",
    "/api/hot/stock/a/b",
    "/api/hot/stock/AAPL/",
    "/api/hot/stock/AAPL%00",
    "/api/hot/stock/AAPL%0A",
    "/api/hot/stock/%0AAAPL",
    "/api/hot/stock/%ff",
    "/api/hot/stock/%ed%a0%80",
    "/api/hot/stock/%e2%80%8b",
    "/api/hot/stock/" + "x" * 5000,
    "/api/hot/stock/",
    "/api/hot/",
    "/api/hot",
    "/api/hot/st%20ock/AAPL",
    "/api/hot/%e5%8c%97/AAPL",
    "/api/hot/%00/AAPL",
    "/api/hot/%00",
    "/api/hot/" + "x" * 5000 + "/AAPL",
]


@pytest.fixture(autouse=True)
def _source() -> None:
    make_source(name="stock", pinned=("AAPL", "MSFT", "北京"))


@pytest.fixture
def down(settings: Any) -> None:
    settings.CACHES = caches_at(f"redis://{closed_port()}/0")


def refused(answer: Any, status: int) -> str:
    """The error of a refusal, after a look at its form."""
    assert answer.status_code == status
    assert answer["Content-Type"] == "application/json; charset=utf-8"
    assert answer.json().keys() == {"error"}
    assert answer.json()["error"]
    return answer.json()["error"]


# One key


def test_anybody_may_read_an_entry(client: Client) -> None:
    stored = store(value={"price": 1.5, "名": "苹果"}, age=30)
    answer = client.get("/api/hot/stock/AAPL")
    assert answer.status_code == 200
    assert answer["Content-Type"] == "application/json; charset=utf-8"
    shown = answer.json()
    assert shown.keys() == {"source", "key", "value", "fetched_at", "age", "state"}
    assert (shown["source"], shown["key"], shown["state"]) == ("stock", "AAPL", "fresh")
    assert shown["value"] == {"price": 1.5, "名": "苹果"}
    assert 30 <= shown["age"] < 40
    assert datetime.fromisoformat(shown["fetched_at"]).timestamp() == pytest.approx(
        stored.fetched_at, abs=1e-5
    )


def test_times_have_the_offset_of_the_site(client: Client) -> None:
    store()
    with timezone.override("Asia/Kolkata"):
        shown = client.get("/api/hot/stock/AAPL").json()["fetched_at"]
    assert datetime.fromisoformat(shown).utcoffset() == timedelta(hours=5, minutes=30)
    assert shown.endswith("+05:30")


def test_a_stale_entry_is_served_and_says_so(client: Client) -> None:
    store(age=600, soft_ttl=300)
    shown = client.get("/api/hot/stock/AAPL").json()
    assert shown["state"] == "stale"
    assert shown["age"] >= 600


def test_a_key_in_any_script_is_served(client: Client) -> None:
    store(key="北京", value="晴")
    answer = client.get("/api/hot/stock/" + quote("北京"))
    assert answer.json()["value"] == "晴"
    assert "晴" in answer.content.decode()


def test_a_pinned_key_without_an_entry_is_503_with_a_time_to_come_back(client: Client) -> None:
    rest("stock", "MSFT")
    answer = client.get("/api/hot/stock/MSFT")
    assert "'MSFT'" in refused(answer, 503)
    assert int(answer["Retry-After"]) > 0


@pytest.mark.parametrize(
    "path", ["/api/hot/stock/TSLA", "/api/hot/nothing/AAPL", "/api/hot/nothing?key=AAPL"]
)
def test_what_is_not_served_is_404(client: Client, path: str) -> None:
    assert "Retry-After" not in client.get(path)
    refused(client.get(path), 404)


@pytest.mark.parametrize("path", ODD_PATHS, ids=lambda path: path[:40])
def test_an_odd_path_is_404_in_json(client: Client, path: str) -> None:
    store(key="AAPL")
    refused(client.get(path), 404)


def test_an_unreachable_redis_is_503_with_a_time_to_come_back(client: Client, down: None) -> None:
    for path in ("/api/hot/stock/AAPL", "/api/hot/stock?key=AAPL"):
        answer = client.get(path)
        refused(answer, 503)
        assert int(answer["Retry-After"]) > 0


# Several keys


def test_several_keys_are_answered_each_for_itself(client: Client) -> None:
    store(key="AAPL", value=1)
    store(key="北京", value=2, age=600, soft_ttl=300)
    rest("stock", "MSFT")
    answer = client.get("/api/hot/stock", {"key": ["AAPL", "北京", "MSFT", "TSLA", "a/b", ""]})
    assert answer.status_code == 200
    shown = answer.json()
    assert shown.keys() == {"source", "entries", "errors"}
    assert shown["source"] == "stock"
    assert {key: entry["value"] for key, entry in shown["entries"].items()} == {"AAPL": 1, "北京": 2}
    assert shown["entries"]["北京"]["state"] == "stale"
    assert shown["errors"].keys() == {"MSFT", "TSLA", "a/b", ""}
    assert all(shown["errors"].values())


def test_a_hundred_keys_are_answered_and_one_more_is_400(client: Client) -> None:
    keys = [f"K{number}" for number in range(101)]
    assert len(client.get("/api/hot/stock", {"key": keys[:100]}).json()["errors"]) == 100
    assert "101" in refused(client.get("/api/hot/stock", {"key": keys}), 400)


@pytest.mark.parametrize("query", ["", "?", "?keys=AAPL", "?KEY=AAPL"])
def test_no_keys_are_400(client: Client, query: str) -> None:
    refused(client.get("/api/hot/stock" + query), 400)


def test_malformed_keys_of_a_source_that_does_not_exist_are_404(client: Client) -> None:
    refused(client.get("/api/hot/nothing", {"key": ["a/b"]}), 404)


@pytest.mark.parametrize("key", ["%00", "%ff", "%ed%a0%80", "x" * 5000, "%0A", ".."])
def test_an_odd_key_among_others_is_an_error_of_its_own(client: Client, key: str) -> None:
    store()
    shown = client.get(f"/api/hot/stock?key=AAPL&key={key}").json()
    assert list(shown["entries"]) == ["AAPL"]
    assert len(shown["errors"]) == 1


# Methods


@pytest.mark.parametrize("path", ["/api/hot/stock/AAPL", "/api/hot/stock?key=AAPL"])
def test_a_head_is_a_get_without_a_body(client: Client, path: str) -> None:
    store()
    answer = client.head(path)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer["Content-Type"] == "application/json; charset=utf-8"


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete", "options"])
@pytest.mark.parametrize("path", ["/api/hot/stock/AAPL", "/api/hot/stock?key=AAPL"])
@pytest.mark.parametrize("check_csrf", [False, True])
def test_another_method_is_405_in_json(method: str, path: str, check_csrf: bool) -> None:
    answer = getattr(Client(enforce_csrf_checks=check_csrf), method)(path)
    refused(answer, 405)
    assert answer["Allow"] == "GET, HEAD"


def test_a_read_needs_no_cookie_and_sets_none(client: Client) -> None:
    store()
    assert not client.get("/api/hot/stock/AAPL").cookies
