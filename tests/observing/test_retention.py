"""Which records are deleted, and which never."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from hotdata.models import ApiCall, FreshnessHour, Job, Run
from hotdata.models.runs import ACTIVE, FINISHED, State
from hotdata.observing import retention
from hotdata.observing.retention import CleanUp, age_of, clean_up, count, thin_out
from tests.builders import make_call, make_job, make_run

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)


def make_old_runs(job: Job, number: int, age: timedelta = 10 * DAY, **fields: Any) -> list[Run]:
    then = timezone.now() - age
    return [make_run(job, state=State.SUCCEEDED, created_at=then, **fields) for _ in range(number)]


def make_hours(*ages: timedelta) -> list[FreshnessHour]:
    return [FreshnessHour.objects.create(source="stock", hour=timezone.now() - age) for age in ages]


# By age


def test_what_is_older_than_the_age_goes_and_what_is_younger_stays() -> None:
    job = make_job()
    [young] = make_old_runs(job, 1, 2 * DAY - timedelta(minutes=1))
    make_old_runs(job, 1, 2 * DAY + timedelta(minutes=1))
    make_call(started_at=timezone.now() - 3 * DAY)
    fresh = make_call()
    assert clean_up(2 * DAY) == CleanUp(runs=1, api_calls=1, freshness_hours=0)
    assert (list(Run.objects.all()), list(ApiCall.objects.all())) == ([young], [fresh])


def test_hours_of_freshness_go_by_the_same_age() -> None:
    _, young = make_hours(2 * DAY + timedelta(minutes=1), 2 * DAY - timedelta(minutes=1))
    assert count(2 * DAY).freshness_hours == clean_up(2 * DAY).freshness_hours == 1
    assert list(FreshnessHour.objects.all()) == [young]


@pytest.mark.parametrize("state", list(State))
def test_only_what_has_come_to_an_end_goes(state: State) -> None:
    make_run(make_job(), state=state, created_at=timezone.now() - 1000 * DAY)
    assert clean_up(DAY).runs == (state in FINISHED)
    assert Run.objects.exists() == (state in ACTIVE)


def test_runs_of_jobs_that_are_gone_are_cleaned_up_by_age_like_all_others() -> None:
    job = make_job()
    make_old_runs(job, 2)
    job.delete()
    assert clean_up(DAY).runs == 2


def test_notable_runs_are_no_exception_to_the_age() -> None:
    make_old_runs(make_job(), 1, notable=True)
    assert clean_up(DAY).runs == 1


def test_counting_says_what_cleaning_up_will_do_and_deletes_nothing() -> None:
    make_old_runs(make_job(), 3)
    assert count(DAY) == CleanUp(runs=3, api_calls=0, freshness_hours=0)
    assert Run.objects.count() == 3


def test_jobs_are_left_alone_by_the_deletion_of_their_runs() -> None:
    job = make_job()
    make_old_runs(job, 1)
    clean_up(DAY)
    assert Job.objects.get() == job


# In batches


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 10)
    monkeypatch.setattr(retention, "PAUSE", 0)


@pytest.mark.usefixtures("small_batches")
def test_much_is_deleted_in_batches_that_are_told_one_by_one() -> None:
    make_old_runs(make_job(), 25)
    for _ in range(12):
        make_call(started_at=timezone.now() - 10 * DAY)
    make_hours(*(number * DAY for number in range(10, 21)))
    told: list[tuple[int, int]] = []
    clean_up(DAY, progress=lambda done, total: told.append((done, total)))
    assert told == [(10, 48), (11, 48), (21, 48), (23, 48), (33, 48), (43, 48), (48, 48)]
    assert not Run.objects.exists()


@pytest.mark.usefixtures("small_batches")
def test_a_clean_up_that_is_cut_off_has_done_its_part_and_can_be_called_again() -> None:
    make_old_runs(make_job(), 25)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        clean_up(DAY, progress=stop)
    assert Run.objects.count() == 15
    assert clean_up(DAY).runs == 15


@pytest.mark.usefixtures("small_batches")
def test_the_oldest_go_first() -> None:
    runs = make_old_runs(make_job(), 15)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        clean_up(DAY, progress=stop)
    assert list(Run.objects.order_by("id")) == runs[10:]


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("rows", [10, 20])
def test_a_last_batch_that_is_full_is_not_the_last_but_one(rows: int) -> None:
    make_old_runs(make_job(), rows)
    assert clean_up(DAY).runs == rows


@pytest.mark.parametrize("days", [0, -1, 36_501, 10**12])
def test_an_age_that_no_record_can_have_is_refused(days: int) -> None:
    with pytest.raises(ValueError, match="days: between 1 and 36,500"):
        age_of(days)


def test_the_greatest_age_is_one_that_can_be_cleaned_up() -> None:
    assert clean_up(age_of(36_500)) == CleanUp(runs=0, api_calls=0, freshness_hours=0)


# A job with a run limit


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


@pytest.mark.parametrize("keep_runs", [None, 5, 6])
def test_a_job_within_its_run_limit_or_without_one_loses_nothing(keep_runs: int | None) -> None:
    job = make_job(keep_runs=keep_runs)
    make_old_runs(job, 5)
    assert thin_out(job.name) == 0
    assert Run.objects.count() == 5


def test_other_jobs_are_not_thinned_out() -> None:
    job, other = make_job(keep_runs=0), make_job(keep_runs=0)
    make_old_runs(other, 2)
    thin_out(job.name)
    assert Run.objects.count() == 2


def test_a_job_that_does_not_exist_has_nothing_to_thin_out() -> None:
    assert thin_out("no-such-job") == 0
    assert thin_out("") == 0
