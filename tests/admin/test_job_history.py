"""Who changed what of a job, and the way back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone

from hotdata.admin.edit_history import shown
from hotdata.models import ChangeCounter, Job, Schedule
from hotdata.observing.edits import edits_of_source
from tests.admin.test_jobs import LIST, form, page_of
from tests.builders import Staff, make_job, make_source

pytestmark = pytest.mark.django_db

DELETED = f"{LIST}deleted/"


def history_of(job: Job) -> str:
    return f"{LIST}{job.pk}/history/"


def version(number: int) -> Any:
    """The version that an edit led to, counted from the first."""
    return Job.history.order_by("history_id")[number]


def revert_to(number: int) -> str:
    return f"{LIST}revert/{version(number).history_id}/"


def edited_job(**fields: Any) -> Job:
    """A job with a version before the last."""
    job = make_job(name="update", task="cleanup_logs", params={"days": 30}, cron="0 3 * * *", title="before")
    for name, value in ({"cron": "30 4 * * *", "title": "after"} | fields).items():
        setattr(job, name, value)
    job.save()
    return job


def test_an_edit_in_the_form_says_who_changed_what_from_what_to_what(staff: Staff) -> None:
    job = make_job(name="update", task="cleanup_logs", params={"days": 7}, cron="0 3 * * *")
    client = staff("view_job", "change_job")
    client.post(page_of(job), form(cron="30 4 * * *", timeout="5 min", coalesce="", overlap="buffer_one"))
    for path in (history_of(job), page_of(job)):
        page = client.get(path).content.decode()
        row = page.partition("<tbody>")[2].partition("</tr>")[0] if path == history_of(job) else page
        for text in (
            "ada",
            "<del>0 3 * * *</del>", "<ins>30 4 * * *</ins>",
            "<del>15 min</del>", "<ins>5 min</ins>",
            "<del>Yes</del>", "<ins>No</ins>",
            "Buffer one: start one more",
            "Parameters: days", "<del>7</del>", "<ins>30</ins>",
        ):  # fmt: skip
            assert text in row, text


def test_an_edit_is_not_told_from_its_values_alone(admin_client: Client) -> None:
    job = make_job()
    Job.objects.filter(pk=job.pk).update(params={"seconds": 1})
    Job.objects.filter(pk=job.pk).update(params={"seconds": True})
    page = admin_client.get(history_of(job)).content.decode()
    assert "<del>1</del>" in page
    assert "<ins>true</ins>" in page


def test_a_long_history_comes_in_pages(admin_client: Client, django_assert_max_num_queries: Any) -> None:
    job = make_job()
    for number in range(60):
        job.title = f"Title {number}"
        job.save()
    with django_assert_max_num_queries(8):
        first = admin_client.get(history_of(job)).content.decode()
    second = admin_client.get(history_of(job), {"p": "1"}).content.decode()
    assert "<ins>Title 59</ins>" in first
    assert "<ins>Title 5</ins>" not in first
    assert "<ins>Title 5</ins>" in second
    assert "Created." in second
    for page in ("99999", "-1", "x", "9" * 50):
        assert admin_client.get(history_of(job), {"p": page}).status_code == 200


def test_history_is_for_who_may_see_jobs(staff: Staff) -> None:
    job = edited_job()
    assert staff("view_run").get(history_of(job)).status_code == 403
    assert staff("view_run").get(DELETED).status_code == 403
    assert staff("view_run").get(f"{DELETED}update/").status_code == 403
    page = staff("view_job").get(history_of(job)).content.decode()
    assert "after" in page
    assert "Go back to this" not in page


# Revert


def test_a_revert_is_an_edit_that_the_scheduler_follows(staff: Staff) -> None:
    job = edited_job()
    before, counter = Schedule.objects.get().next_run_time, ChangeCounter.current()
    client = staff("view_job", "change_job")
    assert "Go back to this" in client.get(history_of(job)).content.decode()
    answer = client.post(revert_to(0), follow=True)
    job.refresh_from_db()
    assert (job.cron, job.title) == ("0 3 * * *", "before")
    due = Schedule.objects.get().next_run_time
    assert due != before
    assert (due.hour, due.minute) == (3, 0)
    assert ChangeCounter.current() > counter
    latest = Job.history.latest("history_id")
    assert (latest.history_user, latest.title) == ("ada", "before")
    assert "Reverted to the version of" in answer.content.decode()
    assert LogEntry.objects.get().user.username == "ada"


def test_a_version_that_is_not_valid_any_more_is_refused_with_the_reason(admin_client: Client) -> None:
    job = make_job(name="update", task="gone", cron="0 3 * * *")
    job.task = "cleanup_logs"
    job.save()
    count = Job.history.count()
    answer = admin_client.post(revert_to(0), follow=True)
    assert "No task named" in answer.content.decode()
    assert Job.objects.get().task == "cleanup_logs"
    assert Job.history.count() == count


def test_a_revert_needs_a_post_a_token_and_the_permission(staff: Staff, admin_client: Client) -> None:
    edited_job()
    assert admin_client.get(revert_to(0)).status_code == 405
    assert staff("view_job", "run_job", "add_job", "delete_job").post(revert_to(0)).status_code == 403
    assert staff("view_job", "change_job", check_csrf=True).post(revert_to(0)).status_code == 403
    assert Job.objects.get().title == "after"


def test_a_revert_that_changes_a_pause_needs_the_permission_to_pause(staff: Staff) -> None:
    job = edited_job(paused=True, pause_note="Moving.")
    client = staff("view_job", "change_job")
    assert "Go back to this" not in client.get(history_of(job)).content.decode()
    assert client.post(revert_to(0)).status_code == 403
    assert Job.objects.get().paused
    assert staff("view_job", "change_job", "pause_job").post(revert_to(0)).status_code == 302
    assert not Job.objects.get().paused


def test_a_pause_that_a_revert_brings_back_is_in_the_name_of_whoever_reverts(staff: Staff) -> None:
    job = make_job(name="update", task="cleanup_logs", paused=True, paused_by="grace", pause_note="Moving.")
    job.set_paused(False)
    staff("view_job", "change_job", "pause_job").post(revert_to(0))
    job.refresh_from_db()
    assert (job.paused, job.pause_note, job.paused_by) == (True, "Moving.", "ada")


def test_a_pause_whose_end_has_come_is_not_brought_back(admin_client: Client) -> None:
    job = make_job(name="update", task="cleanup_logs", paused=True)
    Job.objects.filter(pk=job.pk).update(paused_until=timezone.now() - timedelta(hours=1))
    job.set_paused(False)
    assert "pause would have ended" in admin_client.post(revert_to(1), follow=True).content.decode()
    assert not Job.objects.get().paused


def test_there_is_no_way_back_to_what_it_is_now(admin_client: Client) -> None:
    edited_job()
    assert admin_client.post(revert_to(1)).status_code == 403
    assert admin_client.post(f"{LIST}revert/999999/").status_code == 404


# Deleted jobs


def test_a_deleted_job_is_found_and_made_again(staff: Staff) -> None:
    job = edited_job()
    client = staff("view_job", "add_job", "delete_job")
    client.post(f"{LIST}{job.pk}/delete/", {"post": "yes"})
    assert not Job.objects.exists()
    assert f"{DELETED}update/" in client.get(DELETED).content.decode()
    page = client.get(f"{DELETED}update/").content.decode()
    assert "Deleted." in page
    assert "Make again" in page
    assert client.post(revert_to(2)).status_code == 302
    made = Job.objects.get()
    assert (made.name, made.title, made.cron, made.params) == ("update", "after", "30 4 * * *", {"days": 30})
    assert made.created_at == job.created_at, "an interval keeps its phase"
    assert Schedule.objects.get(id="update").next_run_time is not None
    assert "<tbody>" not in client.get(DELETED).content.decode()
    log = client.get(history_of(made)).content.decode()
    for text in ("Deleted.", "before", "Reverted to the version of"):
        assert text in log, "the history goes on"
    assert client.get(f"{DELETED}update/")["Location"] == history_of(made)


def test_making_a_job_again_takes_the_permission_to_add_one(staff: Staff) -> None:
    edited_job().delete()
    client = staff("view_job", "change_job", "delete_job")
    assert "Make again" not in client.get(f"{DELETED}update/").content.decode()
    assert client.post(revert_to(1)).status_code == 403
    assert not Job.objects.exists()


def test_a_job_that_one_may_not_see_is_not_made_again(staff: Staff) -> None:
    edited_job().delete()
    assert staff("add_job").post(revert_to(1)).status_code == 403
    assert not Job.objects.exists()


def test_making_a_paused_job_again_takes_the_permission_to_pause(staff: Staff) -> None:
    edited_job(paused=True, pause_note="Moving.").delete()
    client = staff("view_job", "add_job")
    assert client.post(revert_to(1)).status_code == 403
    assert not Job.objects.exists()
    assert staff("view_job", "add_job", "pause_job").post(revert_to(1)).status_code == 302
    job = Job.objects.get()
    assert (job.paused, job.pause_note, job.paused_by) == (True, "Moving.", "ada")


def test_no_job_was_deleted(admin_client: Client) -> None:
    make_job(name="update")
    assert "None was deleted." in admin_client.get(DELETED).content.decode()
    assert admin_client.get(f"{DELETED}nothing/").status_code == 404


# Sources


def test_the_edits_of_a_source_are_those_of_its_keys_too() -> None:
    source = make_source(name="stock", pinned=("AAPL",))
    source.soft_ttl = timedelta(minutes=2)
    source.save()
    key = source.pinned.get()
    key.weight = 3
    key.save()
    key.delete()
    edits = [shown(edit) for edit in edits_of_source("stock", 10)]
    assert [edit.what for edit in edits] == [
        "Unpinned the key AAPL.",
        "Changed the pinned key AAPL.",
        "Changed.",
        "Pinned the key AAPL.",
        "Created.",
    ]
    (change,) = edits[2].changes
    assert (change.old, change.new) == ("5 min", "2 min")
