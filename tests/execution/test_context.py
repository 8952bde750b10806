"""What a task can ask about its run, and what is captured of what it says."""

from __future__ import annotations

import contextvars
import io
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from datetime import timedelta
from time import monotonic

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hotdata
from hotdata.exceptions import RunCancelled, RunTimedOut
from hotdata.execution.context import CurrentRun, RunLog, RunLogHandler, captured_output, entered
from hotdata.text import storable

HOUR = timedelta(hours=1)
LONG = 60  # seconds; no test gets that far


def make_current(**fields: object) -> CurrentRun:
    """A run that is under way."""
    current = CurrentRun(**{"id": 1, "job": "job", "log_limit": 1000, **fields})  # type: ignore[arg-type]
    current.begin()
    return current


def overdue() -> CurrentRun:
    return make_current(timeout=timedelta(0))


# The log


def test_a_short_log_is_kept_whole() -> None:
    log = RunLog(100)
    for number in range(10):
        log.write(f"{number:9}\n")
    assert log.text() == "".join(f"{number:9}\n" for number in range(10))


def test_of_a_long_log_the_middle_is_left_out_and_counted() -> None:
    log = RunLog(20)
    log.write("the beginning")
    log.write("." * 1000)
    log.write("the end")
    assert log.text() == "the beginn\n… 1,000 characters left out …\n...the end"


def test_the_log_says_how_much_was_written_and_not_how_much_was_kept() -> None:
    log = RunLog(20)
    for _ in range(100):
        log.write("ten chars.")
    assert log.size == 1000


@given(st.lists(st.text(max_size=30), max_size=30), st.integers(min_value=2, max_value=60))
def test_whatever_is_written_the_log_holds_its_two_ends_and_counts_the_rest(
    writes: list[str], limit: int
) -> None:
    log = RunLog(limit)
    for text in writes:
        log.write(text)
    everything, half = "".join(map(storable, writes)), limit // 2
    left_out = len(everything) - 2 * half
    if left_out <= 0:
        assert log.text() == everything
    else:
        gap = f"\n… {left_out:,} characters left out …\n"
        assert log.text() == everything[:half] + gap + everything[-half:]


def test_a_secret_across_the_cut_leaves_no_half_of_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOTDATA_SECRET_STOCKS", "sesame-open-now")
    log = RunLog(20)
    log.write("key=sesame-open-now " + "." * 100)
    assert "sesame" not in log.text()


def test_threads_that_write_to_one_log_lose_nothing() -> None:
    log = RunLog(1_000_000)

    def write() -> None:
        for _ in range(1000):
            log.write("line\n")

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert log.size == len(log.text()) == 8 * 1000 * 5


# Progress, deadline and cancellation


def test_progress_is_kept_for_whoever_shows_it() -> None:
    current = make_current()
    current.progress(3, 10)
    assert (current.done, current.total) == (3, 10)


def test_a_total_that_is_not_repeated_stays() -> None:
    current = make_current()
    current.progress(3, 10)
    current.progress(4)
    assert (current.done, current.total) == (4, 10)


@pytest.mark.parametrize(("told", "kept"), [(-1, 0), (2.9, 2), (True, 1), (10**12, 2**31 - 1)])
def test_progress_that_no_record_can_hold_is_brought_into_range(told: int, kept: int) -> None:
    current = make_current()
    current.progress(told, told)
    assert (current.done, current.total) == (kept, kept)


def test_progress_that_is_no_number_is_the_tasks_mistake() -> None:
    current = make_current()
    with pytest.raises(ValueError, match="many"):
        current.progress("many")  # type: ignore[arg-type]
    assert current.done == 0


def test_news_are_told_once() -> None:
    current = make_current()
    assert current.news() is None
    current.progress(1, 2)
    current.log("half done")
    assert current.news() == (1, 2, "half done\n")
    assert current.news() is None


def test_a_run_in_time_goes_on() -> None:
    current = make_current(timeout=HOUR)
    current.check()
    current.progress(1)


def test_a_run_without_a_timeout_has_all_the_time() -> None:
    current = make_current(timeout=None)
    current.check()
    assert current.time_left() is None


def test_the_time_that_is_left_shrinks_and_is_never_negative() -> None:
    left = make_current(timeout=HOUR).time_left()
    assert left is not None
    assert 3590 < left <= 3600
    assert overdue().time_left() == 0


def test_the_clock_of_a_run_that_waits_for_a_thread_stands_still() -> None:
    current = CurrentRun(timeout=timedelta(0))
    current.check()
    current.begin()
    with pytest.raises(RunTimedOut):
        current.check()


def test_an_overdue_run_learns_of_it_when_it_checks_and_when_it_reports() -> None:
    for look in (CurrentRun.check, lambda current: current.progress(1), lambda current: current.wait(LONG)):
        with pytest.raises(RunTimedOut, match="over its timeout"):
            look(overdue())


def test_a_cancelled_run_learns_of_it_when_it_checks_and_when_it_reports() -> None:
    current = make_current()
    current.cancel()
    assert current.cancelled
    for look in (CurrentRun.check, lambda current: current.progress(1), lambda current: current.wait(LONG)):
        with pytest.raises(RunCancelled):
            look(current)


def test_progress_is_kept_although_the_run_is_told_to_stop() -> None:
    current = overdue()
    with pytest.raises(RunTimedOut):
        current.progress(7)
    assert current.done == 7


def test_a_cancellation_wakes_a_waiting_run() -> None:
    current = make_current()
    waiting = threading.Timer(0.05, current.cancel)
    began = monotonic()
    waiting.start()
    with pytest.raises(RunCancelled):
        current.wait(LONG)
    assert monotonic() - began < LONG / 2


def test_a_wait_ends_at_the_deadline() -> None:
    current = make_current(timeout=timedelta(milliseconds=20))
    began = monotonic()
    with pytest.raises(RunTimedOut):
        current.wait(LONG)
    assert monotonic() - began < LONG / 2


def test_a_wait_that_ends_in_time_raises_nothing() -> None:
    make_current(timeout=HOUR).wait(0.001)


# Which run the code is part of


def test_outside_of_a_run_everything_is_accepted_and_nothing_stops() -> None:
    current = hotdata.current_run()
    current.progress(1, 2)
    current.log("nobody reads this")
    current.wait(0)
    assert current.id is None
    assert current.job == ""


def test_the_run_is_the_current_one_only_inside() -> None:
    current = make_current(id=7)
    with entered(current) as inside:
        assert inside is hotdata.current_run() is current
    assert hotdata.current_run().id is None


def test_runs_inside_of_runs_are_told_apart() -> None:
    outer, inner = make_current(id=1), make_current(id=2)
    with entered(outer):
        with entered(inner):
            assert hotdata.current_run() is inner
        assert hotdata.current_run() is outer


def test_a_thread_started_with_the_context_belongs_to_the_run_and_any_other_does_not() -> None:
    current = make_current()
    seen: dict[str, CurrentRun] = {}

    def look(name: str) -> None:
        seen[name] = hotdata.current_run()

    with entered(current):
        context = contextvars.copy_context()
        threads = [
            threading.Thread(target=context.run, args=(look, "with context")),
            threading.Thread(target=look, args=("without",)),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert seen["with context"] is current
    assert seen["without"] is not current


# What is printed and logged


@contextmanager
def captured_with_terminal() -> Iterator[io.StringIO]:
    """Captures, with a terminal behind it that can be read."""
    # Not a fixture: pytest has another stdout for a test than for its fixtures.
    terminal = io.StringIO()
    with redirect_stdout(terminal), redirect_stderr(terminal), captured_output():
        yield terminal


def test_what_a_run_prints_is_in_its_log_and_not_on_the_terminal() -> None:
    current = make_current()
    with captured_with_terminal() as terminal, entered(current):
        print("to stdout")
        print("to stderr", file=sys.stderr)
        sys.stdout.writelines(["several ", "lines\n"])
        sys.stdout.flush()
    assert current.captured.text() == "to stdout\nto stderr\nseveral lines\n"
    assert terminal.getvalue() == ""


def test_what_is_printed_outside_of_a_run_goes_where_it_always_went() -> None:
    with captured_with_terminal() as terminal:
        print("hello")
    assert terminal.getvalue() == "hello\n"


def test_runs_that_print_at_the_same_time_keep_their_lines_apart() -> None:
    runs = [make_current(id=number, log_limit=100_000) for number in range(4)]
    together = threading.Barrier(len(runs))

    def work(current: CurrentRun) -> None:
        with entered(current):
            together.wait()
            for _ in range(500):
                print(f"run {current.id}")

    with captured_with_terminal():
        threads = [threading.Thread(target=work, args=(current,)) for current in runs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for current in runs:
        assert current.captured.text() == f"run {current.id}\n" * 500


def test_a_run_that_prints_a_megabyte_keeps_both_ends() -> None:
    current = make_current(log_limit=64 * 1024)
    with captured_with_terminal(), entered(current):
        print("first line")
        for _ in range(1024):
            print("x" * 1023)
        print("last line")
    text = current.captured.text()
    assert text.startswith("first line\n")
    assert text.endswith("last line\n")
    assert len(text) < 65 * 1024
    assert "characters left out" in text


def test_bytes_written_to_stdout_are_refused_as_the_real_one_refuses_them() -> None:
    current = make_current()
    with captured_with_terminal(), entered(current), pytest.raises(TypeError):
        sys.stdout.write(b"bytes")  # type: ignore[arg-type]
    assert current.captured.text() == ""


def test_log_records_of_a_run_are_in_its_log() -> None:
    current = make_current()
    logger = logging.getLogger("some.app")
    with captured_output(), entered(current):
        logger.warning("slow answer from %s", "upstream")
        logger.debug("too fine to keep")
        try:
            raise KeyError("AAPL")
        except KeyError:
            logger.exception("no quote")
    text = current.captured.text()
    assert "WARNING some.app: slow answer from upstream\n" in text
    assert "too fine" not in text
    assert "KeyError: 'AAPL'" in text


def test_log_records_from_outside_of_a_run_are_in_no_log() -> None:
    current = make_current()
    with captured_output():
        with entered(current):
            pass
        logging.getLogger("some.app").warning("not of a run")
    assert current.captured.text() == ""


def test_a_log_record_that_can_not_be_formatted_does_not_end_the_task() -> None:
    current = make_current()
    record = logging.makeLogRecord({"msg": "%d", "args": ("no number",)})
    with captured_with_terminal(), entered(current):
        RunLogHandler().handle(record)
        print("still here")
    assert current.captured.text().endswith("still here\n")


def test_after_the_capture_everything_is_as_before() -> None:
    stdout, handlers = sys.stdout, list(logging.getLogger().handlers)
    with captured_output():
        assert sys.stdout is not stdout
    assert sys.stdout is stdout
    assert logging.getLogger().handlers == handlers
