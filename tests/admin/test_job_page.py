"""The page of a job: how it does, and what can be done from it, by whom."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone

from hotdata.models import Job, Run
from hotdata.models.runs import Cause, State
from tests.admin.test_jobs import ADD, LIST, page_of
from tests.builders import Staff, make_job, make_run, make_source

pytestmark = pytest.mark.django_db

BUTTONS = [
    "Run now</button>",
    "Run with other parameters",
    "Duplicate",
    "Pause the job</button>",
    'name="_save"',
]


def url(job: Job, action: str) -> str:
    return f"{LIST}{job.pk}/{action}/"


def make_runs(job: Job, count: int) -> None:
    now = timezone.now()
    for number in range(count):
        at = now - timedelta(minutes=5 * (count - number))
        bad = number % 7 == 0
        make_run(
            job,
            state=State.FAILED if bad else State.SUCCEEDED,
            created_at=at,
            started_at=at,
            finished_at=at,
            duration=timedelta(seconds=number % 5),
            error="ValueError: no" if bad else "",
        )


def test_the_page_shows_how_the_job_does(admin_client: Client) -> None:
    job = make_job(cron="*/15 * * * *", title="Quotes")
    make_runs(job, 20)
    page = admin_client.get(page_of(job)).content.decode()
    for shown in ("Every 15 minutes", "85.0", "Last 60 runs", "p95", "ValueError: no", "Change log"):
        assert shown in page, shown
    assert page.count('class="hd-chart"') == 1


def test_what_a_run_said_is_for_who_may_see_runs(staff: Staff) -> None:
    job = make_job()
    said = "ValueError: \u202eno\x07"
    make_run(
        job, cause=Cause.SCHEDULE, scheduled_for=timezone.now(), state=State.FAILED, attempt=1, error=said
    )
    page = staff("view_job", "view_run").get(page_of(job)).content.decode()
    assert page.count("ValueError: \ufffdno\u2407") == 3, "at the top, and twice in the table of runs"
    assert "\u202e" not in page
    told = staff("view_job").get(page_of(job)).content.decode()
    assert "Failing" in told
    assert "ValueError" not in told


def test_a_job_that_never_ran_says_what_comes_next(admin_client: Client) -> None:
    assert "It never ran." in admin_client.get(page_of(make_job())).content.decode()


def test_the_page_takes_at_most_twelve_queries(
    admin_client: Client, staff: Staff, django_assert_max_num_queries: Any
) -> None:
    job = make_job()
    make_runs(job, 70)
    for number in range(8):
        job.title = f"Title {number}"
        job.save()
    with django_assert_max_num_queries(12):
        assert admin_client.get(page_of(job)).status_code == 200
    client = staff("view_job", "change_job", "run_job", "pause_job", "view_run")
    with django_assert_max_num_queries(12):
        assert client.get(page_of(job)).status_code == 200


def test_a_viewer_sees_values_and_no_buttons(staff: Staff) -> None:
    job = make_job(task="cleanup_logs", params={"days": 31}, title="Quotes")
    make_runs(job, 3)
    page = staff("view_job").get(page_of(job)).content.decode()
    for button in [*BUTTONS, "Go back to this", "<select", 'name="cron"']:
        assert button not in page, button
    assert "31" in page
    assert "/admin/hotdata/run/" not in page, "runs are not theirs to see"


@pytest.mark.parametrize(
    ("permissions", "seen"),
    [
        (["view_job", "run_job"], ["Run now</button>"]),
        (["view_job", "change_job"], ['name="_save"']),
        (
            ["view_job", "change_job", "run_job"],
            ["Run now</button>", "Run with other parameters", 'name="_save"'],
        ),
        (["view_job", "pause_job"], ["Pause the job</button>"]),
        (["view_job", "add_job"], ["Duplicate"]),
    ],
    ids=str,
)
def test_each_button_is_there_for_whom_it_is(staff: Staff, permissions: list[str], seen: list[str]) -> None:
    page = staff(*permissions).get(page_of(make_job())).content.decode()
    assert [button for button in BUTTONS if button in page] == [
        button for button in BUTTONS if button in seen
    ]


# Pause and resume


def test_a_job_is_paused_with_a_note_in_the_users_name_and_resumed(staff: Staff) -> None:
    job = make_job()
    client = staff("view_job", "pause_job")
    assert client.post(url(job, "pause"), {"note": "Moving 搬家 <b>"}, follow=True).status_code == 200
    job.refresh_from_db()
    assert (job.paused, job.pause_note, job.paused_by) == (True, "Moving 搬家 <b>", "ada")
    page = client.get(page_of(job)).content.decode()
    assert "Moving 搬家 &lt;b&gt;" in page
    client.post(url(job, "resume"))
    job.refresh_from_db()
    assert (job.paused, job.pause_note) == (False, "")
    assert list(Job.history.values_list("history_user_id", flat=True)) == ["ada", "ada", ""]
    assert LogEntry.objects.count() == 2


@pytest.mark.parametrize("note", ["x" * 600, "\x00", ""])
def test_any_note_can_be_left(staff: Staff, note: str) -> None:
    job = make_job()
    assert staff("view_job", "pause_job").post(url(job, "pause"), {"note": note}).status_code == 302
    assert Job.objects.get().paused


@pytest.mark.parametrize("action", ["pause", "resume", "run", "run-with"])
def test_without_the_permission_an_action_is_refused(staff: Staff, action: str) -> None:
    job = make_job()
    before = Job.objects.values().get()
    client = staff("view_job", "change_job", "add_job", "delete_job")
    assert client.post(url(job, action), {"param-seconds": "1"}).status_code == 403
    assert (Job.objects.values().get(), Run.objects.count()) == (before, 0)


@pytest.mark.parametrize("action", ["pause", "resume", "run"])
def test_a_get_changes_nothing(admin_client: Client, action: str) -> None:
    job = make_job()
    before = Job.objects.values().get()
    assert admin_client.get(url(job, action)).status_code == 405
    assert (Job.objects.values().get(), Run.objects.count()) == (before, 0)


@pytest.mark.parametrize("action", ["pause", "resume", "run", "run-with"])
def test_an_action_needs_a_csrf_token(staff: Staff, action: str) -> None:
    job = make_job()
    client = staff("view_job", "change_job", "run_job", "pause_job", check_csrf=True)
    assert client.post(url(job, action)).status_code == 403
    assert not Run.objects.exists()
    assert not Job.objects.get().paused


@pytest.mark.parametrize("action", ["pause", "resume", "run-with"])
@pytest.mark.parametrize("job_id", ["999", "nothing", "%00"])
def test_an_action_on_no_job_is_404(admin_client: Client, job_id: str, action: str) -> None:
    assert admin_client.post(f"{LIST}{job_id}/{action}/").status_code == 404


# Run with other parameters


def test_a_run_is_asked_for_with_other_parameters(staff: Staff) -> None:
    make_source(name="news")
    job = make_job(task="refresh_source", params={"source": "stock", "keys": ["AAPL"]})
    client = staff("view_job", "change_job", "run_job", "view_run")
    page = client.get(url(job, "run-with")).content.decode()
    assert 'value="stock"' in page
    assert "AAPL" in page
    assert not Run.objects.exists()
    answer = client.post(url(job, "run-with"), {"param-source": "news", "param-keys": ""})
    run = Run.objects.get()
    assert answer["Location"] == f"/admin/hotdata/run/{run.pk}/change/"
    assert (run.params, run.cause, run.requested_by) == ({"source": "news"}, Cause.MANUAL, "ada")
    job.refresh_from_db()
    assert job.params == {"source": "stock", "keys": ["AAPL"]}, "the job stays as it is"


@pytest.mark.parametrize(
    ("field", "sent"),
    [
        ("param-days", {"param-days": "many"}),
        ("param-days", {"param-days": "0"}),
        ("params", {"params": '{"days": "7"}'}),
        ("params", {"params": "{"}),
        ("params", {"params": '{"nothing": 1}'}),
    ],
)
def test_a_bad_parameter_of_a_run_is_shown_at_its_field(
    admin_client: Client, field: str, sent: dict[str, str]
) -> None:
    job = make_job(task="cleanup_logs")
    answer = admin_client.post(url(job, "run-with"), sent)
    assert answer.status_code == 200
    assert field in answer.context["form"].errors
    assert not Run.objects.exists()


def test_a_source_that_does_not_exist_is_refused_at_its_field(admin_client: Client) -> None:
    make_source(name="stock")
    job = make_job(task="refresh_source", params={"source": "stock"})
    answer = admin_client.post(url(job, "run-with"), {"param-source": "gone"})
    assert "param-source" in answer.context["form"].errors
    assert not Run.objects.exists()


def test_a_job_whose_task_is_gone_says_so_instead_of_running(admin_client: Client) -> None:
    job = make_job(task="gone", params={"a": 1})
    assert admin_client.get(url(job, "run-with")).status_code == 200
    answer = admin_client.post(url(job, "run-with"), {"params": '{"a": 2}'}, follow=True)
    assert "No task named" in answer.content.decode()
    assert not Run.objects.exists()


def test_parameters_of_a_run_are_for_who_may_edit(staff: Staff) -> None:
    job = make_job()
    for permissions in (["view_job", "run_job"], ["view_job", "change_job"]):
        client = staff(*permissions)
        assert client.get(url(job, "run-with")).status_code == 403
        assert client.post(url(job, "run-with"), {"param-seconds": "1"}).status_code == 403
    assert not Run.objects.exists()


# Duplicate


def test_a_duplicate_begins_with_all_but_the_name_and_the_pause(admin_client: Client) -> None:
    make_job(name="quotes-2")
    job = make_job(
        name="quotes", task="cleanup_logs", params={"days": 31}, cron="0 4 * * *", max_retries=7,
        paused=True, pause_note="Moving.", timeout=timedelta(minutes=3),
    )  # fmt: skip
    page = admin_client.get(ADD, {"from": job.name})
    text = page.content.decode()
    for shown in (
        'value="quotes-3"',
        'value="31"',
        'value="0 4 * * *"',
        'value="3 min"',
        'value="7"',
        "At 04:00",
    ):
        assert shown in text, shown
    assert "Moving." not in text
    assert Job.objects.count() == 2


@pytest.mark.parametrize("name", ["nothing", "\x00", "<script>"])
def test_a_duplicate_of_nothing_is_an_empty_form(admin_client: Client, name: str) -> None:
    assert admin_client.get(ADD, {"from": name}).status_code == 200


def test_a_duplicate_shows_nothing_to_who_may_not_see_the_job(staff: Staff) -> None:
    make_job(name="quotes", cron="7 4 * * *")
    assert "7 4 * * *" not in staff("add_job").get(ADD, {"from": "quotes"}).content.decode()
