"""Whatever a task does comes to one recorded outcome."""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from pytest_django import Settings

import hotdata
from hotdata.exceptions import BadResult, HotdataError, UpstreamStatus
from hotdata.execution import progress, runner
from hotdata.execution.context import CurrentRun
from hotdata.execution.outcome import Outcome
from hotdata.execution.runner import execute, make_context, perform, to_json
from hotdata.models import Job, Run
from hotdata.models.runs import State
from tests.builders import NODE, make_run
from tests.execution.conftest import JobOf, Register
from tests.threads import PATIENCE, eventually, in_thread

LONG = 60  # seconds; no test gets that far


class Permanent(HotdataError):
    permanent = True


def performed(name: str, params: dict[str, Any] | None = None, **context: Any) -> Outcome:
    """What performing a run of the task `name` comes to, without a database."""
    run = Run(id=1, task=name, params=params or {}, node=NODE, attempt=1)
    return perform(run, CurrentRun(id=1, **context))


def executed(job: Job, **fields: Any) -> Run:
    """The record of a run of `job` after it was executed."""
    run = make_run(job, **fields)
    assert execute(run.id, NODE) is not None
    return Run.objects.get(pk=run.pk)


# Returning


def test_what_a_task_returns_is_the_runs_result(register: Register) -> None:
    def double(number: int, names: list[str] | None = None) -> dict[str, Any]:
        return {"twice": 2 * number, "names": names}

    outcome = performed(register(double), {"number": 21, "names": ["北京"]})
    assert outcome.state == State.SUCCEEDED
    assert outcome.result == {"twice": 42, "names": ["北京"]}
    assert (outcome.error, outcome.traceback, outcome.reason) == ("", "", "")


@dataclass
class Point:
    x: int
    y: int


@pytest.mark.parametrize(
    ("value", "recorded"),
    [
        (None, None),
        (0, 0),
        (float("nan"), None),
        ([float("inf"), 1.5], [None, 1.5]),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00Z"),
        (date(2026, 1, 2), "2026-01-02"),
        (Decimal("1.10"), "1.10"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Point(1, 2), {"x": 1, "y": 2}),
        ({1: "a"}, {"1": "a"}),
        ((1, 2), [1, 2]),
        ({1}, [1]),
        (b"ab", "YWI="),
    ],
)
def test_what_has_a_json_form_is_recorded_as_that(value: Any, recorded: Any) -> None:
    assert to_json(value) == recorded


@pytest.mark.parametrize(
    ("text", "recorded"),
    [
        ("a\x00b", "a\ufffdb"),
        ("\x00\x00", "\ufffd\ufffd"),
        (r"the escape \u0000", r"the escape \u0000"),
        ("\\\x00", "\\\ufffd"),
        (r"\\u0000", r"\\u0000"),
    ],
)
def test_nul_characters_are_replaced_and_text_that_spells_them_is_not(text: str, recorded: str) -> None:
    assert to_json([text, {text: 1}]) == [recorded, {recorded: 1}]


def circular() -> list[Any]:
    items: list[Any] = []
    items.append(items)
    return items


@pytest.mark.parametrize(
    "make",
    [
        lambda: {object()},
        lambda: {(1, 2): 3},
        circular,
        lambda: "\ud800",
        lambda: {"price": object()},
        lambda: (number for number in [1]),
    ],
    ids=["set of objects", "tuple as key", "circular", "lone surrogate", "object", "generator"],
)
def test_a_result_that_is_not_json_fails_the_run_for_good(
    register: Register, make: Callable[[], Any]
) -> None:
    outcome = performed(register(lambda: make()))
    assert outcome.state == State.FAILED
    assert outcome.permanent
    assert outcome.error.startswith("BadResult: The task returned something that is not JSON: ")
    assert outcome.result is None


def test_a_result_that_is_too_large_fails_the_run_and_says_how_large_it_was(
    register: Register, settings: Settings
) -> None:
    settings.HOTDATA_RESULT_LIMIT = 1000
    outcome = performed(register(lambda: "x" * 200_000))
    assert outcome.state == State.FAILED
    assert outcome.error == (
        "BadResult: The task returned 200,002 bytes of JSON; at most 1,000 are recorded."
    )


def test_a_result_of_exactly_the_limit_is_recorded(settings: Settings) -> None:
    settings.HOTDATA_RESULT_LIMIT = 1000
    assert to_json("x" * 998) == "x" * 998
    with pytest.raises(BadResult):
        to_json("x" * 999)


# Raising


def test_an_error_is_recorded_with_its_traceback(register: Register) -> None:
    def divide() -> float:
        return 1 / 0

    outcome = performed(register(divide))
    assert outcome.state == State.FAILED
    assert not outcome.permanent
    assert outcome.error == "ZeroDivisionError: division by zero"
    assert "return 1 / 0" in outcome.traceback


def test_an_error_that_trying_again_can_not_help_is_permanent(register: Register) -> None:
    def fail() -> None:
        raise Permanent("no such thing")

    outcome = performed(register(fail))
    assert (outcome.state, outcome.permanent) == (State.FAILED, True)


def test_how_long_an_upstream_wants_to_be_left_alone_is_in_the_outcome(register: Register) -> None:
    def fail() -> None:
        raise UpstreamStatus("slow down", status=429, retry_after=timedelta(seconds=30))

    assert performed(register(fail)).retry_after == timedelta(seconds=30)


def test_the_result_that_an_error_carries_is_recorded_as_far_as_it_can_be(register: Register) -> None:
    def fail(result: str) -> None:
        error = HotdataError("half of it failed")
        error.result = {"done": 3} if result == "good" else {object()}  # type: ignore[attr-defined]
        raise error

    name = register(fail)
    assert performed(name, {"result": "good"}).result == {"done": 3}
    unusable = performed(name, {"result": "bad"})
    assert (unusable.result, unusable.error) == (None, "HotdataError: half of it failed")


def test_a_secret_in_a_result_or_across_the_cut_of_an_error_is_not_on_record(
    register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "sesame-open-now"
    monkeypatch.setenv("HOTDATA_SECRET_STOCKS", secret)

    def give() -> dict[str, str]:
        return {"url": f"https://example.com/?key={secret}"}

    def fail() -> None:
        half = runner.ERROR_LIMIT // 2 - len("RuntimeError: ") - len(secret) // 2
        raise RuntimeError("x" * half + secret + "x" * runner.ERROR_LIMIT)

    assert performed(register(give)).result == {"url": "https://example.com/?key=[secret]"}
    outcome = performed(register(fail))
    assert "sesame" not in outcome.error
    assert "sesame" not in outcome.traceback


def test_an_error_that_can_not_even_say_what_it_is_is_an_outcome(register: Register) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    def fail() -> None:
        raise Mute

    outcome = performed(register(fail))
    assert (outcome.state, outcome.error) == (State.FAILED, "Mute: its text could not be made.")


class Touchy(HotdataError):
    """An error that raises when it is asked for the attribute that it was made with."""

    def __init__(self, attribute: str, raised: BaseException) -> None:
        super().__init__("touched")
        self.touchy, self.raised = attribute, raised

    def __getattribute__(self, name: str) -> Any:
        if name not in ("touchy", "raised") and name == self.touchy:
            raise self.raised
        return super().__getattribute__(name)


def test_an_error_whose_result_can_not_be_had_is_recorded_without_it(register: Register) -> None:
    def fail() -> None:
        raise Touchy("result", RuntimeError("no result"))

    outcome = performed(register(fail))
    assert (outcome.state, outcome.error, outcome.result) == (State.FAILED, "Touchy: touched", None)


@pytest.mark.parametrize("attribute", ["permanent", "retry_after"])
@pytest.mark.parametrize("raised", [RuntimeError("broken on purpose"), SystemExit(3)])
def test_an_error_that_raises_when_it_is_looked_at_is_an_outcome(
    register: Register, caplog: pytest.LogCaptureFixture, attribute: str, raised: BaseException
) -> None:
    def fail() -> None:
        raise Touchy(attribute, raised)

    outcome = performed(register(fail))
    said = f"How it ended could not be told: {type(raised).__name__}."
    assert (outcome.state, outcome.error) == (State.FAILED, said)
    assert outcome.duration > timedelta(0)
    assert "run.untold" in caplog.text


def test_an_error_with_a_whole_page_in_it_is_recorded_in_short(register: Register) -> None:
    def fail() -> None:
        raise ValueError("<html>" + "x" * 5_000_000 + "</html>")

    outcome = performed(register(fail))
    assert outcome.error.startswith("ValueError: <html>")
    assert outcome.error.endswith("</html>")
    assert len(outcome.error) < 5000
    assert len(outcome.traceback) < 70_000


def test_an_error_with_characters_that_no_database_takes_is_made_fit(register: Register) -> None:
    def fail() -> None:
        hotdata.current_run().log("log\x00\udcff")
        raise ValueError("error\x00\udcff")

    outcome = performed(register(fail))
    assert outcome.error == "ValueError: error\ufffd?"
    assert outcome.log == "log\ufffd?\n"
    assert "\x00" not in outcome.traceback


@pytest.mark.parametrize(("code", "said"), [(0, "exit(0)"), (3, "exit(3)"), ("bye", "exit('bye')")])
def test_a_task_that_calls_exit_has_failed(register: Register, code: Any, said: str) -> None:
    outcome = performed(register(lambda: sys.exit(code)))
    assert outcome.state == State.FAILED
    assert outcome.error == f"SystemExit: the task called {said}."


def test_no_kind_of_exception_escapes(register: Register) -> None:
    class Unheard(BaseException):
        pass

    def fail(kind: str) -> None:
        raise {"generator": GeneratorExit, "unheard": Unheard, "memory": MemoryError}[kind]

    name = register(fail)
    for kind in ("generator", "unheard", "memory"):
        assert performed(name, {"kind": kind}).state == State.FAILED


def test_endless_recursion_is_an_error_like_any_other(register: Register) -> None:
    def recurse() -> None:
        recurse()

    outcome = performed(register(recurse))
    assert outcome.error.startswith("RecursionError: ")


def test_an_interrupted_task_is_cancelled(register: Register) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    assert performed(register(interrupted)).state == State.CANCELLED


# What can't be run


def test_a_task_that_is_not_registered_fails_for_good() -> None:
    outcome = performed("no_such_task")
    assert (outcome.state, outcome.permanent) == (State.FAILED, True)
    assert outcome.error.startswith("UnknownTask: No task named 'no_such_task' is registered.")


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({}, "number: this parameter is required."),
        ({"number": "3"}, "number: Expected `int`, got `str`."),
        ({"number": 3, "colour": "red"}, "has no parameter 'colour'; it takes: number."),
        ([3], "The parameters must be a JSON object, not list."),
    ],
)
def test_parameters_that_do_not_fit_fail_for_good_and_the_task_is_not_called(
    register: Register, params: Any, says: str
) -> None:
    called = []

    def take(number: int) -> None:
        called.append(number)

    run = Run(id=1, task=register(take), params=params, node=NODE, attempt=1)
    outcome = perform(run, CurrentRun(id=1))
    assert (outcome.state, outcome.permanent, called) == (State.FAILED, True, [])
    assert says in outcome.error


# Deadline and cancellation


def test_a_task_that_checks_its_deadline_is_timed_out(register: Register) -> None:
    outcome = performed(register(lambda: hotdata.current_run().wait(LONG)), timeout=timedelta(seconds=0.02))
    assert outcome.state == State.TIMED_OUT
    assert outcome.error == "RunTimedOut: The run went over its timeout."
    assert not outcome.permanent
    assert outcome.duration < timedelta(seconds=LONG / 2)


def test_a_task_that_ignores_its_deadline_is_timed_out_when_it_returns(register: Register) -> None:
    def ignore() -> str:
        while hotdata.current_run().time_left():
            time.sleep(0.001)
        return "late"

    outcome = performed(register(ignore), timeout=timedelta(seconds=0.02))
    assert outcome.state == State.TIMED_OUT
    assert outcome.error == "It returned only after its timeout."
    assert outcome.result == "late"


def test_a_task_that_stumbles_after_its_deadline_is_timed_out(register: Register) -> None:
    def stumble() -> None:
        while hotdata.current_run().time_left():
            time.sleep(0.001)
        raise ConnectionError("half an answer")

    outcome = performed(register(stumble), timeout=timedelta(seconds=0.02))
    assert outcome.state == State.TIMED_OUT
    assert outcome.error == "ConnectionError: half an answer"


def cancel_while_inside(name: str) -> Outcome:
    """Performs, and cancels as soon as the task says that it is inside."""
    current = CurrentRun(id=1)
    run = Run(id=1, task=name, params={}, node=NODE, attempt=1)
    performing = in_thread(lambda: perform(run, current))
    eventually(lambda: current.done == 1)
    current.cancel()
    return performing.result(PATIENCE)


def test_a_task_that_checks_is_cancelled(register: Register) -> None:
    def obey() -> None:
        hotdata.current_run().progress(1)
        hotdata.current_run().wait(LONG)

    outcome = cancel_while_inside(register(obey))
    assert outcome.state == State.CANCELLED
    assert outcome.reason == "Cancelled while it was running."
    assert outcome.error == ""


def test_a_task_that_stumbles_over_its_cancellation_is_cancelled_and_not_failed(register: Register) -> None:
    def stumble() -> None:
        hotdata.current_run().progress(1)
        try:
            hotdata.current_run().wait(LONG)
        except HotdataError:
            raise ValueError("confused") from None

    assert cancel_while_inside(register(stumble)).state == State.CANCELLED


def test_what_a_cancelled_task_returns_nevertheless_is_kept(register: Register) -> None:
    def tidy() -> str:
        current = hotdata.current_run()
        current.progress(1)
        eventually(lambda: current.cancelled)
        return "half"

    outcome = cancel_while_inside(register(tidy))
    assert (outcome.state, outcome.result) == (State.CANCELLED, "half")


def test_a_run_that_was_cancelled_while_it_waited_for_a_thread_does_not_call_its_task(
    register: Register,
) -> None:
    called = []
    current = CurrentRun(id=1)
    current.cancel()
    run = Run(id=1, task=register(lambda: called.append(1)), params={}, node=NODE, attempt=1)
    assert perform(run, current).state == State.CANCELLED
    assert called == []


# The whole way, on the database


def test_an_executed_run_is_on_record_with_all_there_is_to_know(job_of: JobOf) -> None:
    def work() -> dict[str, int]:
        current = hotdata.current_run()
        current.progress(3, 4)
        current.log("did three")
        current.notable = True
        return {"done": 3}

    run = executed(job_of(work))
    assert run.state == State.SUCCEEDED
    assert run.result == {"done": 3}
    assert run.log == "did three\n"
    assert (run.progress_done, run.progress_total, run.notable, run.attempt) == (3, 4, True, 1)
    assert run.started_at is not None
    assert run.finished_at is not None
    assert run.started_at <= run.finished_at
    assert run.duration is not None
    assert timedelta(0) < run.duration < timedelta(seconds=LONG)
    [attempt] = run.attempts
    assert attempt["state"] == "succeeded"
    assert attempt["node"] == NODE


def test_what_is_hard_to_store_survives_the_way_through_the_database(job_of: JobOf) -> None:
    def work() -> dict[str, Any]:
        hotdata.current_run().log("北京 \x00 'quoted' \"twice\" 100% \\u0000")
        return {"city": "北京", "nul": "\x00", "percent": "%s", "quote": "it's", "big": 2**60, "no": None}

    run = executed(job_of(work))
    assert run.state == State.SUCCEEDED
    assert run.log == "北京 \ufffd 'quoted' \"twice\" 100% \\u0000\n"
    assert run.result == {
        "city": "北京",
        "nul": "\ufffd",
        "percent": "%s",
        "quote": "it's",
        "big": 2**60,
        "no": None,
    }


def test_a_task_sees_which_run_it_is_part_of(job_of: JobOf) -> None:
    seen: list[CurrentRun] = []
    job = job_of(
        lambda: seen.append(hotdata.current_run()),
        time_zone="Asia/Shanghai",
        timeout=timedelta(seconds=90),
    )
    run = executed(job)
    [current] = seen
    assert (current.id, current.job, current.attempt) == (run.id, job.name, 1)
    assert current.time_zone == "Asia/Shanghai"
    assert current.time_left() == pytest.approx(90, abs=10)


def test_executing_a_run_twice_is_harmless(job_of: JobOf) -> None:
    calls: list[int] = []
    run = make_run(job_of(lambda: calls.append(1)))
    assert execute(run.id, NODE) is not None
    assert execute(run.id, NODE) is None
    assert calls == [1]
    assert Run.objects.get(pk=run.pk).attempt == 1


@pytest.mark.parametrize("state", [state for state in State if state not in ("queued", "retrying")])
def test_a_run_that_is_not_waiting_is_left_alone(job_of: JobOf, state: State) -> None:
    calls: list[int] = []
    run = make_run(job_of(lambda: calls.append(1)), state=state)
    assert execute(run.id, NODE) is None
    assert (calls, Run.objects.get(pk=run.pk).state) == ([], state)


def test_a_run_that_was_handed_to_another_node_is_left_alone(job_of: JobOf) -> None:
    run = make_run(job_of(lambda: None), node="another")
    assert execute(run.id, NODE) is None
    assert Run.objects.get(pk=run.pk).state == State.QUEUED


def test_a_run_whose_job_was_deleted_still_runs_to_its_end(job_of: JobOf) -> None:
    job = job_of(lambda: "alone")
    run = make_run(job)
    Job.objects.filter(pk=job.pk)._raw_delete(using="default")
    assert execute(run.id, NODE) is not None
    assert Run.objects.get(pk=run.pk).result == "alone"


def test_a_run_without_a_job_has_no_timeout_and_the_zone_utc(db: None) -> None:
    run = Run(id=1, task="t", job_id="gone", attempt=2)
    run._state.fields_cache["job"] = None
    context = make_context(run)
    assert (context.timeout, context.time_zone, context.attempt) == (None, "UTC", 2)


@pytest.mark.django_db(transaction=True)
def test_an_outcome_that_can_not_be_recorded_is_recorded_as_that(
    job_of: JobOf, caplog: pytest.LogCaptureFixture
) -> None:
    def work() -> None:
        hotdata.current_run().done = "many"  # type: ignore[assignment]

    run = executed(job_of(work, max_retries=3))
    assert run.state == State.FAILED
    assert run.error.startswith("The outcome could not be recorded: ")
    assert f"run.unrecordable job={run.job_id} run={run.id}" in caplog.text


@pytest.mark.django_db(transaction=True)
def test_progress_and_log_are_shown_while_a_run_runs_and_a_cancellation_reaches_it(
    job_of: JobOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "INTERVAL", 0.01)

    def work() -> None:
        current = hotdata.current_run()
        current.log("half way")
        current.progress(1, 2)
        current.wait(LONG)

    run = make_run(job_of(work))
    executing = in_thread(lambda: execute(run.id, NODE))
    eventually(lambda: Run.objects.get(pk=run.pk).progress_total == 2)
    shown = Run.objects.get(pk=run.pk)
    assert (shown.state, shown.progress_done, shown.log) == (State.RUNNING, 1, "half way\n")
    assert shown.cancel("alice", datetime.now(UTC))
    executing.result(PATIENCE)
    ended = Run.objects.get(pk=run.pk)
    assert (ended.state, ended.reason) == (State.CANCELLED, "Cancelled while it was running.")
