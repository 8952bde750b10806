"""The tasks `send_alerts` and `send_heartbeat`: what their runs come to, and which are kept."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone
from pytest_django import Settings

from hotdata import registry
from hotdata.alerting import looking
from hotdata.execution.runner import execute
from hotdata.models import Delivery, Job, Run
from hotdata.models.runs import Cause, State
from hotdata.outbox.posting import post_mail
from tests.alerting.looks import job_called
from tests.builders import NODE, make_run
from tests.outbox.servers import MailServer, Webhook

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("clear_cache")]


def perform(task: str, **fields: Any) -> Run:
    job = Job.objects.filter(name=task).first() or job_called(task, task=task, keep_runs=3, **fields)
    run = make_run(job)
    assert execute(run.id, NODE) is not None
    return Run.objects.get(pk=run.pk)


def test_a_failure_is_looked_for_told_and_sent_in_one_run(mail: MailServer, ada: str) -> None:
    now = timezone.now()
    make_run(
        job_called("update"),
        state=State.FAILED,
        cause=Cause.SCHEDULE,
        scheduled_for=now,
        error="ValueError: x",
    )
    run = perform("send_alerts")
    assert run.state == State.SUCCEEDED
    assert run.result == {
        "opened": 1, "closed": 0, "told": 1, "posted": 1, "sent": 1, "retried": 0, "failed": 0,
    }  # fmt: skip
    assert run.notable
    assert mail.mails[0]["Subject"].startswith("hotdata: update failed")


def test_runs_that_had_nothing_to_do_are_thinned_out(ada: str) -> None:
    for _ in range(6):
        assert not perform("send_alerts").notable
    assert Run.objects.of_job("send_alerts").count() == 4  # three, and the one that thinned them out


def test_what_was_posted_before_goes_out_whatever_is_wrong_with_the_look(
    mail: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    post_mail(("ada@example.com",), about="report", subject="A report", text="x", now=timezone.now())

    def broken(now: Any) -> None:
        raise ValueError("a rule is broken")

    monkeypatch.setattr(looking, "look", broken)
    run = perform("send_alerts")
    assert (run.state, run.error, run.notable) == (State.FAILED, "ValueError: a rule is broken", True)
    assert Delivery.objects.get().state == Delivery.State.SENT


def test_a_mail_server_that_is_away_fails_no_run(mail: MailServer) -> None:
    mail.replies = {"CONNECT": "421 too busy"}
    post_mail(("ada@example.com",), about="alert", subject="x", text="x", now=timezone.now())
    run = perform("send_alerts")
    assert (run.state, run.result["retried"]) == (State.SUCCEEDED, 1)


def test_a_heartbeat_in_vain_is_a_failed_run_that_does_not_name_the_url(
    hook: Webhook, settings: Settings
) -> None:
    settings.HOTDATA_HEARTBEAT_URL = f"http://127.0.0.1:{hook.port}/s3cret"
    assert perform("send_heartbeat").result == "Called."
    hook.status = 404
    run = perform("send_heartbeat")
    assert run.state == State.FAILED
    assert run.error == "HeartbeatFailed: The heartbeat URL was called in vain: it answered 404."
    assert "s3cret" not in run.error + run.traceback + run.log


def test_both_are_default_jobs_that_keep_few_runs(settings: Settings) -> None:
    settings.HOTDATA_ALLOW_PRIVATE = ["127.0.0.1:8100"]
    call_command("setup_hotdata", verbosity=0)
    for name in ("send_alerts", "send_heartbeat"):
        job = Job.objects.get(name=name)
        assert job.keep_runs == 100
        assert registry.tasks.get(job.task).description.endswith(".")
