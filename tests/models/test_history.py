"""Every edit of a definition is on record, in the edit's own transaction, and outlives what was edited."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from importlib import import_module

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django.fixtures import Settings

from hotdata.models import Job, Key, Run, Source
from hotdata.models.history import BEGUN, edited_by
from hotdata.models.runs import Cause, State
from hotdata.models.schedules import Schedule
from hotdata.scheduling.reconciling import _end_pauses
from tests.builders import make_job, make_run, make_source

pytestmark = pytest.mark.django_db


def kinds(model: type[Job | Source | Key]) -> str:
    """The edits of a model's only row, first to last: + made, ~ changed, - deleted."""
    return "".join(model.history.order_by("history_id").values_list("history_type", flat=True))


def test_making_changing_and_deleting_a_job_are_on_record() -> None:
    job = make_job(title="before")
    job.title = "after"
    job.save()
    job.delete()
    versions = Job.history.order_by("history_id").values_list("history_type", "title")
    assert list(versions) == [("+", "before"), ("~", "after"), ("-", "after")]


def test_history_outlives_the_job_however_it_is_deleted() -> None:
    make_job(name="one")
    make_job(name="two")
    Job.objects.all().delete()
    assert set(Job.history.filter(history_type="-").values_list("name", flat=True)) == {"one", "two"}


def test_an_edit_that_fails_leaves_no_history() -> None:
    job = make_job()

    def edit() -> None:
        with transaction.atomic():
            job.title = "never"
            job.save()
            raise KeyError

    with pytest.raises(KeyError):
        edit()
    assert kinds(Job) == "+"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("make", [make_job, make_source, lambda: Key(source=make_source(), key="A").save()])
def test_an_edit_whose_history_cannot_be_written_is_not_made(
    make: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: object, *args: object, **kwargs: object) -> None:
        raise KeyError

    monkeypatch.setattr(Job.history.model, "save", refuse)
    monkeypatch.setattr(Key.history.model, "save", refuse)
    if make is make_source:
        monkeypatch.setattr(Source.history.model, "save", refuse)
    with pytest.raises(KeyError):
        make()
    assert not Job.objects.exists()
    assert not Key.objects.exists()
    assert not (make is make_source and Source.objects.exists())


def test_a_statement_that_changes_many_rows_leaves_history_of_each() -> None:
    make_job(name="one")
    make_job(name="two", title="other")
    assert Job.objects.filter(title="").update(title="new", cron="0 * * * *") == 1
    (version,) = Job.history.filter(history_type="~")
    assert (version.name, version.title, version.cron) == ("one", "new", "0 * * * *")


def test_keys_that_are_pinned_together_leave_history_of_each() -> None:
    source = make_source(pinned=("A", "B"))
    assert [row.key for row in Key.history.order_by("history_id")] == ["A", "B"]
    source.delete()
    assert set(Key.history.filter(history_type="-").values_list("key", flat=True)) == {"A", "B"}


def test_a_bulk_update_leaves_history() -> None:
    job = make_job()
    job.title = "new"
    Job.objects.bulk_update([job], ["title"])
    assert kinds(Job) == "+~"


def test_a_pause_is_an_edit_in_the_name_of_whoever_says_so() -> None:
    with edited_by("somebody"):
        make_job().set_paused(True, note="Moving.")
    version = Job.history.latest("history_id")
    assert (version.paused, version.pause_note, version.history_user) == (True, "Moving.", "somebody")


def test_what_the_scheduler_pauses_and_resumes_by_itself_is_in_its_name() -> None:
    job = make_job(pause_after_failures=1)
    make_run(job, state=State.FAILED, cause=Cause.SCHEDULE, scheduled_for=timezone.now(), error="x")
    Job.objects.pause_failing(job.name)
    assert Job.history.latest("history_id").history_user == "scheduler"

    now = timezone.now()
    Job.objects.filter(pk=job.pk).update(paused_until=now)
    _end_pauses(now + timedelta(seconds=1))
    version = Job.history.latest("history_id")
    assert (version.paused, version.history_user) == (False, "scheduler")


def test_an_edit_without_a_name_is_on_record_all_the_same() -> None:
    make_job()
    assert Job.history.get().history_user == ""


def test_the_defaults_are_made_in_the_name_of_their_command(settings: Settings) -> None:
    settings.HOTDATA_ALLOW_PRIVATE = ["127.0.0.1:8100"]
    call_command("setup_hotdata")
    for model in (Job, Source, Key):
        assert set(model.history.values_list("history_user_id", flat=True)) == {"setup_hotdata"}
        assert model.history.count() == model.objects.count()


def test_a_run_is_no_edit() -> None:
    job = make_job()
    job.request_run(Cause.MANUAL)
    Schedule.objects.update(next_run_time=timezone.now())
    assert Run.objects.count() == 1
    assert kinds(Job) == "+"


def test_history_costs_an_edit_one_statement() -> None:
    job = make_job()
    with CaptureQueriesContext(
        connection,
    ) as with_history:
        job.save()
    with CaptureQueriesContext(connection) as without:
        job.save_without_historical_record()
    assert len(with_history) == len(without) + 1


def test_what_was_there_before_history_began_is_written_down_once() -> None:
    migration = import_module("hotdata.migrations.0007_edit_history")
    make_job(name="one", params={"seconds": 3})
    make_source(pinned=("A",))
    for model in (Job, Source, Key):
        model.history.all().delete()
    migration.begin_history(apps, None)
    (version,) = Job.history.all()
    assert (version.name, version.params, version.history_change_reason) == ("one", {"seconds": 3}, BEGUN)
    assert version.instance == Job.objects.get()
    assert (kinds(Source), kinds(Key)) == ("+", "+")
