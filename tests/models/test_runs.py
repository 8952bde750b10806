"""Questions to the table of runs that have to stay cheap when it holds a million."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from hotdata.models import Run
from hotdata.models.runs import ACTIVE, FINISHED, WAITING, State
from tests.builders import make_job, make_run

pytestmark = pytest.mark.django_db


def test_the_latest_of_each_job_come_newest_first() -> None:
    jobs = [make_job() for _ in range(3)]
    runs = [make_run(job, state=State.SUCCEEDED) for _ in range(4) for job in jobs]
    found = list(Run.objects.latest_of_each([jobs[0].name, jobs[2].name, "nobody"], 2))
    assert found == [runs[11], runs[9], runs[8], runs[6]]


@pytest.mark.parametrize("jobs", [[], ["nobody"], ['"; DROP TABLE hotdata_run; --'], ["北京"]])
def test_there_are_no_latest_of_jobs_that_never_ran(jobs: list[str]) -> None:
    make_run(make_job())
    assert list(Run.objects.latest_of_each(jobs, 5)) == []


def test_the_latest_of_each_can_be_filtered_further() -> None:
    job = make_job()
    failed = make_run(job, state=State.FAILED)
    make_run(job, state=State.SUCCEEDED)
    assert list(Run.objects.latest_of_each([job.name], 2).filter(state=State.FAILED)) == [failed]
    assert list(Run.objects.latest_of_each([job.name], 1).filter(state=State.FAILED)) == []


def test_another_database_numbers_all_runs_of_the_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [make_job() for _ in range(2)]
    runs = [make_run(job, state=State.SUCCEEDED) for _ in range(3) for job in jobs]
    monkeypatch.setattr(connection, "vendor", "another")
    assert list(Run.objects.latest_of_each([jobs[0].name], 2)) == [runs[4], runs[2]]


@pytest.mark.only_on("sqlite")
@pytest.mark.parametrize(
    ("queries", "index"),
    [
        (lambda: Run.objects.ready(timezone.now()), "run_waiting"),
        (lambda: Run.objects.active().order_by().values("job_id"), "run_active_of_job"),
        (lambda: Run.objects.filter(job_id="a").active().order_by(), "run_active_of_job"),
        (
            lambda: Run.objects.filter(state__in=WAITING, ready_at__lt=timezone.now()).order_by(),
            "run_waiting",
        ),
    ],
)
def test_sqlite_finds_what_is_under_way_by_its_index(queries: Any, index: str) -> None:
    assert index in queries().explain()


@pytest.mark.parametrize(
    "states", [ACTIVE, WAITING, FINISHED, [], ["running", "queued"], ["no'state", "queued"]]
)
def test_states_are_told_apart_whichever_way_they_are_asked_for(states: Any) -> None:
    job = make_job()
    runs = [make_run(job, state=state) for state in State]
    wanted = {run.id for run in runs if run.state in states}
    assert set(Run.objects.filter(state__in=states).values_list("id", flat=True)) == wanted
    assert set(Run.objects.exclude(state__in=states).values_list("id", flat=True)) == {
        run.id for run in runs if run.id not in wanted
    }


def test_states_can_be_asked_for_by_a_query() -> None:
    job = make_job()
    run = make_run(job, state=State.RUNNING, created_at=timezone.now() - timedelta(days=1))
    assert list(Run.objects.filter(state__in=Run.objects.filter(id=run.id).values("state"))) == [run]
