"""A job that fails is told of: at first, each so many-th time, and when it has recovered."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import Settings

from hotdata.alerting.looking import Looked
from hotdata.models import Alert, Notice, Run
from hotdata.models.pauses import SYSTEM
from hotdata.models.runs import FAILURES, Cause, State
from tests.alerting.looks import HOUR, MINUTE, SECOND, Watch, alerts, job_called, subjects, texts
from tests.builders import make_run

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("ada", "clear_cache")]


@pytest.fixture
def watch() -> Watch:
    """Somebody who has looked before."""
    watch = Watch()
    watch.look()
    return watch


def test_the_first_failure_is_told_at_once_with_what_it_said(watch: Watch) -> None:
    job = job_called("update")
    run = watch.ran(job, State.FAILED)
    assert watch.look() == Looked(opened=1, told=1, posted=1)
    assert subjects() == [f"hotdata: update failed, run {run.id}: ValueError: broken"]
    alert = Alert.objects.get()
    assert (alert.kind, alert.subject, alert.count, alert.severity) == ("failing", "update", 1, 2)
    assert alert.opened_at == run.finished_at
    assert alert.told_at == watch.now


def test_a_look_at_the_same_state_tells_nothing(watch: Watch) -> None:
    watch.ran(job_called(), State.FAILED)
    watch.look()
    for _ in range(3):
        assert watch.look() == Looked()
    assert len(subjects()) == 1


@pytest.mark.parametrize("state", FAILURES)
def test_each_way_to_fail_counts(watch: Watch, state: str) -> None:
    watch.ran(job_called("update"), state, error="", reason="The node died.")
    watch.look()
    assert subjects()[0].endswith(": The node died.")


@pytest.mark.parametrize("state", [State.RUNNING, State.RETRYING])
def test_a_run_that_has_retries_left_has_not_failed(watch: Watch, state: str) -> None:
    watch.ran(job_called(), state)
    assert watch.look().opened == 0


def test_a_run_by_hand_is_its_callers_business(watch: Watch) -> None:
    job = job_called()
    for cause in (Cause.MANUAL, Cause.API, Cause.CLI):
        watch.ran(job, State.FAILED, cause=cause, scheduled_for=None)
    assert watch.look() == Looked()


def test_after_the_first_each_tenth_failure_in_a_row_is_told(watch: Watch, settings: Settings) -> None:
    settings.HOTDATA_ALERTS_PER_HOUR = 100
    job = job_called("update")
    told = []
    for number in range(1, 32):
        watch.ran(job, State.FAILED)
        if watch.look().told:
            told.append(number)
    assert told == [1, 10, 20, 30]
    assert "update failed 30 times in a row" in subjects()[-1]
    assert Alert.objects.get().count == 31


def test_failures_between_two_looks_are_counted_and_told_once(watch: Watch, settings: Settings) -> None:
    settings.HOTDATA_ALERT_REPEAT = 5
    job = job_called("update")
    watch.ran(job, *[State.FAILED] * 13)
    assert watch.look().told == 1
    assert "update failed 13 times in a row" in subjects()[0]
    watch.ran(job, State.FAILED)
    assert watch.look().told == 0
    watch.ran(job, State.FAILED)
    assert watch.look().told == 1


def test_a_recovery_is_told_with_how_long_it_was(watch: Watch) -> None:
    job = job_called("update")
    watch.ran(job, State.FAILED)
    watch.look()
    watch.now += 20 * MINUTE
    run = watch.ran(job, State.SUCCEEDED)
    assert watch.look() == Looked(closed=1, told=1, posted=1)
    alert = Alert.objects.get()
    assert (alert.closed_at, alert.ending) == (watch.now, f"Run {run.id} succeeded.")
    assert subjects()[1] == f"hotdata: update is not failing any more, after 20 min. Run {run.id} succeeded."


def test_a_job_that_fails_again_after_a_recovery_has_another_alert(watch: Watch) -> None:
    job = job_called("update")
    for state in (State.FAILED, State.SUCCEEDED, State.FAILED):
        watch.ran(job, state)
        watch.look()
    assert alerts() == [("failing", "update", False), ("failing", "update", True)]


def test_what_failed_and_recovered_between_two_looks_is_told_all_the_same(watch: Watch) -> None:
    job = job_called("update")
    watch.ran(job, State.SUCCEEDED, State.FAILED, State.FAILED, State.SUCCEEDED)
    assert watch.look() == Looked(opened=1, closed=1, told=2, posted=1)
    assert Alert.objects.get().count == 2
    assert watch.look() == Looked()


def test_a_recovery_and_a_new_failure_between_two_looks_are_two_alerts(watch: Watch) -> None:
    job = job_called("update")
    watch.ran(job, State.FAILED)
    watch.look()
    watch.ran(job, State.SUCCEEDED, State.FAILED, State.SUCCEEDED, State.FAILED)
    assert watch.look() == Looked(opened=2, closed=2, told=4, posted=1)
    assert [is_open for _, _, is_open in alerts()] == [False, False, True]


def test_a_long_run_that_fails_after_later_runs_of_others_is_found(watch: Watch) -> None:
    long, others = job_called("long", timeout=None), job_called("others")
    run = watch.ran(long, State.RUNNING)
    for _ in range(30):
        watch.ran(others, State.SUCCEEDED)
        watch.look(MINUTE)
    Run.objects.filter(pk=run.pk).update(
        state=State.FAILED, finished_at=watch.now, error="ValueError: at last"
    )
    assert watch.look().told == 1
    assert subjects()[0].endswith("at last")


def test_a_run_that_is_committed_late_is_found(watch: Watch) -> None:
    """Its id is smaller than those that were seen before it."""
    job, other = job_called("late"), job_called()
    gap = watch.ran(job, State.FAILED)
    gap_id, scheduled_for = gap.id, gap.scheduled_for
    gap.delete()
    watch.ran(other, State.SUCCEEDED)
    watch.look()
    watch.ran(job, State.FAILED, id=gap_id, scheduled_for=scheduled_for)
    assert watch.look().told == 1


def test_runs_that_are_thinned_out_have_been_counted(watch: Watch) -> None:
    job = job_called("update")
    for _ in range(5):
        watch.ran(job, State.FAILED)
        watch.look()
        Run.objects.all().delete()
    assert Alert.objects.get().count == 5


def test_at_the_first_look_only_what_goes_on_is_told() -> None:
    watch = Watch()
    was, fails = job_called("was"), job_called("fails")
    watch.ran(was, State.FAILED, State.SUCCEEDED)
    watch.ran(fails, State.FAILED, State.SUCCEEDED, State.FAILED, State.FAILED)
    watch.look()
    assert alerts() == [("failing", "fails", True)]
    assert "fails failed 2 times in a row" in subjects()[0]


def test_after_a_day_without_a_look_what_goes_on_and_what_is_over_are_told(watch: Watch) -> None:
    job, other = job_called("update"), job_called("other")
    watch.now += 10 * HOUR
    watch.ran(job, State.FAILED, State.SUCCEEDED)
    watch.ran(other, State.FAILED)
    watch.look(14 * HOUR)
    assert alerts() == [("failing", "other", True), ("failing", "update", False)]


# Jobs that rest or are gone


def test_a_job_that_is_paused_is_over_by_whose_word(watch: Watch) -> None:
    job = job_called("update")
    watch.ran(job, State.FAILED)
    watch.look()
    job.set_paused(True, by="bob")
    assert watch.look().closed == 1
    assert Alert.objects.get().ending == "The job was paused by bob."
    assert "The job was paused by bob." in subjects()[1]


def test_a_job_that_its_failures_have_paused_is_still_in_trouble(watch: Watch) -> None:
    job = job_called("update")
    watch.ran(job, State.FAILED)
    watch.look()
    job.set_paused(True, by=SYSTEM)
    assert watch.look() == Looked()


def test_what_came_to_pass_in_a_pause_is_not_told_afterwards(watch: Watch) -> None:
    job = job_called("update")
    job.set_paused(True, by="bob")
    watch.ran(job, State.FAILED)
    watch.look()
    watch.look(10 * MINUTE)
    job.set_paused(False)
    watch.ran(job, State.SUCCEEDED)
    assert watch.look() == Looked()
    watch.ran(job, State.FAILED)
    assert watch.look().told == 1
    assert Alert.objects.get().count == 1


def test_a_job_that_is_deleted_is_over(watch: Watch) -> None:
    job = job_called("update")
    watch.ran(job, State.FAILED)
    watch.look()
    job.delete()
    assert watch.look().closed == 1
    assert Alert.objects.get().ending == "The job was deleted."


# Without recipients


def test_without_recipients_alerts_are_on_record_and_are_told_to_who_comes(
    watch: Watch, settings: Settings
) -> None:
    settings.HOTDATA_ALERT_MAIL = []
    watch.ran(job_called("update"), State.FAILED)
    assert watch.look() == Looked(opened=1)
    assert not Notice.objects.exists()
    settings.HOTDATA_ALERT_MAIL = ["bob@example.com"]
    assert watch.look().told == 1


def test_what_a_job_says_stands_on_one_line_and_is_cut(watch: Watch) -> None:
    hostile = "ValueError: \r\nBcc: all@example.com\x00\x1b[2J" + "京" * 5000
    watch.ran(job_called("update"), State.FAILED, error=hostile.replace("\x00", ""))
    watch.look()
    (subject,), (text,) = subjects(), texts()
    assert "ValueError: Bcc: all@example.com [2J京京" in subject
    assert "\n" not in subject
    assert len(subject) <= 300
    assert "\nBcc" not in text
    assert "\x1b" not in text


def test_a_million_runs_make_no_difference_to_a_look_at_what_is_new(
    watch: Watch, django_assert_max_num_queries: object
) -> None:
    """Not timed: what is asked for is the same number of statements, whatever there is."""
    job = job_called("update")
    watch.ran(job, *[State.SUCCEEDED] * 50)
    watch.look()
    with django_assert_max_num_queries(40):  # type: ignore[operator]
        assert watch.look(SECOND) == Looked()
    make_run(job, state=State.SUCCEEDED, created_at=timezone.now() + timedelta(hours=1))
