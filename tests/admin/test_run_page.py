"""The page of a run: what it says, what can be done, and how it follows a run that is under way."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone

from hotdata.admin.run_page import length_of, tag_of
from hotdata.models import Run
from hotdata.models.runs import ACTIVE, FINISHED, Cause, State
from tests.builders import Staff, make_call, make_job, make_run

pytestmark = pytest.mark.django_db

HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e"


def url(run: Run, what: str = "change") -> str:
    return f"/admin/hotdata/run/{run.pk}/{what}/"


def page(client: Client, run: Run) -> str:
    return " ".join(client.get(url(run)).content.decode().split())


def messages(answer: Any) -> list[str]:
    return [str(message) for message in answer.context["messages"]]


# What it says


def test_a_page_tells_the_whole_run(admin_client: Client, django_assert_max_num_queries: Any) -> None:
    now = timezone.now()
    job = make_job(name="update", max_retries=2, params={"seconds": 5})
    run = make_run(
        job,
        state=State.FAILED,
        requested_by="ada",
        attempt=2,
        attempts=[
            {"number": 1, "state": "timed_out", "started_at": now.isoformat(), "duration": 1.5, "error": "too slow",
             "node": "node-1"},
            {"number": 2, "state": "failed", "started_at": now.isoformat(), "duration": 0.02, "error": "broken",
             "node": "node-2"},
        ],
        started_at=now,
        duration=timedelta(milliseconds=20),
        error="ValueError: broken",
        traceback="Traceback (most recent call last)",
        log="a line of the log",
        result={"failed": {"北京": "why"}},
        progress_done=3,
        progress_total=10,
        node="node-2",
    )  # fmt: skip
    with django_assert_max_num_queries(12):
        shown = page(admin_client, run)
    for text in (
        "update</a>", f"#{run.pk}", "Run now", "ada", "2 of 3", "too slow", "broken", "1.5 s", "node-1", "20 ms",
        "a line of the log", "北京", "Traceback (most", "3 of 10", '<progress id="hd-progress" value="3" max="10">',
        "&quot;seconds&quot;: 5", "<details",
    ):  # fmt: skip
        assert text in shown, text
    assert "data-live" not in shown


@pytest.mark.parametrize("state", State)
def test_every_state_has_a_page(admin_client: Client, state: State) -> None:
    run = make_run(make_job(), state=state)
    assert str(state.label) in page(admin_client, run)
    assert ("data-live" in page(admin_client, run)) is (state in ACTIVE)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"held": True, "node": ""}, "It waits until the other runs of its job have ended."),
        ({}, "It waits for a scheduler to start it."),
        ({"state": State.RETRYING}, "It is tried again at"),
        ({"state": State.RUNNING, "cancel_requested_by": "ada"}, "ada asked it to stop."),
        ({"state": State.RUNNING, "cancel_requested_by": "schedule"}, "a later due time takes its place"),
    ],
)
def test_what_a_run_waits_for_is_said(admin_client: Client, fields: dict[str, Any], said: str) -> None:
    assert said in page(admin_client, make_run(make_job(), **fields))


def test_due_times_that_share_a_record_are_said_in_words(admin_client: Client) -> None:
    due = timezone.now()
    run = make_run(
        make_job(), cause=Cause.SCHEDULE, state=State.SKIPPED, scheduled_for=due, coalesced=59,
        coalesced_since=due - timedelta(minutes=59),
    )  # fmt: skip
    assert "This record stands for 60 due times, from" in page(admin_client, run)


@pytest.mark.parametrize(
    "attempts", [None, {}, "text", [1, None, {"duration": "long", "state": "odd"}], [{}]]
)
def test_attempts_as_nobody_writes_them_are_no_crash(admin_client: Client, attempts: Any) -> None:
    run = make_run(make_job(), state=State.RETRYING, attempts=[])
    Run.objects.filter(pk=run.pk).update(attempts=attempts if attempts is not None else [])
    assert admin_client.get(url(run)).status_code == 200


def test_a_run_and_the_one_made_in_its_place_lead_to_each_other(admin_client: Client) -> None:
    job, now = make_job(), timezone.now()
    lost = make_run(job, state=State.ABANDONED, reason="Its node died.")
    again = make_run(job, cause=Cause.RECOVERY, recovers=lost, created_at=now)
    assert f'href="{url(again)}"' in page(admin_client, lost)
    assert f'href="{url(lost)}"' in page(admin_client, again)


def test_calls_are_linked_where_there_are_any_for_whom_may_see_them(staff: Staff) -> None:
    run = make_run(make_job())
    assert "/hotdata/apicall/?run=" not in page(staff("view_run", "view_apicall"), run)
    make_call(run_id=run.pk)
    assert f"/hotdata/apicall/?run={run.pk}" in page(staff("view_run", "view_apicall"), run)
    assert "/hotdata/apicall/?run=" not in page(staff("view_run"), run)


def test_hostile_texts_are_only_texts(admin_client: Client) -> None:
    run = make_run(
        make_job(params={HOSTILE: HOSTILE}), state=State.RUNNING, error=HOSTILE, reason=HOSTILE, log=HOSTILE,
        traceback=HOSTILE, result={HOSTILE: HOSTILE}, requested_by=HOSTILE, node=HOSTILE,
        attempts=[{"error": HOSTILE, "node": HOSTILE}],
    )  # fmt: skip
    for shown in (page(admin_client, run), admin_client.get(url(run, "live")).json()["html"]):
        assert "<script>alert" not in shown
    for text in (page(admin_client, run), admin_client.get(url(run, "live")).json()["log"]):
        assert "\u202e" not in text


# How it follows a run


def live(client: Client, run: Run, tag: str = "") -> dict[str, Any]:
    answer: dict[str, Any] = client.get(url(run, "live"), {"log": tag}).json()
    return answer


def test_a_run_under_way_is_followed(admin_client: Client, django_assert_max_num_queries: Any) -> None:
    run = make_run(make_job(), state=State.RUNNING, log="one\n", progress_done=1, progress_total=4)
    with django_assert_max_num_queries(6):
        first = live(admin_client, run)
    assert (first["active"], first["state"], first["log"], first["log_goes_on"]) == (
        True,
        "Running",
        "one\n",
        False,
    )
    assert 'value="1" max="4"' in first["html"]
    Run.objects.update(log="one\ntwo\n", progress_done=2)
    second = live(admin_client, run, first["log_tag"])
    assert (second["log"], second["log_goes_on"]) == ("two\n", True)
    assert 'value="2" max="4"' in second["html"]
    assert live(admin_client, run, second["log_tag"])["log"] == ""
    Run.objects.update(state=State.SUCCEEDED, finished_at=timezone.now(), duration=timedelta(seconds=1))
    assert live(admin_client, run)["active"] is False


def test_a_log_that_was_begun_anew_is_sent_whole(admin_client: Client) -> None:
    run = make_run(make_job(), state=State.RUNNING, log="the first attempt\n")
    tag = live(admin_client, run)["log_tag"]
    Run.objects.update(log="the second attempt\n")
    answer = live(admin_client, run, tag)
    assert (answer["log"], answer["log_goes_on"]) == ("the second attempt\n", False)


@pytest.mark.parametrize("tag", ["", "-", "3", "3-", "3-0", "-1-5", "²-1", "9" * 50 + "-1"])
def test_a_tag_that_nobody_gave_names_nothing(tag: str) -> None:
    assert length_of(tag, "北京\n") == 0
    assert length_of(tag_of("北京"), "北京\n") == 2


def test_a_run_is_followed_only_by_whom_may_see_it(staff: Staff, client: Client) -> None:
    run = make_run(make_job(), state=State.RUNNING)
    assert staff("view_job").get(url(run, "live")).status_code == 403
    assert client.get(url(run, "live")).status_code == 302
    assert staff("view_run").post(url(run, "live")).status_code == 405
    for missing in ("999999", "x", "²"):
        assert staff("view_run").get(f"/admin/hotdata/run/{missing}/live/").status_code == 404


# Cancelling


@pytest.mark.parametrize("state", ACTIVE)
def test_a_run_is_cancelled_from_its_page(staff: Staff, state: State) -> None:
    run = make_run(make_job(), state=state)
    client = staff("view_run", "cancel_run")
    assert url(run, "cancel") in page(client, run)
    answer = client.post(url(run, "cancel"), follow=True)
    assert messages(answer) == [f"Run {run.pk} is being cancelled."]
    run.refresh_from_db()
    assert run.state == State.CANCELLED or run.cancel_requested_by == "ada"
    entry = LogEntry.objects.get()
    assert (entry.user.get_username(), entry.object_id) == ("ada", str(run.pk))
    assert url(run, "cancel") not in page(client, run)


@pytest.mark.parametrize("state", FINISHED)
def test_a_run_that_has_ended_is_not_cancelled(staff: Staff, state: State) -> None:
    run = make_run(make_job(), state=state)
    client = staff("view_run", "cancel_run")
    assert url(run, "cancel") not in page(client, run)
    answer = client.post(url(run, "cancel"), follow=True)
    assert messages(answer) == [f"Run {run.pk} had ended already, or is being cancelled."]
    assert not LogEntry.objects.exists()


# Running again


def test_a_run_is_made_again_with_its_parameters(staff: Staff) -> None:
    run = make_run(make_job(params={"seconds": 5}), state=State.FAILED)
    client = staff("view_run", "run_job")
    assert url(run, "again") in page(client, run)
    answer = client.post(url(run, "again"), follow=True)
    again = Run.objects.latest("id")
    assert answer.redirect_chain[-1][0] == url(again)
    assert (again.job_id, again.params, again.cause, again.requested_by, again.state) == (
        run.job_id, {"seconds": 5}, Cause.MANUAL, "ada", State.QUEUED,
    )  # fmt: skip
    assert str(again.pk) in LogEntry.objects.get(object_id=str(run.pk)).get_change_message()


def test_other_parameters_than_the_jobs_are_for_whom_may_change_jobs(staff: Staff) -> None:
    run = make_run(make_job(), state=State.FAILED, params={"seconds": 9})
    client = staff("view_run", "run_job")
    assert url(run, "again") not in page(client, run)
    answer = client.post(url(run, "again"), follow=True)
    assert "other parameters" in messages(answer)[0]
    assert Run.objects.count() == 1
    client = staff("view_run", "run_job", "change_job")
    client.post(url(run, "again"))
    assert Run.objects.latest("id").params == {"seconds": 9}


def test_a_run_of_a_deleted_job_is_not_made_again(staff: Staff) -> None:
    run = make_run(make_job(), state=State.FAILED)
    run.job.delete()
    client = staff("view_run", "run_job")
    assert url(run, "again") not in page(client, run)
    assert "was deleted" in page(client, run)
    assert "its job was deleted" in messages(client.post(url(run, "again"), follow=True))[0]
    assert Run.objects.count() == 1


def test_a_task_that_is_gone_is_a_message(staff: Staff) -> None:
    job = make_job()
    run = make_run(job, state=State.FAILED)
    type(job).objects.update(task="gone")
    answer = staff("view_run", "run_job").post(url(run, "again"), follow=True)
    assert "can't be run again" in messages(answer)[0]
    assert Run.objects.count() == 1


def test_several_runs_are_made_again_from_the_list(staff: Staff) -> None:
    job = make_job()
    runs = [make_run(job, state=State.FAILED) for _ in range(3)]
    data = {"action": "run_again", "_selected_action": [run.pk for run in runs[:2]]}
    client = staff("view_run", "run_job")
    client.post("/admin/hotdata/run/", data)
    assert Run.objects.filter(state=State.QUEUED, requested_by="ada").count() == 2
    assert "cancel_runs" not in client.get("/admin/hotdata/run/").content.decode()


# Permissions


@pytest.mark.parametrize("what", ["cancel", "again"])
def test_no_get_changes_anything(admin_client: Client, what: str) -> None:
    run = make_run(make_job())
    before = Run.objects.values().get()
    assert admin_client.get(url(run, what)).status_code == 405
    admin_client.get(url(run))
    admin_client.get(url(run, "live"))
    assert Run.objects.values().get() == before


@pytest.mark.parametrize(("what", "permission"), [("cancel", "cancel_run"), ("again", "run_job")])
def test_buttons_vanish_for_whom_they_are_not(staff: Staff, what: str, permission: str) -> None:
    run = make_run(make_job())
    client = staff("view_run", "change_run", "delete_run")
    assert url(run, what) not in page(client, run)
    assert client.post(url(run, what)).status_code == 403
    assert staff(permission).post(url(run, what)).status_code == 403, "without seeing runs"
    assert staff("view_run", permission, check_csrf=True).post(url(run, what)).status_code == 403
    assert Run.objects.filter(state=State.QUEUED).count() == 1
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize("what", ["cancel", "again"])
def test_a_run_that_does_not_exist_is_404(admin_client: Client, what: str) -> None:
    assert admin_client.post(f"/admin/hotdata/run/999999/{what}/").status_code == 404
