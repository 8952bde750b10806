"""Schedules: they follow their jobs, account for what an edit overtakes, and run nothing they are given."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st

from hotdata.exceptions import BadTrigger
from hotdata.models import Job, Run, Schedule
from hotdata.models.runs import Cause, State
from hotdata.models.schedules import ScheduleState, Timetable
from hotdata.triggers import CronTrigger, DateTrigger, IntervalTrigger
from tests.builders import make_job, make_run

NOW = datetime(2026, 11, 23, 14, 51, 30, 250_000, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=seconds) for seconds in (1, 60, 3600, 86_400))
EDITED = "The job was edited before this due time was fired."


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-11-23T{text}+00:00")


@pytest.fixture
def clock() -> Any:
    """The time stands still at `NOW`, until it is moved."""
    with time_machine.travel(NOW, tick=False) as clock:
        yield clock


def schedule_of(job: Job) -> Schedule:
    return Schedule.objects.get(id=job.name)


def next_fire(job: Job) -> datetime | None:
    fire: datetime | None = schedule_of(job).next_run_time
    return fire


def edit(job: Job, **fields: Any) -> None:
    """Change the job as an operator does: a fresh row, some fields, saved."""
    fresh = Job.objects.get(pk=job.pk)
    for name, value in fields.items():
        setattr(fresh, name, value)
    fresh.save()


# Timetables


TIMETABLES = [
    Timetable(kind="cron", cron="*/5 * * * *", time_zone="Asia/Shanghai"),
    Timetable(kind="interval", interval=90 * SECOND, anchor=NOW, ends_at=NOW + DAY),
    Timetable(kind="date", run_at=NOW, starts_at=NOW - DAY, offset=timedelta(milliseconds=1234), paused=True),
    Timetable(kind="interval", interval=timedelta(days=10_000), anchor=datetime(1, 2, 3, tzinfo=UTC)),
]


@pytest.mark.parametrize("timetable", TIMETABLES)
def test_a_timetable_comes_back_from_the_database_as_it_was(timetable: Timetable) -> None:
    state = ScheduleState(timetable=timetable, error="äöü 北京")
    assert Schedule(job_state=state.encode()).state == state


def test_timetables_compare_by_value_wherever_their_instants_were_written_down() -> None:
    here = NOW.astimezone(timezone(8 * HOUR))
    assert Timetable(kind="date", run_at=here) == Timetable(kind="date", run_at=NOW)
    assert Timetable(kind="date", run_at=here) != Timetable(kind="date", run_at=NOW + MINUTE)


@pytest.mark.parametrize(
    ("timetable", "trigger"),
    list(zip(TIMETABLES, [CronTrigger, IntervalTrigger, DateTrigger, IntervalTrigger], strict=True)),
)
def test_a_timetable_makes_the_trigger_that_it_describes(timetable: Timetable, trigger: type) -> None:
    assert type(timetable.trigger()) is trigger


@pytest.mark.parametrize(
    ("timetable", "field"),
    [
        (Timetable(kind="cron"), "cron"),
        (Timetable(kind="interval"), "interval"),
        (Timetable(kind="date"), "run_at"),
        (Timetable(kind="moon"), "trigger"),
        (Timetable(kind="cron", cron="* * * * *", time_zone="Mars"), "time_zone"),
    ],
)
def test_a_timetable_that_describes_no_trigger_blames_the_field(timetable: Timetable, field: str) -> None:
    for _ in range(2):  # also when it is asked again
        with pytest.raises(BadTrigger) as refused:
            timetable.trigger()
        assert refused.value.field == field


def test_the_offset_moves_the_fire_and_not_the_due_time() -> None:
    timetable = Timetable(kind="cron", cron="*/5 * * * *", offset=7 * SECOND)
    assert timetable.next_fire(at("14:55:06")) == at("14:55:07")
    assert timetable.next_fire(at("14:55:07")) == at("15:00:07")
    due = timetable.due_since(at("14:55:07"), at("15:05:06"))
    assert (due.count, due.first, due.last) == (2, at("14:55:00"), at("15:00:00"))


@given(
    offset=st.integers(0, 10_000).map(lambda n: timedelta(milliseconds=n)),
    step=st.integers(1, 400).map(lambda n: n * SECOND),
    late=st.integers(0, 5_000).map(lambda n: n * SECOND),
)
def test_no_due_time_is_lost_or_counted_twice_from_fire_to_fire(
    offset: timedelta, step: timedelta, late: timedelta
) -> None:
    timetable = Timetable(kind="interval", interval=step, anchor=NOW, offset=offset)
    fire = timetable.next_fire(NOW - SECOND)
    assert fire == NOW + offset
    now = fire + late
    following = timetable.next_fire(now)
    assert following is not None
    counted = timetable.due_since(fire, now).count
    assert fire + counted * step == following > now


# Planning


@pytest.mark.django_db
def test_a_new_job_is_planned_from_now_on(clock: Any) -> None:
    job = make_job()
    assert next_fire(job) == at("14:55:00")
    assert schedule_of(job).state == ScheduleState(timetable=job.timetable())


@pytest.mark.django_db
def test_a_job_with_jitter_always_fires_equally_late(clock: Any) -> None:
    job = make_job(jitter=MINUTE)
    offset = job.timetable().offset
    assert timedelta(0) < offset < MINUTE
    assert next_fire(job) == at("14:55:00") + offset


@pytest.mark.django_db
@pytest.mark.parametrize(
    "fields",
    [
        {"title": "Another"},
        {"task": "warm_up", "params": {"days_ahead": 2}},
        {"timeout": None},
        {"max_retries": 5},
    ],
)
def test_an_edit_of_something_else_keeps_the_phase_and_what_is_due(
    clock: Any, fields: dict[str, Any]
) -> None:
    job = make_job(trigger="interval", interval=7 * MINUTE)
    planned = next_fire(job)
    clock.move_to(NOW + HOUR)  # overdue by now, and for the leader to fire
    edit(job, **fields)
    assert next_fire(job) == planned == NOW + 7 * MINUTE
    assert not Run.objects.exists()


@pytest.mark.django_db
def test_intervals_count_from_the_making_of_the_job_or_from_its_start(clock: Any) -> None:
    job = make_job(trigger="interval", interval=HOUR)
    clock.move_to(NOW + 90 * MINUTE)
    edit(job, interval=2 * HOUR)
    assert next_fire(job) == NOW + 2 * HOUR
    edit(job, starts_at=at("20:00:00"))
    assert next_fire(job) == at("20:00:00")


@pytest.mark.django_db
def test_a_new_timetable_counts_from_the_edit(clock: Any) -> None:
    job = make_job()
    edit(job, cron="52 * * * *")
    assert next_fire(job) == at("14:52:00")
    assert schedule_of(job).state.timetable == Job.objects.get().timetable()


@pytest.mark.django_db
def test_a_paused_job_is_not_due_and_due_times_in_the_pause_are_passed_over(clock: Any) -> None:
    job = make_job()
    edit(job, paused=True)
    assert next_fire(job) is None
    clock.move_to(NOW + HOUR)
    edit(job, paused=False)
    assert next_fire(job) == at("15:55:00")
    assert not Run.objects.exists()


@pytest.mark.django_db
def test_a_job_that_is_made_paused_waits_for_its_resumption(clock: Any) -> None:
    job = make_job(paused=True)
    assert next_fire(job) is None
    edit(job, paused=False)
    assert next_fire(job) == at("14:55:00")


@pytest.mark.django_db
def test_what_is_due_is_listed_oldest_first(clock: Any) -> None:
    late, later, future = make_job(cron="53 * * * *"), make_job(cron="52 * * * *"), make_job(cron="0 * * * *")
    make_job(paused=True)
    assert [row.id for row in Schedule.objects.due(at("14:53:00"))] == [later.name, late.name]
    assert Schedule.objects.next_fire() == at("14:52:00")
    assert next_fire(future) == at("15:00:00")


# What an edit overtakes


@pytest.mark.django_db
@pytest.mark.parametrize("fields", [{"cron": "0 0 * * *"}, {"paused": True}, {"time_zone": "Asia/Kolkata"}])
def test_an_edit_records_what_it_overtakes_as_missed(clock: Any, fields: dict[str, Any]) -> None:
    job = make_job()
    clock.move_to(at("15:07:00"))  # due at 14:55, 15:00 and 15:05
    edit(job, **fields)
    run = Run.objects.get()
    assert (run.job_id, run.state, run.cause, run.reason) == (job.name, State.MISSED, Cause.SCHEDULE, EDITED)
    assert (run.coalesced_since, run.scheduled_for, run.coalesced) == (at("14:55:00"), at("15:05:00"), 2)
    assert run.finished_at == at("15:07:00")
    fire = next_fire(job)
    assert fire is None or fire > at("15:07:00")


@pytest.mark.django_db
def test_one_overtaken_due_time_stands_for_itself(clock: Any) -> None:
    job = make_job(jitter=MINUTE)
    clock.move_to(at("14:57:00"))
    edit(job, cron="0 0 * * *")
    run = Run.objects.get()
    assert (run.scheduled_for, run.coalesced, run.coalesced_since) == (at("14:55:00"), 0, None)


@pytest.mark.django_db
def test_an_edit_in_time_overtakes_nothing(clock: Any) -> None:
    job = make_job()
    clock.move_to(at("14:54:59"))
    edit(job, cron="0 0 * * *")
    assert not Run.objects.exists()


@pytest.mark.django_db
def test_a_year_of_seconds_is_overtaken_in_no_time(clock: Any) -> None:
    job = make_job(trigger="interval", interval=SECOND)
    clock.move_to(NOW + 365 * DAY)
    edit(job, paused=True)
    assert Run.objects.get().coalesced + 1 == 365 * 86_400


@pytest.mark.django_db
def test_a_due_time_that_has_its_account_keeps_it(clock: Any) -> None:
    job = make_job()
    done = make_run(job, cause=Cause.SCHEDULE, scheduled_for=at("14:55:00"), state=State.SUCCEEDED)
    clock.move_to(at("14:57:00"))
    edit(job, paused=True)
    assert Run.objects.get() == done
    assert next_fire(job) is None


# A definition that can't be built


@pytest.mark.django_db
def test_a_parked_job_shows_its_error_and_is_planned_by_the_next_good_edit(clock: Any) -> None:
    job = make_job()
    assert Schedule.objects.park(job, "No such time zone.", NOW)
    assert not Schedule.objects.park(job, "No such time zone.", NOW)
    assert next_fire(job) is None
    assert schedule_of(job).state.error == "No such time zone."
    edit(job, title="Saved again")
    assert next_fire(job) == at("14:55:00")
    assert schedule_of(job).state.error == ""


@pytest.mark.django_db
@pytest.mark.parametrize("repair", ["edit", "delete"])
def test_a_schedule_that_nothing_can_build_does_not_hinder_its_repair(clock: Any, repair: str) -> None:
    job = make_job()
    gone = ScheduleState(timetable=Timetable(kind="cron", cron="* * * * *", time_zone="Gone/Zone"))
    Schedule.objects.update(job_state=gone.encode())
    clock.move_to(at("15:07:00"))
    if repair == "edit":
        edit(job, cron="0 * * * *")
        assert next_fire(job) == at("16:00:00")
    else:
        job.delete()
        assert not Schedule.objects.exists()
    assert Run.objects.get().scheduled_for == at("14:55:00")


# Bytes that are not ours


class Bomb:
    """Unpickled, it makes a directory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.mkdir, (self.path,)


@pytest.fixture
def crater(tmp_path: Path) -> Path:
    """Where the bomb strikes; shown to work."""
    pickle.loads(pickle.dumps(Bomb(tmp_path / "control")))
    assert (tmp_path / "control").is_dir()
    return tmp_path / "crater"


@pytest.mark.django_db
def test_a_pickle_in_the_table_is_never_unpickled(clock: Any, crater: Path) -> None:
    job, other = make_job(), make_job()
    Schedule.objects.update(job_state=pickle.dumps(Bomb(crater)))
    assert schedule_of(job).state == ScheduleState()
    assert Schedule.objects.planned(job.name) is None
    assert [row.id for row in Schedule.objects.due(NOW + DAY)] == [job.name, other.name]
    clock.move_to(NOW + HOUR)
    edit(job, title="Edited")
    other.full_clean()
    other.delete()
    assert not crater.exists()


@pytest.mark.django_db
def test_an_edit_puts_foreign_bytes_right(clock: Any) -> None:
    job = make_job()
    Schedule.objects.update(job_state=b"\x80\x05]\x94.", next_run_time=NOW + DAY)
    edit(job, title="Edited")
    assert schedule_of(job).state == ScheduleState(timetable=job.timetable())
    assert next_fire(job) == at("14:55:00")


@pytest.mark.parametrize(
    "foreign",
    [
        b"",
        b"null",
        b"[]",
        b"\xff\xfe",
        b'{"timetable": {"kind": "\xff"}}',
        b'{"timetable": {}}',
        b'{"timetable": {"kind": "cron", "run_at": "yesterday"}}',
        b'{"timetable": {"kind": "cron", "offset": "P99999999999D"}}',
        b'{"more": ' + b"[" * 200_000,
    ],
)
def test_foreign_bytes_read_as_nothing_known(foreign: bytes) -> None:
    assert Schedule(job_state=foreign).state == ScheduleState()


@given(st.binary())
def test_no_bytes_break_the_reading(foreign: bytes) -> None:
    assert isinstance(Schedule(job_state=foreign).state, ScheduleState)
