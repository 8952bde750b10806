"""The dashboard: what it says, to whom, and at what cost."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from hotdata.models import Job, Lease, Node, Run, Schedule
from hotdata.models.runs import FINISHED, Cause, State
from hotdata.models.schedules import Kind
from tests.builders import Staff, make_call, make_job, make_run, make_source, store

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clear_cache")]

SECOND, MINUTE, HOUR = (timedelta(seconds=seconds) for seconds in (1, 60, 3600))
EVERYTHING = ("view_job", "view_run", "view_source", "view_node", "view_apicall")


def look(client: Client) -> str:
    answer = client.get("/admin/")
    assert answer.status_code == 200
    return " ".join(answer.content.decode().split())


def words(page: str) -> str:
    """What is read, without the markup."""
    return " ".join(re.sub(r"<[^>]*>", " ", page).split())


def make_node(name: str = "web-1", *, silent_for: timedelta = 2 * SECOND, leading: bool = True) -> Node:
    node = Node.objects.create(name=name, host="host-1", pid=1, version="1", leading=leading)
    Node.objects.filter(pk=node.pk).update(heartbeat_at=Now() - silent_for)
    return node


def ran(job: Job, state: State = State.SUCCEEDED, *, ago: timedelta = MINUTE, **fields: Any) -> Run:
    at = timezone.now() - ago
    times: dict[str, Any] = {"created_at": at, "ready_at": at, "started_at": at, "attempt": 1}
    if state in FINISHED:
        times["finished_at"] = at
    return make_run(job, cause=Cause.SCHEDULE, state=state, scheduled_for=at, **(times | fields))


# The scheduler


def test_a_living_scheduler_is_shown_with_its_last_beat(admin_client: Client) -> None:
    make_node()
    make_node("web-2", leading=False)
    page = look(admin_client)
    assert re.search(r"Scheduler ✓ Alive last beat \d.* s ago · web-1 · 1 standby", words(page))
    assert "icon-failing.svg" not in page


def test_a_dead_scheduler_is_red_and_says_what_to_do(admin_client: Client) -> None:
    Lease.acquire("web-1", 10 * SECOND)
    make_node(silent_for=7 * MINUTE)
    page = look(admin_client)
    assert "hd-alarm" in page
    assert "No scheduler is running" in page
    assert "<code>manage.py runscheduler</code>" in page
    assert "The last one, web-1 on host-1, fell silent 7 min ago." in page
    assert "✓ Alive" not in words(page)
    assert 'type="image/svg+xml" href="/static/hotdata/icon-failing.svg"' in page


def test_a_site_on_which_none_ever_ran_says_so(admin_client: Client) -> None:
    assert "None has ever run here." in look(admin_client)


# Jobs


def test_jobs_are_listed_with_the_worst_first(admin_client: Client) -> None:
    well, failing = make_job(name="a-well", title="Well"), make_job(name="failing", title="Failing job")
    ran(well, duration=SECOND)
    ran(failing, ago=2 * MINUTE)
    ran(failing, State.FAILED, error="UpstreamStatus: <b>401</b>")
    Schedule.objects.update(next_run_time=timezone.now() + 90 * SECOND)
    page = look(admin_client)
    assert page.index("Failing job</a>") < page.index("Well</a>")
    assert "UpstreamStatus: &lt;b&gt;401&lt;/b&gt;" in page
    assert "<b>401" not in page
    assert "1 /2 1 failing · 0 late · 0 paused" in words(page)
    assert re.search(r"✕ Failing .* 50\.0 % .* 1 min|60 s ago in \d+ s", words(page))
    assert "icon-failing.svg" in page


def test_a_job_that_is_overdue_says_since_when(admin_client: Client) -> None:
    job = make_job()
    ran(job)
    Schedule.objects.update(next_run_time=timezone.now() - 5 * MINUTE)
    page = look(admin_client)
    assert "! Late" in words(page)
    assert "was due 5 min ago" in words(page)


def test_texts_that_are_hostile_are_escaped(admin_client: Client) -> None:
    hostile = "<script>alert(1)</script>\"'&"
    job = make_job(title=hostile)
    ran(job, State.FAILED, error=hostile)
    make_source(name="stock", title=hostile, pinned=(hostile,))
    make_call("stock", error=hostile)
    page = look(admin_client)
    assert "<script>alert" not in page
    assert page.count("&lt;script&gt;alert") >= 4


def test_a_long_list_of_jobs_ends_with_the_way_to_all(admin_client: Client) -> None:
    for _ in range(51):
        make_job()
    page = look(admin_client)
    assert page.count('role="rowheader"') == 50
    assert 'href="/admin/hotdata/job/">All 51 jobs →' in page


def test_the_timeline_leads_to_runs(admin_client: Client) -> None:
    job = make_job(
        trigger=Kind.INTERVAL, interval=MINUTE, title="股票行情，每分钟刷新一次，所有交易所的全部股票代码"
    )
    run = ran(job, State.RUNNING)
    page = look(admin_client)
    assert f'data-href="/admin/hotdata/run/{run.pk}/change/"' in page
    assert "hd-planned" in page
    assert "股票行情，每分钟刷新一次…" in page


# Runs


def test_the_success_of_a_day_is_told_with_its_failures(admin_client: Client) -> None:
    job = make_job(title="Quotes")
    for number in range(19):
        ran(job, ago=number * MINUTE)
    failed = ran(job, State.TIMED_OUT, ago=30 * MINUTE, error="It took too long.")
    ran(job, State.SKIPPED, ago=40 * MINUTE, started_at=None, attempt=0)
    page = look(admin_client)
    assert "95.0 % 1 of 20 runs failed" in words(page)
    assert "Runs, 24 h 20 0 under way · 1 missed or skipped" in words(page)
    assert f'href="/admin/hotdata/run/{failed.pk}/change/">Quotes</a>' in page
    assert "30 min ago · Timed out It took too long." in words(page)


# Sources


def test_sources_show_their_latency_errors_and_freshness(admin_client: Client) -> None:
    source = make_source(name="stock", title="Stocks", pinned=("AAPL", "北京", "MSFT"), soft_ttl=MINUTE)
    store("stock", "AAPL", age=90)
    store("stock", "北京", age=10)
    for number in range(10):
        make_call(
            "stock", duration=400 * timedelta(milliseconds=1), outcome="failed" if number == 0 else "ok"
        )
    markup = look(admin_client)
    assert f'href="/admin/hotdata/source/{source.pk}/change/">Stocks</a>' in markup
    page = words(markup)
    assert "Stale keys 1 /3 older than their limit · 1 without a value" in page
    assert "stock:AAPL 90 s / 60 s" in page
    assert "stock:北京 10 s / 60 s" in page
    assert "Stocks 410 ms 10.0 %" in page
    assert "Upstream p95, 24 h 410 ms median 410 ms" in page


@pytest.mark.usefixtures("redis_down")
def test_without_redis_the_page_says_so(admin_client: Client) -> None:
    make_source(name="stock", pinned=("AAPL",))
    make_call("stock")
    page = words(look(admin_client))
    assert "Redis doesn't answer" in page.replace("&#x27;", "'")
    assert "stock" in page


# Who sees what


def parts(page: str) -> set[str]:
    titles = [
        "Jobs",
        "Timeline",
        "Runs",
        "Upstream latency",
        "Freshness",
        "Upstreams",
        "Latest failures",
        "Scheduler",
    ]
    shown = words(page.partition('<div id="dashboard">')[2])
    return {title for title in titles if re.search(rf"\b{title} (last|the|by|p95|age|24 h|✓)", shown)}


@pytest.mark.parametrize(
    ("permissions", "shown"),
    [
        (("view_job",), {"Jobs", "Scheduler"}),
        (("view_run",), {"Runs", "Latest failures", "Scheduler"}),
        (("change_job", "view_run"), {"Jobs", "Timeline", "Runs", "Latest failures", "Scheduler"}),
        (("view_source",), {"Upstream latency", "Freshness", "Upstreams", "Scheduler"}),
        (("view_node",), {"Scheduler"}),
        ((), set()),
        (("view_apicall",), set()),
    ],
)
def test_staff_see_what_they_may_see_of_the_tables(
    staff: Staff, permissions: tuple[str, ...], shown: set[str]
) -> None:
    make_node()
    make_source(name="stock", pinned=("AAPL",))
    make_call("stock")
    job = make_job()
    ran(job, State.FAILED, error="a secret of the run")
    page = look(staff(*permissions))
    assert parts(page) == shown
    assert ("a secret of the run" in page) == ("view_run" in permissions)
    assert ("web-1" in page) == ("view_node" in permissions)
    assert ("Your account may see none of the tables" in page) == (not shown)


def test_strangers_are_asked_to_log_in(client: Client) -> None:
    assert client.get("/admin/")["Location"].startswith("/admin/login/")


# When there is nothing


def test_an_empty_site_says_what_to_do_next(admin_client: Client) -> None:
    page = look(admin_client)
    assert "<code>manage.py setup_hotdata</code>" in page
    assert 'href="/admin/hotdata/job/add/"' in page
    assert 'href="/admin/hotdata/source/add/"' in page
    assert "Nothing ran in the last 24 hours." in page
    assert "No upstream was called in the last 24 hours." in page
    assert "Nothing failed in the last 24 hours." in page
    assert "No key is hot yet." in page


def test_who_may_not_add_is_not_asked_to(staff: Staff) -> None:
    page = look(staff(*EVERYTHING))
    assert "There are no jobs yet." in page
    assert "/job/add/" not in page
    assert "/source/add/" not in page


# What it costs


@pytest.mark.parametrize("jobs", [1, 60])
def test_a_dozen_queries_show_it_however_much_there_is(
    staff: Staff, jobs: int, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    client = staff(*EVERYTHING)
    make_node()
    for number in range(jobs):
        job = make_job()
        for minutes in range(3):
            ran(
                job, State.FAILED if minutes else State.SUCCEEDED, ago=minutes * HOUR + MINUTE, error="broken"
            )
        if number < 10:
            source = make_source(pinned=("A", "B"))
            make_call(source.name)
    with django_assert_max_num_queries(12):
        client.get("/admin/")


def test_a_page_for_nobody_asks_for_nothing(
    staff: Staff, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    client = staff()
    with django_assert_max_num_queries(4):
        client.get("/admin/")


# What a page may load


def test_nothing_is_inline(admin_client: Client) -> None:
    job = make_job()
    ran(job)
    make_source(name="stock", pinned=("AAPL",))
    make_call("stock")
    store("stock", "AAPL")
    page = look(admin_client).partition('<div id="dashboard">')[2]
    assert " style=" not in page
    assert "<style" not in page
    assert not re.search(r"\son\w+=", page)
