"""The embedded executor: whatever happens around them, the runs it was handed end on record."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError
from django.utils import timezone

import hotdata
from hotdata.exceptions import HotdataError
from hotdata.execution import clerk, leaving, starting, threads
from hotdata.execution.threads import ThreadExecutor
from hotdata.models import Job, Run, bulk
from hotdata.models.runs import Cause, RunQuerySet, State
from tests.builders import NODE, make_run
from tests.execution.conftest import JobOf
from tests.threads import PATIENCE, eventually, in_thread

pytestmark = pytest.mark.django_db(transaction=True)

LONG = 60  # seconds; no test gets that far
GRACE = timedelta(seconds=PATIENCE)
AT_ONCE = timedelta(seconds=0.01)

MakeExecutor = Callable[..., ThreadExecutor]


@pytest.fixture
def make_executor(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeExecutor]:
    """Makes started executors, and stops them at the end."""
    monkeypatch.setattr(clerk, "HOUSEKEEPING", 0.02)
    monkeypatch.setattr(clerk, "BACKOFF_LONGEST", 0.1)
    monkeypatch.setattr(threads, "CANCEL_GRACE", 1.0)
    made: list[ThreadExecutor] = []

    def make(workers: int = 4) -> ThreadExecutor:
        executor = ThreadExecutor(node=NODE, workers=workers)
        executor.start()
        made.append(executor)
        return executor

    yield make
    for executor in made:
        if executor._clerk._thread.is_alive():
            executor.stop(AT_ONCE)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What deaf tasks wait for; open when the test is over, whatever became of it."""
    gate = threading.Event()
    yield gate
    gate.set()


def make_runs(job: Job, count: int) -> list[Run]:
    return [make_run(job) for _ in range(count)]


def states(runs: list[Run]) -> list[str]:
    found = dict(Run.objects.filter(pk__in=[run.pk for run in runs]).values_list("pk", "state"))
    return [found[run.pk] for run in runs]


def all_in(runs: list[Run], state: State) -> Callable[[], bool]:
    return lambda: states(runs) == [state] * len(runs)


def at_work(executor: ThreadExecutor, count: int) -> Callable[[], bool]:
    """Whether workers have begun `count` runs. What none has begun would be handed back by a stop, not cut off."""

    def begun() -> int:
        return sum(context.deadline is not None for context in list(executor._clerk._contexts.values()))

    return lambda: begun() == count and (count > 0 or executor.running == 0)


def stored(run: Run) -> Run:
    return Run.objects.get(pk=run.pk)


class Broken:
    """Stands in for a function; raises `error` the first `times` it is called, or until `mend` is called."""

    def __init__(self, function: Callable[..., Any], error: Exception, times: float = float("inf")) -> None:
        self._function, self._error, self._times = function, error, times
        self.failures = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.failures < self._times:
            self.failures += 1
            raise self._error
        return self._function(*args, **kwargs)

    def mend(self) -> None:
        self._times = 0


# Working


def test_many_runs_through_few_workers_are_all_recorded_in_batches(
    make_executor: MakeExecutor, job_of: JobOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    update, statements = bulk.update, []

    def counted(objects: Any, *args: Any, **kwargs: Any) -> Any:
        statements.append(len(objects))
        return update(objects, *args, **kwargs)

    monkeypatch.setattr(bulk, "update", counted)
    runs = make_runs(job_of(lambda: hotdata.current_run().id), 200)
    make_executor(workers=8).submit(runs)
    eventually(all_in(runs, State.SUCCEEDED))
    for run in Run.objects.all():
        assert (run.result, run.attempt, run.node) == (run.id, 1, NODE)
    assert sum(statements) == 400
    assert len(statements) < 200


def test_workers_work_at_the_same_time(make_executor: MakeExecutor, job_of: JobOf) -> None:
    together = threading.Barrier(4)
    runs = make_runs(job_of(lambda: together.wait(PATIENCE)), 4)
    make_executor(workers=4).submit(runs)
    eventually(all_in(runs, State.SUCCEEDED))


def test_no_more_runs_are_shown_as_running_than_there_are_workers(
    make_executor: MakeExecutor, job_of: JobOf, gate: threading.Event
) -> None:
    runs = make_runs(job_of(lambda: gate.wait(LONG)), 10)
    executor = make_executor(workers=3)
    executor.submit(runs)
    eventually(lambda: states(runs).count(State.RUNNING) == 3)
    eventually(at_work(executor, 3))
    assert states(runs).count(State.RUNNING) == 3
    gate.set()
    eventually(all_in(runs, State.SUCCEEDED))
    eventually(at_work(executor, 0))


def test_runs_are_taken_over_at_once_however_slow_the_database_is(
    make_executor: MakeExecutor, job_of: JobOf, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = RunQuerySet.start

    def slow(*args: Any) -> list[Run]:
        gate.wait(LONG)
        return start(*args)

    monkeypatch.setattr(RunQuerySet, "start", slow)
    runs = make_runs(job_of(lambda: None), 3)
    executor = make_executor()
    for run in runs:
        executor.submit([run])
    assert states(runs) == [State.QUEUED] * 3
    gate.set()
    eventually(all_in(runs, State.SUCCEEDED))


def test_a_failed_run_waits_for_its_retry_and_is_nobodys(make_executor: MakeExecutor, job_of: JobOf) -> None:
    def fail() -> None:
        raise ConnectionError("no answer")

    run = make_run(job_of(fail, max_retries=1))
    make_executor().submit([run])
    eventually(all_in([run], State.RETRYING))
    assert (stored(run).node, stored(run).attempt) == ("", 1)


def test_a_run_whose_job_is_gone_is_worked_on_nevertheless(
    make_executor: MakeExecutor, job_of: JobOf
) -> None:
    job = job_of(lambda: "alone")
    run = make_run(job)
    Job.objects.filter(pk=job.pk)._raw_delete(using="default")
    make_executor().submit([stored(run)])
    eventually(all_in([run], State.SUCCEEDED))


def test_no_exception_of_a_task_ends_its_worker(make_executor: MakeExecutor, job_of: JobOf) -> None:
    class Unheard(BaseException):
        pass

    class Touchy(HotdataError):
        @property
        def permanent(self) -> bool:  # type: ignore[override]
            raise RuntimeError("broken on purpose")

    kinds = {
        "interrupt": KeyboardInterrupt,
        "generator": GeneratorExit,
        "unheard": Unheard,
        "touchy": Touchy,
    }

    def fail(kind: str) -> None:
        if kind == "exit":
            sys.exit(3)
        raise kinds[kind]

    job = job_of(fail, params={"kind": "exit"})
    bad = [make_run(job, params={"kind": kind}) for kind in ("exit", *kinds)]
    good = make_run(job_of(lambda: "still here"))
    make_executor(workers=1).submit([*bad, good])
    eventually(all_in([good], State.SUCCEEDED))
    assert states(bad) == [State.FAILED, State.CANCELLED, State.FAILED, State.FAILED, State.FAILED]


def test_a_run_of_a_task_that_is_gone_fails_and_the_others_go_on(
    make_executor: MakeExecutor, job_of: JobOf
) -> None:
    job = job_of(lambda: None)
    runs = [make_run(job), make_run(job, task="no_such_task"), make_run(job)]
    make_executor().submit(runs)
    eventually(lambda: states(runs) == [State.SUCCEEDED, State.FAILED, State.SUCCEEDED])


def test_an_outcome_that_can_not_be_recorded_does_not_hold_up_the_others(
    make_executor: MakeExecutor, job_of: JobOf
) -> None:
    together = threading.Barrier(4)

    class Careless(HotdataError):
        retry_after = 5  # type: ignore[assignment]  # seconds, where a timedelta belongs

    def work(poison: bool) -> None:
        together.wait(PATIENCE)
        if poison:
            raise Careless

    job = job_of(work, params={"poison": False}, max_retries=1)
    runs = [make_run(job, params={"poison": number == 2}) for number in range(4)]
    make_executor(workers=4).submit(runs)
    eventually(lambda: states(runs).count(State.SUCCEEDED) == 3)
    eventually(all_in([runs[2]], State.FAILED))
    assert stored(runs[2]).error == "The outcome could not be recorded: TypeError."


# While they run


def test_progress_and_a_growing_log_are_shown_while_a_run_runs(
    make_executor: MakeExecutor, job_of: JobOf, gate: threading.Event
) -> None:
    first_seen = threading.Event()

    def work() -> None:
        current = hotdata.current_run()
        current.log("one")
        current.progress(1, 2)
        first_seen.wait(LONG)
        current.log("two")
        current.progress(2)
        gate.wait(LONG)

    run = make_run(job_of(work))
    make_executor().submit([run])
    eventually(lambda: stored(run).log == "one\n")
    assert (stored(run).progress_done, stored(run).progress_total) == (1, 2)
    first_seen.set()
    eventually(lambda: stored(run).log == "one\ntwo\n")
    assert (stored(run).progress_done, stored(run).state) == (2, State.RUNNING)


def test_a_running_run_can_be_cancelled(make_executor: MakeExecutor, job_of: JobOf) -> None:
    run, other = make_runs(job_of(lambda: hotdata.current_run().wait(LONG)), 2)
    make_executor().submit([run, other])
    eventually(all_in([run, other], State.RUNNING))
    assert stored(run).cancel("alice", timezone.now())
    eventually(all_in([run], State.CANCELLED))
    assert stored(other).state == State.RUNNING
    assert stored(run).cancel_requested_by == "alice"


def test_an_executor_that_is_told_to_look_sees_a_cancellation_at_once(
    make_executor: MakeExecutor, job_of: JobOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clerk, "HOUSEKEEPING", LONG)
    run = make_run(job_of(lambda: hotdata.current_run().wait(LONG)))
    executor = make_executor()
    executor.submit([run])
    eventually(at_work(executor, 1))
    assert stored(run).cancel("alice", timezone.now())
    executor.look()
    eventually(all_in([run], State.CANCELLED))


def test_an_idle_executor_may_be_told_to_look(make_executor: MakeExecutor, job_of: JobOf) -> None:
    executor, run = make_executor(), make_run(job_of(lambda: None))
    executor.look()
    executor.submit([run])
    eventually(all_in([run], State.SUCCEEDED))


def test_a_run_that_is_cancelled_before_it_starts_is_never_started(
    make_executor: MakeExecutor, job_of: JobOf
) -> None:
    called: list[int | None] = []
    job = job_of(lambda: called.append(hotdata.current_run().id))
    cancelled, good = make_runs(job, 2)
    assert cancelled.cancel("alice", timezone.now())
    make_executor().submit([cancelled, good])
    eventually(all_in([good], State.SUCCEEDED))
    assert called == [good.id]
    assert stored(cancelled).state == State.CANCELLED
    assert stored(cancelled).attempt == 0


def started_ahead(make_executor: MakeExecutor, job_of: JobOf, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An executor with one worker that, after a quick run, starts more runs than it has workers."""
    monkeypatch.setattr(starting, "LOOKAHEAD", 1000.0)
    executor = make_executor(workers=1)
    quick = make_run(job_of(lambda: None))
    executor.submit([quick])
    eventually(all_in([quick], State.SUCCEEDED))
    return executor


def test_a_timeout_does_not_count_while_a_run_waits_for_a_worker(
    make_executor: MakeExecutor, job_of: JobOf, monkeypatch: pytest.MonkeyPatch, gate: threading.Event
) -> None:
    executor = started_ahead(make_executor, job_of, monkeypatch)
    timeout = timedelta(seconds=0.2)
    first = make_run(job_of(lambda: gate.wait(LONG)))
    second = make_run(job_of(lambda: hotdata.current_run().check(), timeout=timeout))
    executor.submit([first, second])
    eventually(all_in([first, second], State.RUNNING))
    began = stored(second).started_at
    assert began is not None
    eventually(lambda: timezone.now() > began + timeout)
    gate.set()
    eventually(all_in([second], State.SUCCEEDED))


def test_a_run_that_is_cancelled_while_it_waits_for_a_worker_does_not_call_its_task(
    make_executor: MakeExecutor, job_of: JobOf, monkeypatch: pytest.MonkeyPatch, gate: threading.Event
) -> None:
    executor = started_ahead(make_executor, job_of, monkeypatch)
    called: list[int] = []
    first, second = make_run(job_of(lambda: gate.wait(LONG))), make_run(job_of(lambda: called.append(1)))
    executor.submit([first, second])
    eventually(all_in([first, second], State.RUNNING))
    assert stored(second).cancel("alice", timezone.now())
    contexts = executor._clerk._contexts
    eventually(lambda: second.id in contexts and contexts[second.id].cancelled)
    gate.set()
    eventually(all_in([second], State.CANCELLED))
    assert called == []


# When the database is away


@pytest.mark.parametrize(
    "error",
    [OperationalError("gone away"), InterfaceError("connection closed"), RuntimeError("a bug")],
    ids=lambda error: type(error).__name__,
)
def test_no_run_is_lost_whatever_goes_wrong_as_runs_are_started(
    make_executor: MakeExecutor, job_of: JobOf, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    broken = Broken(bulk.update, error, times=3)
    monkeypatch.setattr(bulk, "update", broken)
    runs = make_runs(job_of(lambda: None), 10)
    make_executor().submit(runs)
    eventually(all_in(runs, State.SUCCEEDED))
    assert broken.failures == 3
    assert [(run.attempt, len(run.attempts)) for run in Run.objects.all()] == [(1, 1)] * 10


@pytest.mark.parametrize("error", [OperationalError("gone away"), InterfaceError("connection closed")])
def test_no_outcome_is_lost_when_the_database_is_away_as_runs_end(
    make_executor: MakeExecutor,
    job_of: JobOf,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    broken = Broken(clerk.record, error)
    monkeypatch.setattr(clerk, "record", broken)
    calls: list[int] = []
    runs = make_runs(job_of(lambda: calls.append(1)), 10)
    make_executor().submit(runs)
    eventually(lambda: broken.failures >= 3)
    assert State.SUCCEEDED not in states(runs)
    broken.mend()
    eventually(all_in(runs, State.SUCCEEDED))
    assert len(calls) == 10
    warnings = [entry for entry in caplog.records if "executor.database_away" in entry.getMessage()]
    assert len(warnings) == 1


def test_a_start_whose_answer_was_lost_is_found_again(
    make_executor: MakeExecutor, job_of: JobOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, lost = RunQuerySet.start, []

    def start_and_lose_the_answer(*args: Any) -> list[Run]:
        started = start(*args)
        if not lost:
            lost.append(started)
            raise OperationalError("server closed the connection unexpectedly")
        return started

    monkeypatch.setattr(RunQuerySet, "start", start_and_lose_the_answer)
    calls: list[int] = []
    runs = make_runs(job_of(lambda: calls.append(1)), 4)
    make_executor().submit(runs)
    eventually(all_in(runs, State.SUCCEEDED))
    assert (len(calls), lost != []) == (4, True)


def test_a_turn_that_fails_for_no_known_reason_is_logged_and_survived(
    make_executor: MakeExecutor,
    job_of: JobOf,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(clerk, "attend", Broken(clerk.attend, RuntimeError("a bug"), times=1))
    run = make_run(job_of(lambda: hotdata.current_run().wait(LONG)))
    make_executor().submit([run])
    eventually(lambda: "executor.turn_failed" in caplog.text)
    assert stored(run).cancel("alice", timezone.now())
    eventually(all_in([run], State.CANCELLED))


# Stopping


def test_an_idle_executor_stops_at_once(make_executor: MakeExecutor) -> None:
    executor = make_executor()
    began = time.monotonic()
    assert executor.stop(timedelta(seconds=LONG))
    assert time.monotonic() - began < PATIENCE


def test_the_threads_end_when_the_executor_stops(make_executor: MakeExecutor) -> None:
    executor = make_executor(workers=3)
    executor.stop(GRACE)
    eventually(lambda: not any(thread.is_alive() for thread in [*executor._threads, executor._clerk._thread]))


def test_what_waits_is_handed_back_and_what_runs_may_end(
    make_executor: MakeExecutor, job_of: JobOf, gate: threading.Event
) -> None:
    runs = make_runs(job_of(lambda: gate.wait(LONG)), 4)
    executor = make_executor(workers=1)
    executor.submit(runs)
    eventually(at_work(executor, 1))
    stopped = in_thread(lambda: executor.stop(GRACE))
    eventually(lambda: Run.objects.filter(state=State.QUEUED, node="").count() == 3)
    gate.set()
    assert stopped.result(PATIENCE)
    assert states(runs) == [State.SUCCEEDED] + [State.QUEUED] * 3


def test_what_is_submitted_after_the_stop_is_handed_back(
    make_executor: MakeExecutor, job_of: JobOf, gate: threading.Event
) -> None:
    first, late = make_runs(job_of(lambda: gate.wait(LONG)), 2)
    executor = make_executor()
    executor.submit([first])
    eventually(at_work(executor, 1))
    stopped = in_thread(lambda: executor.stop(GRACE))
    eventually(executor._clerk._draining.is_set)
    executor.submit([late])
    eventually(lambda: stored(late).node == "")
    gate.set()
    assert stopped.result(PATIENCE)
    assert states([first, late]) == [State.SUCCEEDED, State.QUEUED]


def test_what_runs_on_after_the_grace_is_cancelled(make_executor: MakeExecutor, job_of: JobOf) -> None:
    run = make_run(job_of(lambda: hotdata.current_run().wait(LONG)))
    executor = make_executor()
    executor.submit([run])
    eventually(at_work(executor, 1))
    assert not executor.stop(AT_ONCE)
    assert stored(run).state == State.CANCELLED


def test_what_was_cut_off_is_made_again_where_its_job_wants_that(
    make_executor: MakeExecutor, job_of: JobOf
) -> None:
    wanted, unwanted = (
        make_run(job_of(lambda: hotdata.current_run().wait(LONG), recover=recover))
        for recover in (True, False)
    )
    executor = make_executor()
    executor.submit([wanted, unwanted])
    eventually(at_work(executor, 2))
    assert not executor.stop(AT_ONCE)
    assert stored(wanted).reason == stored(unwanted).reason == leaving.CUT_OFF
    recovery = Run.objects.get(cause=Cause.RECOVERY)
    assert (recovery.recovers_id, recovery.state, recovery.node) == (wanted.id, State.QUEUED, "")


def test_a_cut_off_and_its_recovery_are_on_record_together_or_not_at_all(
    make_executor: MakeExecutor, job_of: JobOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Broken(leaving.recoveries.make, OperationalError("gone away"), times=2)
    monkeypatch.setattr(leaving.recoveries, "make", broken)
    run = make_run(job_of(lambda: hotdata.current_run().wait(LONG), recover=True))
    executor = make_executor()
    executor.submit([run])
    eventually(at_work(executor, 1))
    assert not executor.stop(AT_ONCE)
    assert broken.failures == 2
    assert stored(run).state == State.CANCELLED
    assert Run.objects.filter(recovers=run).count() == 1


def test_what_somebody_cancelled_is_not_made_again_and_not_cut_off(
    make_executor: MakeExecutor, job_of: JobOf, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end_late() -> None:
        gate.wait(LONG)
        hotdata.current_run().check()

    run = make_run(job_of(end_late, recover=True))
    executor = make_executor()
    executor.submit([run])
    eventually(at_work(executor, 1))
    stored(run).cancel("alice", timezone.now())
    eventually(lambda: executor._clerk._contexts[run.id].cancelled)
    stopping = in_thread(lambda: executor.stop(AT_ONCE))
    eventually(executor._clerk._draining.is_set)
    gate.set()
    assert stopping.result(PATIENCE)
    assert stored(run).state == State.CANCELLED
    assert not Run.objects.filter(cause=Cause.RECOVERY).exists()


def test_what_somebody_cancels_at_the_end_of_the_grace_is_not_made_again(
    make_executor: MakeExecutor, job_of: JobOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The executor has not heard of it yet."""
    monkeypatch.setattr(clerk, "HOUSEKEEPING", LONG)
    run = make_run(job_of(lambda: hotdata.current_run().wait(LONG), recover=True))
    executor = make_executor()
    executor.submit([run])
    eventually(at_work(executor, 1))
    assert stored(run).cancel("alice", timezone.now())
    executor.stop(AT_ONCE)
    assert stored(run).state == State.CANCELLED
    assert not Run.objects.filter(cause=Cause.RECOVERY).exists()


def test_a_hurry_ends_the_grace(make_executor: MakeExecutor, job_of: JobOf) -> None:
    run = make_run(job_of(lambda: hotdata.current_run().wait(LONG)))
    executor = make_executor()
    executor.submit([run])
    eventually(at_work(executor, 1))
    stopping = in_thread(lambda: executor.stop(GRACE * 2))
    eventually(executor._clerk._draining.is_set)
    executor.hurry()
    assert not stopping.result(PATIENCE)
    assert stored(run).state == State.CANCELLED


def test_a_hurry_with_nothing_to_cut_off_cuts_nothing_off(make_executor: MakeExecutor) -> None:
    executor = make_executor()
    executor.hurry()
    assert executor.stop(GRACE)


def test_without_any_grace_nothing_is_cut_off_where_nothing_runs(make_executor: MakeExecutor) -> None:
    assert make_executor().stop(timedelta(0))


def test_what_ignores_its_cancellation_is_put_on_record_as_abandoned(
    make_executor: MakeExecutor, job_of: JobOf, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "CANCEL_GRACE", 0.1)
    run = make_run(job_of(lambda: gate.wait(LONG)))
    executor = make_executor()
    executor.submit([run])
    eventually(at_work(executor, 1))
    assert not executor.stop(AT_ONCE)
    eventually(all_in([run], State.ABANDONED))
    abandoned = stored(run)
    assert abandoned.reason == "Its node was stopped, and the task did not end when it was told to."
    assert abandoned.finished_at is not None


def test_what_ends_by_itself_just_as_the_grace_is_over_is_not_cut_off(
    make_executor: MakeExecutor, job_of: JobOf, gate: threading.Event
) -> None:
    """The clerk forgets it while it is told what to cancel."""

    class Ending(dict[int, Any]):
        def items(self) -> Any:
            seen = list(super().items())
            gate.set()
            eventually(lambda: run.id not in self)
            return seen

    run = make_run(job_of(lambda: gate.wait(LONG) and None))
    executor = make_executor()
    executor._clerk._contexts = Ending()
    executor.submit([run])
    eventually(at_work(executor, 1))
    assert executor.stop(AT_ONCE)
    assert stored(run).state == State.SUCCEEDED


def test_what_ignores_that_somebody_cancelled_it_is_not_made_again(
    make_executor: MakeExecutor, job_of: JobOf, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "CANCEL_GRACE", 0.1)
    run = make_run(job_of(lambda: gate.wait(LONG), recover=True))
    executor = make_executor()
    executor.submit([run])
    eventually(at_work(executor, 1))
    assert stored(run).cancel("alice", timezone.now())
    assert not executor.stop(AT_ONCE)
    eventually(all_in([run], State.ABANDONED))
    assert not Run.objects.filter(cause=Cause.RECOVERY).exists()


def test_an_executor_stops_also_when_the_database_is_away(
    make_executor: MakeExecutor, job_of: JobOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "CANCEL_GRACE", 0.1)
    broken = Broken(clerk.record, OperationalError("gone away"))
    monkeypatch.setattr(clerk, "record", broken)
    run = make_run(job_of(lambda: None))
    executor = make_executor()
    executor.submit([run])
    eventually(lambda: broken.failures > 0)
    stopped = in_thread(lambda: executor.stop(AT_ONCE))
    assert not stopped.result(PATIENCE)
    eventually(lambda: not executor._clerk._thread.is_alive())


def test_nothing_that_comes_in_is_lost_however_much_comes_at_once() -> None:
    executor = ThreadExecutor(node="n", workers=1)
    for _ in range(clerk.MAX_BATCH + 1):
        executor._clerk._inbox.put([Run()])
    executor._clerk._read_inbox(timeout=0)
    executor._clerk._read_inbox(timeout=0)
    assert len(executor._clerk._backlog) == clerk.MAX_BATCH + 1


@pytest.mark.django_db(transaction=True)
def test_what_was_started_early_but_not_begun_is_handed_back_at_a_stop(job_of: JobOf) -> None:
    begun = threading.Semaphore(0)
    release = threading.Event()

    def slow() -> None:
        begun.release()
        release.wait(PATIENCE)

    runs = [make_run(job) for job in [job_of(slow)] for _ in range(5)]
    executor = ThreadExecutor(node=NODE, workers=1)
    starter = executor._clerk._starter
    starter._pace, starter._paced_at = 1e6, time.monotonic() + 60  # as after a burst of quick runs
    executor.start()
    executor.submit(runs)
    assert begun.acquire(timeout=PATIENCE)
    eventually(lambda: Run.objects.filter(state=State.RUNNING).count() == 5)
    stopping = in_thread(lambda: executor.stop(GRACE))
    eventually(lambda: Run.objects.filter(state=State.QUEUED, node="", attempt=0).count() == 4)
    release.set()
    assert stopping.result(PATIENCE) is True
    assert sorted(Run.objects.values_list("state", flat=True)) == ["queued"] * 4 + ["succeeded"]


def test_what_was_cancelled_before_it_was_begun_is_not_handed_back_at_a_stop(
    make_executor: MakeExecutor, job_of: JobOf, monkeypatch: pytest.MonkeyPatch, gate: threading.Event
) -> None:
    executor = started_ahead(make_executor, job_of, monkeypatch)
    first, cancelled, other = (make_run(job_of(lambda: gate.wait(LONG))) for _ in range(3))
    executor.submit([first, cancelled, other])
    eventually(all_in([first, cancelled, other], State.RUNNING))
    eventually(at_work(executor, 1))
    assert stored(cancelled).cancel("alice", timezone.now())
    stopping = in_thread(lambda: executor.stop(GRACE))
    eventually(all_in([other], State.QUEUED))
    gate.set()
    assert stopping.result(PATIENCE)
    ended = stored(cancelled)
    assert (ended.state, ended.reason) == (State.CANCELLED, "Cancelled before its task was called.")
    assert ended.finished_at is not None
    assert stored(other).node == ""


def test_what_was_not_begun_is_handed_back_although_the_database_is_away_at_first(
    make_executor: MakeExecutor, job_of: JobOf, monkeypatch: pytest.MonkeyPatch, gate: threading.Event
) -> None:
    executor = started_ahead(make_executor, job_of, monkeypatch)
    first, second = make_run(job_of(lambda: gate.wait(LONG))), make_run(job_of(lambda: None))
    executor.submit([first, second])
    eventually(all_in([first, second], State.RUNNING))
    eventually(at_work(executor, 1))
    unstart, failures = RunQuerySet.unstart, []

    def stumble(*args: Any) -> None:
        if len(failures) < 3:
            failures.append(args)
            raise OperationalError("gone away")
        unstart(*args)

    monkeypatch.setattr(RunQuerySet, "unstart", stumble)
    stopping = in_thread(lambda: executor.stop(GRACE))
    eventually(all_in([second], State.QUEUED))
    gate.set()
    assert stopping.result(PATIENCE)
    assert (len(failures), stored(second).node, stored(first).state) == (3, "", State.SUCCEEDED)
