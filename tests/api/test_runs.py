"""Runs: those of a job, one with all that is on record of it, and its cancellation."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from hotdata.models import ChangeCounter, Job, Run
from hotdata.models.runs import FINISHED, Cause, State
from hotdata.observing import finding
from tests.api.test_jobs import pages, post, refused
from tests.builders import NODE, Staff, make_job, make_run

pytestmark = pytest.mark.django_db

RUNS = "/api/jobs/update/runs"


@pytest.fixture
def job() -> Job:
    return make_job(name="update", params={"a": 1})


def ids(client: Client, path: str = RUNS, **query: Any) -> list[list[int]]:
    return [[run["id"] for run in page] for page in pages(client, path, **query)]


# Those of a job


def test_the_runs_of_a_job_are_listed_newest_first(staff: Staff, job: Job) -> None:
    due = timezone.now().replace(microsecond=0)
    runs = [
        make_run(
            job, state=State.MISSED, cause=Cause.SCHEDULE, scheduled_for=due, reason="Late.", coalesced=3
        ),
        make_run(job, state=State.FAILED, error="it failed", duration=timedelta(seconds=1.5), attempt=2),
        make_run(job, state=State.RUNNING, progress_done=3, progress_total=10),
    ]
    make_run(make_job(name="other"))
    answer = staff("view_run").get(RUNS)
    running, failed, missed = answer.json()["items"]
    assert [running["id"], failed["id"], missed["id"]] == [run.pk for run in reversed(runs)]
    assert running["progress"] == {"done": 3, "total": 10}
    assert (failed["state"], failed["error"], failed["duration"], failed["attempt"]) == (
        "failed",
        "it failed",
        1.5,
        2,
    )
    assert (missed["state"], missed["reason"], missed["coalesced"]) == ("missed", "Late.", 3)
    assert datetime.fromisoformat(missed["scheduled_for"]) == due
    assert not {"log", "result", "traceback", "params"} & failed.keys()


def test_a_list_of_runs_comes_in_pages_that_stay_while_runs_come_and_go(staff: Staff, job: Job) -> None:
    client = staff("view_run")
    runs = [make_run(job, state=State.SUCCEEDED).pk for _ in range(5)]
    assert ids(client, limit=2) == [[runs[4], runs[3]], [runs[2], runs[1]], [runs[0]]]
    first = client.get(RUNS, {"limit": 2}).json()
    make_run(job)
    Run.objects.filter(pk__in=[runs[3], runs[2]]).delete()
    second = client.get(RUNS, {"limit": 2, "cursor": first["next"]}).json()
    assert [run["id"] for run in second["items"]] == [runs[1], runs[0]]
    assert second["next"] is None


@pytest.mark.parametrize("state", list(State))
def test_runs_are_found_by_their_state(staff: Staff, job: Job, state: State) -> None:
    for each in State:
        make_run(job, state=each)
    found = pages(staff("view_run"), RUNS, state=state)
    assert [[run["state"] for run in page] for page in found] == [[state]]


def test_several_states_are_one_or_the_other(staff: Staff, job: Job) -> None:
    runs = {state: make_run(job, state=state).pk for state in State}
    found = ids(staff("view_run"), state=["succeeded", "failed", "running"], limit=1)
    assert found == [[runs[State.FAILED]], [runs[State.SUCCEEDED]], [runs[State.RUNNING]]]


def test_a_rare_state_is_looked_for_step_by_step_and_none_is_left_out(
    staff: Staff, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finding, "LOOKED_THROUGH", 3)
    wanted = []
    for number in range(10):
        state = State.SUCCEEDED if number % 4 == 0 else State.FAILED
        run = make_run(job, state=state).pk
        wanted += [run] if state == State.SUCCEEDED else []
    found = ids(staff("view_run"), state="succeeded")
    assert [run for page in found for run in page] == wanted[::-1]
    assert len(found) > 3, "the search did not stop"


def test_the_runs_of_a_deleted_job_are_still_there(staff: Staff, job: Job) -> None:
    run = make_run(job, state=State.SUCCEEDED)
    job.delete()
    client = staff("view_run")
    assert ids(client) == [[run.pk]]
    assert client.get(RUNS, {"state": "failed"}).json() == {"items": [], "next": None}


def test_a_job_that_never_ran_has_no_runs_and_one_that_never_was_is_404(staff: Staff, job: Job) -> None:
    client = staff("view_run")
    assert client.get(RUNS).json() == {"items": [], "next": None}
    assert refused(client.get("/api/jobs/nothing/runs"), 404) == "Job not found"


@pytest.mark.parametrize("query", ["limit=0", "limit=1e3", "state=ill", "cursor=x", "cursor=YQ", "job=x"])
def test_a_query_that_makes_no_sense_is_400(staff: Staff, job: Job, query: str) -> None:
    refused(staff("view_run").get(f"{RUNS}?{query}"), 400)


def test_a_list_of_runs_reads_nothing_that_may_be_long(staff: Staff, job: Job) -> None:
    client = staff("view_run")
    for _ in range(20):
        make_run(job, state=State.FAILED, log="long", result=[1], traceback="long")
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert len(client.get(RUNS).json()["items"]) == 20
    asked = [query["sql"] for query in queries]
    assert len(asked) <= 8
    assert not any(
        f'"{column}"' in sql for column in ("log", "result", "traceback", "params") for sql in asked
    )


# One


def test_one_run_is_told_with_all_that_is_on_record(staff: Staff, job: Job) -> None:
    began = timezone.now()
    ended = {
        "number": 1, "state": "timed_out", "started_at": began.isoformat(), "duration": 0.5, "node": "n",
        "error": "slow",
    }  # fmt: skip
    run = make_run(
        job, state=State.RUNNING, attempt=2, attempts=[ended], log="第一行\n", result={"n": 1}, traceback="Traceback",
        cancel_requested_by="eve",
    )  # fmt: skip
    told = staff("view_run").get(f"/api/runs/{run.pk}").json()
    assert (told["job"], told["params"], told["log"]) == ("update", {"a": 1}, "第一行\n")
    assert (told["result"], told["traceback"], told["cancel_requested_by"]) == ({"n": 1}, "Traceback", "eve")
    first, second = told["attempts"]
    assert datetime.fromisoformat(first.pop("started_at")) == began
    assert first == {"number": 1, "state": "timed_out", "duration": 0.5, "node": "n", "error": "slow"}
    assert (second["number"], second["state"], second["node"]) == (2, "running", NODE)
    assert second["duration"] >= 0


@pytest.mark.parametrize(
    "attempts", [{}, [1, None, {}], [{"state": "odd", "started_at": 5, "duration": "x"}]]
)
def test_a_run_with_an_odd_record_is_told_all_the_same(staff: Staff, job: Job, attempts: Any) -> None:
    run = make_run(job, state=State.FAILED)
    Run.objects.update(attempts=attempts)
    assert staff("view_run").get(f"/api/runs/{run.pk}").status_code == 200


@pytest.mark.parametrize(
    "number", ["0", "999999", "9" * 18, "9" * 30, "9" * 5000, "x", "-1", "1.0", "%00", "٣"]
)
def test_a_run_that_is_not_there_is_404(staff: Staff, job: Job, number: str) -> None:
    client = staff("view_run", "cancel_run")
    refused(client.get(f"/api/runs/{number}"), 404)
    refused(post(client, f"/api/runs/{number}/cancel"), 404)


# Cancel


def test_a_run_that_waits_is_cancelled_at_once(staff: Staff, job: Job) -> None:
    run = make_run(job)
    before = ChangeCounter.current()
    answer = post(staff("cancel_run"), f"/api/runs/{run.pk}/cancel")
    assert (answer.status_code, answer.json()["state"]) == (202, "cancelled")
    run.refresh_from_db()
    assert run.state == State.CANCELLED
    assert "ada" in run.reason
    assert ChangeCounter.current() > before
    assert LogEntry.objects.get().change_message == "Cancelled."


def test_a_run_that_runs_is_asked_to_stop(staff: Staff, job: Job) -> None:
    run = make_run(job, state=State.RUNNING)
    client = staff("cancel_run")
    answer = post(client, f"/api/runs/{run.pk}/cancel", {})
    assert (answer.json()["state"], answer.json()["cancel_requested_by"]) == ("running", "ada")
    assert "is being cancelled" in refused(post(client, f"/api/runs/{run.pk}/cancel"), 409)


@pytest.mark.parametrize("state", FINISHED)
def test_a_run_that_has_ended_cannot_be_cancelled(staff: Staff, job: Job, state: State) -> None:
    run = make_run(job, state=state)
    refused(post(staff("cancel_run"), f"/api/runs/{run.pk}/cancel"), 409)
    run.refresh_from_db()
    assert run.state == state
    assert not LogEntry.objects.exists()


def test_a_cancellation_takes_no_parameters(staff: Staff, job: Job) -> None:
    run = make_run(job)
    refused(post(staff("cancel_run"), f"/api/runs/{run.pk}/cancel", {"why": "x"}), 400)
    assert Run.objects.get().state == State.QUEUED


# Who may


def test_runs_are_for_who_may_see_them_and_cancelled_by_who_may(staff: Staff, job: Job) -> None:
    run = make_run(job)
    for path in (RUNS, f"/api/runs/{run.pk}", "/admin/jobs/update/logs"):
        refused(Client().get(path), 401)
        assert "hotdata.view_run" in refused(staff("view_job", "cancel_run").get(path), 403)
    cancel = f"/api/runs/{run.pk}/cancel"
    refused(post(Client(), cancel), 401)
    assert "hotdata.cancel_run" in refused(post(staff("view_run", "run_job"), cancel), 403)
    assert "CSRF" in refused(post(staff("cancel_run", check_csrf=True), cancel), 403)
    answer = staff("cancel_run").get(cancel)
    assert (answer.status_code, answer["Allow"]) == (405, "POST")
    assert Run.objects.get().state == State.QUEUED


# The logs of a job, where they were first


def test_the_latest_runs_of_a_job_are_listed_with_their_logs(staff: Staff, job: Job) -> None:
    for number in range(12):
        make_run(job, state=State.SUCCEEDED, log=f"line {number}\n", duration=timedelta(seconds=2))
    make_run(job, state=State.SKIPPED, reason="Another one is active.")
    client = staff("view_run")
    logs = client.get("/admin/jobs/update/logs").json()
    assert len(logs) == 10
    assert [entry["log"] for entry in logs[:3]] == ["", "line 11\n", "line 10\n"]
    assert (logs[0]["state"], logs[0]["error"]) == ("skipped", "Another one is active.")
    assert (logs[1]["duration"], logs[1]["error"]) == (2.0, "")
    assert datetime.fromisoformat(logs[1]["finished_at"]).utcoffset() is not None
    assert len(client.get("/admin/jobs/update/logs?limit=1").json()) == 1
    assert len(client.get("/admin/jobs/update/logs?limit=100").json()) == 13


@pytest.mark.parametrize("limit", ["0", "101", "-1", "x", "", "1.5", "9" * 5000, "%00"])
def test_a_limit_of_logs_that_makes_no_sense_is_400(staff: Staff, job: Job, limit: str) -> None:
    assert refused(staff("view_run").get(f"/admin/jobs/update/logs?limit={limit}"), 400).startswith("limit: ")


@pytest.mark.parametrize("name", ["nothing", "%00", "%ff", "中文", "x" * 5000])
def test_logs_of_a_job_that_never_was_are_404(staff: Staff, name: str) -> None:
    assert refused(staff("view_run").get(f"/admin/jobs/{name}/logs"), 404) == "Job not found"


def test_logs_of_a_job_that_was_deleted_are_still_there(staff: Staff, job: Job) -> None:
    make_run(job, state=State.SUCCEEDED, log="it worked")
    job.delete()
    (entry,) = staff("view_run").get("/admin/jobs/update/logs").json()
    assert entry["log"] == "it worked"


def test_logs_cost_as_many_queries_for_many_runs_as_for_one(
    staff: Staff, job: Job, django_assert_max_num_queries: Any
) -> None:
    client = staff("view_run")
    for _ in range(20):
        make_run(job, state=State.FAILED)
    with django_assert_max_num_queries(6):
        assert len(client.get("/admin/jobs/update/logs?limit=20").json()) == 20
