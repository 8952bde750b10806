"""The comparison of jobs with their schedules: finds all that was changed behind the ORM's back, and costs little."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from hotdata.models import Job, Schedule
from hotdata.models.runs import Cause, State
from hotdata.models.schedules import Kind, ScheduleQuerySet
from hotdata.scheduling import reconciling
from hotdata.scheduling.reconciling import Reconciler
from tests.builders import make_job, make_run

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)

pytestmark = pytest.mark.django_db


@pytest.fixture
def reconciler() -> Reconciler:
    return Reconciler()


def whole_pass(reconciler: Reconciler) -> int:
    """Compare all jobs once; how many had to be planned anew."""
    planned = reconciler.step(NOW)
    while not reconciler.between_passes:
        planned += reconciler.step(NOW)
    return planned


def loaded_jobs(reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the jobs that one more pass loads."""
    names: list[str] = []
    astray = reconciling._astray

    def note(some: list[str], now: datetime) -> list[Job]:
        names.extend(some)
        return astray(some, now)

    with monkeypatch.context() as patched:
        patched.setattr(reconciling, "_astray", note)
        whole_pass(reconciler)
    return names


CHANGES: list[dict[str, Any]] = [
    {"cron": "0 0 1 1 *"},
    {"trigger": Kind.INTERVAL, "interval": HOUR},
    {"trigger": Kind.DATE, "run_at": NOW + HOUR},
    {"time_zone": "Asia/Shanghai"},
    {"starts_at": NOW + HOUR},
    {"ends_at": NOW + HOUR},
    {"jitter": HOUR},
    {"paused": True},
]


@pytest.mark.parametrize("fields", CHANGES, ids=lambda fields: ",".join(fields))
def test_whatever_was_changed_by_a_bulk_update_is_found_in_the_next_pass(
    reconciler: Reconciler, fields: dict[str, Any]
) -> None:
    job = make_job()
    whole_pass(reconciler)
    Job.objects.filter(pk=job.pk).update(**fields)
    assert whole_pass(reconciler) == 1
    assert Schedule.objects.planned(job.name) == Job.objects.get(pk=job.pk).timetable()
    assert whole_pass(reconciler) == 0


def take_time_away(job: Job) -> None:
    Schedule.objects.filter(id=job.name).update(next_run_time=None)


def next_run_time(job: Job) -> datetime | None:
    return Schedule.objects.get(id=job.name).next_run_time


@pytest.mark.parametrize("known", [False, True], ids=["in the first pass", "in a later one"])
def test_a_schedule_whose_time_was_taken_away_gets_its_next_one(reconciler: Reconciler, known: bool) -> None:
    job = make_job(cron="", trigger=Kind.INTERVAL, interval=HOUR, created_at=NOW - HOUR / 2)
    if known:
        whole_pass(reconciler)
    take_time_away(job)
    assert whole_pass(reconciler) == 1
    assert next_run_time(job) == NOW + HOUR / 2
    assert whole_pass(reconciler) == 0


@pytest.mark.parametrize("fields", [{"ends_at": NOW - HOUR}, {"paused": True}], ids=["at its end", "paused"])
def test_a_schedule_that_is_to_have_no_time_gets_none(reconciler: Reconciler, fields: dict[str, Any]) -> None:
    job = make_job(**fields)
    take_time_away(job)
    assert whole_pass(reconciler) == 0
    assert next_run_time(job) is None


def test_a_one_off_that_is_done_is_not_due_again_when_the_clock_was_set_back(reconciler: Reconciler) -> None:
    job = make_job(cron="", trigger=Kind.DATE, run_at=NOW + HOUR)
    take_time_away(job)
    make_run(job, cause=Cause.SCHEDULE, scheduled_for=job.run_at, state=State.SUCCEEDED)
    assert whole_pass(reconciler) == 0
    assert next_run_time(job) is None


def test_an_edit_gives_a_schedule_its_time_back_as_well(reconciler: Reconciler) -> None:
    job = make_job()
    take_time_away(job)
    job.title = "edited"
    job.save()
    assert next_run_time(job) is not None


class Watched:
    """Stands in for a job, and knows what it was asked for."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self.asked: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        self.asked.add(name)
        return getattr(self._job, name)


def test_each_column_that_a_timetable_is_made_of_is_compared() -> None:
    asked: set[str] = set()
    for kind in Kind:
        watched: Any = Watched(Job(name="watched", trigger=kind, interval=HOUR, paused=True))
        Job.timetable(watched)
        asked |= watched.asked
    assert asked - {"name"} == set(reconciling.COLUMNS)


def test_what_raw_sql_changed_or_deleted_is_found(reconciler: Reconciler) -> None:
    edited, unplanned, gone = make_job(), make_job(), make_job()
    whole_pass(reconciler)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE hotdata_job SET cron = '1 1 1 1 *' WHERE name = %s", [edited.name])
        cursor.execute("DELETE FROM django_apscheduler_djangojob WHERE id = %s", [unplanned.name])
        cursor.execute("DELETE FROM hotdata_job WHERE name = %s", [gone.name])
    assert whole_pass(reconciler) == 2
    assert set(Schedule.objects.values_list("id", flat=True)) == {edited.name, unplanned.name}


def test_a_job_that_was_made_behind_the_orms_back_is_planned(reconciler: Reconciler) -> None:
    whole_pass(reconciler)
    Job.objects.bulk_create([Job(name="new", task="refresh_due", cron="0 * * * *")])
    assert whole_pass(reconciler) == 1
    assert Schedule.objects.get(id="new").next_run_time == NOW + HOUR


def test_only_jobs_that_changed_are_loaded_again(
    reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    edited = [make_job() for _ in range(5)][2]
    assert len(loaded_jobs(reconciler, monkeypatch)) == 5
    assert loaded_jobs(reconciler, monkeypatch) == []
    edited.cron = "0 0 * * *"
    edited.save()
    assert loaded_jobs(reconciler, monkeypatch) == [edited.name]


def test_a_pass_in_which_nothing_changed_is_three_queries(reconciler: Reconciler) -> None:
    for _ in range(5):
        make_job()
    whole_pass(reconciler)
    with CaptureQueriesContext(connection) as captured:
        whole_pass(reconciler)
    assert len(captured) == 3


def test_a_new_leader_compares_all_and_builds_what_it_can(reconciler: Reconciler) -> None:
    job = make_job()
    Schedule.objects.park(job, "This release doesn't know how.", NOW)
    whole_pass(reconciler)
    Schedule.objects.park(job, "This release doesn't know how, either.", NOW)
    assert whole_pass(reconciler) == 0
    reconciler.forget()
    assert whole_pass(reconciler) == 1


def test_a_pass_is_made_in_slices_and_leaves_nobody_out(
    reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciling, "MOST_LOADED", 2)
    jobs = [make_job(name=name) for name in ("B", "a", "C", "b_1", "b-1", "Z", "z")]
    Job.objects.update(cron="0 0 1 1 *")
    planned = reconciler.step(NOW)
    assert planned == 2
    assert not reconciler.between_passes
    while not reconciler.between_passes:
        planned += reconciler.step(NOW)
    assert planned == len(jobs)
    Job.objects.update(cron="0 0 2 2 *")
    assert whole_pass(reconciler) == len(jobs)


def test_what_an_error_interrupted_is_compared_again(
    reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job()
    whole_pass(reconciler)
    Job.objects.filter(pk=job.pk).update(cron="0 0 1 1 *")
    with monkeypatch.context() as patched:
        patched.setattr(ScheduleQuerySet, "plan", raise_error)
        with pytest.raises(RuntimeError):
            reconciler.step(NOW)
    assert whole_pass(reconciler) == 1


def raise_error(*args: object) -> None:
    raise RuntimeError("on purpose")


@pytest.mark.parametrize(
    ("until", "paused"), [(NOW - HOUR, False), (NOW, False), (NOW + HOUR, True), (None, True)]
)
def test_a_pause_that_has_ended_is_taken_off_the_record(
    reconciler: Reconciler, until: datetime | None, paused: bool
) -> None:
    job = make_job()
    job.set_paused(True, note="maintenance", by="alice", until=until)
    whole_pass(reconciler)
    job.refresh_from_db()
    assert (job.paused, job.pause_note) == (paused, "maintenance" if paused else "")


def test_a_pause_that_was_just_made_longer_stands(
    reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job()
    job.set_paused(True, until=NOW - HOUR)
    lock = ScheduleQuerySet.lock

    def pause_longer(schedules: ScheduleQuerySet, *names: str) -> None:
        Job.objects.filter(pk=job.pk).update(paused_until=NOW + HOUR)
        lock(schedules, *names)

    monkeypatch.setattr(ScheduleQuerySet, "lock", pause_longer)
    reconciling._end_pauses(NOW)
    job.refresh_from_db()
    assert job.paused
