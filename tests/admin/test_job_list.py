"""The list of jobs: what it shows, how it is searched, and what can be done from it."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone, translation
from pytest_django import DjangoAssertNumQueries

from hotdata.models import Job, Run, Schedule
from hotdata.models.pauses import NOTE_LIMIT, SYSTEM
from hotdata.models.runs import Cause, State
from hotdata.models.schedules import Kind
from tests.builders import Staff, make_job, make_run

pytestmark = pytest.mark.django_db

LIST = "/admin/hotdata/job/"
PAUSE_SEVERAL = f"{LIST}list/pause/"
HOSTILE = "<script>alert('1')</script> \" onclick=\"x() {% now %} 北京"
MINUTE = timedelta(minutes=1)


def button(job: Job, act: str) -> str:
    return f"{LIST}list/{job.pk}/{act}/"


def act(client: Client, action: str, *jobs: Job, query: str = "") -> Any:
    data = {"action": action, "_selected_action": [job.pk for job in jobs]}
    return client.post(f"{LIST}{query}", data, follow=True)


def pause(client: Client, *jobs: Job, **fields: str) -> Any:
    data = {"jobs": ",".join(str(job.pk) for job in jobs), "note": "", "until": ""} | fields
    return client.post(PAUSE_SEVERAL, data, follow=True)


def text(answer: HttpResponse) -> str:
    assert answer.status_code == 200
    return answer.content.decode()


def listed(client: Client, query: str = "") -> list[str]:
    """The names of the jobs that the list shows, from the top."""
    answer = client.get(f"{LIST}{query}")
    assert answer.status_code == 200
    return [row.job.name for row in answer.context["cl"].rows]


def messages(answer: Any) -> list[str]:
    return [str(message) for message in answer.context["messages"]]


def rows_of(page: str) -> list[str]:
    """The rows of the table, without white space between words."""
    body = page.partition("<tbody>")[2].partition("</tbody>")[0]
    return [" ".join(row.split()) for row in re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL)]


def scheduled(job: Job, state: State, **fields: Any) -> Run:
    """A run, or an account, that a due time led to; each of a job has one of its own."""
    due = timezone.now() - MINUTE
    values = {"attempt": 1, "started_at": due, "scheduled_for": due} | fields
    return make_run(job, cause=Cause.SCHEDULE, state=state, **values)


def late(**fields: Any) -> Job:
    job = make_job(**fields)
    Schedule.objects.filter(id=job.name).update(next_run_time=timezone.now() - 10 * MINUTE)
    return job


@pytest.fixture
def one_of_each() -> None:
    """A job of each health, named after it; `healthy` comes first by name, and again by title."""
    make_job(name="broken", task="gone")
    scheduled(make_job(name="failing"), State.FAILED, error="ValueError: no price\nand more of it")
    late(name="late")
    scheduled(make_job(name="running"), State.RUNNING)
    scheduled(make_job(name="healthy", title="A title"), State.SUCCEEDED, duration=timedelta(seconds=1.4))
    make_job(name="paused", paused=True, paused_by="ada", pause_note="The upstream moves.")
    make_job(name="new")
    done = make_job(name="done", trigger=Kind.DATE, cron="", run_at=timezone.now() + MINUTE)
    scheduled(done, State.SUCCEEDED)
    Schedule.objects.filter(id="done").update(next_run_time=None)


# What it shows


def test_a_row_says_how_a_job_does_and_when_it_runs(admin_client: Client) -> None:
    job = make_job(
        name="prices", title="US stocks", cron="*/5 9-16 * * mon-fri", time_zone="America/New_York"
    )
    now = timezone.now()
    good = scheduled(job, State.SUCCEEDED, started_at=now - 9 * MINUTE, duration=timedelta(milliseconds=1400))
    scheduled(job, State.SKIPPED, attempt=0, started_at=None)
    Schedule.objects.filter(id="prices").update(next_run_time=now + timedelta(seconds=125))
    (row,) = rows_of(text(admin_client.get(LIST)))
    for part in (
        f'<a href="{LIST}{job.pk}/change/">US stocks</a>',
        "prices · refresh_due",
        "Healthy",
        "Every 5 minutes, between 09:00 and 16:59, Monday through Friday",
        "*/5 9-16 * * mon-fri",
        "America/New_York",
        f'href="/admin/hotdata/run/{good.pk}/change/"',
        "9 min ago",
        "1.4 s",
        "in 2 min",
        f"{timezone.localtime(now + timedelta(seconds=125)):%H:%M:%S}",
        "The last 2 runs, of which failed: 0",
    ):
        assert part in row, part
    assert row.count("<rect") == 30


def test_a_failing_job_shows_the_first_line_of_its_error(admin_client: Client, one_of_each: None) -> None:
    (row,) = rows_of(text(admin_client.get(f"{LIST}?health=failing")))
    assert ">ValueError: no price</span>" in row
    assert "Failed" in row


def test_what_a_run_said_is_for_who_may_see_runs(staff: Staff, one_of_each: None) -> None:
    lists = f"{LIST}?health=failing"
    assert "no price" in text(staff("view_job", "view_run").get(lists))
    told = text(staff("view_job").get(lists))
    assert "Failing" in told
    assert "no price" not in told
    assert "is not registered" in text(staff("view_job").get(f"{LIST}?health=broken"))


def test_a_broken_job_says_why(admin_client: Client, one_of_each: None) -> None:
    (row,) = rows_of(text(admin_client.get(f"{LIST}?health=broken")))
    assert "The task “gone” is not registered." in row


def test_a_job_that_cannot_be_scheduled_is_listed_with_the_reason(admin_client: Client) -> None:
    job = make_job()
    Job.objects.filter(pk=job.pk).update(cron="nonsense")
    (row,) = rows_of(text(admin_client.get(LIST)))
    assert "Can&#x27;t be scheduled: The expression has 1 field" in row


def test_a_paused_job_says_who_why_and_until_when(admin_client: Client) -> None:
    until = timezone.now() + timedelta(days=3)
    make_job(paused=True, paused_by="ada", pause_note="The upstream moves.", paused_until=until)
    (row,) = rows_of(text(admin_client.get(LIST)))
    assert "ada: The upstream moves." in row
    assert f"until {timezone.localtime(until):%Y-%m-%d %H:%M:%S}" in row
    assert 'aria-checked="false"' in row
    assert ">Resume<" not in row  # a switch: its title says so
    assert 'title="Resume"' in row


def test_a_job_that_its_failures_have_paused_says_so(admin_client: Client) -> None:
    job = make_job()
    scheduled(job, State.FAILED, error="boom")
    job.set_paused(True, by=SYSTEM, note="Paused after 3 failures in a row. The last one: boom")
    (row,) = rows_of(text(admin_client.get(LIST)))
    assert "Failing" in row
    assert "Paused after failures" in row
    assert row.count("boom") == 2  # the error and the title beside it


def test_a_pause_that_has_ended_is_none(admin_client: Client) -> None:
    job = make_job(paused=True, paused_until=timezone.now() + MINUTE)
    Job.objects.filter(pk=job.pk).update(paused_until=timezone.now() - MINUTE)
    (row,) = rows_of(text(admin_client.get(LIST)))
    assert 'aria-checked="true"' in row
    assert button(job, "pause") in row


def test_a_run_of_no_time_took_no_time(admin_client: Client) -> None:
    scheduled(make_job(), State.SUCCEEDED, duration=timedelta(0), started_at=timezone.now())
    (row,) = rows_of(text(admin_client.get(LIST)))
    assert row.count("0 ms") == 3  # of the mark, the last run and the p95


def test_texts_of_people_and_upstreams_are_shown_as_they_are(admin_client: Client) -> None:
    job = make_job(title=HOSTILE, paused=True, pause_note=HOSTILE, paused_by="<b>")
    scheduled(job, State.FAILED, error=HOSTILE)
    scheduled(make_job(title=HOSTILE), State.FAILED, error=HOSTILE)
    page = text(admin_client.get(LIST))
    assert "<script>alert" not in page
    assert 'onclick="' not in page
    assert "<b>:" not in page
    assert page.count("北京") >= 6


def test_without_jobs_it_says_what_to_do(admin_client: Client, staff: Staff) -> None:
    page = text(admin_client.get(LIST))
    assert "manage.py setup_hotdata" in page
    assert 'href="/admin/hotdata/job/add/">Add a job</a>' in page
    assert "Add a job" not in text(staff("view_job").get(LIST))


def test_where_nothing_matches_all_can_be_shown(admin_client: Client, one_of_each: None) -> None:
    page = text(admin_client.get(f"{LIST}?q=nothing"))
    assert "No job is like that." in page
    assert '<a class="hd-button" href="?">' in page
    assert "setup_hotdata" not in page


def test_the_language_is_the_users(admin_client: Client) -> None:
    make_job(cron="0 0 * * 1")
    with translation.override("zh-hans"):
        page = text(admin_client.get(LIST, headers={"accept-language": "zh-hans"}))
    assert "星期一" in page


@pytest.mark.parametrize("jobs", [1, 60])
def test_the_queries_are_few_whatever_the_number_of_jobs(
    staff: Staff, django_assert_max_num_queries: DjangoAssertNumQueries, jobs: int
) -> None:
    for number in range(jobs):
        job = make_job(name=f"job-{number}", task="gone" if number % 5 == 1 else "refresh_due")
        scheduled(job, State.FAILED if number % 3 else State.SUCCEEDED, error="boom" * (number % 3))
    client = staff("view_job", "view_run", "run_job", "pause_job", "delete_job")
    with django_assert_max_num_queries(12):
        assert len(listed(client)) == jobs
    with django_assert_max_num_queries(12):
        client.get(f"{LIST}?health=failing&task=refresh_due&q=job&o=-2")


# Pills, filters, search, order


def test_pills_count_the_jobs_of_each_health(admin_client: Client, one_of_each: None) -> None:
    pills = admin_client.get(LIST).context["cl"].pills
    assert [(str(pill.label), pill.count) for pill in pills] == [
        ("All", 8), ("Broken", 1), ("Failing", 1), ("Late", 1), ("Running", 1), ("Healthy", 1), ("Paused", 1),
        ("New", 1), ("Done", 1),
    ]  # fmt: skip
    assert [pill.label for pill in pills if pill.chosen] == ["All"]


def test_usual_pills_stay_while_no_job_is_so(admin_client: Client) -> None:
    make_job()
    pills = admin_client.get(f"{LIST}?health=done").context["cl"].pills
    assert [(str(pill.label), pill.count) for pill in pills] == [
        ("All", 1), ("Failing", 0), ("Late", 0), ("Running", 0), ("Healthy", 0), ("Paused", 0), ("New", 1),
        ("Done", 0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "health", ["broken", "failing", "late", "running", "healthy", "paused", "new", "done"]
)
def test_a_pill_leads_to_its_jobs(admin_client: Client, one_of_each: None, health: str) -> None:
    (pill,) = (pill for pill in admin_client.get(LIST).context["cl"].pills if pill.health == health)
    assert pill.url == f"?health={health}"
    assert listed(admin_client, pill.url) == [health]
    page = text(admin_client.get(f"{LIST}{pill.url}"))
    assert re.search(rf'href="\?health={health}" aria-current="true"', page)


def test_pills_keep_the_search_and_count_what_it_finds(admin_client: Client, one_of_each: None) -> None:
    pills = admin_client.get(f"{LIST}?q=ing&health=late&p=7").context["cl"].pills
    assert {str(pill.label): pill.count for pill in pills if pill.count} == {
        "All": 2,
        "Failing": 1,
        "Running": 1,
    }
    assert next(pill.url for pill in pills if pill.label == "Failing") == "?health=failing&q=ing"


def test_health_has_pills_and_no_menu_beside_them(admin_client: Client, one_of_each: None) -> None:
    page = text(admin_client.get(LIST))
    assert re.findall(r"<summary>(\w+)", page) == ["More", "Trigger", "Task"]  # the first is the navigation's


def test_a_health_that_does_not_exist_is_refused(admin_client: Client) -> None:
    answer = admin_client.get(f"{LIST}?health=splendid")
    assert (answer.status_code, answer["Location"]) == (302, f"{LIST}?e=1")


def test_jobs_are_found_by_name_title_and_task(admin_client: Client) -> None:
    make_job(name="a", title="Stocks 北京")
    make_job(name="b-stocks")
    make_job(name="c", task="cleanup_logs")
    assert listed(admin_client, "?q=stocks") == ["b-stocks", "a"]
    assert listed(admin_client, "?q=北京") == ["a"]
    assert listed(admin_client, "?q=cleanup") == ["c"]
    assert listed(admin_client, "?task=cleanup_logs") == ["c"]
    assert listed(admin_client, "?trigger__exact=interval") == []


def test_trouble_comes_first_and_the_others_by_what_is_shown_of_them(
    admin_client: Client, one_of_each: None
) -> None:
    make_job(name="zero", title="b title")
    assert listed(admin_client) == [
        "broken", "failing", "late", "healthy", "zero", "done", "new", "paused", "running",
    ]  # fmt: skip


def test_it_is_sorted_by_what_a_head_says(admin_client: Client, one_of_each: None) -> None:
    heads = {"job": 1, "health": 2, "last": 5, "next": 6}
    by_title = ["healthy", "broken", "done", "failing", "late", "new", "paused", "running"]
    assert listed(admin_client, f"?o={heads['job']}") == by_title
    assert listed(admin_client, f"?o=-{heads['job']}") == by_title[::-1]
    worst_first = ["broken", "failing", "late", "running", "healthy", "paused", "new", "done"]
    assert listed(admin_client, f"?o={heads['health']}") == worst_first
    assert listed(admin_client, f"?o=-{heads['health']}") == worst_first[::-1]
    assert listed(admin_client, f"?o=-{heads['last']}")[:4] == ["done", "healthy", "running", "failing"]
    by_next = listed(admin_client, f"?o={heads['next']}")
    assert by_next[0] == "late"
    assert by_next[-2:] == ["done", "paused"]
    page = text(admin_client.get(f"{LIST}?o=-{heads['health']}"))
    assert 'aria-sort="descending"' in page


def test_a_long_list_comes_in_pages(admin_client: Client) -> None:
    Job.objects.bulk_create(Job(name=f"job-{n:03}", task="refresh_due", cron="* * * * *") for n in range(103))
    assert len(listed(admin_client)) == 100
    assert len(listed(admin_client, "?p=2")) == 3
    assert "103 jobs" in text(admin_client.get(LIST))


# Buttons of a row


def test_a_job_is_run_from_its_row(staff: Staff) -> None:
    job = make_job(title=HOSTILE)
    answer = staff("view_job", "run_job", "view_run").post(button(job, "run"), follow=True)
    run = Run.objects.get()
    assert (run.job_id, run.cause, run.requested_by) == (job.name, Cause.MANUAL, "ada")
    assert answer.redirect_chain == [(LIST, 302)]
    assert f'<a href="/admin/hotdata/run/{run.pk}/change/">run {run.pk}</a>' in text(answer)
    assert "<script>alert" not in text(answer)
    assert LogEntry.objects.get().change_message == f"Run now: run {run.pk}."


def test_who_may_not_see_runs_gets_no_link_to_one(staff: Staff) -> None:
    job = make_job(title=HOSTILE)
    scheduled(job, State.SUCCEEDED)
    page = text(staff("view_job", "run_job").post(button(job, "run"), follow=True))
    assert f"run {Run.objects.latest('id').pk} is queued." in page
    assert "/admin/hotdata/run/" not in page
    assert "data-href" not in page
    assert "<script>alert" not in page


def test_a_job_that_cannot_run_says_why(staff: Staff) -> None:
    job = make_job(title=HOSTILE, task="gone")
    page = text(staff("view_job", "run_job").post(button(job, "run"), follow=True))
    assert "No task named" in page
    assert "<script>alert" not in page
    assert not Run.objects.exists()


def test_a_job_is_paused_and_resumed_from_its_row(staff: Staff) -> None:
    job = make_job(title="US stocks")
    client = staff("view_job", "pause_job")
    assert messages(client.post(button(job, "pause"), follow=True)) == ["US stocks is paused."]
    job.refresh_from_db()
    assert (job.paused, job.paused_by, job.pause_note, job.paused_until) == (True, "ada", "", None)
    assert messages(client.post(button(job, "pause"), follow=True)) == []
    assert messages(client.post(button(job, "resume"), follow=True)) == ["US stocks is scheduled again."]
    job.refresh_from_db()
    assert not job.paused
    assert list(LogEntry.objects.order_by("pk").values_list("change_message", flat=True)) == [
        "Paused.",
        "Resumed.",
    ]


def test_the_buttons_lead_back_to_the_list_as_it_was_filtered(staff: Staff) -> None:
    job = make_job(name="stocks")
    client = staff("view_job", "change_job", "run_job", "pause_job")
    (row,) = rows_of(text(client.get(f"{LIST}?q=stocks&health=new")))
    filters = "_changelist_filters=q%3Dstocks%26health%3Dnew"
    assert f'href="{LIST}{job.pk}/change/?{filters}"' in row
    for name in ("run", "pause"):
        address = f"{button(job, name)}?{filters}"
        assert f'formaction="{address}"' in row
        assert client.post(address)["Location"] == f"{LIST}?q=stocks&health=new"


@pytest.mark.parametrize("filters", ["//evil.example", "https://evil.example", "%0d%0aX-Bad: 1", "a=%0d%0ab"])
def test_filters_lead_nowhere_else(staff: Staff, filters: str) -> None:
    answer = staff("view_job", "run_job").post(f"{button(make_job(), 'run')}?_changelist_filters={filters}")
    assert answer.status_code == 302
    assert answer["Location"].partition("?")[0] == LIST
    assert "X-Bad" not in answer.headers


@pytest.mark.parametrize("name", ["run", "pause", "resume"])
def test_a_row_without_its_job_is_not_found(staff: Staff, name: str) -> None:
    client = staff("view_job", "run_job", "pause_job")
    for key in (0, 10**6, 10**30):
        assert client.post(f"{LIST}list/{key}/{name}/").status_code == 404


@pytest.mark.parametrize("name", ["run", "pause", "resume"])
def test_a_button_is_there_only_for_whom_may_press_it(staff: Staff, name: str) -> None:
    job = make_job(paused=name == "resume")
    before = Job.objects.values().get()
    client = staff("view_job", "change_job", "add_job", "delete_job", "view_run")
    page = text(client.get(LIST))
    assert "formaction" not in page
    assert "column-run_one" not in page
    assert "column-scheduled" not in page
    assert client.post(button(job, name)).status_code == 403
    other = "pause_job" if name == "run" else "run_job"
    client = staff("view_job", other)
    assert button(job, name) not in text(client.get(LIST))
    assert client.post(button(job, name)).status_code == 403
    assert not Run.objects.exists()
    assert Job.objects.values().get() == before


@pytest.mark.parametrize("path", ["list/{}/run/", "list/{}/pause/", "list/{}/resume/", "list/pause/"])
def test_nothing_changes_by_get_or_from_elsewhere(staff: Staff, path: str) -> None:
    job = make_job()
    address = LIST + path.format(job.pk)
    permissions = ("view_job", "run_job", "pause_job")
    for method in ("get", "head", "put", "delete"):
        assert getattr(staff(*permissions), method)(address).status_code == 405
    assert staff(*permissions, check_csrf=True).post(address, {"jobs": job.pk}).status_code == 403
    assert Client().post(address, {"jobs": job.pk}).status_code == 302  # to the login
    assert staff(*permissions, is_staff=False).post(address, {"jobs": job.pk}).status_code == 302
    assert not Run.objects.exists()
    assert not Job.objects.filter(paused=True).exists()


def test_the_buttons_send_the_token_of_the_form_that_they_are_in(staff: Staff) -> None:
    client = staff("view_job", "run_job", check_csrf=True)
    job = make_job()
    page = text(client.get(LIST))
    form = page[page.index('<form id="changelist-form" method="post"') :]
    form = form[: form.index("</form>")]
    assert form.count("<form") == 1
    assert f'formaction="{button(job, "run")}"' in form
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', form)
    assert token is not None
    client.post(button(job, "run"), {"csrfmiddlewaretoken": token[1]})
    assert Run.objects.count() == 1


def test_where_a_job_is_only_to_be_chosen_there_are_no_buttons(admin_client: Client) -> None:
    make_job()
    page = text(admin_client.get(f"{LIST}?_popup=1"))
    assert "formaction" not in page
    assert "column-run_one" not in page
    assert "action-select" not in page


def test_who_may_act_but_not_look_is_sent_elsewhere(staff: Staff) -> None:
    client = staff("run_job")
    assert client.post(button(make_job(), "run"))["Location"] == "/admin/"
    assert Run.objects.count() == 1


# With several at once


def test_selected_jobs_are_run_each_by_itself(staff: Staff) -> None:
    good, bad, other = make_job(), make_job(name="bad", task="gone"), make_job()
    answer = act(staff("view_job", "run_job"), "run_now", good, bad, other)
    assert set(Run.objects.values_list("job_id", flat=True)) == {good.name, other.name}
    refusal, success = messages(answer)
    assert refusal.startswith("bad: No task named")
    assert success == "2 runs are queued."
    assert LogEntry.objects.count() == 2


def test_who_may_see_the_runs_is_led_to_them(staff: Staff) -> None:
    answer = act(staff("view_job", "run_job", "view_run"), "run_now", make_job())
    assert '1 run is queued. <a href="/admin/hotdata/run/">Show the runs</a>' in text(answer)


def test_selected_jobs_are_paused_once_it_is_said_why(staff: Staff) -> None:
    jobs = [make_job(title=f"{HOSTILE} {number}") for number in range(2)]
    paused, other = make_job(title="paused already", paused=True), make_job()
    client = staff("view_job", "pause_job")
    page = text(act(client, "pause", *jobs, paused))
    assert Job.objects.filter(paused=True).count() == 1
    assert "2 jobs will pass over their due times" in page
    assert "paused already" not in page
    assert "<script>alert" not in page
    chosen = re.search(r'name="jobs" value="([\d,]+)"', page)
    assert chosen is not None
    until = timezone.localtime() + timedelta(days=1)
    data = {"jobs": chosen[1], "note": HOSTILE, "until": f"{until:%Y-%m-%dT%H:%M}"}
    answer = client.post(PAUSE_SEVERAL, data, follow=True)
    assert messages(answer) == ["2 jobs paused."]
    assert "<script>alert" not in text(answer)
    for job in jobs:
        job.refresh_from_db()
        assert (job.paused, job.paused_by, job.pause_note) == (True, "ada", HOSTILE)
        assert job.paused_until == until.replace(second=0, microsecond=0)
    assert not Job.objects.get(pk=other.pk).paused
    assert LogEntry.objects.count() == 2


def test_selected_jobs_are_resumed(staff: Staff) -> None:
    jobs = [make_job(paused=True, pause_note="why", paused_by="bob"), make_job(paused=True), make_job()]
    answer = act(staff("view_job", "pause_job"), "resume", *jobs)
    assert messages(answer) == ["2 jobs resumed."]
    assert not Job.objects.filter(paused=True).exists()
    assert not Job.objects.exclude(pause_note="", paused_by="").exists()
    assert not Schedule.objects.filter(next_run_time__isnull=True).exists()
    assert LogEntry.objects.count() == 2


def test_where_all_are_paused_nothing_is_asked(staff: Staff) -> None:
    answer = act(staff("view_job", "pause_job"), "pause", make_job(paused=True))
    assert messages(answer) == ["The selected jobs are paused already."]


def test_all_jobs_of_a_long_list_are_paused_at_once(staff: Staff) -> None:
    """More than Django reads as fields of a form, where each is one."""
    Job.objects.bulk_create(
        Job(name=f"job-{n:04}", task="refresh_due", cron="* * * * *") for n in range(1200)
    )
    client = staff("view_job", "pause_job")
    first = Job.objects.first()
    assert first is not None
    data = {"action": "pause", "select_across": "1", "_selected_action": [first.pk]}
    page = text(client.post(f"{LIST}?q=job", data))
    assert "Pause 1200 jobs" in page
    assert "and 1150 others" in page
    assert page.count("<input") < 10
    chosen = re.search(r'name="jobs" value="([\d,]+)"', page)
    assert chosen is not None
    assert chosen[1].count(",") == 1199


def test_what_is_asked_keeps_the_filters(staff: Staff) -> None:
    job = make_job(name="stocks")
    client = staff("view_job", "pause_job")
    page = text(act(client, "pause", job, query="?q=stocks"))
    address = f"{PAUSE_SEVERAL}?_changelist_filters=q%3Dstocks"
    assert f'action="{address}"' in page
    assert f'href="{LIST}?q=stocks">Cancel' in page
    assert client.post(address, {"jobs": job.pk})["Location"] == f"{LIST}?q=stocks"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"note": "x" * (NOTE_LIMIT + 1)}, "at most 500 characters"),
        ({"note": "a\x00b"}, "Null characters"),
        ({"until": "2001-01-01T00:00"}, "This lies in the past"),
        ({"until": "tomorrow"}, "Enter a valid date/time."),
        ({"until": "9999-12-31T23:59-12:00"}, "The time is out of range."),
        ({"until": "9999-12-31T23:59Z"}, "The time is out of range."),
    ],
)
def test_a_pause_that_can_not_be_is_refused_at_its_field(
    staff: Staff, fields: dict[str, str], said: str
) -> None:
    job = make_job()
    page = text(pause(staff("view_job", "pause_job"), job, **fields))
    assert said in page
    assert f'name="jobs" value="{job.pk}"' in page
    assert not Job.objects.filter(paused=True).exists()


@pytest.mark.parametrize("jobs", ["", "x", "1;2", "²", "-1", "9" * 40, "0", "1,,2"])
def test_jobs_that_are_none_are_not_paused(staff: Staff, jobs: str) -> None:
    make_job()
    answer = staff("view_job", "pause_job").post(PAUSE_SEVERAL, {"jobs": jobs}, follow=True)
    assert messages(answer) == ["The selected jobs are gone."]
    assert not Job.objects.filter(paused=True).exists()


def test_a_job_that_cannot_be_scheduled_does_not_keep_the_others_from_being_paused(staff: Staff) -> None:
    broken, good = make_job(name="a-broken"), make_job(name="b-good")
    Job.objects.filter(pk=broken.pk).update(cron="nonsense")
    refusal, success = messages(pause(staff("view_job", "pause_job"), broken, good))
    assert refusal.startswith("a-broken: The expression has 1 field")
    assert success == "1 job paused."
    assert Job.objects.get(pk=good.pk).paused


@pytest.mark.parametrize("action", ["run_now", "pause", "resume"])
def test_without_the_permission_an_action_is_neither_offered_nor_done(staff: Staff, action: str) -> None:
    jobs = [make_job(), make_job(paused=True)]
    before = list(Job.objects.values())
    client = staff("view_job", "change_job", "delete_job")
    assert f'value="{action}"' not in text(client.get(LIST))
    act(client, action, *jobs)
    assert client.post(PAUSE_SEVERAL, {"jobs": jobs[0].pk}).status_code == 403
    assert list(Job.objects.values()) == before
    assert not Run.objects.exists()


def test_pausing_is_not_running(staff: Staff) -> None:
    job = make_job()
    act(staff("view_job", "pause_job"), "run_now", job)
    assert not Run.objects.exists()
    client = staff("view_job", "run_job")
    act(client, "pause", job)
    assert pause(client, job).status_code == 403
    assert not Job.objects.filter(paused=True).exists()
