from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError
from django.middleware.csrf import get_token
from django.test import Client

from hotdata.models import ChangeCounter, Job, Run
from hotdata.models.runs import Cause, State
from tests.builders import Staff, make_job, make_source, registered

pytestmark = pytest.mark.django_db

LIST = "/admin/scheduled-jobs"


@pytest.fixture
def job() -> Job:
    return make_job(name="clean", title="Clean up", task="cleanup_logs", params={"days": 30})


def trigger(client: Client, name: str = "clean", body: Any = None, **options: Any) -> Any:
    return client.post(f"/admin/jobs/{name}/trigger", body, content_type="application/json", **options)


def refused(answer: Any, status: int) -> str:
    """The error of a refusal, after a look at its form and at what was not started."""
    assert answer.status_code == status
    assert answer["Content-Type"] == "application/json; charset=utf-8"
    assert answer.json().keys() == {"error"}
    assert not Run.objects.exists()
    return answer.json()["error"]


# The list


def test_all_jobs_are_listed_with_when_they_are_due_next(staff: Staff, job: Job) -> None:
    make_job(name="beat", trigger="interval", interval=timedelta(seconds=10), cron="", paused=True)
    answer = staff("view_job").get(LIST)
    assert answer.status_code == 200
    beat, clean = answer.json()
    assert (beat["id"], beat["name"], beat["paused"], beat["next_run_time"]) == ("beat", "beat", True, None)
    assert clean.keys() == {
        "id",
        "name",
        "task",
        "params",
        "trigger",
        "time_zone",
        "paused",
        "next_run_time",
        "error",
    }
    assert (clean["id"], clean["name"], clean["task"]) == ("clean", "Clean up", "cleanup_logs")
    assert (clean["params"], clean["error"]) == ({"days": 30}, "")
    assert "5 minutes" in clean["trigger"]
    assert datetime.fromisoformat(clean["next_run_time"]).minute % 5 == 0
    assert datetime.fromisoformat(clean["next_run_time"]).utcoffset() is not None


def test_what_only_staff_may_see_is_kept_by_no_cache(staff: Staff) -> None:
    assert staff("view_job").get(LIST)["Cache-Control"] == "private, no-store"


def test_no_jobs_are_an_empty_list(staff: Staff) -> None:
    assert staff("view_job").get(LIST).json() == []


def test_a_job_that_cannot_be_scheduled_is_listed_with_its_error(staff: Staff, job: Job) -> None:
    Job.objects.update(cron="nonsense")
    (shown,) = staff("view_job").get(LIST).json()
    assert "exactly five are expected" in shown["trigger"]


def test_the_list_costs_as_many_queries_for_many_jobs_as_for_one(
    staff: Staff, job: Job, django_assert_max_num_queries: Any
) -> None:
    client = staff("view_job")
    for number in range(20):
        make_job(name=f"job-of-many-{number}")
    with django_assert_max_num_queries(6):
        assert len(client.get(LIST).json()) == 21


def test_a_head_of_the_list_has_no_body(staff: Staff) -> None:
    answer = staff("view_job").head(LIST)
    assert (answer.status_code, answer.content) == (200, b"")


# Who may


@pytest.mark.parametrize("check_csrf", [False, True])
def test_whoever_is_not_staff_is_401(job: Job, check_csrf: bool) -> None:
    client = Client(enforce_csrf_checks=check_csrf)
    refused(client.get(LIST), 401)
    refused(trigger(client), 401)


def test_a_user_who_is_not_staff_is_403_whatever_the_permissions(staff: Staff, job: Job) -> None:
    client = staff("view_job", "run_job", is_staff=False)
    refused(client.get(LIST), 403)
    refused(trigger(client), 403)


def test_staff_without_the_permission_are_403(staff: Staff, job: Job) -> None:
    client = staff("change_job", "pause_job")
    assert "hotdata.view_job" in refused(client.get(LIST), 403)
    assert "hotdata.run_job" in refused(trigger(client), 403)


def test_seeing_jobs_is_not_running_them(staff: Staff, job: Job) -> None:
    refused(trigger(staff("view_job")), 403)


def test_a_user_who_was_deactivated_is_401(staff: Staff, job: Job) -> None:
    client = staff("view_job", "run_job")
    User.objects.update(is_active=False)
    refused(client.get(LIST), 401)
    refused(trigger(client), 401)


def test_a_job_that_does_not_exist_is_not_told_to_strangers(job: Job) -> None:
    refused(trigger(Client(), "nothing"), 401)


# Triggering


def test_a_trigger_queues_a_run_in_the_users_name(staff: Staff, job: Job) -> None:
    before = ChangeCounter.current()
    answer = trigger(staff("run_job"))
    run = Run.objects.get()
    assert answer.status_code == 202
    assert answer.json() == {"run": run.id, "job": "clean", "state": "queued"}
    assert (run.job_id, run.task, run.params) == ("clean", "cleanup_logs", {"days": 30})
    assert (run.state, run.cause, run.requested_by) == (State.QUEUED, Cause.API, "ada")
    assert (run.scheduled_for, run.node) == (None, "")
    assert ChangeCounter.current() > before, "the leader is not told"


def test_a_superuser_needs_no_permission(admin_client: Client, job: Job) -> None:
    assert trigger(admin_client).status_code == 202


def test_a_paused_job_can_be_triggered(staff: Staff) -> None:
    make_job(name="clean", task="cleanup_logs", paused=True)
    assert trigger(staff("run_job")).status_code == 202


def test_the_schedule_is_not_touched(staff: Staff, job: Job, admin_client: Client) -> None:
    before = admin_client.get(LIST).json()
    trigger(staff("run_job"))
    assert admin_client.get(LIST).json() == before


@pytest.mark.parametrize("body", [None, "", "{}", '{"params": {}}'])
def test_without_parameters_the_jobs_own_are_used(staff: Staff, job: Job, body: Any) -> None:
    assert trigger(staff("run_job"), body=body).status_code == 202
    assert Run.objects.get().params == {"days": 30}


def test_other_parameters_than_the_jobs_own_need_the_permission_to_change_it(staff: Staff) -> None:
    make_job(name="clean", task="cleanup_logs")
    answer = trigger(staff("run_job"), "clean", {"params": {"days": 1}})
    assert answer.status_code == 403
    assert not Run.objects.exists()


def test_parameters_replace_the_jobs_own_by_name(staff: Staff) -> None:
    make_job(name="warm", task="warm_up", params={"source": "forecast", "days_ahead": 1})
    make_source(name="weather")
    trigger(staff("run_job", "change_job"), "warm", {"params": {"days_ahead": 3, "cities_of": "weather"}})
    assert Run.objects.get().params == {"source": "forecast", "days_ahead": 3, "cities_of": "weather"}
    assert Job.objects.get().params == {"source": "forecast", "days_ahead": 1}


@pytest.mark.parametrize(
    "body",
    [
        "{",
        "nothing",
        "[]",
        "1",
        "null",
        '{"params": []}',
        '{"params": null}',
        '{"params": {"days": "7"}}',
        '{"params": {"nothing": 1}}',
        '{"parameters": {}}',
        b'{"params": {"days": "\xff"}}',
        '{"params": {"days": ' + "[" * 100_000,
    ],
    ids=lambda body: repr(body[:30]),
)
def test_a_bad_body_is_400_and_starts_nothing(staff: Staff, job: Job, body: Any) -> None:
    refused(trigger(staff("run_job", "change_job"), body=body), 400)


def test_a_text_that_no_database_takes_is_400(staff: Staff) -> None:
    make_job(name="warm", task="warm_up")
    body = '{"params": {"source": "a\\u0000b"}}'
    refused(trigger(staff("run_job", "change_job"), "warm", body), 400)


def test_a_job_whose_task_is_gone_is_400(staff: Staff) -> None:
    with registered(lambda: None) as task:
        make_job(name="clean", task=task)
    assert task in refused(trigger(staff("run_job")), 400)


@pytest.mark.parametrize("name", ["nothing", "CLEAN", "clean%20", "1", "%00", "%ff", "x" * 5000])
def test_a_job_that_does_not_exist_is_404(staff: Staff, job: Job, name: str) -> None:
    assert refused(trigger(staff("run_job"), name), 404) == "Job not found"


@pytest.mark.parametrize("method", ["get", "head", "put", "delete", "patch", "options"])
def test_only_a_post_triggers(staff: Staff, job: Job, method: str) -> None:
    answer = getattr(staff("run_job"), method)("/admin/jobs/clean/trigger")
    assert (answer.status_code, answer["Allow"]) == (405, "POST")
    assert not Run.objects.exists()


def test_a_get_of_a_stranger_starts_nothing_either(client: Client, job: Job) -> None:
    assert client.get("/admin/jobs/clean/trigger").status_code in (401, 405)
    assert not Run.objects.exists()


# CSRF


def test_a_post_without_a_csrf_token_is_403_in_json(staff: Staff, job: Job) -> None:
    assert "CSRF" in refused(trigger(staff("run_job", check_csrf=True)), 403)


def test_a_post_with_a_csrf_token_is_accepted(staff: Staff, job: Job) -> None:
    client = staff("run_job", "view_job", check_csrf=True)
    client.get("/admin/")
    token = client.get("/admin/password_change/").cookies["csrftoken"].value
    assert trigger(client, headers={"X-CSRFToken": token}).status_code == 202


def test_a_form_is_no_body(staff: Staff, job: Job) -> None:
    """The check of its token reads a form, and there is no body left after that."""
    client = staff("run_job", check_csrf=True)
    client.get("/admin/")
    token = get_token(client.request().wsgi_request)
    client.cookies["csrftoken"] = token
    answer = client.post("/admin/jobs/clean/trigger", {"csrfmiddlewaretoken": token})
    assert "multipart/form-data" in refused(answer, 415)


def test_a_body_that_is_too_large_is_refused_in_json(staff: Staff, job: Job) -> None:
    body = b'{"params": {"x": "' + b"x" * 3_000_000 + b'"}}'
    refused(trigger(staff("run_job"), body=body), 413)


def test_a_database_that_is_away_is_503_and_says_when_to_ask_again(
    staff: Staff, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise OperationalError("database is locked")

    client = staff("run_job")
    monkeypatch.setattr(Job, "request_run", fail)
    answer = trigger(client)
    assert refused(answer, 503) == "The database can't be used now; nothing was done."
    assert answer["Retry-After"] == "5"
