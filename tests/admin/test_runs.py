from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from hotdata.models import ChangeCounter, Run
from hotdata.models.runs import ACTIVE, FINISHED, WAITING, State
from tests.builders import Staff, make_job, make_run

pytestmark = pytest.mark.django_db

LIST = "/admin/hotdata/run/"


def cancel(client: Client, *runs: Run) -> Any:
    data = {"action": "cancel_runs", "_selected_action": [run.pk for run in runs]}
    return client.post(LIST, data, follow=True)


def messages(answer: Any) -> list[str]:
    return [str(message) for message in answer.context["messages"]]


# Runs whose job is gone


@pytest.fixture
def orphan() -> Run:
    job = make_job(name="deleted-job")
    run = make_run(job, state=State.FAILED, error="ValueError: broken")
    job.delete()
    return run


def test_a_run_outlives_its_job_on_every_page(admin_client: Client, orphan: Run) -> None:
    for page in (LIST, f"{LIST}{orphan.pk}/change/", f"{LIST}{orphan.pk}/history/"):
        answer = admin_client.get(page)
        assert answer.status_code == 200
    assert "deleted-job" in admin_client.get(LIST).content.decode()
    assert "deleted-job" in admin_client.get(f"{LIST}{orphan.pk}/change/").content.decode()


def test_a_run_is_found_by_the_name_of_a_job_that_is_gone(admin_client: Client, orphan: Run) -> None:
    make_run(make_job(name="other"))
    answer = admin_client.get(LIST, {"q": "deleted-job"})
    assert list(answer.context["cl"].result_list) == [orphan]


def test_a_run_is_found_by_a_part_of_its_error(admin_client: Client, orphan: Run) -> None:
    make_run(make_job(name="other"))
    assert list(admin_client.get(LIST, {"q": "broken"}).context["cl"].result_list) == [orphan]


def test_a_run_that_recovers_one_that_was_cleaned_up_is_shown(admin_client: Client) -> None:
    job = make_job()
    lost = make_run(job, state=State.ABANDONED)
    run = make_run(job, recovers=lost)
    Run.objects.filter(pk=lost.pk).delete()
    assert admin_client.get(f"{LIST}{run.pk}/change/").status_code == 200


def test_the_list_costs_as_many_queries_for_many_runs_as_for_one(
    admin_client: Client, django_assert_max_num_queries: Any
) -> None:
    job = make_job()
    for _ in range(30):
        make_run(job)
    with django_assert_max_num_queries(8):
        answer = admin_client.get(LIST)
    assert len(answer.context["cl"].result_list) == 30


def test_a_long_error_is_cut_in_the_list_and_whole_on_its_page(admin_client: Client) -> None:
    run = make_run(make_job(), state=State.FAILED, error="x" * 5000)
    assert "x" * 301 not in admin_client.get(LIST).content.decode()
    assert "x" * 5000 in admin_client.get(f"{LIST}{run.pk}/change/").content.decode()


# Cancelling


@pytest.mark.parametrize("state", WAITING)
def test_a_waiting_run_is_cancelled_on_the_spot_in_the_users_name(staff: Staff, state: State) -> None:
    run = make_run(make_job(), state=state)
    before = ChangeCounter.current()
    assert messages(cancel(staff("view_run", "cancel_run"), run)) == ["1 run is being cancelled."]
    run.refresh_from_db()
    assert (run.state, run.finished_at is not None) == (State.CANCELLED, True)
    assert "ada" in run.reason
    assert ChangeCounter.current() > before, "the leader is not told"


def test_a_running_run_is_asked_to_stop(staff: Staff) -> None:
    run = make_run(make_job(), state=State.RUNNING)
    cancel(staff("view_run", "cancel_run"), run)
    run.refresh_from_db()
    assert (run.state, run.cancel_requested_by) == (State.RUNNING, "ada")


@pytest.mark.parametrize("state", FINISHED)
def test_a_run_that_has_ended_stays_as_it_is(staff: Staff, state: State) -> None:
    run = make_run(make_job(), state=state)
    before = Run.objects.values().get()
    assert messages(cancel(staff("view_run", "cancel_run"), run)) == ["The selected runs had ended already."]
    assert Run.objects.values().get() == before


def test_several_runs_are_cancelled_at_once(staff: Staff) -> None:
    job = make_job()
    runs = [make_run(job, state=state) for state in (*ACTIVE, State.SUCCEEDED)]
    assert messages(cancel(staff("view_run", "cancel_run"), *runs)) == ["3 runs are being cancelled."]


def test_without_the_permission_nothing_is_cancelled_nor_offered(staff: Staff) -> None:
    run = make_run(make_job())
    client = staff("view_run", "change_run", "delete_run")
    assert "cancel_runs" not in client.get(LIST).content.decode()
    cancel(client, run)
    run.refresh_from_db()
    assert run.state == State.QUEUED


def test_a_cancelling_without_a_csrf_token_is_403(staff: Staff) -> None:
    run = make_run(make_job())
    assert cancel(staff("view_run", "cancel_run", check_csrf=True), run).status_code == 403
    run.refresh_from_db()
    assert run.state == State.QUEUED


def test_a_user_may_cancel_runs_without_seeing_jobs(staff: Staff) -> None:
    run = make_run(make_job())
    client = staff("view_run", "cancel_run")
    assert client.get(f"{LIST}{run.pk}/change/").status_code == 200
    assert cancel(client, run).status_code == 200
