"""Logs: an event is said once, as a line or as JSON, with its facts, where it happened, and without a secret."""

from __future__ import annotations

import json
import logging
import signal
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from io import StringIO
from typing import Any

import pytest
import requests
from django.utils import timezone
from pytest_django import Settings

from hotdata.execution.context import CurrentRun, RunFacts, captured_output, entered
from hotdata.logs import Event, EventLogger, JsonFormatter, LineFormatter
from hotdata.models import Run, accounts
from hotdata.models.runs import Cause, State
from tests.builders import make_job, make_run
from tests.scheduling.processes import LEADING, SchedulerProcess
from tests.threads import eventually

SECRET = "s3same/open+now=="
logger = EventLogger("tests.logs")


class Console:
    """A handler as the site has it, with what it has written."""

    def __init__(self, formatter: logging.Formatter) -> None:
        self.stream = StringIO()
        self.handler = logging.StreamHandler(self.stream)
        self.handler.setFormatter(formatter)
        self.handler.addFilter(RunFacts())

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]


def console_of(formatter: logging.Formatter) -> Iterator[Console]:
    console = Console(formatter)
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.DEBUG)
    root.addHandler(console.handler)
    yield console
    root.removeHandler(console.handler)
    root.setLevel(level)


@pytest.fixture
def lines() -> Iterator[Console]:
    yield from console_of(LineFormatter())


@pytest.fixture
def objects() -> Iterator[Console]:
    yield from console_of(JsonFormatter())


@pytest.fixture(params=[LineFormatter, JsonFormatter])
def either(request: pytest.FixtureRequest) -> Iterator[Console]:
    yield from console_of(request.param())


# The two shapes


def test_a_line_says_the_event_and_its_facts(lines: Console) -> None:
    logger.warning(
        "run.failed",
        job="stocks",
        run=7,
        duration=timedelta(seconds=2),
        error="no 'luck'\nat all",
        source=None,
    )
    said = lines.text.partition(" ")[2].partition(" ")[2]
    assert said == (
        "WARNING tests.logs: run.failed job=stocks run=7 duration=2.000 error=\"no 'luck'\\nat all\"\n"
    )


def test_an_object_has_each_fact_as_a_field_of_its_own(objects: Console) -> None:
    before = timezone.now()
    logger.warning(
        "run.failed", job="stocks", run=7, duration=timedelta(seconds=2), error=ValueError("nö"), source=None
    )
    [said] = objects.objects
    moment = datetime.fromisoformat(said.pop("time"))
    assert moment.utcoffset() is not None
    assert before - timedelta(milliseconds=1) <= moment <= timezone.now()
    assert said == {
        "level": "WARNING",
        "logger": "tests.logs",
        "event": "run.failed",
        "job": "stocks",
        "run": 7,
        "duration": 2.0,
        "error": "nö",
    }


def test_what_others_log_is_a_message_with_plain_extras_only(objects: Console) -> None:
    logging.getLogger("elsewhere").info("%s of %s", 1, 2, extra={"status_code": 404, "request": object()})
    [said] = objects.objects
    del said["time"]
    assert said == {"level": "INFO", "logger": "elsewhere", "message": "1 of 2", "status_code": 404}


def test_what_json_has_no_number_for_is_a_text(objects: Console) -> None:
    logger.info("number.odd", size=float("nan"))
    logging.getLogger("elsewhere").info("odd", extra={"size": float("inf")})
    assert [said["size"] for said in objects.objects] == ["nan", "inf"]


def test_a_traceback_stays_within_its_object(objects: Console) -> None:
    try:
        raise RuntimeError("several\nlines")
    except RuntimeError:
        logger.exception("task.failed")
    [said] = objects.objects
    assert said["traceback"].splitlines()[-2:] == ["RuntimeError: several", "lines"]


def test_an_event_below_the_level_is_not_even_made() -> None:
    class Untold:
        def __str__(self) -> str:
            raise AssertionError("nobody asked")

    quiet = logging.getLogger("tests.quiet")
    quiet.setLevel(logging.ERROR)
    EventLogger("tests.quiet").warning("silence", what=Untold())


def test_an_event_says_which_line_logged_it(caplog: pytest.LogCaptureFixture) -> None:
    logger.warning("here")
    logger.log(logging.ERROR, "and.here")
    assert {(record.filename, record.funcName) for record in caplog.records} == {
        ("test_logs.py", "test_an_event_says_which_line_logged_it")
    }


# Where it happened


def test_inside_a_run_everything_says_which_one(objects: Console) -> None:
    with entered(CurrentRun(id=7, job="stocks", attempt=2)):
        logging.getLogger("of.a.task").info("working")
        logger.info("run.late", job="other", run=8)
    logging.getLogger("of.nobody").info("idle")
    within, event, without = objects.objects
    assert (within["job"], within["run"], within["attempt"]) == ("stocks", 7, 2)
    assert (event["job"], event["run"]) == ("other", 8), "what the event itself is about comes first"
    assert not {"job", "run", "attempt"} & without.keys()


def test_a_runs_own_log_stays_a_log_of_lines() -> None:
    run = CurrentRun(id=7, job="stocks")
    with captured_output(), entered(run):
        logger.warning("redis.lost", error="ConnectionError")
    assert run.captured.text().endswith(" WARNING tests.logs: redis.lost error=ConnectionError\n")


# Secrets


@pytest.mark.parametrize(
    "text",
    [
        f"Max retries exceeded with url: /stocks?apikey={SECRET}&symbol=AAPL",
        "Max retries exceeded with url: /stocks?access_token=abc-123&symbol=AAPL",
        "https://user:abc-123@upstream.example/stocks",
        "redis://:abc-123@redis.example:6379/0",
        "{'Authorization': 'Bearer abc-123', 'Accept': '*/*'}",
        "Cookie: sessionid=abc-123; csrftoken=abc-123",
        "X-Api-Key: abc-123",
        "slack says no to /services/T0abcdefgh/B0abcdefgh",
        "no answer from https://beats.example/ping/7f1c-88aa-0042",
    ],
)
def test_a_secret_is_in_no_log(
    either: Console, monkeypatch: pytest.MonkeyPatch, settings: Settings, text: str
) -> None:
    monkeypatch.setenv("HOTDATA_SECRET_STOCKS", SECRET)
    settings.HOTDATA_ALERT_URLS = ["slack://T0abcdefgh/B0abcdefgh"]
    settings.HOTDATA_HEARTBEAT_URL = "https://beats.example/ping/7f1c-88aa-0042"
    logger.error("task.failed", error=requests.ConnectionError(text))
    logging.getLogger("elsewhere").warning("it said: %s", text)
    try:
        raise requests.ConnectionError(text)
    except requests.ConnectionError:
        logger.exception("task.failed")
    assert either.text.count("[secret]") >= 3
    for secret in (SECRET, "abc-123", "T0abcdefgh", "7f1c-88aa-0042"):
        assert secret not in either.text


def test_what_is_no_secret_stays_readable(lines: Console) -> None:
    logger.info("call.made", url="https://upstream.example/stocks?symbol=AAPL&page=2")
    assert "url='https://upstream.example/stocks?symbol=AAPL&page=2'" in lines.text
    assert "[secret]" not in lines.text


def test_a_number_that_is_a_secret_leaves_the_object_whole(
    objects: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOTDATA_SECRET_PIN", "12345678")
    logger.info("call.made", size=12345678, text="pin 12345678")
    [said] = objects.objects
    assert (said["size"], said["text"]) == (12345678, "pin [secret]")


# Each outcome once


@pytest.mark.django_db(transaction=True)
def test_a_due_time_that_comes_to_nothing_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    job, now = make_job(params={"source": "stock"}), timezone.now()
    for minutes in (3, 2):
        due = now - timedelta(minutes=minutes)
        skipped = Run(
            job=job, task=job.task, params=job.params, cause=Cause.SCHEDULE, state=State.SKIPPED, reason="Why not.",
            scheduled_for=due, created_at=now, ready_at=now, finished_at=now,
        )  # fmt: skip
        accounts.put_down([skipped])
    [run] = Run.objects.all()
    assert run.coalesced == 1, "the second one is counted in the first one's record"
    [said] = [record.msg.facts for record in caplog.records if isinstance(record.msg, Event)]
    assert said == {
        "job": job.name,
        "run": run.id,
        "state": "skipped",
        "source": "stock",
        "reason": "Why not.",
    }


@pytest.mark.django_db(transaction=True)
def test_a_waiting_run_that_is_cancelled_is_said_so(caplog: pytest.LogCaptureFixture) -> None:
    run = make_run(make_job())
    assert run.cancel("ada", timezone.now())
    [event] = [record.msg for record in caplog.records]
    assert (event.name, event.facts["run"]) == ("run.cancelled", run.id)


@pytest.mark.django_db(transaction=True)
def test_a_scheduler_that_logs_json_says_each_outcome_once_and_nothing_else(
    child_environment: dict[str, str],
) -> None:
    environment = {**child_environment, "LOG_FORMAT": "json", "HOTDATA_SECRET_STOCKS": SECRET}
    idle = {"cron": "0 0 1 1 *"}
    good = make_job(name="good", task="echo", **idle)
    bad = make_job(
        name="bad", task="raise_error", max_retries=1, retry_delay=timedelta(milliseconds=10),
        params={"message": f"?key={SECRET}"}, **idle,
    )  # fmt: skip
    apart = make_job(name="apart", task="log_line", isolation="process", params={"text": "from afar"}, **idle)
    runs = [make_run(job, node="", params=job.params) for job in (good, bad, apart)]
    with SchedulerProcess(environment) as scheduler:
        scheduler.wait_for(LEADING)
        eventually(lambda: not Run.objects.active().exists())
        scheduler.send(signal.SIGTERM)
        assert scheduler.wait() == 0, scheduler.output
    assert SECRET not in scheduler.output
    # Three lines of the command itself are no log: that it started, that it is stopping, and that it stopped.
    said = [json.loads(line) for line in scheduler.lines if line.startswith("{")]
    assert len(said) == len(scheduler.lines) - 3, scheduler.output
    outcomes = Counter((one["event"], one["run"], one["attempt"]) for one in said if "state" in one)
    assert outcomes == {
        ("run.succeeded", runs[0].id, 1): 1,
        ("run.retrying", runs[1].id, 1): 1,
        ("run.failed", runs[1].id, 2): 1,
        ("run.succeeded", runs[2].id, 1): 1,
    }
    [from_afar] = [one for one in said if one.get("message") == "from afar"]
    assert (from_afar["job"], from_afar["run"]) == ("apart", runs[2].id)
