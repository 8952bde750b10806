from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from hotdata.admin import source_actions
from hotdata.freshness import demands, entries, trials, wants
from hotdata.freshness.upstream import gate_of
from hotdata.models import ApiCall, ChangeCounter, Key, Source
from project.demo.upstream import DemoUpstream
from tests.admin.test_source_page import VIEWS, url
from tests.builders import Staff, make_source, rest, store
from tests.freshness.test_refresher import asked, serving, stocks

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clear_cache")]

REDIS_ALONE = pytest.mark.only_on("sqlite")
PERMISSIONS = {
    "refresh": ("refresh_source",),
    "try": ("refresh_source",),
    "pin": ("change_source", "add_key"),
    "unpin": ("change_source", "delete_key"),
}


@pytest.fixture(autouse=True)
def _who_serves_is_believed_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow this machine is."""
    monkeypatch.setattr(wants, "SIGN_LASTS", timedelta(minutes=10))


@pytest.fixture
def operator(staff: Staff) -> Client:
    return staff("view_source", "refresh_source", "change_source", "add_key", "delete_key")


def press(client: Client, source: Source, view: str, **fields: str) -> str:
    """What the page says after a button was pressed."""
    answer = client.post(url(source, view), fields, follow=True)
    assert answer.status_code == 200
    return " ".join(str(message) for message in answer.context["messages"])


def logged() -> list[tuple[str, str]]:
    return [(entry.user.username, entry.change_message) for entry in LogEntry.objects.order_by("pk")]


def value(key: str) -> Any:
    stored = entries.read("stock", key)
    return None if stored is None else stored.value


# Who may


@pytest.mark.parametrize("view", VIEWS)
def test_looking_never_acts(operator: Client, view: str) -> None:
    source = make_source(name="stock", pinned=("AAPL",))
    wants.announce()
    for method in (operator.get, operator.head):
        assert method(url(source, view), {"key": "AAPL"}).status_code == 405
    assert demands.take(1) == {}
    assert source.pinned.count() == 1
    assert not ApiCall.objects.exists()


@pytest.mark.parametrize("view", VIEWS)
def test_each_action_needs_its_own_permission(staff: Staff, view: str) -> None:
    source = make_source(name="stock", pinned=("AAPL",))
    wants.announce()
    everything = {permission for needed in PERMISSIONS.values() for permission in needed} | {"view_source"}
    for missing in PERMISSIONS[view]:
        answer = staff(*(everything - {missing})).post(url(source, view), {"key": "AAPL"})
        assert answer.status_code == 403, missing
    assert demands.take(1) == {}
    assert source.pinned.count() == 1
    assert logged() == []


@pytest.mark.parametrize("view", VIEWS)
def test_strangers_and_forged_forms_do_nothing(client: Client, staff: Staff, view: str) -> None:
    source = make_source(name="stock", pinned=("AAPL",))
    assert client.post(url(source, view), {"key": "AAPL"})["Location"].startswith("/admin/login/")
    forged = staff(*PERMISSIONS[view], check_csrf=True)
    assert forged.post(url(source, view), {"key": "AAPL"}).status_code == 403
    assert source.pinned.count() == 1
    assert logged() == []


@pytest.mark.parametrize("view", VIEWS)
def test_a_source_that_does_not_exist_is_no_crash(admin_client: Client, view: str) -> None:
    for row in ("999", "nothing", "%00"):
        assert admin_client.post(f"/admin/hotdata/source/{row}/{view}/", {"key": "A"}).status_code == 404


@pytest.mark.parametrize("view", VIEWS)
def test_what_is_no_key_is_refused_in_words(operator: Client, view: str) -> None:
    source = make_source(name="stock", pinned=("AAPL",))
    for key in ("..", "a/b", "x" * 129, "a\x00b", ""):
        answer = operator.post(url(source, view), {"key": key}, follow=True)
        assert answer.status_code == 200
        assert list(answer.context["messages"])
    assert source.pinned_keys() == ["AAPL"]
    assert logged() == []


@pytest.mark.parametrize("view", ["refresh", "pin", "try"])
def test_without_redis_an_action_says_so(operator: Client, view: str, redis_down: None) -> None:
    source = make_source(name="stock", query={"lat": "{latitude}"}, key_policy="any")
    assert "Redis" in press(operator, source, view, key="Oslo")
    assert not Key.objects.exists()


def test_a_key_that_needs_no_placeholders_is_pinned_without_redis(operator: Client, redis_down: None) -> None:
    source = make_source(name="stock")
    assert "is pinned" in press(operator, source, "pin", key="AAPL")


def test_the_page_of_keys_from_which_it_was_done_is_shown_again(operator: Client) -> None:
    source = make_source(name="stock", pinned=("AAPL",))
    fields = {"key": "AAPL", "table_key": "a&b=京", "table_page": "2"}
    there = operator.post(url(source, "unpin"), fields)["Location"]
    assert there == f"{url(source)}?key=a%26b%3D%E4%BA%AC&page=2#keys"


def test_whoever_may_refresh_but_not_look_comes_to_the_first_page(staff: Staff) -> None:
    source = make_source(name="stock")
    assert staff("refresh_source").post(url(source, "refresh"))["Location"] == "/admin/"


# Refresh, while a scheduler keeps data fresh


@REDIS_ALONE
@pytest.mark.django_db(transaction=True)
def test_a_key_is_refreshed_by_the_scheduler_although_it_is_fresh(
    operator: Client, demo: DemoUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_actions, "PATIENCE", timedelta(seconds=60))
    source = stocks(demo, "AAPL")
    store(key="AAPL", value="old", age=5)
    with serving():
        said = press(operator, source, "refresh", key="AAPL")
    assert "was refreshed by the scheduler" in said
    assert value("AAPL") != "old"
    assert logged() == [("ada", "Refresh of AAPL asked for.")]


def test_all_hot_keys_are_handed_to_the_scheduler(operator: Client) -> None:
    source = make_source(name="stock", pinned=("AAPL", "北京"))
    wants.announce()
    assert "2 keys are being refreshed" in press(operator, source, "refresh")
    assert sorted(demands.take(10)["stock"]) == ["AAPL", "北京"]
    assert logged() == [("ada", "Refresh of 2 keys asked for.")]


def test_what_does_not_come_at_once_is_said(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_actions, "PATIENCE", timedelta(seconds=0))
    source = make_source(name="stock", pinned=("AAPL",))
    wants.announce()
    assert "nothing new has come yet" in press(operator, source, "refresh", key="AAPL")
    assert demands.take(10) == {"stock": ["AAPL"]}


def test_a_source_without_hot_keys_says_so(operator: Client) -> None:
    wants.announce()
    assert "has no hot keys" in press(operator, make_source(name="stock"), "refresh")


def test_a_source_that_is_switched_off_is_not_refreshed(operator: Client) -> None:
    source = make_source(name="stock", pinned=("AAPL",), enabled=False)
    wants.announce()
    assert "switched off" in press(operator, source, "refresh", key="AAPL")
    assert "switched off" in press(operator, source, "refresh")
    assert demands.take(1) == {}
    assert logged() == []


def test_only_keys_that_the_source_serves_or_has_are_refreshed(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_actions, "PATIENCE", timedelta(seconds=0))
    source = make_source(name="stock", pinned=("AAPL",))
    wants.announce()
    store(key="STORED")
    assert "doesn&#x27;t serve" in press(operator, source, "refresh", key="OTHER").replace("'", "&#x27;")
    press(operator, source, "refresh", key="STORED")
    press(operator, source, "refresh", key="AAPL")
    assert sorted(demands.take(10)["stock"]) == ["AAPL", "STORED"]


# Refresh, while none does


@REDIS_ALONE
@pytest.mark.django_db(transaction=True)
def test_one_key_is_refreshed_here(operator: Client, demo: DemoUpstream) -> None:
    source = stocks(demo, "AAPL")
    rest("stock", "AAPL")
    assert "was refreshed here" in press(operator, source, "refresh", key="AAPL")
    assert value("AAPL")["symbol"] == "AAPL"
    assert ApiCall.objects.count() == 1
    assert logged() == [("ada", "Refresh of AAPL asked for.")]


@REDIS_ALONE
@pytest.mark.django_db(transaction=True)
def test_a_failure_here_is_said(operator: Client, demo: DemoUpstream) -> None:
    source = stocks(demo, "AAPL")
    demo.set_fault("/stocks", "500")
    assert "answered 500" in press(operator, source, "refresh", key="AAPL")


def test_many_keys_are_not_refreshed_here(operator: Client) -> None:
    source = make_source(name="stock", pinned=("AAPL", "MSFT"))
    assert "nothing was asked for" in press(operator, source, "refresh")
    assert demands.take(1) == {}
    assert logged() == []


# Pin and unpin


def test_a_key_is_pinned_and_unpinned_in_the_users_name(operator: Client) -> None:
    source, before = make_source(name="stock"), ChangeCounter.current()
    assert "is pinned" in press(operator, source, "pin", key="北京")
    assert source.pinned_keys() == ["北京"]
    assert "pinned already" in press(operator, source, "pin", key="北京")
    assert ChangeCounter.current() == before + 1
    assert "pinned no more" in press(operator, source, "unpin", key="北京")
    assert "was not pinned" in press(operator, source, "unpin", key="北京")
    assert ChangeCounter.current() == before + 2
    assert not Key.objects.exists()
    assert logged() == [("ada", "Pinned 北京."), ("ada", "Unpinned 北京.")]


def test_a_key_that_does_not_match_the_pattern_is_not_pinned(operator: Client) -> None:
    source = make_source(name="stock", key_policy="pattern", key_pattern="[A-Z]+")
    assert "pattern" in press(operator, source, "pin", key="aapl")
    assert not Key.objects.exists()


def test_a_key_is_pinned_with_what_it_was_asked_for_last(operator: Client) -> None:
    source = make_source(name="stock", query={"lat": "{latitude}"})
    assert "{latitude}" in press(operator, source, "pin", key="Oslo")
    assert not Key.objects.exists()
    store(key="Oslo", placeholders={"latitude": "59.9"})
    press(operator, source, "pin", key="Oslo")
    assert source.placeholders_by_key() == {"Oslo": {"latitude": "59.9"}}


# Test fetch


@REDIS_ALONE
@pytest.mark.django_db(transaction=True)
def test_a_test_shows_what_comes_and_stores_nothing(operator: Client, demo: DemoUpstream) -> None:
    source = stocks(demo, "AAPL")
    page = operator.post(url(source, "try"), {"key": "AAPL"}).content.decode()
    assert "Accepted" in page
    assert "&quot;symbol&quot;: &quot;AAPL&quot;" in page
    assert value("AAPL") is None
    assert ApiCall.objects.count() == gate_of(source).look().calls == 1
    assert logged() == [("ada", "Tested AAPL.")]


@REDIS_ALONE
@pytest.mark.django_db(transaction=True)
def test_a_test_says_what_the_rules_say(operator: Client, demo: DemoUpstream) -> None:
    source = stocks(demo, bounds={"price": [None, -1]})
    page = operator.post(url(source, "try"), {"key": "AAPL"}).content.decode()
    assert "Refused" in page
    assert "not at most -1" in page
    assert "&quot;price&quot;" in page


@REDIS_ALONE
@pytest.mark.django_db(transaction=True)
def test_a_test_goes_by_what_is_saved_and_not_by_what_is_sent(operator: Client, demo: DemoUpstream) -> None:
    source = stocks(demo)
    operator.post(
        url(source, "try"), {"key": "AAPL", "path": "/news/{key}", "base_url": "https://evil.example"}
    )
    assert ApiCall.objects.get().url == f"{demo.url}/stocks/AAPL"


@REDIS_ALONE
@pytest.mark.django_db(transaction=True)
def test_hostile_values_are_shown_as_text(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = trials.Trial(
        key="AAPL", made=True, value="<script>alert(1)</script>", refusal="<b>no</b>", url="<i>"
    )
    monkeypatch.setattr(trials, "try_out", lambda *args: shown)
    page = operator.post(url(make_source(name="stock"), "try"), {"key": "AAPL"}).content.decode()
    assert "&lt;script&gt;alert(1)" in page
    assert not re.search(r"<script>alert|<b>no</b>|<i>", page)


@REDIS_ALONE
@pytest.mark.django_db(transaction=True)
def test_a_person_may_test_so_often_a_minute(operator: Client, demo: DemoUpstream) -> None:
    source = stocks(demo)
    for _ in range(trials.TURNS):
        assert "Accepted" in operator.post(url(source, "try"), {"key": "AAPL"}).content.decode()
    page = operator.post(url(source, "try"), {"key": "AAPL"}).content.decode()
    assert "Try again in" in page
    assert len(asked(demo)) == trials.TURNS
    assert len(logged()) == trials.TURNS


@REDIS_ALONE
@pytest.mark.django_db(transaction=True)
def test_an_address_that_may_not_be_asked_is_said(operator: Client, settings: Any) -> None:
    settings.HOTDATA_ALLOW_PRIVATE = ["127.0.0.1:1"]
    source = make_source(name="stock", base_url="http://127.0.0.1:1", pinned=("AAPL",))
    settings.HOTDATA_ALLOW_PRIVATE = []
    page = operator.post(url(source, "try"), {"key": "AAPL"}).content.decode()
    assert "Only https is allowed" in page
    assert not ApiCall.objects.exists()


@REDIS_ALONE
@pytest.mark.django_db(transaction=True)
def test_a_pinned_key_is_tested_with_its_placeholders(operator: Client, demo: DemoUpstream) -> None:
    source = stocks(demo, query={"lat": "{latitude}"})
    Key.objects.create(source=source, key="AAPL", placeholders={"latitude": "59.9"})
    assert "Accepted" in operator.post(url(source, "try"), {"key": "AAPL"}).content.decode()
    assert "{latitude}" in operator.post(url(source, "try"), {"key": "MSFT"}).content.decode()
