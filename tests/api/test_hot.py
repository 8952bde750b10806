from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client
from django.utils import timezone
from redis import Redis

from hotdata.freshness import definitions
from hotdata.models import Source
from project.demo.upstream import DemoUpstream
from tests.builders import caches_at, make_source, rest, store
from tests.freshness.conftest import close_upstreams
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
    assert answer["Cache-Control"] == "no-store"
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


# What caches are told


def directives(answer: Any) -> dict[str, int | None]:
    """The directives of Cache-Control, those without a number with None."""
    pairs = (directive.partition("=") for directive in answer["Cache-Control"].split(", "))
    return {name: int(number) if number else None for name, _, number in pairs}


def test_a_fresh_entry_is_cached_until_it_is_stale_and_for_errors_until_it_is_gone(client: Client) -> None:
    store(age=30, soft_ttl=90, hard_ttl=3690)
    answer = client.get("/api/hot/stock/AAPL")
    age, told = int(answer["Age"]), directives(answer)
    assert 30 <= age < 40
    assert told.keys() == {"public", "max-age", "stale-while-revalidate", "stale-if-error"}
    assert told["max-age"] in (89, 90), "from the fetch, as the age: a cache subtracts the one from the other"
    assert told["stale-while-revalidate"] == told["max-age"]
    assert told["stale-if-error"] in (3600, 3601)
    assert answer["Cache-Status"] == f'hotdata; hit; ttl={told["max-age"] - age}; key="AAPL"'


def test_a_stale_entry_is_stale_for_caches_and_good_while_they_ask_again(client: Client) -> None:
    store(age=70, soft_ttl=60, hard_ttl=3660)
    answer = client.get("/api/hot/stock/AAPL")
    told = directives(answer)
    assert told["max-age"] < int(answer["Age"])
    assert told["max-age"] + told["stale-while-revalidate"] > int(answer["Age"])
    assert answer["Cache-Status"].startswith("hotdata; hit; ttl=-1")


def test_an_entry_that_is_kept_no_longer_than_it_is_fresh_is_never_served_stale(client: Client) -> None:
    store(soft_ttl=60, hard_ttl=60)
    told = directives(client.get("/api/hot/stock/AAPL"))
    assert (told["stale-while-revalidate"], told["stale-if-error"]) == (0, 0)


@pytest.mark.parametrize(
    "known", ['W/"1a2b"', '"1a2b"', '"other", W/"1a2b"', 'W/"other" ,"1a2b"', "*"], ids=lambda text: text
)
@pytest.mark.parametrize("method", ["get", "head"])
def test_who_has_the_value_is_told_that_it_is_the_same_and_for_how_long(
    client: Client, method: str, known: str
) -> None:
    store(age=30, hash="1a2b")
    whole = client.get("/api/hot/stock/AAPL")
    answer = getattr(client, method)("/api/hot/stock/AAPL", headers={"If-None-Match": known})
    assert (answer.status_code, answer.content) == (304, b"")
    assert whole["ETag"] == answer["ETag"] == 'W/"1a2b"'
    assert directives(answer).keys() == directives(whole).keys()
    assert answer["Age"]
    assert answer["Cache-Status"].startswith("hotdata; hit; ttl=")
    assert "Content-Type" not in answer


@pytest.mark.parametrize("known", ['W/"other"', '"1A2B"', "1a2b", "", '"*"', '"", W/""'])
def test_who_has_another_value_gets_this_one(client: Client, known: str) -> None:
    store(hash="1a2b")
    answer = client.get("/api/hot/stock/AAPL", headers={"If-None-Match": known})
    assert (answer.status_code, answer.json()["value"]) == (200, 1)


def test_a_value_without_a_hash_has_no_etag(client: Client) -> None:
    store(hash="")
    answer = client.get("/api/hot/stock/AAPL", headers={"If-None-Match": 'W/""'})
    assert answer.status_code == 200
    assert "ETag" not in answer


def test_an_etag_does_not_spare_an_error(client: Client) -> None:
    rest("stock", "MSFT")
    refused(client.get("/api/hot/stock/MSFT", headers={"If-None-Match": "*"}), 503)


@pytest.mark.parametrize(("key", "named"), [("北京", ""), ('a"b c', '; key="a\\"b c"')])
def test_a_key_that_no_header_can_hold_is_left_out(client: Client, key: str, named: str) -> None:
    store(key=key, soft_ttl=60)
    status = client.get("/api/hot/stock/" + quote(key))["Cache-Status"]
    assert status in {f"hotdata; hit; ttl={left}{named}" for left in range(50, 61)}


@pytest.mark.django_db(transaction=True)
def test_what_was_fetched_for_this_reader_says_so(client: Client, settings: Any) -> None:
    with DemoUpstream() as upstream:
        settings.HOTDATA_ALLOW_PRIVATE = [f"127.0.0.1:{upstream.port}"]
        Source.objects.update(base_url=upstream.url)
        definitions.forget()
        fetched, again = (client.get("/api/hot/stock/AAPL") for _ in range(2))
        one_of_two, both = (client.get("/api/hot/stock?key=AAPL&key=MSFT") for _ in range(2))
        close_upstreams()
    assert one_of_two["Cache-Status"].startswith("hotdata; fwd=miss; stored; ttl=")
    assert both["Cache-Status"].startswith("hotdata; hit; ttl=")
    assert fetched.status_code == 200
    assert fetched["Cache-Status"].startswith("hotdata; fwd=miss; stored; ttl=")
    assert again["Cache-Status"].startswith("hotdata; hit; ttl=")
    assert fetched["ETag"] == again["ETag"]


def test_what_is_last_known_while_redis_is_away_says_so(client: Client, settings: Any) -> None:
    store(value="known", hash="1a2b")
    assert "last_known" not in client.get("/api/hot/stock/AAPL").json()
    settings.CACHES = caches_at(f"redis://{closed_port()}/0")
    answer = client.get("/api/hot/stock/AAPL")
    assert (answer.json()["value"], answer.json()["last_known"]) == ("known", True)
    assert answer["Cache-Status"].endswith('; key="AAPL"; detail=redis-down')
    assert answer["ETag"] == 'W/"1a2b"'
    several = client.get("/api/hot/stock?key=AAPL")
    assert several.json()["entries"]["AAPL"]["last_known"] is True
    assert several["Cache-Status"].endswith("; detail=redis-down")


@pytest.mark.parametrize("path", ["/api/hot/stock/AAPL", "/api/hot/stock?key=AAPL&key=MSFT"])
def test_what_is_last_known_after_a_flush_says_that_redis_has_lost_it(
    client: Client, redis: Redis, path: str
) -> None:
    for key in ("AAPL", "MSFT"):
        store(key=key)
    assert "detail" not in client.get(path)["Cache-Status"]
    redis.flushdb()
    rest("stock", "AAPL", "MSFT")
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer["Cache-Status"].startswith("hotdata; hit; ttl=")
    assert answer["Cache-Status"].endswith("; detail=redis-lost")


# Several keys


def test_several_keys_are_cached_as_long_as_each_of_them_is_good(client: Client) -> None:
    store(key="AAPL", age=50, soft_ttl=600, hard_ttl=700)
    store(key="MSFT", age=10, soft_ttl=40, hard_ttl=4000)
    answer = client.get("/api/hot/stock?key=AAPL&key=MSFT")
    told, age = directives(answer), int(answer["Age"])
    assert 50 <= age < 60
    assert 20 < told["max-age"] - age <= 30, "as MSFT"
    assert 610 <= told["max-age"] + told["stale-if-error"] - age <= 650, "as AAPL"
    assert answer["Cache-Status"] == f"hotdata; hit; ttl={told['max-age'] - age}"


def test_several_keys_are_not_sent_again_while_none_of_them_has_another_value(client: Client) -> None:
    store(key="AAPL", value=1, hash="1a")
    store(key="MSFT", value=2, hash="2b")
    both = "/api/hot/stock?key=AAPL&key=MSFT"
    etag = client.get(both)["ETag"]
    same = client.get(both, headers={"If-None-Match": etag})
    assert (same.status_code, same.content, same["ETag"]) == (304, b"", etag)
    assert "max-age" in same["Cache-Control"]
    assert client.get("/api/hot/stock?key=AAPL", headers={"If-None-Match": etag}).status_code == 200
    store(key="MSFT", value=3, hash="3c")
    assert client.get(both, headers={"If-None-Match": etag}).status_code == 200


def test_several_keys_of_which_one_is_missing_are_not_cached(client: Client) -> None:
    store()
    answer = client.get("/api/hot/stock?key=AAPL&key=TSLA")
    assert (answer["Cache-Control"], "Age" in answer, "Cache-Status" in answer) == ("no-store", False, False)


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
    assert "100" in refused(client.get("/api/hot/stock", {"key": keys}), 400)


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


# Languages


LANGUAGES = {"Accept-Language": "zh-Hans;q=0.9, de;q=0.8"}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/hot/stock/AAPL", 200),
        ("/api/hot/stock?key=AAPL", 200),
        ("/api/hot/stock?key=AAPL&key=TSLA", 200),
        ("/api/hot/stock/TSLA", 404),
        ("/api/hot/nothing", 400),
        ("/api/hot/a/b/c/", 404),
    ],
)
@pytest.mark.parametrize("logged_in", [False, True])
def test_what_is_for_everybody_varies_by_nothing(
    client: Client, admin_user: Any, path: str, status: int, logged_in: bool
) -> None:
    store()
    if logged_in:
        client.force_login(admin_user)
    client.cookies["django_language"] = "de"
    answer = client.get(path, headers=LANGUAGES)
    assert answer.status_code == status
    assert "Vary" not in answer
    assert "Content-Language" not in answer


def test_an_answer_without_a_body_varies_by_nothing_either(client: Client) -> None:
    store(hash="1a2b")
    answer = client.get("/api/hot/stock/AAPL", headers={"If-None-Match": "*"} | LANGUAGES)
    assert (answer.status_code, "Vary" in answer) == (304, False)


def test_pages_are_in_the_language_of_their_reader(client: Client) -> None:
    answer = client.get("/admin/login/", headers=LANGUAGES)
    assert "Accept-Language" in answer["Vary"]
    assert answer["Content-Language"] == "zh-hans"


def test_what_is_for_staff_varies_by_who_asks(client: Client, admin_user: Any) -> None:
    client.force_login(admin_user)
    answer = client.get("/api/freshness/stock", headers=LANGUAGES)
    assert (answer.status_code, answer["Vary"]) == (200, "Cookie")
