from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone

from hotdata.models import ChangeCounter, Job, Run, Schedule
from hotdata.models.runs import Cause, State
from tests.builders import Staff, make_job, make_run

pytestmark = pytest.mark.django_db

LIST = "/admin/hotdata/job/"
ADD = f"{LIST}add/"


def page_of(job: Job) -> str:
    return f"{LIST}{job.pk}/change/"


def run_now_of(job: Job) -> str:
    return f"{LIST}{job.pk}/run/"


def form(**fields: Any) -> dict[str, Any]:
    """What a browser sends for a job that is right, unless told otherwise."""
    return {
        "name": "update",
        "title": "",
        "task": "cleanup_logs",
        "params": '{"days": 30}',
        "trigger": "cron",
        "cron": "*/5 * * * *",
        "interval": "",
        "run_at_0": "",
        "run_at_1": "",
        "time_zone": "UTC",
        "starts_at_0": "",
        "starts_at_1": "",
        "ends_at_0": "",
        "ends_at_1": "",
        "jitter": "0",
        "pause_note": "",
        "paused_until_0": "",
        "paused_until_1": "",
        "pause_after_failures": "",
        "isolation": "thread",
        "misfire_grace_time": "",
        "coalesce": "on",
        "overlap": "skip",
        "max_instances": "1",
        "keep_runs": "",
        "timeout": "900",
        "max_retries": "0",
        "retry_delay": "10",
        "retry_delay_max": "600",
    } | fields


def errors(answer: Any) -> dict[str, list[str]]:
    assert answer.status_code == 200
    return dict(answer.context["adminform"].form.errors)


# The form


BAD_INPUTS = [
    ("name", {"name": ""}),
    ("name", {"name": "not a slug"}),
    ("name", {"name": "x" * 101}),
    ("task", {"task": ""}),
    ("task", {"task": "nothing"}),
    ("task", {"task": "os.system"}),
    ("params", {"params": "{"}),
    ("params", {"params": "[]"}),
    ("params", {"params": '"text"'}),
    ("params", {"params": '{"days": "7"}'}),
    ("params", {"params": '{"nothing": 1}'}),
    ("params", {"params": '{"days": NaN}'}),
    ("params", {"task": "refresh_source", "params": "{}"}),
    ("params", {"task": "refresh_source", "params": '{"source": "nothing"}'}),
    ("params", {"task": "warm_up", "params": '{"source": "a\\u0000b"}'}),
    ("trigger", {"trigger": ""}),
    ("trigger", {"trigger": "sometimes"}),
    ("cron", {"cron": ""}),
    ("cron", {"cron": "nonsense"}),
    ("cron", {"cron": "* * * *"}),
    ("cron", {"cron": "* * * * * *"}),
    ("cron", {"cron": "61 * * * *"}),
    ("cron", {"cron": "@daily"}),
    ("cron", {"cron": "0 0 31 2 *"}),
    ("interval", {"trigger": "interval", "interval": ""}),
    ("interval", {"trigger": "interval", "interval": "0"}),
    ("interval", {"trigger": "interval", "interval": "-5"}),
    ("interval", {"trigger": "interval", "interval": "often"}),
    ("interval", {"trigger": "interval", "interval": "999999999 00:00:00"}),
    ("run_at", {"trigger": "date", "run_at_0": "", "run_at_1": ""}),
    ("run_at", {"trigger": "date", "run_at_0": "2001-01-01", "run_at_1": "00:00"}),
    ("run_at", {"trigger": "date", "run_at_0": "tomorrow", "run_at_1": "00:00"}),
    ("time_zone", {"time_zone": ""}),
    ("time_zone", {"time_zone": "Mars/Olympus"}),
    ("time_zone", {"time_zone": "../../etc/passwd"}),
    (
        "ends_at",
        {"starts_at_0": "2099-01-02", "starts_at_1": "0:00", "ends_at_0": "2099-01-01", "ends_at_1": "0:00"},
    ),
    ("ends_at", {"ends_at_0": "2001-01-01", "ends_at_1": "00:00"}),
    ("jitter", {"jitter": "-5"}),
    ("jitter", {"jitter": ""}),
    ("jitter", {"jitter": "999999999 00:00:00"}),
    ("misfire_grace_time", {"misfire_grace_time": "-5"}),
    ("overlap", {"overlap": "whatever"}),
    ("max_instances", {"max_instances": "0"}),
    ("max_instances", {"max_instances": "1001"}),
    ("keep_runs", {"keep_runs": "-1"}),
    ("timeout", {"timeout": "-5"}),
    ("timeout", {"timeout": "0"}),
    ("max_retries", {"max_retries": "-1"}),
    ("max_retries", {"max_retries": "101"}),
    ("retry_delay", {"retry_delay": "-5"}),
    ("retry_delay_max", {"retry_delay": "20", "retry_delay_max": "10"}),
    ("timeout", {"timeout": "999999999 00:00:00"}),
]


@pytest.mark.parametrize(("field", "fields"), BAD_INPUTS, ids=lambda value: str(value)[:60])
def test_a_bad_input_is_shown_at_its_field_and_nothing_is_saved(
    admin_client: Client, field: str, fields: dict[str, str]
) -> None:
    shown = errors(admin_client.post(ADD, form(**fields)))
    assert field in shown
    assert not Job.objects.exists()
    assert not Schedule.objects.exists()


@pytest.mark.parametrize(
    ("field", "fields"), [("task", {"task": "gone"}), ("cron", {"cron": "x"}), ("timeout", {"timeout": "-5"})]
)
def test_a_bad_edit_is_shown_at_its_field_and_nothing_is_changed(
    admin_client: Client, field: str, fields: dict[str, str]
) -> None:
    job = make_job(name="update", task="health_check", title="before")
    before = Job.objects.values().get(), Schedule.objects.values().get()
    shown = errors(admin_client.post(page_of(job), form(title="after", **fields)))
    assert field in shown
    assert (Job.objects.values().get(), Schedule.objects.values().get()) == before


def test_a_name_that_is_taken_is_shown_at_its_field(admin_client: Client) -> None:
    make_job(name="update")
    assert "name" in errors(admin_client.post(ADD, form()))


def test_several_bad_inputs_are_shown_at_once(admin_client: Client) -> None:
    shown = errors(admin_client.post(ADD, form(cron="x", task="nothing", retry_delay="9999")))
    assert {"cron", "task", "retry_delay_max"} <= shown.keys()


def test_a_good_job_is_saved_and_its_schedule_planned(admin_client: Client) -> None:
    before, now = ChangeCounter.current(), timezone.now()
    answer = admin_client.post(ADD, form(title="Update", cron="0 3 * * *", time_zone="Asia/Shanghai"))
    assert answer.status_code == 302
    job = Job.objects.get()
    assert (job.name, job.task, job.params) == ("update", "cleanup_logs", {"days": 30})
    due = Schedule.objects.get(id="update").next_run_time
    assert now < due <= now + timedelta(days=1)
    assert (due.hour, due.minute) == (19, 0), "03:00 in Shanghai is 19:00 UTC"
    assert ChangeCounter.current() > before
    assert LogEntry.objects.get().object_repr == "Update"


@pytest.mark.parametrize(
    "fields",
    [
        {"trigger": "interval", "interval": "30", "cron": ""},
        {"trigger": "date", "run_at_0": "2099-01-01", "run_at_1": "12:00", "cron": ""},
        {"timeout": "", "misfire_grace_time": "", "keep_runs": ""},
        {"jitter": "60", "overlap": "allow_all", "max_instances": "5", "coalesce": ""},
        {"params": ""},
        {"paused": "on"},
    ],
    ids=str,
)
def test_what_may_be_empty_or_else_may_be_saved(admin_client: Client, fields: dict[str, str]) -> None:
    assert admin_client.post(ADD, form(**fields)).status_code == 302
    (schedule,) = Schedule.objects.all()
    assert (schedule.next_run_time is None) == ("paused" in fields)
    assert isinstance(Job.objects.get().params, dict)


@pytest.mark.parametrize("day", ["9999-12-31", "0001-01-01", "1969-12-31"])
@pytest.mark.parametrize("time_zone", ["Asia/Shanghai", "America/Los_Angeles"])
@pytest.mark.parametrize("field", ["run_at", "starts_at", "ends_at"])
def test_a_time_at_the_end_of_the_calendar_is_no_crash(
    admin_client: Client, field: str, day: str, time_zone: str
) -> None:
    trigger = "date" if field == "run_at" else "interval"
    times = {f"{field}_0": day, f"{field}_1": "23:59:59"}
    answer = admin_client.post(ADD, form(trigger=trigger, interval="60", time_zone=time_zone, **times))
    assert answer.status_code in (200, 302)
    assert Job.objects.exists() == (answer.status_code == 302)
    assert admin_client.get(LIST).status_code == 200


def test_an_edit_plans_the_schedule_anew(admin_client: Client) -> None:
    job = make_job(name="update", task="cleanup_logs", cron="0 3 * * *")
    before = Schedule.objects.get().next_run_time
    assert admin_client.post(page_of(job), form(cron="30 4 * * *")).status_code == 302
    assert Schedule.objects.get().next_run_time != before
    assert Schedule.objects.get().next_run_time.minute == 30


def test_a_name_cannot_be_changed(admin_client: Client) -> None:
    job = make_job(name="update", task="cleanup_logs")
    assert 'name="name"' not in admin_client.get(page_of(job)).content.decode()
    assert admin_client.post(page_of(job), form(name="renamed")).status_code == 302
    assert Job.objects.get().name == "update"


def test_an_edit_is_on_record_with_who_made_it(staff: Staff) -> None:
    job = make_job(name="update", task="cleanup_logs")
    client = staff("view_job", "change_job")
    client.post(page_of(job), form(title="New"))
    assert LogEntry.objects.get().user.username == "ada"
    assert "ada" in client.get(f"{LIST}{job.pk}/history/").content.decode()


def test_seeing_a_job_is_not_changing_it(staff: Staff) -> None:
    job = make_job(name="update", task="cleanup_logs")
    client = staff("view_job")
    assert client.get(page_of(job)).status_code == 200
    assert client.post(page_of(job), form(title="New")).status_code == 403
    assert client.post(ADD, form(name="other")).status_code == 403
    assert list(Job.objects.values_list("name", "title")) == [("update", "")]


def test_a_deleted_job_leaves_its_runs(admin_client: Client) -> None:
    job, other = make_job(), make_job()
    make_run(job, state=State.SUCCEEDED)
    make_run(other, state=State.SUCCEEDED)
    assert admin_client.post(f"{LIST}{job.pk}/delete/", {"post": "yes"}).status_code == 302
    action = {"action": "delete_selected", "_selected_action": [other.pk], "post": "yes"}
    assert admin_client.post(LIST, action).status_code == 302
    assert (Job.objects.count(), Schedule.objects.count(), Run.objects.count()) == (0, 0, 2)


# The page


def test_a_job_that_cannot_be_scheduled_is_shown_with_its_error(admin_client: Client) -> None:
    job = make_job()
    Job.objects.update(cron="nonsense")
    assert "scheduled: The expression has 1 field" in admin_client.get(LIST).content.decode()
    assert admin_client.get(page_of(job)).status_code == 200


# Run now


def test_the_button_is_a_form_that_posts(staff: Staff) -> None:
    job = make_job()
    page = staff("view_job", "run_job").get(page_of(job)).content.decode()
    button = re.search(rf'<form method="post" action="{run_now_of(job)}">(.*?)</form>', page, re.DOTALL)
    assert button
    assert "csrfmiddlewaretoken" in button[1]
    assert "Run now" in button[1]


def test_the_button_queues_a_run_in_the_users_name(staff: Staff) -> None:
    job = make_job(task="cleanup_logs", params={"days": 30})
    before = ChangeCounter.current()
    answer = staff("view_job", "view_run", "run_job").post(run_now_of(job), follow=True)
    run = Run.objects.get()
    assert answer.redirect_chain == [(f"/admin/hotdata/run/{run.pk}/change/", 302)]
    assert answer.status_code == 200
    assert (run.job_id, run.params, run.state) == (job.name, {"days": 30}, State.QUEUED)
    assert (run.cause, run.requested_by, run.scheduled_for) == (Cause.MANUAL, "ada", None)
    assert ChangeCounter.current() > before
    assert LogEntry.objects.get().user.username == "ada"


def test_whoever_may_run_a_job_but_not_see_runs_is_not_led_to_a_refusal(staff: Staff) -> None:
    answer = staff("view_job", "run_job").post(run_now_of(make_job()), follow=True)
    assert answer.status_code == 200
    assert Run.objects.count() == 1


def test_the_button_needs_a_csrf_token(staff: Staff) -> None:
    client = staff("view_job", "run_job", check_csrf=True)
    assert client.post(run_now_of(make_job())).status_code == 403
    assert not Run.objects.exists()


def test_the_button_works_with_the_token_of_its_page(staff: Staff) -> None:
    job = make_job()
    client = staff("view_job", "view_run", "run_job", check_csrf=True)
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', client.get(page_of(job)).content.decode())[
        1
    ]
    assert client.post(run_now_of(job), {"csrfmiddlewaretoken": token}).status_code == 302
    assert Run.objects.count() == 1


def test_a_get_of_the_button_runs_nothing(admin_client: Client) -> None:
    job = make_job()
    for method in (admin_client.get, admin_client.head, admin_client.put):
        assert method(run_now_of(job)).status_code == 405
    assert not Run.objects.exists()


def test_without_the_permission_there_is_no_button_and_no_run(staff: Staff) -> None:
    job = make_job()
    client = staff("view_job", "change_job", "pause_job")
    assert "Run now" not in client.get(page_of(job)).content.decode()
    assert client.post(run_now_of(job)).status_code == 403
    assert not Run.objects.exists()


def test_a_stranger_is_asked_to_log_in(client: Client) -> None:
    answer = client.post(run_now_of(make_job()))
    assert answer["Location"].startswith("/admin/login/")
    assert not Run.objects.exists()


@pytest.mark.parametrize("job_id", ["999", "nothing", "%00", "1_2F"])
def test_a_button_of_no_job_is_404(admin_client: Client, job_id: str) -> None:
    assert admin_client.post(f"{LIST}{job_id}/run/").status_code == 404


def test_a_job_that_cannot_run_says_why(admin_client: Client) -> None:
    job = make_job(task="gone")
    answer = admin_client.post(run_now_of(job), follow=True)
    assert "No task named" in answer.content.decode()
    assert not Run.objects.exists()


# Pausing in the form


def paused_form(**fields: Any) -> dict[str, Any]:
    given = {
        "paused": "on",
        "paused_until_0": "2999-01-01",
        "paused_until_1": "09:30",
        "pause_note": "Moving.",
    }
    return form(**(given | fields))


def test_a_pause_in_the_form_is_in_the_name_of_whoever_saved_it(staff: Staff) -> None:
    job = make_job()
    client = staff("view_job", "change_job", "pause_job")
    assert client.post(page_of(job), paused_form()).status_code == 302
    job.refresh_from_db()
    assert (job.paused, job.pause_note, job.paused_by) == (True, "Moving.", "ada")
    assert job.paused_until is not None
    assert job.paused_until.year == 2999


def test_an_edit_of_something_else_leaves_the_pause_to_whoever_made_it(staff: Staff) -> None:
    job = make_job(paused=True, paused_by="grace", pause_note="Moving.")
    client = staff("view_job", "change_job", "pause_job")
    answer = client.post(page_of(job), paused_form(title="Quotes", paused_until_0="", paused_until_1=""))
    assert answer.status_code == 302
    job.refresh_from_db()
    assert (job.title, job.paused_by) == ("Quotes", "grace")


@pytest.mark.parametrize("fields", [{"paused_until_0": "2001-01-01"}, {"paused": ""}])
def test_an_end_that_ends_nothing_is_refused_at_its_field(
    admin_client: Client, fields: dict[str, Any]
) -> None:
    assert list(errors(admin_client.post(ADD, paused_form(**fields)))) == ["paused_until"]


# What somebody else has saved in the meantime


def opened(client: Client, job: Job) -> dict[str, str]:
    """The hidden field that the form of `job` sends back, as its page has it now."""
    (seen,) = re.findall(r'name="edit_seen" value="(\d+)"', client.get(page_of(job)).content.decode())
    return {"edit_seen": seen}


def test_a_form_that_was_overtaken_undoes_nothing_unless_it_is_saved_once_more(staff: Staff) -> None:
    job = make_job(name="update", task="cleanup_logs", params={"days": 30})
    client = staff("view_job", "change_job", "pause_job")
    before = opened(client, job)
    job.set_paused(True, by="grace", note="Moving.")
    answer = client.post(page_of(job), form(title="Quotes", **before))
    assert "after you opened it" in str(errors(answer))
    job.refresh_from_db()
    assert (job.title, job.paused, job.pause_note) == ("", True, "Moving.")
    again = re.findall(r'name="edit_seen" value="(\d+)"', answer.content.decode())
    assert client.post(page_of(job), form(title="Quotes", edit_seen=again[0])).status_code == 302
    job.refresh_from_db()
    assert (job.title, job.paused) == ("Quotes", False)


def test_a_form_that_is_shown_for_another_reason_is_still_overtaken(staff: Staff) -> None:
    job = make_job(name="update", task="cleanup_logs", params={"days": 30})
    client = staff("view_job", "change_job", "pause_job")
    before = opened(client, job)
    job.set_paused(True, by="grace")
    shown = client.post(page_of(job), form(_load="1", **before)).content.decode()
    assert f'name="edit_seen" value="{before["edit_seen"]}"' in shown


def test_a_form_that_nobody_has_overtaken_is_saved(staff: Staff) -> None:
    job = make_job(name="update", task="cleanup_logs", params={"days": 30})
    client = staff("view_job", "change_job")
    assert client.post(page_of(job), form(title="Quotes", **opened(client, job))).status_code == 302
    job.refresh_from_db()
    assert job.title == "Quotes"


def test_what_is_no_edit_that_was_seen_is_an_error_and_no_crash(admin_client: Client) -> None:
    job = make_job(name="update", task="cleanup_logs", params={"days": 30})
    for seen in ("", "<script>", "9" * 30):
        answer = admin_client.post(page_of(job), form(edit_seen=seen))
        assert "after you opened it" in str(errors(answer))
        assert "<script>" not in answer.content.decode()
