"""The list of runs: filters in the URL, bounded work, and what a row says."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from hotdata.admin import long_list
from hotdata.models import Run
from hotdata.models.runs import Cause, State
from hotdata.observing import finding
from tests.builders import Staff, make_job, make_run

pytestmark = pytest.mark.django_db

LIST = "/admin/hotdata/run/"
HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e" + "x" * 5000


def listed(client: Client, **query: Any) -> list[int]:
    return [run.pk for run in client.get(LIST, query).context["cl"].result_list]


def page(client: Client, **query: Any) -> str:
    return str(client.get(LIST, query).content.decode())


@pytest.fixture
def failed() -> Run:
    return make_run(
        make_job(name="update", max_retries=3), state=State.FAILED, attempt=2, error="ValueError: broken"
    )


def test_filters_stand_in_the_url(admin_client: Client, failed: Run) -> None:
    other = make_run(make_job(name="other"), state=State.SUCCEEDED, cause=Cause.API)
    assert listed(admin_client) == [other.pk, failed.pk]
    for query in (
        {"outcome": "failures"},
        {"outcome": "failed"},
        {"state__exact": "failed"},
        {"job": "update"},
        {"cause": "manual"},
        {"cause__exact": "manual", "outcome": "failures", "job": "update", "time": "hour", "q": "broken"},
        {"until": timezone.localdate().isoformat(), "outcome": "failures"},
        {"before": other.pk},
    ):
        assert listed(admin_client, **query) == [failed.pk], query
    assert listed(admin_client, outcome="waiting") == []
    assert listed(admin_client, since=(timezone.now() + timedelta(days=2)).date().isoformat()) == []


def test_a_time_is_taken_as_the_site_shows_it(admin_client: Client, settings: Any) -> None:
    settings.TIME_ZONE = "Asia/Shanghai"
    now = timezone.now()
    run = make_run(make_job(), created_at=now)
    minute = timezone.localtime(now).strftime("%Y-%m-%dT%H:%M")
    assert listed(admin_client, since=minute) == [run.pk]
    assert listed(admin_client, until=minute) == []
    assert f'value="{minute}"' in page(admin_client, since=minute)


@pytest.mark.parametrize(
    "query",
    [
        {"outcome": "odd"},
        {"cause": "odd"},
        {"time": "century"},
        {"since": "yesterday"},
        {"since": "2026-13-45"},
        {"since": "9999-12-31T23:59:59-12:00"},
        {"before": "x"},
    ],
)
def test_what_no_filter_means_leads_back_to_the_list(admin_client: Client, query: dict[str, str]) -> None:
    make_run(make_job())
    assert admin_client.get(LIST, query)["Location"] == f"{LIST}?e=1"
    assert admin_client.get(f"{LIST}export/", query)["Location"] == f"{LIST}?e=1"


@pytest.mark.parametrize("query", [{"log__icontains": "x"}, {"job__title__contains": "x"}, {"error": "x"}])
def test_nothing_is_filtered_by_what_has_no_index(admin_client: Client, query: dict[str, str]) -> None:
    assert admin_client.get(LIST, query).status_code == 400


def test_a_huge_place_is_no_crash(admin_client: Client, failed: Run) -> None:
    assert listed(admin_client, before="9" * 40) == [failed.pk]
    assert listed(admin_client, before="-5") == []


def test_no_order_but_the_lists_own_can_be_asked_for(admin_client: Client, failed: Run) -> None:
    later = make_run(make_job(), state=State.FAILED)
    for column in range(12):
        assert listed(admin_client, o=f"-{column}.{column}") == [later.pk, failed.pk]


def test_only_columns_that_are_shown_are_read(
    admin_client: Client, failed: Run, django_assert_max_num_queries: Any
) -> None:
    make_run(make_job(name="<b>"), state=State.RUNNING, progress_done=1, progress_total=2)
    with django_assert_max_num_queries(12) as queries:
        admin_client.get(LIST)
    of_runs = [query["sql"] for query in queries if '"hotdata_run"."coalesced"' in query["sql"]]
    assert len(of_runs) == 1
    for column in ("log", "traceback", "result", "attempts", "params"):
        assert f'"hotdata_run"."{column}"' not in of_runs[0]


def test_many_runs_cost_no_more_queries_than_one(
    admin_client: Client, django_assert_max_num_queries: Any
) -> None:
    for number in range(60):
        make_run(make_job(name=f"job-of-{number}"), state=State.FAILED)
    with django_assert_max_num_queries(12):
        answer = admin_client.get(LIST, {"outcome": "failures", "q": "job-of"})
    assert len(answer.context["cl"].result_list) == 50


# Counts and pages


def test_a_count_ends_where_it_gets_slow_and_a_link_leads_on(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long_list, "MOST_COUNTED", 100)
    job = make_job()
    runs = [make_run(job) for _ in range(130)]
    first = admin_client.get(LIST)
    assert "more than 100 runs" in first.content.decode()
    assert first.context["cl"].leads_on == ""
    last = admin_client.get(LIST, {"p": 2}).context["cl"]
    assert last.leads_on == f"?before={runs[30].pk}"
    assert listed(admin_client, before=runs[30].pk) == [run.pk for run in reversed(runs[:30])]
    assert admin_client.get(LIST + last.leads_on).context["cl"].leads_on == ""
    assert admin_client.get(LIST, {"p": 3})["Location"] == f"{LIST}?e=1"


def test_a_small_list_is_counted(admin_client: Client, failed: Run) -> None:
    assert "1 runs" in " ".join(page(admin_client).split())


def test_a_search_that_was_cut_off_says_so_and_leads_on(
    admin_client: Client, failed: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(name="other")
    later = [make_run(job, state=State.FAILED) for _ in range(3)]
    monkeypatch.setattr(finding, "LOOKED_THROUGH", 2)
    answer = admin_client.get(LIST, {"q": "broken"})
    assert answer.context["cl"].result_list == []
    assert "Look further" in answer.content.decode()
    further = answer.context["cl"].leads_on
    assert further == f"?before={later[0].pk + 1}&q=broken"
    assert [run.pk for run in admin_client.get(LIST + further).context["cl"].result_list] == [failed.pk]


# What a row says


def test_a_row_says_what_came_of_the_run(admin_client: Client, failed: Run) -> None:
    shown = page(admin_client)
    assert "hd-pill hd-failed" in shown
    assert "2 of 4" in shown
    assert "ValueError: broken" in shown
    assert f'href="/admin/hotdata/job/{failed.job.pk}/change/"' in shown


def test_a_running_run_shows_how_far_it_is(admin_client: Client) -> None:
    make_run(
        make_job(),
        state=State.RUNNING,
        progress_done=40,
        progress_total=100,
        started_at=timezone.now() - timedelta(seconds=65),
    )
    shown = page(admin_client)
    assert "40 of 100" in shown
    assert "65 s so far" in shown


def test_jobs_are_linked_for_whom_may_see_them_while_they_exist(staff: Staff, failed: Run) -> None:
    assert "/hotdata/job/" not in page(staff("view_run"))
    assert f"/hotdata/job/{failed.job.pk}/change/" in page(staff("view_run", "view_job"))
    failed.job.delete()
    assert "deleted" in page(staff("view_run", "view_job"))


def test_due_times_that_came_to_nothing_are_told(admin_client: Client) -> None:
    due = timezone.now()
    make_run(
        make_job(),
        cause=Cause.SCHEDULE,
        scheduled_for=due,
        coalesced=3599,
        coalesced_since=due - timedelta(hours=1),
        state=State.SKIPPED,
        reason="The run before it was going on.",
    )
    shown = page(admin_client)
    assert "3,600 due times" in shown
    assert "The run before it was going on." in shown


def test_hostile_texts_are_only_texts(admin_client: Client) -> None:
    job = make_job(name="a")
    make_run(job, state=State.FAILED, error=HOSTILE, requested_by="<b>ada</b>")
    shown = page(admin_client, job="<script>alert(2)</script>", q="")
    shown += page(admin_client) + page(admin_client, q="<script>alert(3)</script>")
    assert "<script>alert" not in shown
    assert "<b>ada" not in shown
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "x" * 400 not in shown


def test_pills_lead_to_outcomes_and_count_what_is_under_way(admin_client: Client, failed: Run) -> None:
    for state in (State.RUNNING, State.QUEUED, State.RETRYING):
        make_run(failed.job, state=state)
    pills = {str(pill.label): pill for pill in admin_client.get(LIST, {"job": "update"}).context["pills"]}
    assert (pills["Running"].count, pills["Waiting"].count, pills["Failures"].count) == (1, 2, None)
    assert pills["All"].chosen
    assert pills["Failures"].url == "?job=update&outcome=failures"


def test_an_empty_list_says_what_to_do(admin_client: Client) -> None:
    assert "setup_hotdata" in page(admin_client)
    make_job()
    assert "runscheduler" in page(admin_client)
    assert "Nothing matches" in page(admin_client, outcome="failures")
