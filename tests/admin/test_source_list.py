from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone

from hotdata.freshness import demands, meters, wants
from hotdata.freshness.meters import Served
from hotdata.freshness.upstream import gate_of
from hotdata.models import ApiCall, Source
from tests.builders import Staff, make_call, make_source, store

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clear_cache")]

LIST = "/admin/hotdata/source/"
MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def _who_serves_is_believed_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow this machine is."""
    monkeypatch.setattr(wants, "SIGN_LASTS", timedelta(minutes=10))


def rows(client: Client, query: str = "") -> dict[str, str]:
    """The text of each source's row, by name."""
    answer = client.get(LIST + query)
    assert answer.status_code == 200
    names = [source.name for source in answer.context["cl"].result_list]
    found = answer.content.decode().partition("<tbody>")[2].partition("</tbody>")[0].split("</tr>")
    return dict(zip(names, found, strict=False))


def trip(source: Source) -> None:
    """Open its breaker."""
    for _ in range(source.breaker_failures):
        gate_of(source).enter(hold=MINUTE).leave(failed=True)


def test_the_list_shows_how_each_source_stands(admin_client: Client) -> None:
    source = make_source(
        name="stock", title="Stocks", pinned=("AAPL", "北京"), calls_per_minute=40, objective_age=MINUTE
    )
    gate_of(source).enter(hold=MINUTE).leave(failed=False)
    make_call(duration=timedelta(milliseconds=300), started_at=timezone.now() - timedelta(hours=3))
    make_call(outcome=ApiCall.Outcome.FAILED)
    for age in (1, 1, 1, 600):
        meters.note("stock", Served.FRESH, age)
    meters.flush()
    store(key="北京", age=200)
    row = rows(admin_client)["stock"]
    for shown in (
        "Stocks", "Breaker closed", "1 of 40", "hd-meter", "50.0 %", "75.0 %", "within 60 s", "北京",
        "2 pinned", "1 missing", "3 h 0 min ago",
    ):  # fmt: skip
        assert shown in row, shown


def test_the_state_is_told_by_word_and_sign(admin_client: Client) -> None:
    make_source(name="off", enabled=False)
    make_source(name="resting", windows="00:00-00:01 UTC sun")
    trip(make_source(name="dead", breaker_failures=2))
    left = make_source(name="left")
    gate_of(left).enter(hold=MINUTE).leave(failed=False, cooldown=MINUTE)
    shown = rows(admin_client)
    assert "Switched off" in shown["off"]
    assert "Rests" in shown["resting"]
    assert "✕</span> Breaker open" in shown["dead"]
    assert "Left alone for" in shown["left"]


def test_a_source_without_an_objective_shows_the_fresh_reads(admin_client: Client) -> None:
    make_source(name="stock")
    for served in (Served.FRESH, Served.FRESH, Served.FRESH, Served.STALE):
        meters.note("stock", served, 1.0)
    meters.flush()
    assert "75.0 % fresh" in rows(admin_client)["stock"]


def test_the_last_success_is_that_of_the_source_itself(admin_client: Client) -> None:
    make_source(name="stock")
    make_source(name="news")
    make_call("stock", started_at=timezone.now() - timedelta(hours=3))
    make_call("news", outcome=ApiCall.Outcome.FAILED)
    shown = rows(admin_client)
    assert "3 h 0 min ago" in shown["stock"]
    assert "ago</time>" not in shown["news"]


def test_texts_are_not_taken_for_html(admin_client: Client) -> None:
    make_source(name="stock", title="<i>Stocks</i>", pinned=("<b>K<",))
    store(key="<b>K<")
    row = rows(admin_client)["stock"]
    assert "&lt;i&gt;" in row
    assert "&lt;b&gt;K&lt;" in row
    assert "<i>" not in row
    assert "<b>K" not in row


@pytest.mark.parametrize("count", [1, 20])
def test_the_list_costs_few_queries_however_many_sources_there_are(
    admin_client: Client, django_assert_max_num_queries: Any, count: int
) -> None:
    for _ in range(count):
        make_source(pinned=("A", "B", "C"))
    with django_assert_max_num_queries(9):
        answer = admin_client.get(LIST)
    assert [source.key_count for source in answer.context["cl"].result_list] == [3] * count


def test_without_redis_the_list_is_there_and_says_so(admin_client: Client, redis_down: None) -> None:
    make_source(name="stock", pinned=("AAPL",))
    make_call(duration=timedelta(milliseconds=300))
    answer = admin_client.get(LIST)
    page = answer.content.decode()
    assert "Redis can&#x27;t be reached" in page
    row = rows(admin_client)["stock"]
    assert "1 pinned" in row
    assert "Not known" in row


def test_sources_are_searched_and_filtered(admin_client: Client) -> None:
    make_source(name="stock", title="行情")
    make_source(name="news", enabled=False)
    assert list(rows(admin_client, "?q=行情")) == ["stock"]
    assert list(rows(admin_client, "?enabled__exact=0")) == ["news"]
    assert "Nothing matches" in admin_client.get(LIST + "?q=zzz").content.decode()


def test_an_empty_list_says_what_to_do(admin_client: Client) -> None:
    assert "setup_hotdata" in admin_client.get(LIST).content.decode()


# Refresh of several


def selected(*sources: Source) -> dict[str, Any]:
    return {"action": "refresh_now", "_selected_action": [source.pk for source in sources]}


def test_the_hot_keys_of_several_sources_are_refreshed_at_once(staff: Staff) -> None:
    stock, news = make_source(name="stock", pinned=("AAPL", "MSFT")), make_source(name="news", pinned=("A",))
    wants.announce()
    client = staff("view_source", "refresh_source")
    page = client.post(LIST, selected(stock, news), follow=True).content.decode()
    assert "2 keys are being refreshed" in page
    assert "1 key is being refreshed" in page
    assert {source: sorted(keys) for source, keys in demands.take(10).items()} == {
        "stock": ["AAPL", "MSFT"],
        "news": ["A"],
    }
    assert {entry.user.username for entry in LogEntry.objects.all()} == {"ada"}
    assert LogEntry.objects.count() == 2


def test_whoever_may_not_refresh_has_no_such_action(staff: Staff) -> None:
    stock = make_source(name="stock", pinned=("AAPL",))
    wants.announce()
    client = staff("view_source", "change_source")
    assert "refresh_now" not in client.get(LIST).content.decode()
    client.post(LIST, selected(stock))
    assert demands.take(10) == {}
    assert not LogEntry.objects.exists()
