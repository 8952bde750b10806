from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from hotdata.admin.source_form import MOST_KEYS
from hotdata.freshness import absences, meters
from hotdata.freshness.meters import BOUNDS, Served
from hotdata.freshness.upstream import gate_of
from hotdata.models import ApiCall, FreshnessHour, HotKey, Key, Source
from tests.builders import Staff, make_call, make_source, store

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clear_cache")]

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
VIEWS = ("refresh", "pin", "unpin", "try")


def url(source: Source, page: str = "change") -> str:
    return f"/admin/hotdata/source/{source.pk}/{page}/"


def page_of(client: Client, source: Source, query: str = "") -> str:
    answer = client.get(url(source) + query)
    assert answer.status_code == 200
    return str(answer.content.decode())


def keys_in(page: str) -> list[str]:
    return re.findall(r'<th scope="row" class="hd-key-name">([^<]*)</th>', page)


def read(source: str = "stock", *ages: float) -> None:
    for age in ages:
        meters.note(source, Served.FRESH, age)
    meters.flush()


# How it does


def test_the_page_shows_how_the_source_does(admin_client: Client) -> None:
    source = make_source(
        name="stock", title="Stocks", pinned=("AAPL",), calls_per_minute=40, objective_age=MINUTE
    )
    passage = gate_of(source).enter(hold=MINUTE)
    make_call(duration=timedelta(milliseconds=300))
    make_call(outcome=ApiCall.Outcome.FAILED)
    read("stock", 1, 1, 1, 600)
    page = page_of(admin_client, source)
    for shown in (
        "<h1>Stocks</h1>", "Breaker closed", "1 of 40", "of 8", "50.0 %", "1 of 2", "100.0 %",
        "In the last 24 h 75.0 % did.", "The error budget is spent 25.0 times over.",
        "Calls by the half hour", "The ages of values when they were read",
    ):  # fmt: skip
        assert shown in page, shown
    passage.leave(failed=False)


def test_what_was_rolled_up_and_what_was_not_make_one_day(admin_client: Client) -> None:
    source = make_source(name="stock")
    ages = [0] * len(BOUNDS)
    ages[20] = 100
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    FreshnessHour.objects.create(
        source="stock", hour=hour - 5 * HOUR, fresh=60, stale=30, misses=10, ages=ages
    )
    read("stock", *[1.0] * 10)
    record = admin_client.get(url(source)).context["record"]
    assert record.reads.count == 110
    assert record.reads.fresh == pytest.approx(70 / 110)
    assert record.reads.missed == pytest.approx(10 / 110)


@pytest.mark.parametrize(
    ("ages", "share", "said"),
    [
        ((), 0.99, "Nothing was read yet."),
        ((1, 1, 1, 600), 0.5, "50.0 % of the error budget is left."),
        ((1, 600), 1.0, "No read may miss it, and some did."),
    ],
)
def test_the_error_budget_is_told_in_words(
    admin_client: Client, ages: tuple[float, ...], share: float, said: str
) -> None:
    source = make_source(name="stock", objective_age=MINUTE, objective_share=share)
    read("stock", *ages)
    assert said in page_of(admin_client, source)


def test_a_source_that_was_never_used_says_so(admin_client: Client) -> None:
    page = page_of(admin_client, make_source(name="stock"))
    assert "Nobody has read anything" in page
    assert "The upstream was not asked" in page
    assert "No key is kept hot yet" in page


def test_secrets_are_shown_by_name_and_whether_they_are_set(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOTDATA_SECRET_ONE", "5ec2e7-one")
    monkeypatch.delenv("HOTDATA_SECRET_TWO", raising=False)
    source = make_source(
        secret_headers={"X-API-Key": "HOTDATA_SECRET_ONE"}, secret_query={"token": "HOTDATA_SECRET_TWO"}
    )
    page = page_of(admin_client, source)
    listed = page.partition('<ul class="hd-secrets">')[2].partition("</ul>")[0]
    one, two = re.findall(r"<li>(.*?)</li>", listed)
    assert "HOTDATA_SECRET_ONE" in one
    assert "HOTDATA_SECRET_TWO" in two
    assert "Set" in one
    assert "Not set" not in one
    assert "Not set" in two
    assert "5ec2e7" not in page


def test_without_redis_the_page_and_its_form_are_there(admin_client: Client, redis_down: None) -> None:
    source = make_source(name="stock", pinned=("AAPL",), objective_age=MINUTE)
    make_call()
    page = page_of(admin_client, source)
    assert "Redis can&#x27;t be reached" in page
    assert 'name="soft_ttl"' in page
    assert "Calls by the half hour" in page


@pytest.mark.parametrize("broken", [{"windows": "nonsense"}, {"key_policy": "pattern", "key_pattern": "["}])
def test_a_definition_that_is_broken_can_be_mended(admin_client: Client, broken: dict[str, str]) -> None:
    source = make_source(name="stock", pinned=("AAPL",))
    Source.objects.update(**broken)
    page = page_of(admin_client, source)
    assert "There is no plan for its keys" in page
    assert 'name="windows"' in page


def test_what_somebody_wrote_into_the_secrets_behind_the_forms_back_breaks_no_page(
    admin_client: Client,
) -> None:
    source = make_source(name="stock")
    Source.objects.update(secret_headers=["A"], secret_query={"<b>": 5})
    assert "&lt;b&gt;" in page_of(admin_client, source)


# Keys


def test_the_keys_are_shown_with_their_state_their_reads_and_the_reason_of_their_plan(
    admin_client: Client,
) -> None:
    source = make_source(name="stock", pinned=("北京", "GONE"), key_policy="any")
    HotKey.objects.create(source="stock", key="NVDA", reads_per_minute=12, seen_at=timezone.now())
    store(key="北京", age=400, soft_ttl=300)
    store(key="NVDA", age=5)
    absences.note("stock", "GONE", MINUTE)
    page = page_of(admin_client, source)
    assert sorted(keys_in(page)) == ["GONE", "NVDA", "北京"]
    for shown in (
        "Stale",
        "Fresh",
        "Absent",
        "pinned",
        "read often",
        "not fetched yet",
        "read 12 times a minute",
    ):
        assert shown in page, shown


def test_texts_from_outside_are_not_taken_for_html(admin_client: Client) -> None:
    key = "<script>alert(1)<"
    source = make_source(name="stock", title="<script>alert(2)", pinned=(key,), base_url="https://x.example")
    store(key=key, value={"<script>": "<script>alert(3)"})
    page = page_of(admin_client, source, "?key=%3Cscript%3Ealert(4)&page=%22%3E%3Cscript%3Ealert(5)")
    page += page_of(admin_client, source)
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;" in page


def test_keys_are_searched_and_shown_a_hundred_at_a_time(admin_client: Client) -> None:
    source = make_source(name="stock")
    Key.objects.bulk_create(Key(source=source, key=f"K{number:03}") for number in range(250))
    assert len(keys_in(page_of(admin_client, source))) == 100
    assert len(keys_in(page_of(admin_client, source, "?page=3"))) == 50
    assert len(keys_in(page_of(admin_client, source, "?page=nonsense"))) == 100
    assert len(keys_in(page_of(admin_client, source, "?page=99"))) == 50
    page = page_of(admin_client, source, "?key=k01")
    assert sorted(keys_in(page)) == [f"K01{digit}" for digit in range(10)]
    assert "No key matches" in page_of(admin_client, source, "?key=zzz")


def test_a_key_that_is_not_kept_hot_is_found_by_its_whole_name(admin_client: Client) -> None:
    source = make_source(name="stock", pinned=("AAPL",))
    store(key="上海", age=5)
    page = page_of(admin_client, source, "?key=上海")
    assert keys_in(page) == ["上海"]
    assert "Refreshed when somebody reads it stale." in page


def test_the_page_costs_few_queries_however_many_keys_there_are(
    admin_client: Client, django_assert_max_num_queries: Any
) -> None:
    source = make_source(
        name="stock", pinned=tuple(f"K{number}" for number in range(120)), objective_age=MINUTE
    )
    make_call()
    with django_assert_max_num_queries(12):
        page_of(admin_client, source)


def test_a_pinned_keys_inputs_have_names_for_who_does_not_see_them(admin_client: Client) -> None:
    page = page_of(admin_client, make_source(name="stock", pinned=("AAPL",)))
    inputs = re.findall(r'<input [^>]*name="pinned-[^"]*-(?:key|weight|placeholders|DELETE)"[^>]*>', page)
    assert len(inputs) == 3 * 3 + 1
    assert all("aria-label=" in shown for shown in inputs)


def test_a_form_has_no_rows_for_more_keys_than_a_browser_may_send(admin_client: Client) -> None:
    source = make_source(name="stock")
    Key.objects.bulk_create(Key(source=source, key=f"K{number:03}") for number in range(MOST_KEYS + 1))
    page = page_of(admin_client, source)
    assert "pinned-0-key" not in page
    assert "leaves them out" in page
    assert "hd-pin-key" in page
    source.pinned.first().delete()
    assert "pinned-0-key" in page_of(admin_client, source)


# Who sees which buttons


def test_whoever_may_only_look_sees_no_buttons(staff: Staff) -> None:
    source = make_source(name="stock", pinned=("AAPL",))
    page = page_of(staff("view_source", "view_key"), source)
    assert keys_in(page) == ["AAPL"]
    for view in VIEWS:
        assert url(source, view) not in page.replace(f'action="{url(source, "refresh")}">', "")
    for button in ("Refresh", "Pin", "Unpin", "Test fetch", "API calls"):
        assert not re.search(rf"<button[^>]*>[^<]*(<span[^>]*>[^<]*</span>)?\s*{button}\b", page), button
        assert f">{button}</a>" not in page


@pytest.mark.parametrize(
    ("permissions", "views"),
    [
        (("refresh_source",), {"refresh", "try"}),
        (("change_source", "add_key"), {"pin"}),
        (("change_source", "delete_key"), {"unpin"}),
        (("change_source",), set()),
        (("add_key", "delete_key"), set()),
    ],
)
def test_each_button_is_there_for_who_may_press_it(
    staff: Staff, permissions: tuple[str, ...], views: set[str]
) -> None:
    source = make_source(name="stock", pinned=("AAPL",), key_policy="any")
    store(key="MSFT")
    page = page_of(staff("view_source", *permissions), source, "?key=MSFT") + page_of(
        staff("view_source", *permissions), source
    )
    shown = {"refresh"} if "Refresh AAPL now" in page else set()
    shown |= {view for view in VIEWS[1:] if url(source, view) in page}
    assert shown == views


def test_a_source_that_is_switched_off_has_no_refresh_button(staff: Staff) -> None:
    source = make_source(name="stock", pinned=("AAPL",), enabled=False)
    page = page_of(staff("view_source", "refresh_source"), source)
    assert "Refresh all now" not in page
    assert "Refresh AAPL now" not in page
