"""What people do by hand is done and in the admin's log, or neither."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db import OperationalError

from hotdata import actions
from hotdata.actions import Actor
from hotdata.exceptions import TooManyRuns
from hotdata.freshness import demands, wants
from hotdata.models import Job, Run
from hotdata.models.runs import Cause, State
from tests.builders import make_job, make_run, make_source

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clear_cache")]


@pytest.fixture
def actor() -> Actor:
    return Actor(user_id=User.objects.create_user("ada").pk, name="ada")


def logged() -> list[tuple[str, str, str]]:
    return [
        (str(entry.user), entry.object_repr, entry.change_message)
        for entry in LogEntry.objects.order_by("id")
    ]


def test_a_run_is_asked_for_in_somebodys_name(actor: Actor) -> None:
    run = actions.run_now(actor, make_job(name="update"), Cause.API)
    assert (run.state, run.cause, run.requested_by) == (State.QUEUED, Cause.API, "ada")
    assert logged() == [("ada", "update", f"Run now: run {run.pk}.")]


def test_people_get_so_many_runs_of_a_job_at_a_time_and_the_schedule_gets_its_own(actor: Actor) -> None:
    job, other = make_job(name="update"), make_job(name="other")
    for state in (State.QUEUED, State.RUNNING, State.RETRYING):
        make_run(job, state=state, cause=Cause.RECOVERY)
    asked = [actions.run_now(actor, job, Cause.API) for _ in range(actions.MOST_RUNS)]
    with pytest.raises(TooManyRuns, match="10 of its runs that people asked for have not ended"):
        actions.run_now(actor, job, Cause.API)
    with pytest.raises(TooManyRuns):
        actions.run_again(actor, asked[0], job)
    assert Run.objects.of_job("update").count() == actions.MOST_RUNS + 3
    actions.run_now(actor, other, Cause.API)
    assert actions.cancel(actor, asked[0])
    actions.run_again(actor, asked[0], job)
    assert logged()[-1][2] == f"Run again: run {Run.objects.latest('id').pk}."


def test_a_pause_says_who_made_it_and_is_logged_once(actor: Actor) -> None:
    job = make_job(name="update")
    assert actions.set_paused(actor, job, paused=True, note="for now")
    assert not actions.set_paused(actor, job, paused=True)
    job.refresh_from_db()
    assert (job.paused, job.paused_by, job.pause_note) == (True, "ada", "for now")
    assert actions.set_paused(actor, job, paused=False)
    assert not actions.set_paused(actor, job, paused=False)
    assert [message for *_, message in logged()] == ["Paused.", "Resumed."]


def test_a_run_is_cancelled_once(actor: Actor) -> None:
    run = make_run(make_job(name="update"), state=State.RUNNING)
    assert actions.cancel(actor, run)
    assert not actions.cancel(actor, run)
    run.refresh_from_db()
    assert run.cancel_requested_by == "ada"
    assert logged() == [("ada", f"update #{run.pk}", "Cancelled.")]


def test_a_refresh_is_asked_of_who_keeps_data_fresh(actor: Actor) -> None:
    source = make_source(name="stock")
    assert not actions.refresh(actor, source, ["AAPL"])
    assert logged() == []
    wants.announce()
    assert actions.refresh(actor, source, ["AAPL"])
    assert demands.take(10) == {"stock": ["AAPL"]}
    assert logged() == [("ada", "stock", "Refresh of 1 key asked for.")]


def test_the_name_on_record_may_say_more_than_the_users(actor: Actor) -> None:
    by_program = Actor(user_id=actor.user_id, name="ada (a program)")
    assert actions.run_now(by_program, make_job(), Cause.API).requested_by == "ada (a program)"
    assert logged()[0][0] == "ada"


@pytest.mark.parametrize(
    "act",
    [
        lambda actor, job, run: actions.run_now(actor, job, Cause.API),
        lambda actor, job, run: actions.run_again(actor, run, job),
        lambda actor, job, run: actions.set_paused(actor, job, paused=True),
        lambda actor, job, run: actions.cancel(actor, run),
    ],
    ids=["run", "again", "pause", "cancel"],
)
def test_what_cannot_be_logged_is_not_done(
    act: Callable[..., Any], actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise OperationalError("database is locked")

    job = make_job()
    run = make_run(job, state=State.RUNNING)
    monkeypatch.setattr(type(LogEntry.objects), "log_actions", fail)
    with pytest.raises(OperationalError):
        act(actor, job, run)
    assert not Job.objects.get().paused
    assert Run.objects.get().cancel_requested_by == ""
