"""Which runs of a job with a run limit are kept."""

from __future__ import annotations

import pytest

from hotdata.models import Run
from hotdata.models.runs import ACTIVE, FINISHED, State
from hotdata.retention.thinning import thin_out
from tests.builders import make_job, make_run

pytestmark = pytest.mark.django_db


def test_of_a_job_with_a_run_limit_the_latest_and_the_notable_runs_are_kept() -> None:
    job = make_job(keep_runs=3)
    runs = [make_run(job, state=State.SUCCEEDED, notable=number in (1, 8)) for number in range(10)]
    assert thin_out(job.name) == 6
    assert list(Run.objects.order_by("id")) == [runs[1], *runs[7:]]


def test_a_run_limit_counts_finished_runs_of_any_outcome_and_spares_the_others() -> None:
    job = make_job(keep_runs=2)
    active = [make_run(job, state=state) for state in ACTIVE]
    finished = [make_run(job, state=state) for state in FINISHED]
    assert thin_out(job.name) == len(FINISHED) - 2
    assert set(Run.objects.all()) == {*active, *finished[-2:]}


def test_a_job_that_may_keep_no_runs_keeps_its_notable_ones() -> None:
    job = make_job(keep_runs=0)
    notable = make_run(job, state=State.SUCCEEDED, notable=True)
    make_run(job, state=State.SUCCEEDED)
    assert thin_out(job.name) == 1
    assert list(Run.objects.all()) == [notable]


def test_a_job_that_pauses_after_failures_keeps_as_many_runs_as_it_takes_to_count_them() -> None:
    job = make_job(keep_runs=1, pause_after_failures=3)
    runs = [make_run(job, state=State.FAILED) for _ in range(5)]
    assert thin_out(job.name) == 2
    assert set(Run.objects.all()) == set(runs[2:])


@pytest.mark.parametrize("keep_runs", [None, 5, 6])
def test_a_job_within_its_run_limit_or_without_one_loses_nothing(keep_runs: int | None) -> None:
    job = make_job(keep_runs=keep_runs)
    for _ in range(5):
        make_run(job, state=State.SUCCEEDED)
    assert thin_out(job.name) == 0
    assert Run.objects.count() == 5


def test_other_jobs_are_not_thinned_out() -> None:
    job, other = make_job(keep_runs=0), make_job(keep_runs=0)
    make_run(other, state=State.SUCCEEDED)
    thin_out(job.name)
    assert Run.objects.count() == 1


def test_a_job_that_does_not_exist_has_nothing_to_thin_out() -> None:
    make_run(make_job(keep_runs=0), state=State.SUCCEEDED)
    assert thin_out("no-such-job") == 0
    assert thin_out("") == 0
