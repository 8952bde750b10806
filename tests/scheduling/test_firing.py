"""The rules by which due times become runs, and that each due time is accounted for once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotdata.models import Job, Run
from hotdata.models.policies import HOLDING, Overlap
from hotdata.models.runs import Cause, State
from hotdata.models.schedules import Kind
from hotdata.scheduling.firing import Active, fire
from hotdata.triggers import DueTimes

NODE = "a-node"
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=seconds) for seconds in (1, 60, 3600, 86_400))


def make_unsaved_job(**fields: Any) -> Job:
    """A job that is due at each full minute from EPOCH on."""
    given = {
        "name": "a-job",
        "task": "a_task",
        "trigger": Kind.INTERVAL,
        "interval": MINUTE,
        "created_at": EPOCH,
    }
    return Job(**(given | fields))


def fire_since(
    first: datetime, now: datetime, job: Job, *, active: int = 0, held: int = 0
) -> tuple[DueTimes, list[Run]]:
    """What is due of `job` from the due time `first` until `now`, and the records made for that."""
    timetable = job.timetable()
    due = timetable.due_since(first + timetable.offset, now)
    others = Active(going=active, held=held)
    return due, fire(job, timetable, due, active=others, now=now, node=NODE)


def outline(records: list[Run]) -> list[tuple[str, int]]:
    """Each record's state and the number of due times that it stands for."""
    return [("held" if record.held else record.state, 1 + record.coalesced) for record in records]


def test_a_due_time_becomes_a_queued_run_of_this_node() -> None:
    job = make_unsaved_job(params={"days": 3})
    now = EPOCH + MINUTE + SECOND
    [run] = fire_since(EPOCH + MINUTE, now, job)[1]
    assert (run.state, run.cause, run.node) == (State.QUEUED, Cause.SCHEDULE, NODE)
    assert (run.job_id, run.task, run.params) == ("a-job", "a_task", {"days": 3})
    assert (run.scheduled_for, run.coalesced, run.coalesced_since) == (EPOCH + MINUTE, 0, None)
    assert (run.created_at, run.ready_at, run.finished_at) == (now, now, None)


def test_nothing_due_makes_no_record() -> None:
    job = make_unsaved_job()
    assert fire(job, job.timetable(), DueTimes(), now=EPOCH, node=NODE) == []


# Coalesce


def test_of_several_due_times_the_latest_runs_and_counts_the_others() -> None:
    [run] = fire_since(EPOCH + MINUTE, EPOCH + 5 * MINUTE, make_unsaved_job())[1]
    assert outline([run]) == [(State.QUEUED, 5)]
    assert (run.scheduled_for, run.coalesced_since) == (EPOCH + 5 * MINUTE, EPOCH + MINUTE)


def test_without_coalesce_each_due_time_runs() -> None:
    job = make_unsaved_job(coalesce=False, overlap=Overlap.ALLOW_ALL, max_instances=10)
    _, runs = fire_since(EPOCH + MINUTE, EPOCH + 3 * MINUTE, job)
    assert outline(runs) == [(State.QUEUED, 1)] * 3
    assert [run.scheduled_for for run in runs] == [EPOCH + n * MINUTE for n in (1, 2, 3)]


# Misfire grace


@pytest.mark.parametrize(("late", "state"), [(30 * SECOND, State.QUEUED), (31 * SECOND, State.MISSED)])
def test_what_is_late_by_more_than_the_grace_is_missed(late: timedelta, state: State) -> None:
    job = make_unsaved_job(misfire_grace_time=30 * SECOND)
    [record] = fire_since(EPOCH + MINUTE, EPOCH + MINUTE + late, job)[1]
    assert record.state == state


def test_a_missed_record_says_why_and_has_an_end() -> None:
    now = EPOCH + MINUTE + 31 * SECOND
    [record] = fire_since(EPOCH + MINUTE, now, make_unsaved_job(misfire_grace_time=30 * SECOND))[1]
    assert record.reason == "Late by more than the grace time of 0:00:30."
    assert (record.node, record.finished_at) == ("", now)


def test_without_a_grace_time_a_due_time_runs_however_late() -> None:
    job = make_unsaved_job(interval=7 * DAY, misfire_grace_time=None)
    assert outline(fire_since(EPOCH, EPOCH + 6 * DAY, job)[1]) == [(State.QUEUED, 1)]


def test_due_times_older_than_the_grace_are_counted_in_a_latest_one_that_is_in_time() -> None:
    job = make_unsaved_job(misfire_grace_time=30 * SECOND)
    assert outline(fire_since(EPOCH, EPOCH + 9 * MINUTE, job)[1]) == [(State.QUEUED, 10)]


def test_without_coalesce_only_the_late_ones_are_missed() -> None:
    job = make_unsaved_job(
        coalesce=False, overlap=Overlap.ALLOW_ALL, max_instances=10, misfire_grace_time=2 * MINUTE
    )
    _, records = fire_since(EPOCH + MINUTE, EPOCH + 5 * MINUTE, job)
    assert outline(records) == [(State.MISSED, 2), *[(State.QUEUED, 1)] * 3]
    assert (records[0].coalesced_since, records[0].scheduled_for) == (EPOCH + MINUTE, EPOCH + 2 * MINUTE)


def test_jitter_does_not_count_as_lateness() -> None:
    """A job that its jitter keeps off its due time for longer than its grace would never run."""
    job = make_unsaved_job(interval=DAY, jitter=HOUR, misfire_grace_time=SECOND)
    offset = job.timetable().offset
    assert offset > MINUTE, "the name of the job was chosen badly"
    [run] = fire_since(EPOCH, EPOCH + offset + SECOND, job)[1]
    assert (run.state, run.scheduled_for) == (State.QUEUED, EPOCH)
    [run] = fire_since(EPOCH, EPOCH + offset + 2 * SECOND, job)[1]
    assert (run.state, run.scheduled_for) == (State.MISSED, EPOCH)


def test_a_grace_time_longer_than_the_calendar_is_no_error() -> None:
    job = make_unsaved_job(misfire_grace_time=timedelta.max, jitter=MINUTE)
    assert outline(fire_since(EPOCH, EPOCH + 9 * MINUTE, job)[1])[0][0] == State.QUEUED


# Overlap and instances


def test_an_active_run_makes_the_next_due_time_skipped() -> None:
    [record] = fire_since(EPOCH, EPOCH + 2 * MINUTE, make_unsaved_job(), active=1)[1]
    assert outline([record]) == [(State.SKIPPED, 3)]
    assert record.reason == "A run of it had not ended (overlap: skip)."
    assert record.finished_at == EPOCH + 2 * MINUTE


def test_overlap_skip_allows_one_run_whatever_the_number_of_instances() -> None:
    job = make_unsaved_job(max_instances=5, overlap=Overlap.SKIP)
    assert outline(fire_since(EPOCH, EPOCH, job, active=1)[1]) == [(State.SKIPPED, 1)]


@pytest.mark.parametrize(("active", "state"), [(0, State.QUEUED), (2, State.QUEUED), (3, State.SKIPPED)])
def test_allow_all_starts_runs_up_to_the_number_of_instances(active: int, state: State) -> None:
    job = make_unsaved_job(max_instances=3, overlap=Overlap.ALLOW_ALL)
    assert outline(fire_since(EPOCH, EPOCH, job, active=active)[1]) == [(state, 1)]


def test_without_coalesce_what_exceeds_the_instances_is_skipped_in_one_record() -> None:
    job = make_unsaved_job(coalesce=False, max_instances=3, overlap=Overlap.ALLOW_ALL)
    _, records = fire_since(EPOCH + MINUTE, EPOCH + 100 * MINUTE, job, active=1)
    assert outline(records) == [(State.QUEUED, 1), (State.QUEUED, 1), (State.SKIPPED, 98)]
    assert [record.scheduled_for for record in records[:2]] == [EPOCH + MINUTE, EPOCH + 2 * MINUTE]
    assert records[2].reason == "3 of its runs had not ended (overlap: allow_all)."


def test_more_active_runs_than_instances_are_no_error() -> None:
    """The number of instances may have been lowered a moment ago."""
    job = make_unsaved_job(coalesce=False)
    assert outline(fire_since(EPOCH, EPOCH + MINUTE, job, active=7)[1]) == [(State.SKIPPED, 2)]


def test_buffer_one_holds_one_and_skips_the_later_ones() -> None:
    job = make_unsaved_job(overlap=Overlap.BUFFER_ONE)
    assert outline(fire_since(EPOCH, EPOCH, job)[1]) == [(State.QUEUED, 1)]
    assert outline(fire_since(EPOCH, EPOCH, job, active=1)[1]) == [("held", 1)]
    [skipped] = fire_since(EPOCH, EPOCH, job, active=1, held=1)[1]
    assert skipped.state == State.SKIPPED
    assert skipped.reason == "One run had not ended, and one waited for that already (overlap: buffer_one)."


def test_buffer_one_without_coalesce_starts_one_holds_the_next_and_skips_the_rest() -> None:
    job = make_unsaved_job(overlap=Overlap.BUFFER_ONE, coalesce=False)
    _, records = fire_since(EPOCH, EPOCH + 4 * MINUTE, job)
    assert outline(records) == [(State.QUEUED, 1), ("held", 1), (State.SKIPPED, 3)]


@pytest.mark.parametrize("others", [{"active": 1}, {"held": 1}, {"active": 2, "held": 1}])
def test_cancel_other_holds_the_new_run_until_the_others_are_gone(others: dict[str, int]) -> None:
    job = make_unsaved_job(overlap=Overlap.CANCEL_OTHER)
    assert outline(fire_since(EPOCH, EPOCH, job)[1]) == [(State.QUEUED, 1)]
    assert outline(fire_since(EPOCH, EPOCH, job, **others)[1]) == [("held", 1)]


def test_cancel_other_without_coalesce_runs_the_latest_alone() -> None:
    job = make_unsaved_job(overlap=Overlap.CANCEL_OTHER, coalesce=False)
    _, records = fire_since(EPOCH, EPOCH + 4 * MINUTE, job, active=1)
    assert outline(records) == [(State.SKIPPED, 4), ("held", 1)]
    assert records[0].reason == "A later due time took its place."


def test_a_held_run_belongs_to_no_node_yet() -> None:
    [run] = fire_since(EPOCH, EPOCH, make_unsaved_job(overlap=Overlap.BUFFER_ONE), active=1)[1]
    assert (run.state, run.node, run.finished_at) == (State.QUEUED, "", None)


# The account

jobs = st.fixed_dictionaries(
    {
        "coalesce": st.booleans(),
        "overlap": st.sampled_from(Overlap.values),
        "max_instances": st.integers(1, 6),
        "misfire_grace_time": st.none() | st.timedeltas(-HOUR, 2 * HOUR),
        "jitter": st.timedeltas(timedelta(0), HOUR),
    }
)
triggers = st.one_of(
    st.fixed_dictionaries({"interval": st.integers(1, 4000).map(lambda seconds: seconds * SECOND)}),
    st.fixed_dictionaries(
        {
            "trigger": st.just(Kind.CRON),
            "cron": st.sampled_from(
                ["* * * * *", "*/7 * * * *", "30 2 * * *", "0 0 * * mon", "15 1,2 * * *"]
            ),
            "time_zone": st.sampled_from(["UTC", "America/New_York", "Australia/Lord_Howe"]),
        }
    ),
    st.fixed_dictionaries({"trigger": st.just(Kind.DATE), "run_at": st.just(EPOCH + HOUR)}),
)


@given(
    fields=jobs,
    trigger=triggers,
    # The clocks of New York and Lord Howe are changed in this time.
    first=st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - hypothesis adds the zone
    down=st.timedeltas(timedelta(0), 3 * DAY),
    active=st.integers(0, 8),
    held=st.integers(0, 1),
)
def test_every_due_time_is_accounted_for_exactly_once(
    fields: dict[str, Any], trigger: dict[str, Any], first: datetime, down: timedelta, active: int, held: int
) -> None:
    job = make_unsaved_job(**fields, **trigger)
    now = first + job.timetable().offset + down
    due, records = fire_since(first, now, job, active=active, held=held)

    assert sum(1 + record.coalesced for record in records) == due.count
    rule, covered = job.build_trigger(), None
    for record in records:
        begin, end = record.coalesced_since or record.scheduled_for, record.scheduled_for
        assert covered is None or begin > covered, "two records stand for one due time"
        assert rule.due_between(begin - timedelta.resolution, end).count == 1 + record.coalesced
        covered = end
    assert covered == due.last

    states = [record.state for record in records]
    waiting = [record for record in records if record.held]
    limit = job.max_instances if job.overlap == Overlap.ALLOW_ALL else 1
    assert states.count(State.QUEUED) - len(waiting) <= max(0, limit - active - held)
    assert len(waiting) <= (job.overlap in HOLDING)
    assert states.count(State.MISSED) <= 1
    assert states.count(State.SKIPPED) <= 1
