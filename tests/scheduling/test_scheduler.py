"""The scheduler's loop in a thread, with a real database and an executor that only remembers."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from hotdata.conf import conf
from hotdata.models import ChangeCounter, Job, Lease, Node, Run, Schedule
from hotdata.models.policies import Overlap
from hotdata.models.runs import Cause, State
from hotdata.models.schedules import Kind
from hotdata.scheduling.jobstore import Claim, JobStore
from hotdata.scheduling.presence import BEATS_PER_TIMEOUT, Presence
from hotdata.scheduling.scheduler import LOCKED_PAUSE, Executor, Scheduler
from hotdata.scheduling.waker import Waker
from tests.builders import make_job, make_run
from tests.threads import PATIENCE, eventually, in_thread

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
SECOND = timedelta(seconds=1)
NEVER = 100 * PATIENCE  # seconds: no test waits that long

pytestmark = pytest.mark.django_db(transaction=True)


class Remembering:
    """An executor that works on nothing."""

    def __init__(self) -> None:
        self.runs: list[Run] = []

    def submit(self, runs: Sequence[Run]) -> None:
        self.runs += runs

    def of(self, job: Job) -> list[Run]:
        return [run for run in self.runs if run.job_id == job.name]


class Clock:
    """The wall clock, put forward by as much as the test says."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def __call__(self) -> datetime:
        return timezone.now() + self.ahead


@pytest.fixture
def executor() -> Remembering:
    return Remembering()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def brisk(settings: Settings) -> None:
    """Everything that is periodical happens more often."""
    settings.HOTDATA_POLL_INTERVAL = 0.1
    settings.HOTDATA_LEASE_TTL = 0.8
    settings.HOTDATA_NODE_TIMEOUT = 0.9


@pytest.fixture
def polling(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a test's time, only the poll finds what changed. What is found at all is found by it."""
    settings.HOTDATA_NODE_TIMEOUT = NEVER
    monkeypatch.setattr("hotdata.scheduling.scheduler.RECONCILE_INTERVAL", NEVER)


@pytest.fixture
def patient(settings: Settings, polling: None) -> None:
    """Nothing happens by itself within a test's time."""
    settings.HOTDATA_POLL_INTERVAL = NEVER
    settings.HOTDATA_LEASE_TTL = 4 * NEVER


@contextmanager
def scheduling(executor: Executor, clock: Callable[[], datetime] = timezone.now) -> Iterator[Scheduler]:
    """A scheduler that runs in a thread inside the block, and has ended in order after it."""
    with Presence(timeout=conf().node_timeout) as presence:
        scheduler = Scheduler(presence=presence, executor=executor, clock=clock)
        running = in_thread(scheduler.start)
        try:
            yield scheduler
        finally:
            scheduler.stop()
            running.result(20)


def leads(scheduler: Scheduler) -> bool:
    return bool(scheduler._lease.leading)


def has_looked(scheduler: Scheduler) -> bool:
    """Whether it leads, has fired for the first time, and has seen all changes up to now."""
    fired = scheduler._reconcile_at > 0  # what has time comes after that
    return leads(scheduler) and fired and scheduler._seen_change == ChangeCounter.current()


def messages(caplog: pytest.LogCaptureFixture, event: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.getMessage().split()[0] == event]


def make_yearly(**fields: Any) -> Job:
    """A job that isn't due within a test's time."""
    return make_job(cron="0 0 1 1 *", **fields)


def make_minutely(**fields: Any) -> Job:
    """A job that is due a minute from now, however close the next full minute is."""
    return make_job(trigger=Kind.INTERVAL, interval=MINUTE, cron="", **fields)


def make_secondly(**fields: Any) -> Job:
    """A job of which many runs may be active: no run ever ends here."""
    given = {"trigger": Kind.INTERVAL, "interval": SECOND, "cron": "", "overlap": Overlap.ALLOW_ALL}
    return make_job(**(given | {"max_instances": 1000} | fields))


# Firing


def test_it_fires_what_is_due(executor: Remembering, clock: Clock) -> None:
    due, later = make_minutely(), make_yearly()
    with scheduling(executor, clock) as scheduler:
        eventually(lambda: has_looked(scheduler))
        assert not executor.runs
        clock.ahead = MINUTE
        scheduler.wakeup()
        [run] = eventually(lambda: executor.of(due))
        assert (run.state, run.node) == (State.QUEUED, scheduler._presence.name)
    assert not executor.of(later)


def test_it_wakes_up_by_itself_for_the_next_due_time(executor: Remembering, patient: None) -> None:
    job = make_secondly()
    with scheduling(executor):
        eventually(lambda: executor.of(job))


def test_runs_are_submitted_after_they_are_on_record(clock: Clock) -> None:
    """Whoever works on them in another process must find them."""
    job = make_minutely()
    clock.ahead = MINUTE
    found: list[int] = []

    class Looking:
        def submit(self, runs: Sequence[Run]) -> None:
            ids = [run.id for run in runs]
            if ids:
                found.append(in_thread(Run.objects.filter(id__in=ids, state=State.QUEUED).count).result(10))

    with scheduling(Looking(), clock):
        eventually(lambda: found)
    assert found == [1]
    assert Run.objects.get().job_id == job.name


def test_runs_that_were_asked_for_while_nobody_scheduled_are_taken_at_the_start(
    executor: Remembering,
) -> None:
    run = make_yearly().request_run(Cause.MANUAL, by="alice")
    with scheduling(executor) as scheduler:
        [taken] = eventually(lambda: executor.runs)
        assert (taken.id, taken.node) == (run.id, scheduler._presence.name)


# Following what others do, at the next poll


def test_a_new_job_is_followed(executor: Remembering, polling: None) -> None:
    with scheduling(executor) as scheduler:
        eventually(lambda: has_looked(scheduler))
        job = make_secondly()
        eventually(lambda: executor.of(job))


def test_an_edit_is_followed(executor: Remembering, polling: None) -> None:
    job = make_yearly()
    with scheduling(executor) as scheduler:
        eventually(lambda: has_looked(scheduler))
        job.trigger, job.interval = Kind.INTERVAL, SECOND
        job.save()
        eventually(lambda: executor.of(job))


@pytest.mark.parametrize("action", ["pause", "delete"])
def test_a_job_that_was_paused_or_deleted_fires_no_more(
    executor: Remembering, clock: Clock, action: str
) -> None:
    job, other = make_minutely(), make_minutely()
    with scheduling(executor, clock) as scheduler:
        eventually(lambda: has_looked(scheduler))
        if action == "pause":
            job.paused = True
            job.save()
        else:
            job.delete()
        clock.ahead = MINUTE
        scheduler.wakeup()
        eventually(lambda: executor.of(other))
    assert not Run.objects.of_job(job.name).exists()


def test_a_run_now_is_followed(executor: Remembering, polling: None) -> None:
    job = make_yearly()
    with scheduling(executor) as scheduler:
        eventually(lambda: has_looked(scheduler))
        run = job.request_run(Cause.MANUAL, by="alice")
        eventually(lambda: [taken for taken in executor.runs if taken.id == run.id])


def test_a_run_now_is_followed_at_once_by_a_scheduler_that_is_woken(
    executor: Remembering, patient: None
) -> None:
    job = make_yearly()
    with scheduling(executor) as scheduler:
        eventually(lambda: has_looked(scheduler))
        job.request_run(Cause.API)
        scheduler.wakeup()
        eventually(lambda: executor.of(job))


def test_a_wake_up_in_the_middle_of_a_turn_is_not_lost(
    executor: Remembering, patient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The turn has read the change counter already, and the next one would come in a minute and more."""
    job = make_yearly()
    with scheduling(executor) as scheduler:
        eventually(lambda: has_looked(scheduler))
        find = Scheduler._find_next_due
        asked: list[Run] = []

        def ask_meanwhile(scheduler: Scheduler, claimed: datetime) -> datetime | None:
            next_due = find(scheduler, claimed)
            if not asked:
                asked.append(job.request_run(Cause.MANUAL))
                scheduler.wakeup()
            return next_due

        monkeypatch.setattr(Scheduler, "_find_next_due", ask_meanwhile)
        make_yearly()
        scheduler.wakeup()
        eventually(lambda: asked and executor.of(job))


def test_what_changed_behind_the_orms_back_is_found_by_a_new_leader(
    executor: Remembering, polling: None
) -> None:
    job = make_yearly()
    Job.objects.filter(pk=job.pk).update(trigger=Kind.INTERVAL, interval=SECOND)
    with scheduling(executor):
        eventually(lambda: executor.of(job))


def test_a_leader_with_nothing_to_do_sends_one_statement_each_second(executor: Remembering) -> None:
    for _ in range(10):
        make_yearly()
    with Presence(timeout=MINUTE) as presence:
        scheduler = Scheduler(presence=presence, executor=executor)

        def turn_after_turn() -> list[str]:
            while scheduler._process_jobs() == 0 or not scheduler._store.reconciler.between_passes:
                pass
            with CaptureQueriesContext(connection) as captured:
                scheduler._keep_at = 0.0
                scheduler._process_jobs()
                scheduler._process_jobs()
            return [query["sql"].split()[0] for query in captured]

        try:
            assert in_thread(turn_after_turn).result(20) == ["UPDATE"]
        finally:
            scheduler._waker.close()


def test_a_retry_is_picked_up_when_its_time_has_come(executor: Remembering, patient: None) -> None:
    with scheduling(executor) as scheduler:
        eventually(lambda: has_looked(scheduler))
        ready_at = timezone.now() + timedelta(seconds=0.5)
        run = make_run(make_yearly(), state=State.RETRYING, node="", attempt=1, ready_at=ready_at)
        ChangeCounter.bump()
        scheduler.wakeup()
        eventually(lambda: executor.runs)
        assert timezone.now() >= ready_at
    assert [taken.id for taken in executor.runs] == [run.id]


# Errors in a turn


def fail_times(
    monkeypatch: pytest.MonkeyPatch, errors: Sequence[Exception], *, after_the_fact: bool = False
) -> list[Exception]:
    """Let claims fail with one of `errors` after the other; gives the list of those that are still to come.

    `after_the_fact`, the claim has been committed, and only the answer is lost.
    """
    left = list(errors)
    claim = JobStore.claim

    def fail_first(store: JobStore, now: datetime) -> Claim:
        if not left:
            return claim(store, now)
        if after_the_fact:
            claim(store, now)
        raise left.pop(0)

    monkeypatch.setattr(JobStore, "claim", fail_first)
    return left


@pytest.fixture
def scheduler_log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "hotdata.scheduling")
    return caplog


def test_an_error_of_the_database_is_survived_and_logged_once(
    executor: Remembering,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    scheduler_log: pytest.LogCaptureFixture,
) -> None:
    job = make_minutely()
    clock.ahead = MINUTE
    fail_times(monkeypatch, [OperationalError("database is locked")] * 3)
    with scheduling(executor, clock):
        eventually(lambda: executor.of(job))
        eventually(lambda: messages(scheduler_log, "scheduler.recovered"))
    assert messages(scheduler_log, "scheduler.turn_failed") == [
        "scheduler.turn_failed error='OperationalError: database is locked'"
    ]
    assert messages(scheduler_log, "scheduler.recovered") == ["scheduler.recovered failures=3"]


def test_each_kind_of_error_is_logged_and_an_unknown_one_with_its_traceback(
    executor: Remembering,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    scheduler_log: pytest.LogCaptureFixture,
) -> None:
    job = make_minutely()
    clock.ahead = MINUTE
    away, bug = OperationalError("away"), ZeroDivisionError("a bug")
    fail_times(monkeypatch, [away, away, bug])
    with scheduling(executor, clock):
        eventually(lambda: executor.of(job))
    failed = [record for record in scheduler_log.records if "turn_failed" in record.getMessage()]
    assert [record.getMessage().split("=")[1] for record in failed] == [
        "'OperationalError: away'",
        "'ZeroDivisionError: a bug'",
    ]
    assert [bool(record.exc_info) for record in failed] == [False, True]


def test_what_changed_in_a_turn_that_failed_is_looked_at_again(
    executor: Remembering, brisk: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The change counter had been read by then, and does not change again."""
    job = make_yearly()
    with scheduling(executor) as scheduler:
        eventually(lambda: has_looked(scheduler))
        left = fail_times(monkeypatch, [OperationalError("away")] * 2)
        job.request_run(Cause.MANUAL)
        eventually(lambda: executor.of(job))
        assert not left


def test_runs_whose_commit_was_not_answered_are_worked_on_nevertheless(
    executor: Remembering, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are on record as handed to this node, which lives, so that no other will ever take them."""
    job = make_minutely()
    clock.ahead = MINUTE
    fail_times(monkeypatch, [OperationalError("The connection was lost.")], after_the_fact=True)
    with scheduling(executor, clock):
        [run] = eventually(lambda: executor.of(job))
    assert run.id == Run.objects.get().id


def test_a_run_that_is_handed_over_twice_is_started_once(executor: Remembering) -> None:
    """As happens to one that the executor knew, when the commit of others was not answered."""
    run = make_run(make_yearly())
    copy = Run.objects.get(pk=run.pk)
    assert len(Run.objects.start([run, copy], run.node, timezone.now())) == 1
    assert Run.objects.start([copy], run.node, timezone.now()) == []


class Outage:
    """A database that no thread but the test's own can reach, for as long as the outage lasts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._lasts = threading.Event()
        cursor = BaseDatabaseWrapper.cursor

        def fail_or_cursor(wrapper: BaseDatabaseWrapper) -> Any:
            if self._lasts.is_set() and threading.current_thread() is not threading.main_thread():
                raise OperationalError("The server is away.")
            return cursor(wrapper)

        monkeypatch.setattr(BaseDatabaseWrapper, "cursor", fail_or_cursor)

    def __enter__(self) -> None:
        self._lasts.set()

    def __exit__(self, *exc: object) -> None:
        self._lasts.clear()


def test_nodes_that_an_outage_kept_silent_are_not_taken_for_dead(
    executor: Remembering, brisk: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After it, all heartbeats are old, the leader's own among them; their runs go on."""
    outage, timeout = Outage(monkeypatch), timedelta(seconds=0.9)
    job = make_secondly()
    with scheduling(executor) as scheduler, Presence(timeout=timeout) as other:
        eventually(lambda: leads(scheduler))
        own, others, dead = (
            make_run(make_yearly(), node=node, state=State.RUNNING)
            for node in (scheduler._presence.name, other.name, "dead-node")
        )
        # The dead one was heard of just before, so it isn't settled before the outage.
        Node.objects.create(name="dead-node", host="host", pid=1, version="0")
        with outage:
            eventually(lambda: not Node.objects.alive(timeout).exists())
            assert not leads(scheduler), "on any doubt it steps down"
        before = len(executor.of(job))
        eventually(lambda: len(executor.of(job)) > before)
        eventually(lambda: Run.objects.filter(pk=dead.pk, state=State.ABANDONED).exists())
        assert Run.objects.get(pk=own.pk).state == State.RUNNING
        assert Run.objects.get(pk=others.pk).state == State.RUNNING


@pytest.mark.parametrize("stepped", [-HOUR, HOUR], ids=["back", "forward"])
def test_nodes_are_not_taken_for_dead_when_the_clock_of_the_database_is_stepped(
    executor: Remembering, stepped: timedelta
) -> None:
    """By the new clock all heartbeats are of another hour; the leader's lease may have outlasted the step."""
    scheduler = Scheduler(presence=Presence(timeout=MINUTE), executor=executor)
    for name in ("living", "dead"):
        Node.objects.create(name=name, host="host", pid=1, version="0", heartbeat_at=Now() - stepped)
    going, lost = (make_run(make_yearly(), node=name, state=State.RUNNING) for name in ("living", "dead"))

    def look() -> float:
        looked_at = time.monotonic()
        scheduler._settle_at = 0.0
        scheduler._look_after_dead_nodes()
        return (scheduler._settle_at - looked_at) * BEATS_PER_TIMEOUT / conf().node_timeout.total_seconds()

    try:
        assert look() > 1, "heartbeats, until the second look"
        Node.objects.filter(name="living").update(heartbeat_at=Now())
        look()
    finally:
        scheduler._waker.close()
    assert Run.objects.get(pk=going.pk).state == State.RUNNING
    assert Run.objects.get(pk=lost.pk).state == State.ABANDONED


# Leading and standing by


def test_one_of_two_leads_and_the_other_takes_over_when_it_stops(executor: Remembering, brisk: None) -> None:
    job = make_secondly()
    standby_executor = Remembering()
    with ExitStack() as running:
        with scheduling(executor) as leader:
            eventually(lambda: leads(leader))
            standby = running.enter_context(scheduling(standby_executor))
            eventually(lambda: len(executor.of(job)) >= 2)
            assert not leads(standby)
            assert not standby_executor.runs
            assert Node.objects.get(leading=True).name == leader._presence.name
        eventually(lambda: leads(standby))
        eventually(lambda: Run.objects.filter(node=standby._presence.name).exists())
    runs = Run.objects.order_by("scheduled_for")
    assert sum(1 + run.coalesced for run in runs) == (runs.last().scheduled_for - job.created_at) // SECOND


@pytest.mark.parametrize("hears", [True, False])
def test_a_standby_follows_at_once_when_it_hears_that_the_lease_was_given_up(
    executor: Remembering, patient: None, monkeypatch: pytest.MonkeyPatch, hears: bool
) -> None:
    """And at its next look when it hears nothing."""
    monkeypatch.setattr("hotdata.scheduling.scheduler.STANDBY_LOOK_WITH_BELL", NEVER)
    epoch = Lease.acquire("leader", timedelta(seconds=NEVER))
    assert epoch
    with Presence(timeout=MINUTE) as presence:
        standby = Scheduler(presence=presence, executor=executor, hears=lambda: hears)
        running = in_thread(standby.start)
        try:
            eventually(lambda: standby._lease.free_in > 0)
            Lease.release("leader", epoch)
            if hears:
                standby.wakeup()
            eventually(lambda: leads(standby))
        finally:
            standby.stop()
            running.result(20)


def test_a_standby_sleeps_until_just_when_the_lease_runs_out(
    executor: Remembering, patient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hotdata.scheduling.scheduler.STANDBY_LOOK", NEVER)
    Lease.acquire("dead-leader", timedelta(seconds=1))
    with scheduling(executor) as standby:
        eventually(lambda: leads(standby))


def test_what_the_dead_leader_had_not_started_is_taken_at_once(
    executor: Remembering, settings: Settings
) -> None:
    """Although it may still be alive for all anybody knows: it is not its to start any more."""
    settings.HOTDATA_NODE_TIMEOUT = NEVER
    Node.objects.create(name="old-leader", host="host", pid=1, version="0")
    waiting = make_run(make_yearly(), node="old-leader")
    going = make_run(make_yearly(), node="old-leader", state=State.RUNNING)
    Lease.acquire("old-leader", timedelta(seconds=0.1))
    with scheduling(executor):
        [taken] = eventually(lambda: executor.runs)
    assert taken.id == waiting.id
    assert Run.objects.start([waiting], "old-leader", timezone.now()) == []
    assert Run.objects.get(pk=going.pk).state == State.RUNNING


def test_a_leader_that_stops_is_not_shown_as_leading(executor: Remembering) -> None:
    with Presence(timeout=MINUTE) as presence:
        scheduler = Scheduler(presence=presence, executor=executor)
        running = in_thread(scheduler.start)
        eventually(lambda: Node.objects.filter(leading=True).exists())
        scheduler.stop()
        running.result(20)
        assert not Node.objects.get().leading, "its runs may go on for the length of the grace"


def test_a_deposed_leader_stands_by_and_leads_again_when_it_may(
    executor: Remembering, brisk: None, scheduler_log: pytest.LogCaptureFixture
) -> None:
    with scheduling(executor) as scheduler:
        eventually(lambda: leads(scheduler))
        epoch = scheduler._lease.epoch or 0
        Lease.objects.update(holder="usurper", epoch=epoch + 1, expires_at=Now() + timedelta(seconds=1.5))
        eventually(lambda: messages(scheduler_log, "scheduler.standing_by"))
        job = make_secondly()
        eventually(lambda: leads(scheduler))
        assert scheduler._lease.epoch == epoch + 2
        eventually(lambda: executor.of(job))


def test_what_a_dead_node_left_is_taken_by_a_leader_that_was_there_before(
    executor: Remembering, brisk: None
) -> None:
    with scheduling(executor) as scheduler:
        eventually(lambda: has_looked(scheduler))
        run = make_run(make_yearly(), node="dead-node")
        eventually(lambda: [taken for taken in executor.runs if taken.id == run.id])


@pytest.mark.only_on("postgres")
def test_a_row_that_an_edit_keeps_locked_is_not_asked_for_without_a_pause(
    executor: Remembering, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_minutely()
    asked: list[float] = []
    claim = JobStore.claim

    def note_the_time(store: JobStore, now: datetime) -> Claim:
        asked.append(time.monotonic())
        return claim(store, now)

    with scheduling(executor, clock) as scheduler:
        eventually(lambda: has_looked(scheduler))
        monkeypatch.setattr(JobStore, "claim", note_the_time)
        with transaction.atomic():
            Schedule.objects.select_for_update().get(id=job.name)
            clock.ahead = MINUTE
            scheduler.wakeup()
            eventually(lambda: len(asked) >= 6)
            assert asked[5] - asked[0] >= 5 * LOCKED_PAUSE.total_seconds()
            assert not executor.runs
        eventually(lambda: executor.of(job))


# The end


def test_stop_ends_the_loop_and_hands_the_lease_over(executor: Remembering, patient: None) -> None:
    with scheduling(executor) as scheduler:
        eventually(lambda: leads(scheduler))
    assert Lease.objects.get().holder == ""


def test_a_scheduler_that_is_stopped_before_it_starts_does_nothing(executor: Remembering) -> None:
    make_yearly().request_run(Cause.MANUAL)
    with Presence(timeout=MINUTE) as presence:
        scheduler = Scheduler(presence=presence, executor=executor)
        scheduler.stop()
        in_thread(scheduler.start).result(10)
    assert not executor.runs


def test_stopping_twice_and_waking_after_the_end_are_no_errors(executor: Remembering) -> None:
    with scheduling(executor) as scheduler:
        scheduler.stop()
    scheduler.stop()
    scheduler.wakeup()


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_a_scheduler_ends_although_its_lease_can_not_be_given_up(
    executor: Remembering, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fail(*args: object) -> None:
        raise error("connection already closed")

    with scheduling(executor) as scheduler:
        eventually(lambda: leads(scheduler))
        monkeypatch.setattr(Lease, "release", fail)


def test_a_loop_that_fails_gives_its_lease_up(
    executor: Remembering, patient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise RuntimeError("broken on purpose")

    with Presence(timeout=MINUTE) as presence:
        scheduler = Scheduler(presence=presence, executor=executor)
        running = in_thread(scheduler.start)
        eventually(lambda: leads(scheduler))
        monkeypatch.setattr(Waker, "sleep", fail)
        scheduler.wakeup()
        with pytest.raises(RuntimeError, match="on purpose"):
            running.result(20)
    assert Lease.objects.get().holder == ""


def test_a_scheduler_ends_although_the_database_is_away(
    executor: Remembering, brisk: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    outage = Outage(monkeypatch)
    with outage, scheduling(executor) as scheduler:
        eventually(lambda: scheduler._failures >= 1)
