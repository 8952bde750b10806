"""Totals of runs: they are the truth, each run counts once, and nothing that becomes of a record takes any away."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from hotdata.models import Job, Run, RunTotal, TotalsCursor, accounts
from hotdata.models.policies import Overlap
from hotdata.models.runs import ACTIVE, NEVER_STARTED, Cause, State
from hotdata.observing import totals
from hotdata.observing.counting import OTHER, reason_word
from hotdata.observing.totals import BeingCounted, roll_up
from hotdata.retention.cleanup import CleanUp, Share
from hotdata.retention.kinds import BY_NAME
from hotdata.retention.thinning import thin_out
from hotdata.scheduling.firing import Active, fire
from hotdata.triggers import DueTimes
from tests.builders import make_job, make_run

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _counting() -> None:
    """Counting has begun, with nothing on record."""
    roll_up(timezone.now())


def make_ended(job: Job, state: State = State.SUCCEEDED, **fields: Any) -> Run:
    now = timezone.now()
    values = {"attempt": 1, "started_at": now, "created_at": now, "duration": SECOND}
    return make_run(job, state=state, **(values | fields))


def make_account(job: Job, state: State, at: datetime, reason: str = "Why not.", **fields: Any) -> Run:
    values = {"cause": Cause.SCHEDULE, "scheduled_for": at, "created_at": at, "reason": reason}
    return make_run(job, state=state, **(values | fields))


def told(job: Job | str, now: datetime | None = None) -> dict[str, int]:
    """What is told of runs and due times of `job`."""
    found = totals.totals(now or timezone.now())
    assert found is not None
    counts = found.by_job.get(job if isinstance(job, str) else job.name, {})
    return {what: count for what, count in counts.items() if what.startswith(("run ", "due "))}


def settle(*, by: timedelta = 2 * DAY) -> int:
    """Count all there is, as if it were `by` later."""
    return roll_up(timezone.now() + by)


def test_what_is_on_record_before_counting_begins_does_not_count_but_what_ends_later_does() -> None:
    TotalsCursor.objects.all().delete()
    assert totals.totals(timezone.now()) is None
    job = make_job()
    make_ended(job)
    running = make_run(job, state=State.RUNNING)
    roll_up(timezone.now())
    Run.objects.filter(pk=running.pk).update(state=State.FAILED, finished_at=timezone.now())
    make_ended(job)
    settle()
    assert told(job) == {"run failed": 1, "run succeeded": 1}


@pytest.mark.parametrize("settled", [False, True])
def test_runs_are_counted_by_job_and_by_how_they_ended(settled: bool) -> None:
    jobs = [make_job(), make_job()]
    roll_up(timezone.now())
    for state in State:
        for _ in range(2):
            make_ended(jobs[0], state, **({} if state in ACTIVE else {"finished_at": timezone.now()}))
    make_ended(jobs[1])
    if settled:
        settle()
    assert told(jobs[1]) == {"run succeeded": 1}
    assert {what: count for what, count in told(jobs[0]).items() if what.startswith("run")} == {
        f"run {state}": 2 for state in State if state not in (*ACTIVE, *NEVER_STARTED)
    }


@pytest.mark.parametrize("settled", [False, True])
def test_durations_and_delays_are_counted_up_to_their_bounds(settled: bool) -> None:
    job = make_job()
    roll_up(timezone.now())
    now = timezone.now()
    late = {"created_at": now - 3 * SECOND, "started_at": now}
    make_ended(job, duration=timedelta(milliseconds=10), started_at=now, created_at=now)
    make_ended(job, State.FAILED, duration=timedelta(milliseconds=11), **late)
    make_ended(
        job, duration=timedelta(hours=1), cause=Cause.SCHEDULE, scheduled_for=now - timedelta(hours=1), **late
    )
    make_ended(job, attempt=2, duration=SECOND, **late)
    make_ended(job, State.ABANDONED, duration=None, **late)
    make_ended(job, State.CANCELLED, attempt=0, duration=None, started_at=None)
    if settled:
        settle()
    found = totals.totals(timezone.now())
    assert found is not None
    counts = found.by_job[job.name]
    assert {what: count for what, count in counts.items() if what.startswith("duration")} == {
        "duration 0.01": 1,
        "duration 0.05": 1,
        "duration 1": 1,
        "duration +Inf": 1,
        "duration sum": 3601_021_000,
    }
    assert counts.pop("delay sum") == pytest.approx(3606_000_000, abs=2_000)
    assert {what: count for what, count in counts.items() if what.startswith("delay")} == {
        "delay 0.01": 1,
        "delay 5": 2,
        "delay +Inf": 1,
    }


def test_a_clock_that_is_behind_makes_no_delay_below_zero() -> None:
    job = make_job()
    roll_up(timezone.now())
    now = timezone.now()
    make_ended(job, started_at=now, created_at=now + SECOND)
    found = totals.totals(now)
    assert found is not None
    assert found.by_job[job.name]["delay 0.01"] == 1
    assert found.by_job[job.name]["delay sum"] == 0


def test_a_run_that_goes_on_for_long_counts_when_it_has_ended_and_once() -> None:
    job = make_job()
    running = [make_run(job, state=State.RUNNING) for _ in range(3)]
    settle()
    make_ended(job)
    assert told(job) == {"run succeeded": 1}
    Run.objects.filter(pk=running[0].pk).update(state=State.FAILED, finished_at=timezone.now())
    assert told(job) == {"run succeeded": 1, "run failed": 1}
    settle()
    assert told(job) == {"run succeeded": 1, "run failed": 1}
    assert TotalsCursor.objects.get().pending == [running[1].pk, running[2].pk]


def test_a_due_time_counts_in_each_record_that_takes_it_in_once() -> None:
    job = make_job()
    roll_up(timezone.now())
    now = timezone.now()
    make_account(job, State.MISSED, now - 3 * SECOND, coalesced=4)
    make_account(job, State.SKIPPED, now - 2 * SECOND)
    make_ended(job, cause=Cause.SCHEDULE, scheduled_for=now, coalesced=7)
    expected = {
        "due missed other": 5,
        "due skipped other": 1,
        "due coalesced coalesced": 7,
        "run succeeded": 1,
    }
    assert told(job) == expected
    settle()
    assert told(job) == expected


def test_a_record_that_goes_on_to_take_in_due_times_is_counted_anew_until_it_no_longer_can() -> None:
    job = make_job()
    begun = timezone.now()
    for hour in range(60):
        now = begun + hour * timedelta(hours=1)
        accounts.put_down([skipped_at(job, now)])
        roll_up(now)
        assert told(job, now) == {"due skipped other": hour + 1}
    assert Run.objects.count() == 3, "a new one each day"


def test_a_run_that_waited_for_more_than_a_day_until_it_was_overtaken_counts_once() -> None:
    job = make_job()
    begun = timezone.now()
    accounts.put_down([skipped_at(job, begun - timedelta(hours=2))])
    waiting = make_account(job, State.QUEUED, begun, reason="", node="", held=True)
    later = begun + timedelta(hours=30)
    roll_up(later)
    assert told(job, later) == {"due skipped other": 1}
    accounts.overtake([job.name], later)
    assert Run.objects.get(pk=waiting.pk).state == State.SKIPPED
    for now in (later, later + 2 * DAY):
        assert told(job, now) == {"due skipped other": 1, "due skipped overtaken": 1}
        roll_up(now)
    assert told(job, now) == {"due skipped other": 1, "due skipped overtaken": 1}


def skipped_at(job: Job, now: datetime) -> Run:
    return Run(
        job=job, task=job.task, params=job.params, cause=Cause.SCHEDULE, state=State.SKIPPED, reason="Why not.",
        scheduled_for=now, created_at=now, ready_at=now, finished_at=now,
    )  # fmt: skip


# Records go, totals stay


def test_deleting_thinning_out_and_a_job_that_is_gone_take_nothing_away() -> None:
    job = make_job(keep_runs=1)
    old = timezone.now() - 10 * DAY
    for _ in range(5):
        make_ended(job, created_at=old, finished_at=old)
    make_account(job, State.MISSED, old)
    before = told(job)
    assert not before, "it has no total yet"
    roll_up(timezone.now())
    assert (before := told(job)) == {"run succeeded": 5, "due missed other": 1}
    assert thin_out(job.name) > 0
    assert told(job) == before
    assert cleaned_up() > 0
    job.delete()
    assert not Run.objects.exists()
    assert told(job) == before


def test_nothing_is_deleted_before_it_is_counted() -> None:
    job = make_job(keep_runs=0)
    roll_up(timezone.now())
    running = make_run(job, state=State.RUNNING)
    make_ended(job)
    make_account(job, State.SKIPPED, timezone.now())
    assert thin_out(job.name) == 0
    roll_up(timezone.now() + timedelta(hours=1))
    Run.objects.filter(pk=running.pk).update(state=State.FAILED, finished_at=timezone.now())
    assert thin_out(job.name) == 1, "what was pending is not counted yet, nor what was skipped just now"
    settle()
    assert thin_out(job.name) == 2
    assert told(job) == {"run succeeded": 1, "run failed": 1, "due skipped other": 1}


def test_where_nobody_counts_any_more_records_are_deleted_as_ever() -> None:
    job = make_job(keep_runs=0)
    make_ended(job)
    TotalsCursor.objects.update(moved_at=timezone.now() - 2 * DAY)
    assert thin_out(job.name) == 1


def test_whatever_happens_to_records_totals_only_grow_and_are_the_truth() -> None:
    """Steps of chance, on a clock that goes on by ten minutes."""
    chance = random.Random(7)
    jobs = [make_job(name=f"job-of-chance-{number}", keep_runs=2) for number in range(4)]
    roll_up(timezone.now())
    truth: Counter[tuple[str, str]] = Counter()
    now = timezone.now()
    shown: dict[tuple[str, str], int] = {}
    active: list[Run] = []
    for _ in range(400):
        now += timedelta(minutes=10)
        job = chance.choice(jobs)
        match chance.randrange(6):
            case 0 | 1:
                active.append(make_run(job, state=State.RUNNING, created_at=now, started_at=now))
            case 2 if active:
                run = active.pop(chance.randrange(len(active)))
                state = chance.choice([State.SUCCEEDED, State.FAILED, State.ABANDONED])
                Run.objects.filter(pk=run.pk).update(state=state, finished_at=now)
                truth[run.job_id, f"run {state}"] += 1
            case 3:
                accounts.put_down([skipped_at(job, now)])
                truth[job.name, "due skipped other"] += 1
            case 4:
                roll_up(now)
            case 5:
                with_clock_at(now, lambda job=job: (thin_out(job.name), cleaned_up()))
        found = totals.totals(now)
        assert found is not None
        before, shown = shown, {}
        for name, counts in found.by_job.items():
            shown |= {
                (name, what): count for what, count in counts.items() if what.startswith(("run ", "due "))
            }
        assert shown == truth
        assert all(shown[of] >= count for of, count in before.items())
    assert Run.objects.finished().count() < truth.total() / 2, "most records are gone"


def cleaned_up() -> int:
    """Delete what is older than a day; how many runs that were."""
    clean_up = CleanUp([Share(kind=BY_NAME["runs"], days=1)], timezone.now())
    return sum(account.deleted for account in clean_up.run())


def with_clock_at(now: datetime, what: Callable[[], Any]) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(timezone, "now", lambda: now)
        what()


# No more labels than there may be


@pytest.fixture
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(totals, "MOST_JOBS", 2)


@pytest.mark.usefixtures("_few")
def test_who_comes_when_there_is_no_room_left_is_counted_together_and_stays_so() -> None:
    jobs = [make_job() for _ in range(4)]
    roll_up(timezone.now())
    assert totals.without_total() == 2
    for job in jobs:
        make_ended(job)
    for now in (timezone.now(), timezone.now() + DAY):
        assert [told(job, now) for job in jobs] == [{"run succeeded": 1}] * 2 + [{}] * 2
        assert told(OTHER, now) == {"run succeeded": 2}
        roll_up(now)
    assert RunTotal.objects.count() == 3


def test_a_job_that_was_deleted_while_it_ran_has_a_total_of_its_own_too() -> None:
    running, waiting = make_job(), make_job()
    runs = [make_run(running, state=State.RUNNING), make_run(waiting, node="", held=True)]
    TotalsCursor.objects.update(runs=runs[-1].pk, accounts=runs[-1].pk, pending=[run.pk for run in runs])
    for job in (running, waiting):
        job.delete()
    Run.objects.filter(pk=runs[0].pk).update(state=State.SUCCEEDED, finished_at=timezone.now())
    roll_up(timezone.now())
    assert (told(running), told(waiting)) == ({"run succeeded": 1}, {"run cancelled": 1})
    assert not RunTotal.objects.filter(job=OTHER).exists(), (
        "a job that is new would be shown there, and then leave"
    )


@pytest.mark.usefixtures("_few")
def test_the_place_of_a_job_that_is_no_more_goes_to_one_that_has_not_run_lately() -> None:
    jobs = [make_job() for _ in range(4)]
    roll_up(timezone.now())
    make_ended(jobs[2])
    assert told(OTHER) == {"run succeeded": 1}
    jobs[0].delete()
    roll_up(timezone.now())
    assert set(RunTotal.objects.values_list("job", flat=True)) == {jobs[1].name, jobs[3].name}
    make_ended(jobs[3])
    assert told(OTHER) == {"run succeeded": 1}, "what was shown there stays there"
    assert told(jobs[3]) == {"run succeeded": 1}


@pytest.mark.usefixtures("_few")
def test_a_job_that_is_gone_keeps_its_place_while_there_are_runs_of_it() -> None:
    jobs = [make_job() for _ in range(3)]
    make_ended(jobs[0])
    roll_up(timezone.now())
    jobs[0].delete()
    roll_up(timezone.now())
    assert set(RunTotal.objects.values_list("job", flat=True)) == {jobs[0].name, jobs[1].name}


def due_at(*moments: datetime) -> DueTimes:
    return DueTimes(count=len(moments), first=moments[0], last=moments[-1])


@pytest.mark.parametrize("overlap", list(Overlap))
def test_each_reason_for_which_nothing_is_started_has_a_word(overlap: Overlap) -> None:
    now = timezone.now().replace(second=0, microsecond=0)
    job = make_job(
        overlap=overlap, misfire_grace_time=SECOND, coalesce=False, cron="* * * * *", max_instances=2
    )
    due = due_at(now - timedelta(minutes=2), now - timedelta(minutes=1), now)
    records = fire(job, job.timetable(), due, active=Active(going=5, held=5), now=now, node="")
    words = {reason_word(run.reason) for run in records if run.state in NEVER_STARTED}
    assert "late" in words
    assert words <= {"late", "overlap", "overtaken"}


def test_a_reason_that_is_not_known_has_a_word_too() -> None:
    assert reason_word("Whatever somebody's code may say.") == "other"
    assert reason_word("The job's definition can't be built: no.") == "broken"


# Several at once


@pytest.fixture
def in_threads(transactional_db: None) -> Callable[..., None]:
    def run(*functions: Callable[[], Any]) -> None:
        def close_after(function: Callable[[], Any]) -> None:
            try:
                function()
            finally:
                connection.close()

        threads = [threading.Thread(target=close_after, args=[function]) for function in functions]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return run


@pytest.mark.django_db(transaction=True)
def test_several_who_count_at_once_count_each_run_once(
    in_threads: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(totals, "STEP", 7)
    monkeypatch.setattr(totals, "PAUSE", 0)
    job = make_job()
    for _ in range(50):
        make_ended(job)
    later = timezone.now() + DAY
    in_threads(*[lambda: roll_up(later)] * 4)
    settle()
    assert RunTotal.objects.get().counts["run succeeded"] == 50


@pytest.mark.django_db(transaction=True)
def test_who_asks_while_others_count_is_told_the_truth_or_nothing(
    in_threads: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(totals, "STEP", 3)
    job = make_job()
    make_ended(make_job())  # counting begins at its id, and not thousands of steps before those that follow
    roll_up(timezone.now())
    for _ in range(100):
        make_ended(job)
    seen: list[dict[str, int]] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            try:
                seen.append(told(job))
            except BeingCounted:
                continue

    def count() -> None:
        try:
            roll_up(timezone.now() + DAY)
        finally:
            done.set()

    in_threads(ask, count)
    seen.append(told(job))
    assert seen
    assert all(told == {"run succeeded": 100} for told in seen)
