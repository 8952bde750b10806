"""Jobs: what a definition is checked for, and what saving, deleting and running it do."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.core.exceptions import ValidationError
from django.db import transaction
from django.template import Context, Template

from hotdata.exceptions import BadParams, BadTrigger, UnknownTask
from hotdata.models import ChangeCounter, Job, Run, Schedule
from hotdata.models.runs import Cause, State
from tests.builders import make_job, make_run, make_source
from tests.threads import PATIENCE, in_thread

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 23, 14, 51, 30, tzinfo=UTC)
SECOND, MINUTE, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1)
CRON = {"name": "a-job", "task": "refresh_due", "cron": "*/5 * * * *"}
ONCE = {"name": "a-job", "task": "refresh_due", "trigger": "date", "run_at": NOW + DAY}


@pytest.fixture
def clock() -> Any:
    """The time stands still at `NOW`, until it is moved."""
    with time_machine.travel(NOW, tick=False) as clock:
        yield clock


def errors(job: Job) -> dict[str, str]:
    """What the operator is told, by field."""
    try:
        job.full_clean()
    except ValidationError as error:
        return {field: " ".join(messages) for field, messages in error.message_dict.items()}
    return {}


# Checking


@pytest.mark.parametrize(
    "fields",
    [
        CRON,
        CRON | {"task": "refresh_source", "params": {"source": "stock", "keys": ["AAPL"]}},
        CRON | {"time_zone": "Asia/Shanghai", "starts_at": NOW, "ends_at": NOW + DAY, "jitter": MINUTE},
        CRON | {"trigger": "interval", "interval": SECOND, "cron": ""},
        ONCE,
        ONCE | {"run_at": NOW - SECOND, "jitter": 300 * DAY, "name": "late-by-jitter"},
        CRON | {"ends_at": NOW - DAY, "paused": True},
    ],
)
def test_a_good_definition_is_accepted(clock: Any, fields: dict[str, Any]) -> None:
    make_source(name="stock")
    assert errors(Job(**fields)) == {}


@pytest.mark.parametrize(
    ("fields", "blamed", "message"),
    [
        ({"name": "no spaces"}, "name", "Enter a valid “slug”"),
        ({"name": ""}, "name", "cannot be blank"),
        ({"task": "os.system"}, "task", "No task named 'os.system' is registered. Registered: "),
        ({"task": ""}, "task", "cannot be blank"),
        ({"params": {"x": 1}}, "params", "refresh_due has no parameter 'x'; it takes: seconds."),
        ({"task": "refresh_source"}, "params", "source: this parameter is required."),
        ({"task": "refresh_source", "params": {"source": 5}}, "params", "source: Expected `str`, got `int`."),
        (
            {"task": "refresh_source", "params": {"source": "stok"}},
            "params",
            "source: There is no source 'stok'. Sources: news, stock.",
        ),
        ({"task": "warm_up", "params": {"cities_of": ""}}, "params", "cities_of: There is no source ''."),
        ({"params": []}, "params", "must be a JSON object, not list"),
        ({"params": "source"}, "params", "must be a JSON object, not str"),
        ({"trigger": "moon"}, "trigger", "not a valid choice"),
        ({"cron": ""}, "cron", "has 0 fields; exactly five"),
        ({"cron": "61 * * * *"}, "cron", "“61” is no valid minute"),
        ({"cron": "* * * * * *"}, "cron", "has 6 fields; exactly five"),
        ({"cron": "@daily"}, "cron", "write it out as “0 0 * * *”"),
        ({"cron": "0 0 31 2 *"}, "cron", "never comes due"),
        ({"cron": "nonsense"}, "cron", "has 1 field; exactly five"),
        ({"trigger": "interval"}, "interval", "needs an interval"),
        ({"trigger": "interval", "interval": timedelta(0)}, "interval", "one second or longer"),
        ({"trigger": "interval", "interval": -SECOND}, "interval", "must be at least 0 seconds"),
        ({"trigger": "interval", "interval": SECOND / 2}, "interval", "one second or longer"),
        ({"trigger": "interval", "interval": 1.5 * SECOND}, "interval", "whole number of seconds"),
        ({"trigger": "date"}, "run_at", "needs the time at which it runs"),
        ({"trigger": "date", "run_at": NOW - SECOND}, "run_at", "lies in the past: the job would never run"),
        ({"trigger": "date", "run_at": NOW}, "run_at", "lies in the past: the job would never run"),
        ({"trigger": "date", "run_at": NOW + DAY, "ends_at": NOW}, "run_at", "outside of start and end"),
        ({"time_zone": "Mars/Olympus"}, "time_zone", "Mars/Olympus"),
        ({"time_zone": ""}, "time_zone", "cannot be blank"),
        ({"starts_at": NOW, "ends_at": NOW - SECOND}, "ends_at", "The end lies before the start"),
        ({"ends_at": NOW - SECOND}, "ends_at", "lies in the past"),
        ({"ends_at": datetime.max.replace(tzinfo=UTC)}, "ends_at", "out of range"),
        ({"ends_at": datetime(2030, 1, 1)}, "ends_at", "needs a time zone"),  # noqa: DTZ001
        ({"starts_at": datetime.min.replace(tzinfo=UTC)}, "starts_at", "out of range"),
        ({"paused": True, "paused_until": datetime.max.replace(tzinfo=UTC)}, "paused_until", "out of range"),
        ({"jitter": -SECOND}, "jitter", "must be at least 0 seconds"),
        ({"jitter": 10_000 * DAY}, "jitter", "can be 360 days at most"),
        ({"jitter": 361 * DAY}, "jitter", "can be 360 days at most"),
        ({"overlap": "maybe"}, "overlap", "not a valid choice"),
        ({"max_instances": 0}, "max_instances", "greater than or equal to 1"),
        ({"max_instances": 1001}, "max_instances", "less than or equal to 1000"),
        ({"max_retries": 101}, "max_retries", "less than or equal to 100"),
        ({"retry_delay": 2 * MINUTE, "retry_delay_max": MINUTE}, "retry_delay_max", "shorter than the first"),
    ],
)
def test_a_bad_field_is_refused_by_its_name(
    clock: Any, fields: dict[str, Any], blamed: str, message: str
) -> None:
    make_source(name="stock")
    make_source(name="news", enabled=False)
    assert message in errors(Job(**(CRON | fields)))[blamed]


def test_several_mistakes_are_told_at_once(clock: Any) -> None:
    found = errors(Job(**(CRON | {"cron": "x", "task": "nope", "retry_delay_max": SECOND})))
    assert {"cron", "task", "retry_delay_max"} <= found.keys()


def test_a_one_off_that_has_run_may_still_be_edited(clock: Any) -> None:
    job = make_job(**ONCE)
    clock.move_to(NOW + 2 * DAY)
    job.title = "It was nice"
    assert errors(job) == {}
    job.save()
    assert Job.objects.get().title == "It was nice"


def test_a_job_whose_source_was_deleted_may_still_be_edited_but_not_be_given_another_that_is_not_there(
    clock: Any,
) -> None:
    job = make_job(task="refresh_source", params={"source": "stock"})
    job.title = "It was nice"
    assert errors(job) == {}
    job.params = {"source": "gone"}
    assert "There is no source 'gone'. Sources: none." in errors(job)["params"]


@pytest.mark.parametrize(
    ("fields", "blamed"),
    [
        ({"run_at": NOW - DAY}, "run_at"),
        ({"trigger": "cron", "cron": "* * * * *", "ends_at": NOW - DAY}, "ends_at"),
        ({"trigger": "interval", "interval": MINUTE, "ends_at": NOW - DAY}, "ends_at"),
    ],
)
def test_an_edit_that_leaves_nothing_to_come_is_refused(
    clock: Any, fields: dict[str, Any], blamed: str
) -> None:
    job = make_job(**ONCE)
    for name, value in fields.items():
        setattr(job, name, value)
    assert "lies in the past" in errors(job)[blamed]


def test_a_one_off_that_has_run_may_be_given_another_time(clock: Any) -> None:
    job = make_job(**ONCE)
    clock.move_to(NOW + 2 * DAY)
    job.run_at = NOW + 3 * DAY
    assert errors(job) == {}
    job.save()
    assert Schedule.objects.get().next_run_time == NOW + 3 * DAY


def test_a_one_off_whose_time_passed_while_it_was_paused_cannot_be_resumed_unnoticed(clock: Any) -> None:
    job = make_job(**ONCE, paused=True)
    clock.move_to(NOW + 2 * DAY)
    job.title = "Paused still"
    assert errors(job) == {}
    job.paused = False
    assert "lies in the past" in errors(job)["run_at"]


def test_a_name_is_taken_once() -> None:
    make_job(name="taken")
    assert "already exists" in errors(Job(**(CRON | {"name": "taken"})))["name"]


def test_params_that_a_form_left_empty_are_none(clock: Any) -> None:
    job = Job(**CRON, params=None)
    job.clean()
    job.save()
    assert Job.objects.get().params == {}


# Editing


def test_a_job_is_saved_with_its_schedule_or_not_at_all(clock: Any) -> None:
    with pytest.raises(BadTrigger):
        Job(**(CRON | {"cron": "61 * * * *"})).save()
    assert not Job.objects.exists()
    assert not Schedule.objects.exists()


def test_an_edit_that_cannot_be_planned_changes_nothing(clock: Any) -> None:
    job = make_job()
    before, changes = Schedule.objects.get().next_run_time, ChangeCounter.current()
    job.cron = "61 * * * *"
    with pytest.raises(BadTrigger):
        job.save()
    assert Job.objects.get().cron == "*/5 * * * *"
    assert Schedule.objects.get().next_run_time == before
    assert ChangeCounter.current() == changes


def test_an_edit_tells_the_leader() -> None:
    job = make_job()
    before = ChangeCounter.current()
    job.save()
    assert ChangeCounter.current() == before + 1


def test_a_job_is_never_renamed() -> None:
    job = make_job(name="before")
    job.name = "after"
    with pytest.raises(ValueError, match="name is its identity and can't be changed"):
        job.save()
    assert Job.objects.get().name == "before"
    assert list(Schedule.objects.values_list("id", flat=True)) == ["before"]


def test_a_job_cannot_take_the_name_of_another() -> None:
    job = make_job()
    job.name = make_job().name
    with pytest.raises(ValueError, match="can't be changed"):
        job.save()


def test_a_job_is_shown_by_its_title_or_else_its_name() -> None:
    assert str(Job(name="a-job", title="A job")) == "A job"
    assert str(Job(name="a-job")) == "a-job"


def test_the_due_times_to_come_are_shown_in_the_jobs_own_zone() -> None:
    job = Job(**(CRON | {"cron": "0 9 * * *", "time_zone": "Asia/Shanghai"}))
    assert [due.isoformat() for due in job.next_fires(2, NOW)] == [
        "2026-11-24T09:00:00+08:00",
        "2026-11-25T09:00:00+08:00",
    ]


# Deleting


def test_history_outlives_its_job(clock: Any) -> None:
    job = make_job()
    done = make_run(job, state=State.SUCCEEDED)
    job.delete()
    assert not Schedule.objects.exists()
    run = Run.objects.get()
    assert (run.pk, run.job_id, run.state) == (done.pk, job.name, State.SUCCEEDED)


def test_what_waited_to_run_is_cancelled_with_its_job(clock: Any) -> None:
    job, other = make_job(), make_job()
    queued, retrying = make_run(job), make_run(job, state=State.RETRYING)
    running, finished, others = (
        make_run(job, state=State.RUNNING),
        make_run(job, state=State.FAILED),
        make_run(other),
    )
    job.delete()
    states = dict(Run.objects.values_list("id", "state"))
    assert states == {
        queued.pk: State.CANCELLED,
        retrying.pk: State.CANCELLED,
        running.pk: State.RUNNING,
        finished.pk: State.FAILED,
        others.pk: State.QUEUED,
    }
    queued.refresh_from_db()
    assert (queued.finished_at, queued.reason) == (NOW, "Its job was deleted.")


def test_due_times_that_deleting_overtakes_are_recorded_as_missed(clock: Any) -> None:
    job = make_job()
    clock.move_to(NOW + 14 * MINUTE)  # due at 14:55, 15:00 and 15:05
    job.delete()
    run = Run.objects.get()
    assert (run.state, run.cause, run.coalesced) == (State.MISSED, Cause.SCHEDULE, 2)
    assert run.scheduled_for == datetime(2026, 11, 23, 15, 5, tzinfo=UTC)
    assert run.coalesced_since == datetime(2026, 11, 23, 14, 55, tzinfo=UTC)
    assert run.reason == "The job was deleted before this due time was fired."


def test_many_jobs_are_deleted_as_each_of_them_would_be(clock: Any) -> None:
    jobs, kept = [make_job() for _ in range(3)], make_job()
    runs = [make_run(job) for job in jobs]
    before = ChangeCounter.current()
    deleted = Job.objects.filter(pk__in=[job.pk for job in jobs]).delete()
    assert deleted == (3, {"hotdata.Job": 3})
    assert set(Schedule.objects.values_list("id", flat=True)) == {kept.name}
    assert set(Run.objects.values_list("state", flat=True)) == {State.CANCELLED}
    assert Run.objects.count() == len(runs)
    assert ChangeCounter.current() > before


def test_deleting_many_jobs_is_all_or_nothing() -> None:
    jobs = [make_job() for _ in range(2)]
    with transaction.atomic():
        Job.objects.all().delete()
        transaction.set_rollback(True)
    assert Job.objects.count() == Schedule.objects.count() == len(jobs)


def test_all_jobs_cannot_be_deleted_by_accident() -> None:
    make_job()
    with pytest.raises(AttributeError):
        Job.objects.delete()  # type: ignore[attr-defined]
    Template("{{ jobs.delete }}{{ job.delete }}").render(
        Context({"jobs": Job.objects.all(), "job": Job.objects.first()})
    )
    assert Job.objects.count() == 1


def test_a_job_that_is_made_again_under_its_name_finds_its_history(clock: Any) -> None:
    job = make_job(name="again")
    make_run(job, state=State.SUCCEEDED)
    job.delete()
    assert make_job(name="again").runs.count() == 1


# Running


def test_a_run_that_is_asked_for_is_on_record_at_once(clock: Any) -> None:
    job = make_job(task="refresh_source", params={"source": "stock"})
    planned, changes = Schedule.objects.get().next_run_time, ChangeCounter.current()
    run = Run.objects.get(pk=job.request_run(Cause.API, by="ann").pk)
    assert (run.job_id, run.task, run.params) == (job.name, "refresh_source", {"source": "stock"})
    assert (run.cause, run.requested_by, run.state, run.node) == (Cause.API, "ann", State.QUEUED, "")
    assert (run.created_at, run.ready_at, run.scheduled_for) == (NOW, NOW, None)
    assert Schedule.objects.get().next_run_time == planned
    assert ChangeCounter.current() == changes + 1


def test_params_of_a_run_replace_the_definitions_name_by_name() -> None:
    job = make_job(task="refresh_source", params={"source": "stock", "keys": ["AAPL"]})
    run = job.request_run(Cause.MANUAL, params={"keys": ["TSLA"]})
    assert run.params == {"source": "stock", "keys": ["TSLA"]}
    job.refresh_from_db()
    assert job.params == {"source": "stock", "keys": ["AAPL"]}


@pytest.mark.parametrize("params", [{"keys": "AAPL"}, {"source": None}, {"source": "stok"}, {"more": 1}])
def test_params_that_do_not_fit_make_no_run(params: dict[str, Any]) -> None:
    make_source(name="stock")
    job = make_job(task="refresh_source", params={"source": "stock"})
    changes = ChangeCounter.current()
    with pytest.raises(BadParams):
        job.request_run(Cause.API, params=params)
    assert not Run.objects.exists()
    assert ChangeCounter.current() == changes


def test_a_task_that_is_no_longer_registered_makes_no_run() -> None:
    job = make_job()
    Job.objects.update(task="gone")
    job.refresh_from_db()
    with pytest.raises(UnknownTask, match="No task named 'gone'"):
        job.request_run(Cause.MANUAL)
    assert not Run.objects.exists()


def test_a_run_may_be_kept_for_one_node() -> None:
    run = make_job().request_run(Cause.CLI, node="here")
    assert Run.objects.get().node == run.node == "here"


def test_a_paused_job_runs_by_hand() -> None:
    assert make_job(paused=True).request_run(Cause.MANUAL).state == State.QUEUED


@pytest.mark.django_db(transaction=True)
def test_deleting_many_jobs_and_editing_them_do_not_wait_for_each_other_for_ever() -> None:
    for number in range(10):
        make_job(name=f"job-{number}")

    def edit() -> None:
        for _ in range(5):
            for number in reversed(range(10)):
                Job.objects.get(name=f"job-{number}").set_paused(True)
                Job.objects.get(name=f"job-{number}").set_paused(False)

    editing = in_thread(edit)
    try:
        for _ in range(5):
            with contextlib.suppress(Rollback), transaction.atomic():
                Job.objects.all().delete()
                raise Rollback
    finally:
        editing.result(PATIENCE)
    assert Job.objects.count() == 10


class Rollback(Exception):
    """Ends a transaction without a trace."""
