"""The list and the pages of API calls."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from hotdata.models import ApiCall
from tests.builders import Staff, make_call, make_job, make_run, make_source

pytestmark = pytest.mark.django_db

LIST = "/admin/hotdata/apicall/"
FAILED = ApiCall.Outcome.FAILED


def listed(client: Client, **query: Any) -> list[int]:
    return [call.pk for call in client.get(LIST, query).context["cl"].result_list]


def page(client: Client, **query: Any) -> str:
    return str(client.get(LIST, query).content.decode())


def test_filters_stand_in_the_url(admin_client: Client) -> None:
    run = make_run(make_job(), created_at=timezone.now() - timedelta(minutes=1))
    failed = make_call("news", outcome=FAILED, error="UpstreamStatus: 503", keys="top,北京", run_id=run.pk)
    make_call("stock", started_at=timezone.now() - timedelta(hours=2))
    assert len(listed(admin_client)) == 2
    for query in (
        {"source": "news"},
        {"outcome": "failed"},
        {"outcome__exact": "failed", "source": "news"},
        {"run": run.pk},
        {"time": "hour"},
        {"q": "北京"},
        {"q": "503"},
        {"since": timezone.localdate().isoformat(), "outcome": "failed"},
    ):
        assert listed(admin_client, **query) == [failed.pk], query
    assert listed(admin_client, source="gone") == []


@pytest.mark.parametrize(
    "query", [{"outcome": "odd"}, {"run": "x"}, {"run": "-1"}, {"run": "9" * 30}, {"before": "x"}]
)
def test_what_no_filter_means_leads_back_to_the_list(admin_client: Client, query: dict[str, str]) -> None:
    assert admin_client.get(LIST, query)["Location"] == f"{LIST}?e=1"


def test_nothing_is_filtered_by_what_has_no_index(admin_client: Client) -> None:
    assert admin_client.get(LIST, {"url__contains": "x"}).status_code == 400


def test_a_row_leads_to_the_source_and_the_run_for_whom_may_see_them(staff: Staff) -> None:
    source, run = make_source(name="stock"), make_run(make_job())
    call = make_call("stock", run_id=run.pk, size=2048)
    everything = staff("view_apicall", "view_source", "view_run")
    for shown in (page(everything), everything.get(f"{LIST}{call.pk}/change/").content.decode()):
        assert f"/hotdata/source/{source.pk}/change/" in shown
        assert f"/hotdata/run/{run.pk}/change/" in shown
        assert "2.0\xa0KB" in shown
    shown = page(staff("view_apicall"))
    assert "/hotdata/source/" not in shown
    assert "/hotdata/run/" not in shown


def test_many_calls_cost_no_more_queries_than_one(
    admin_client: Client, django_assert_max_num_queries: Any
) -> None:
    for number in range(60):
        make_source(name=f"source-of-{number}")
        make_call(f"source-of-{number}", run_id=number)
    with django_assert_max_num_queries(12):
        assert len(listed(admin_client)) == 50


def test_hostile_texts_are_only_texts_and_long_ones_are_cut(admin_client: Client) -> None:
    make_call(
        "<b>source</b>",
        keys="<script>alert(1)</script>\x1b" + "k" * 5000,
        outcome=FAILED,
        error="<i>\u202e" * 99,
    )
    shown = page(admin_client)
    for text in ("<script>alert", "<b>source", "<i>", "\x1b", "\u202e", "k" * 400):
        assert text not in shown


def test_pages_go_on_by_time(admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hotdata.admin.long_list.MOST_COUNTED", 55)
    now = timezone.now()
    calls = [make_call(started_at=now - timedelta(seconds=number)) for number in range(60)]
    further = admin_client.get(LIST, {"p": 2}).context["cl"].leads_on
    assert [call.pk for call in admin_client.get(LIST + further).context["cl"].result_list] == [
        call.pk for call in calls[55:]
    ]


def test_the_page_of_a_call_tells_how_long_the_upstream_wanted_to_be_left_alone(admin_client: Client) -> None:
    call = make_call(status=429, outcome=FAILED, cooldown=timedelta(minutes=7))
    assert "7 min" in admin_client.get(f"{LIST}{call.pk}/change/").content.decode()
