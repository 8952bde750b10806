"""Jobs under /api/jobs: what there are, how they do, and what can be done with them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import OperationalError
from django.test import Client
from django.utils import timezone

from hotdata import actions
from hotdata.api import jobs
from hotdata.models import ChangeCounter, Job, Run
from hotdata.models.runs import Cause, State
from tests.builders import Staff, make_job, make_run, registered

pytestmark = pytest.mark.django_db

LIST = "/api/jobs"


def post(client: Client, path: str, body: Any = None, **options: Any) -> Any:
    return client.post(path, body, content_type="application/json", **options)


def refused(answer: Any, status: int) -> str:
    """The error of a refusal, after a look at its form."""
    assert answer.status_code == status
    assert answer["Content-Type"] == "application/json; charset=utf-8"
    assert answer["Cache-Control"] == "no-store"
    assert answer.json().keys() == {"error"}
    return str(answer.json()["error"])


def pages(client: Client, path: str = LIST, **query: Any) -> list[list[dict[str, Any]]]:
    """All pages of a list."""
    found, cursor = [], ""
    while cursor is not None:
        page = client.get(path, query | {"cursor": cursor}).json()
        found.append(page["items"])
        cursor = page["next"]
    return found


def names(client: Client, **query: Any) -> list[str]:
    return [job["name"] for page in pages(client, **query) for job in page]


# The list


def test_jobs_are_listed_by_name_with_how_they_do(staff: Staff) -> None:
    job = make_job(name="update", title="更新", params={})
    make_run(job, state=State.SUCCEEDED, cause=Cause.MANUAL, attempt=1, started_at=timezone.now())
    make_job(name="beat", trigger="interval", interval=timedelta(seconds=10), cron="")
    answer = staff("view_job").get(LIST)
    assert answer["Cache-Control"] == "private, no-store"
    beat, update = answer.json()["items"]
    assert answer.json()["next"] is None
    assert (update["name"], update["title"], update["task"]) == ("update", "更新", "refresh_due")
    assert (update["health"], update["error"], update["paused"]) == ("healthy", "", None)
    assert (update["trigger"]["kind"], update["trigger"]["cron"]) == ("cron", "*/5 * * * *")
    assert "5 minutes" in update["trigger"]["words"]
    assert datetime.fromisoformat(update["next_run_time"]).utcoffset() is not None
    assert (update["last_run"]["state"], update["last_run"]["cause"]) == ("succeeded", "manual")
    assert (beat["health"], beat["last_run"]) == ("new", None)
    assert (beat["trigger"]["interval"], beat["trigger"]["cron"]) == (10.0, None)


def test_a_list_comes_in_pages_that_lead_on(staff: Staff) -> None:
    for number in range(5):
        make_job(name=f"job-{number}")
    found = pages(staff("view_job"), limit=2)
    assert [[job["name"][-1] for job in page] for page in found] == [["0", "1"], ["2", "3"], ["4"]]


def test_the_last_page_leads_nowhere_when_it_is_full(staff: Staff) -> None:
    make_job()
    make_job()
    assert len(pages(staff("view_job"), limit=2)) == 1


def test_a_page_is_followed_by_the_same_one_whatever_comes_and_goes(staff: Staff) -> None:
    for name in "bdfh":
        make_job(name=name)
    client = staff("view_job")
    first = client.get(LIST, {"limit": 2}).json()
    make_job(name="a")
    make_job(name="c")
    make_job(name="e")
    Job.objects.get(name="d").delete()  # which the cursor leads on from
    second = client.get(LIST, {"limit": 2, "cursor": first["next"]}).json()
    assert [job["name"] for job in second["items"]] == ["e", "f"]


def test_jobs_are_found_by_health_task_and_pause(staff: Staff) -> None:
    client = staff("view_job")
    make_job(name="new")
    make_job(name="paused", paused=True)
    make_job(name="over", paused=True, paused_until=timezone.now() + timedelta(days=1))
    Job.objects.filter(name="over").update(paused_until=timezone.now() - timedelta(seconds=1))
    make_job(name="gone", task="gone")
    assert names(client) == ["gone", "new", "over", "paused"]
    assert names(client, health="broken") == ["gone"]
    assert names(client, health=["broken", "paused"], limit=1) == ["gone", "paused"]
    assert names(client, task="gone") == ["gone"]
    assert names(client, paused="true") == ["paused"]
    assert names(client, paused="false") == ["gone", "new", "over"]
    assert names(client, paused="false", health="new", task="refresh_due") == ["new", "over"]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("limit=0", "limit: Expected `int` >= 1."),
        ("limit=101", "limit: Expected `int` <= 100."),
        ("limit=", "limit: Expected `int`, got `str`."),
        ("limit=1&limit=2", "limit: given 2 times."),
        ("health=ill", "health[0]: Invalid enum value 'ill'."),
        ("paused=maybe", "paused: Expected `bool`, got `str`."),
        ("cursor=nonsense", "cursor: this is none that an earlier page gave."),
        ("colour=red", "Object contains unknown field `colour`."),
        ("task=%00", "task: Expected `str` matching regex '^[a-z0-9_]*$'."),
    ],
)
def test_a_query_that_makes_no_sense_is_400_and_says_where(staff: Staff, query: str, said: str) -> None:
    assert refused(staff("view_job").get(f"{LIST}?{query}"), 400) == said


def test_the_list_costs_as_many_queries_for_many_jobs_as_for_one(
    staff: Staff, django_assert_max_num_queries: Any
) -> None:
    client = staff("view_job")
    for _ in range(20):
        make_run(make_job(), state=State.FAILED, error="it failed")
    with django_assert_max_num_queries(8):
        assert len(client.get(LIST).json()["items"]) == 20


def test_why_a_job_fails_is_for_who_may_see_runs(staff: Staff) -> None:
    job = make_job(name="update")
    make_run(job, state=State.FAILED, cause=Cause.SCHEDULE, scheduled_for=timezone.now(), error="it failed")
    assert staff("view_job").get(f"{LIST}/update").json()["error"] == ""
    assert staff("view_job", "view_run").get(f"{LIST}/update").json()["error"] == "it failed"


# One


def test_one_job_is_told_with_all_that_defines_it(staff: Staff) -> None:
    job = make_job(name="update", timeout=timedelta(seconds=90), max_retries=2, jitter=timedelta(seconds=5))
    began = timezone.now()
    for seconds in (1, 3):
        make_run(job, state=State.SUCCEEDED, attempt=1, started_at=began, duration=timedelta(seconds=seconds))
    told = staff("view_job").get(f"{LIST}/update").json()
    assert (told["policies"]["timeout"], told["policies"]["max_retries"]) == (90.0, 2)
    assert (told["policies"]["overlap"], told["policies"]["isolation"]) == ("skip", "thread")
    assert (told["jitter"], told["p50"], told["p95"], told["success"]) == (5.0, 1.0, 3.0, 1.0)
    assert datetime.fromisoformat(told["created_at"]) == job.created_at


def test_a_job_that_is_broken_is_told_with_why(staff: Staff) -> None:
    make_job(name="gone", task="gone")
    told = staff("view_job").get(f"{LIST}/gone").json()
    assert told["health"] == "broken"
    assert "gone" in told["error"]


@pytest.mark.parametrize("path", ["/nothing", "/%00", "/" + "x" * 5000, "/a/b/c", "/update/", "/%ff"])
def test_what_is_not_there_is_404_in_json(staff: Staff, path: str) -> None:
    make_job(name="update")
    refused(staff("view_job").get(LIST + path), 404)


# Who may


ACTS = ["pause", "resume", "trigger"]


@pytest.mark.parametrize("path", [LIST, f"{LIST}/update"])
def test_jobs_are_for_who_may_see_them(staff: Staff, path: str) -> None:
    make_job(name="update")
    refused(Client().get(path), 401)
    assert "hotdata.view_job" in refused(staff("view_run", "run_job").get(path), 403)
    refused(staff("view_job", is_staff=False).get(path), 403)


@pytest.mark.parametrize(
    ("act", "codename"), [("pause", "pause_job"), ("resume", "pause_job"), ("trigger", "run_job")]
)
def test_each_act_needs_its_permission_and_the_token_of_a_form(staff: Staff, act: str, codename: str) -> None:
    make_job(name="update", paused=act == "resume")
    path = f"{LIST}/update/{act}"
    before = ChangeCounter.current()
    refused(post(Client(), path), 401)
    others = {"view_job", "change_job", "pause_job", "run_job"} - {codename}
    assert f"hotdata.{codename}" in refused(post(staff(*others), path), 403)
    assert "CSRF" in refused(post(staff(codename, check_csrf=True), path), 403)
    assert ChangeCounter.current() == before
    assert post(staff(codename), path).status_code in (200, 202)


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("method", ["get", "head", "put", "delete", "patch", "options"])
def test_only_a_post_acts(staff: Staff, act: str, method: str) -> None:
    make_job(name="update")
    before = ChangeCounter.current()
    answer = getattr(staff("run_job", "pause_job"), method)(f"{LIST}/update/{act}")
    assert (answer.status_code, answer["Allow"]) == (405, "POST")
    assert ChangeCounter.current() == before


@pytest.mark.parametrize("act", ACTS)
def test_a_job_that_is_not_there_can_do_nothing(staff: Staff, act: str) -> None:
    client = staff("run_job", "pause_job")
    assert refused(post(client, f"{LIST}/nothing/{act}"), 404) == "Job not found"
    assert not LogEntry.objects.exists()


# Pause and resume


def test_a_job_is_paused_with_a_note_until_a_time_in_the_users_name(staff: Staff) -> None:
    make_job(name="update")
    until = timezone.now() + timedelta(hours=1)
    answer = post(staff("pause_job"), f"{LIST}/update/pause", {"note": "维护", "until": until.isoformat()})
    assert answer.status_code == 200
    told = answer.json()["paused"]
    assert (told["note"], told["by"]) == ("维护", "ada")
    assert datetime.fromisoformat(told["until"]) == until
    job = Job.objects.get()
    assert (job.paused, job.pause_note, job.paused_by, job.paused_until) == (True, "维护", "ada", until)
    assert LogEntry.objects.get().change_message == "Paused."
    assert job.history.latest("history_id").history_user_id == "ada"


def test_a_paused_job_is_resumed(staff: Staff) -> None:
    make_job(name="update", paused=True, pause_note="for now", paused_by="eve")
    answer = post(staff("pause_job"), f"{LIST}/update/resume")
    assert (answer.status_code, answer.json()["paused"]) == (200, None)
    assert answer.json()["next_run_time"] is not None
    assert not Job.objects.get().paused
    assert LogEntry.objects.get().change_message == "Resumed."


def test_what_is_so_already_is_409(staff: Staff) -> None:
    client = staff("pause_job")
    make_job(name="update")
    assert refused(post(client, f"{LIST}/update/resume"), 409) == "update is not paused."
    post(client, f"{LIST}/update/pause")
    assert (
        refused(post(client, f"{LIST}/update/pause", {"note": "again"}), 409) == "update is paused already."
    )
    assert Job.objects.get().pause_note == ""


def test_a_job_that_cannot_be_scheduled_cannot_be_resumed(staff: Staff) -> None:
    make_job(name="update", paused=True)
    Job.objects.update(cron="nonsense")
    assert "five" in refused(post(staff("pause_job"), f"{LIST}/update/resume"), 409)
    assert Job.objects.get().paused


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"until": "2020-01-01T00:00:00Z"}, "until: this lies in the past"),
        ({"until": "2999-01-01T00:00:00"}, "until: Expected `datetime` with a timezone component."),
        ({"until": "9999-12-31T23:59:59-12:00"}, "until: the time is out of range."),
        (
            {"until": "9999-12-31T23:59:59Z"},
            "until: the time is out of range.",
        ),  # in Shanghai it is year 10,000
        ({"until": "0001-01-01T00:00:00+12:00"}, "until: the time is out of range."),
        ({"until": "tomorrow"}, "until: Invalid RFC3339 encoded datetime."),
        ({"until": 5}, "until: Expected `datetime | null`, got `int`."),
        ({"note": None}, "note: Expected `str`, got `null`."),
        ({"note": "x" * 501}, "note: Expected `str` of length <= 500."),
        ({"note": "a\x00b"}, "note: it can't hold the character U+0000."),
        ({"reason": "x"}, "Object contains unknown field `reason`."),
        ([], "Expected `object`, got `array`."),
    ],
)
def test_a_pause_that_makes_no_sense_is_400_and_says_where(staff: Staff, body: Any, said: str) -> None:
    make_job(name="update")
    assert said in refused(post(staff("pause_job"), f"{LIST}/update/pause", body), 400)
    assert not Job.objects.get().paused


# Trigger


def test_a_trigger_queues_a_run_and_says_where_it_is(staff: Staff) -> None:
    make_job(name="clean", task="cleanup_logs", params={"days": 30})
    client = staff("run_job", "change_job", "view_run")
    before = ChangeCounter.current()
    answer = post(client, f"{LIST}/clean/trigger", {"params": {"days": 7}})
    run = Run.objects.get()
    assert answer.status_code == 202
    assert answer.json() == {"run": run.pk, "job": "clean", "state": "queued"}
    assert client.get(answer["Location"]).json()["id"] == run.pk
    assert (run.cause, run.requested_by, run.params) == (Cause.API, "ada", {"days": 7})
    assert ChangeCounter.current() > before, "the leader is not told"
    assert LogEntry.objects.get().change_message == f"Run now: run {run.pk}."


def test_other_parameters_need_the_permission_to_change_the_job(staff: Staff) -> None:
    make_job(name="clean", task="cleanup_logs")
    refused(post(staff("run_job"), f"{LIST}/clean/trigger", {"params": {"days": 1}}), 403)
    assert not Run.objects.exists()


def test_parameters_that_do_not_fit_and_tasks_that_are_gone_are_400(staff: Staff) -> None:
    client = staff("run_job", "change_job")
    make_job(name="clean", task="cleanup_logs")
    assert "days" in refused(post(client, f"{LIST}/clean/trigger", {"params": {"days": "x"}}), 400)
    with registered(lambda: None) as task:
        make_job(name="gone", task=task)
    assert task in refused(post(client, f"{LIST}/gone/trigger"), 400)
    assert not Run.objects.exists()


def test_a_token_or_a_user_who_triggers_without_end_is_409(staff: Staff) -> None:
    client = staff("run_job")
    make_job(name="update")
    for _ in range(actions.MOST_RUNS):
        assert post(client, f"{LIST}/update/trigger").status_code == 202
    assert "have not ended" in refused(post(client, f"{LIST}/update/trigger"), 409)
    assert "have not ended" in refused(post(client, "/admin/jobs/update/trigger"), 409)
    assert Run.objects.count() == actions.MOST_RUNS


def test_a_database_that_fails_half_way_leaves_no_run(staff: Staff, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise OperationalError("database is locked")

    make_job(name="update")
    client = staff("run_job")
    monkeypatch.setattr(type(LogEntry.objects), "log_actions", fail)
    assert "nothing was done" in refused(post(client, f"{LIST}/update/trigger"), 503)
    assert not Run.objects.exists()


def test_a_pause_whose_answer_cannot_be_read_is_none(staff: Staff, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise OperationalError("the connection was closed")

    make_job(name="update")
    client = staff("pause_job")
    monkeypatch.setattr(jobs, "job_statuses", fail)
    assert "nothing was done" in refused(post(client, f"{LIST}/update/pause"), 503)
    assert not Job.objects.get().paused
    assert not LogEntry.objects.exists()


# Bodies, as every endpoint takes them


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ("note=x", "application/x-www-form-urlencoded"),
        ("{}", "text/plain"),
        ("<a/>", "application/xml"),
        ("{}", "application/jsonp"),
        ("--x--\r\n", "multipart/form-data; boundary=x"),
    ],
)
def test_what_is_not_sent_as_json_is_415(staff: Staff, body: str, content_type: str) -> None:
    make_job(name="update")
    answer = staff("pause_job").post(f"{LIST}/update/pause", body, content_type=content_type)
    assert content_type.partition(";")[0] in refused(answer, 415)
    assert not Job.objects.get().paused


@pytest.mark.parametrize("content_type", ["", "application/json", "Application/JSON; charset=utf-8"])
def test_json_is_json_however_that_is_put(staff: Staff, content_type: str) -> None:
    make_job(name="update")
    answer = staff("pause_job").generic("POST", f"{LIST}/update/pause", '{"note": "x"}', content_type)
    assert answer.status_code == 200


def test_nothing_is_a_body_whatever_it_is_called(staff: Staff) -> None:
    make_job(name="update")
    answer = staff("pause_job").generic(
        "POST", f"{LIST}/update/pause", b"", "application/x-www-form-urlencoded"
    )
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "body", ["{", "no", '{"note": "\\ud800"}', b'{"note": "\xff"}', "[" * 100_000, "\x00"]
)
def test_what_is_no_json_is_400(staff: Staff, body: Any) -> None:
    make_job(name="update")
    refused(post(staff("pause_job"), f"{LIST}/update/pause", body), 400)


def test_a_body_that_is_too_large_is_413(staff: Staff) -> None:
    make_job(name="update")
    refused(post(staff("pause_job"), f"{LIST}/update/pause", b'{"note": "' + b"x" * 3_000_000 + b'"}'), 413)


def test_more_parameters_than_anybody_means_are_413(staff: Staff) -> None:
    refused(staff("view_job").get(LIST + "?" + "&".join(["health=new"] * 1500)), 413)


def test_times_have_the_offset_of_the_site(staff: Staff) -> None:
    make_job(name="update")
    with timezone.override("Asia/Kolkata"):
        told = staff("view_job").get(f"{LIST}/update").json()
    assert told["created_at"].endswith("+05:30")
