"""Whatever operators, clocks and nodes do, and in whatever order: the books of each job balance.

Hypothesis draws the order. A model beside the product keeps, for each job, the plain list of the due times that
its timetables had while they stood, found by trying every moment; the records are judged by that list.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from hotdata.exceptions import LostLease
from hotdata.execution.outcome import Outcome
from hotdata.execution.record import record
from hotdata.models import ChangeCounter, Job, Lease, Node, Run, Schedule
from hotdata.models.policies import HOLDING, Overlap
from hotdata.models.runs import ACTIVE, Cause, State
from hotdata.models.schedules import Kind
from hotdata.scheduling.jobstore import CLAIM_LIMIT, JobStore
from hotdata.scheduling.lease import LeaseKeeper
from hotdata.scheduling.recovery import settle
from tests.faults import accounts

START = datetime(2026, 11, 23, 12, 0, 30, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=seconds) for seconds in (1, 60, 3600, 86_400))
LONG = timedelta(hours=1)  # of the database's clock, which nobody moves: leases and nodes outlive the test
MOST_JOBS = 3
EXAMPLES = 40
STEPS = 30
ROUNDS = 12  # of claims and runs, after which all must have ended

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


# The model


Candidates = Callable[[datetime, datetime], Iterator[datetime]]

CRONS: dict[str, Callable[[datetime], bool]] = {
    "*/5 * * * *": lambda time: time.minute % 5 == 0,
    "7 */6 * * *": lambda time: time.minute == 7 and time.hour % 6 == 0,
    "0 3 * * 1": lambda time: (time.minute, time.hour, time.isoweekday()) == (0, 3, 1),
}


@dataclass(frozen=True, kw_only=True)
class Times:
    """When a job is due, for the product's fields and for the model alike."""

    cron: str = ""
    interval: timedelta | None = None
    in_time: timedelta | None = None
    """Of a one-off: how long after it was so defined."""

    def fields(self, now: datetime) -> dict[str, object]:
        return {
            "trigger": Kind.CRON if self.cron else Kind.INTERVAL if self.interval else Kind.DATE,
            "cron": self.cron,
            "interval": self.interval,
            "run_at": now + self.in_time if self.in_time is not None else None,
        }

    def between(
        self, created: datetime, defined: datetime, after: datetime, until: datetime
    ) -> Iterator[datetime]:
        """The due times in (after, until] of a job of that age, which was so defined at `defined`."""
        if self.cron:
            time = after.replace(second=0, microsecond=0)
            fits, step = CRONS[self.cron], MINUTE
        elif self.interval:
            time, fits, step = created, lambda time: True, self.interval
        else:
            assert self.in_time is not None
            time, fits, step = defined + self.in_time, lambda time: True, 1000 * 366 * DAY
        while time <= until:
            if time > after and fits(time):
                yield time
            time += step


TIMES = st.one_of(
    st.sampled_from([Times(interval=interval) for interval in (MINUTE, 2 * MINUTE, 7 * MINUTE, HOUR)]),
    st.sampled_from([Times(cron=cron) for cron in CRONS]),
    st.sampled_from([Times(in_time=time) for time in (SECOND, HOUR, 3 * DAY)]),
)


@dataclass(frozen=True, kw_only=True)
class Definition:
    """A job as it is made."""

    times: Times
    policies: dict[str, Any]


POLICIES = st.fixed_dictionaries(
    {
        "overlap": st.sampled_from(Overlap.values),
        "max_instances": st.sampled_from([1, 3]),
        "coalesce": st.booleans(),
        "misfire_grace_time": st.sampled_from([None, MINUTE, HOUR]),
        "jitter": st.sampled_from([timedelta(0), 4 * MINUTE]),
        "max_retries": st.sampled_from([0, 1]),
        "recover": st.booleans(),
        "pause_after_failures": st.sampled_from([None, 1, 2]),
    }
)
WHICH = st.integers(0, MOST_JOBS - 1)
DEFINITIONS = st.builds(Definition, times=TIMES, policies=POLICIES)
PASSING = st.sampled_from([SECOND, MINUTE, 2 * MINUTE, 5 * MINUTE, HOUR, 7 * HOUR, 15 * DAY])


@dataclass(kw_only=True)
class Line:
    """What the books must say of one job: its due times so far."""

    name: str
    offset: timedelta
    created: datetime
    defined: datetime
    times: Times
    limit: int
    """Runs of its schedule that may be active at a time, less those that are held."""
    held_limit: int
    listed_to: datetime
    due: list[datetime] = field(default_factory=list)
    paused: bool = False
    paused_until: datetime | None = None
    gone: bool = False
    records: int = 0

    def list_up_to(self, now: datetime) -> None:
        """List what has come by `now`. With jitter, a due time comes later than it was due."""
        until = now - self.offset
        if self.gone or until <= self.listed_to:
            return
        for time in self.times.between(self.created, self.defined, self.listed_to, until):
            passed_over = self.paused and (self.paused_until is None or time < self.paused_until)
            if not passed_over:
                self.due.append(time)
        self.listed_to = until


class NodeUnderTest:
    """One node: a store that claims, what it was handed, and what it has begun."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lease = LeaseKeeper(node=name, ttl=LONG)
        self.store = JobStore(node=name, lease=self.lease)
        self.handed: list[Run] = []
        self.running: list[Run] = []
        Node.objects.create(name=name, host="here", pid=1, version="0")


# The machine


class Books(RuleBasedStateMachine):
    """Two nodes that lead in turn, some jobs, an operator, and a clock that can go back."""

    def __init__(self) -> None:
        super().__init__()
        for model in (Run, Job, Schedule, Lease, Node, ChangeCounter):
            model.objects.all().delete()
        self._travel = time_machine.travel(START, tick=False)
        self._clock = self._travel.start()
        self.now = self.latest = START
        self.lines: dict[str, Line] = {}
        self.begun: set[tuple[int, int]] = set()
        self.lost: list[Run] = []
        self.named = 0
        self.nodes = [self._new_node(), self._new_node()]

    def _new_node(self) -> NodeUnderTest:
        self.named += 1
        return NodeUnderTest(f"node-{self.named}")

    # The clock

    @rule(time=PASSING)
    def time_passes(self, time: timedelta) -> None:
        self._move_clock(self.now + time)
        for line in self.lines.values():
            line.list_up_to(self.now)

    @rule(time=st.sampled_from([SECOND, 2 * MINUTE, HOUR]))
    def the_clock_is_set_back(self, time: timedelta) -> None:
        self._move_clock(self.now - time)

    def _move_clock(self, to: datetime) -> None:
        self.now, self.latest = to, max(self.latest, to)
        self._clock.move_to(to)

    @property
    def in_order(self) -> bool:
        """Whether the clock has caught up with where it was. An edit before then makes due again what came already."""
        return self.now >= self.latest

    # The operator

    @property
    def defined(self) -> list[Line]:
        return [line for line in self.lines.values() if not line.gone]

    @initialize(definitions=st.lists(DEFINITIONS, min_size=1, max_size=2))
    def there_are_jobs(self, definitions: list[Definition]) -> None:
        for definition in definitions:
            self.a_job_is_made(definition)

    @precondition(lambda self: len(self.defined) < MOST_JOBS and self.in_order)
    @rule(definition=DEFINITIONS)
    def another_job_is_made(self, definition: Definition) -> None:
        self.a_job_is_made(definition)

    def a_job_is_made(self, definition: Definition) -> None:
        job = Job(
            name=f"job-{len(self.lines)}",
            task="refresh_due",
            time_zone="UTC",
            retry_delay=SECOND,
            **definition.policies,
            **definition.times.fields(self.now),
        )
        job.save()
        offset = job.timetable().offset
        self.lines[job.name] = Line(
            name=job.name,
            offset=offset,
            created=self.now,
            defined=self.now,
            times=definition.times,
            limit=job.max_instances if job.overlap == Overlap.ALLOW_ALL else 1,
            held_limit=int(job.overlap in HOLDING),
            listed_to=self.now - offset,
        )

    @precondition(lambda self: self.defined and self.in_order)
    @rule(which=WHICH, times=TIMES)
    def its_times_are_edited(self, which: int, times: Times) -> None:
        line, job = self._job(which)
        for name, value in times.fields(self.now).items():
            setattr(job, name, value)
        job.save()
        line.times, line.defined = times, self.now

    @precondition(lambda self: self.defined and self.in_order)
    @rule(
        which=WHICH,
        until=st.sampled_from([None, 10 * MINUTE, HOUR, 2 * DAY]),
        time=PASSING,
        resume=st.booleans(),
    )
    def it_is_paused(self, which: int, until: timedelta | None, time: timedelta, resume: bool) -> None:
        """And perhaps resumed after a time, whether or not the pause has ended by itself."""
        line, job = self._job(which)
        end = None if until is None else self.now + until
        if job.set_paused(True, note="for a while", by="operator", until=end):
            line.paused, line.paused_until = True, end
        self.time_passes(time)
        if resume and job.set_paused(False):
            line.paused = False

    @precondition(lambda self: self.defined)
    @rule(which=WHICH)
    def it_is_run_now(self, which: int) -> None:
        _, job = self._job(which)
        job.request_run(Cause.MANUAL, by="operator")

    @precondition(lambda self: len(self.defined) == MOST_JOBS and self.in_order)
    @rule(which=WHICH)
    def it_is_deleted(self, which: int) -> None:
        line, job = self._job(which)
        job.delete()
        line.gone = True

    @rule(which=st.integers(0, 5))
    def a_run_is_cancelled(self, which: int) -> None:
        active = list(Run.objects.filter(state__in=ACTIVE).order_by("id"))
        if active:
            active[which % len(active)].cancel("operator", self.now)

    def _job(self, which: int) -> tuple[Line, Job]:
        line = self.defined[which % len(self.defined)]
        return line, Job.objects.get(name=line.name)

    # The nodes

    @rule(which=st.integers(0, 1), time=PASSING)
    def time_passes_and_a_node_leads(self, which: int, time: timedelta) -> None:
        self.time_passes(time)
        self.a_node_leads_for_a_turn(which)

    @rule(which=st.integers(0, 1))
    def a_node_leads_for_a_turn(self, which: int) -> None:
        """As `Scheduler._fire` does, after the lease has gone over to it; the other can't claim any more."""
        node, other = self.nodes[which], self.nodes[1 - which]
        other.lease.release()
        assert node.lease.keep()
        with pytest.raises(LostLease):
            other.store.claim(self.now)
        node.handed += node.store.claim(self.now).queued
        Run.objects.release_held(self.now)
        node.handed += Run.objects.take(node.name, self.now, CLAIM_LIMIT)
        if self.in_order:
            self._judge()

    @rule(which=st.integers(0, 1), twice=st.booleans(), oldest=st.booleans())
    def what_it_was_handed_is_started(self, which: int, twice: bool, oldest: bool = False) -> None:
        """All of it or the oldest alone. After a turn that failed the executor holds copies, handed over before."""
        node = self.nodes[which]
        begun = 1 if oldest else len(node.handed)
        handed, left = node.handed[:begun], node.handed[begun:]
        node.handed = [copy.copy(run) for run in handed if twice] + left
        for run in Run.objects.start(handed, node.name, self.now):
            attempt = (run.pk, run.attempt)
            assert attempt not in self.begun, f"{attempt} was begun before"
            self.begun.add(attempt)
            node.running.append(run)

    @rule(which=st.integers(0, 1), time=PASSING)
    def it_leads_and_starts_what_it_gets(self, which: int, time: timedelta) -> None:
        self.time_passes(time)
        self.a_node_leads_for_a_turn(which)
        self.what_it_was_handed_is_started(which, twice=True)

    @precondition(lambda self: self.in_order)
    @rule(which=st.integers(0, 1))
    def what_it_was_handed_twice_fails_and_is_tried_again(self, which: int) -> None:
        """The copies that are left are of runs that now wait for their next attempt, handed to this node, too."""
        node = self.nodes[which]
        self.what_it_was_handed_is_started(which, twice=True)
        while node.running:
            self._record(node.running.pop(), State.FAILED)
        self.time_passes(2 * SECOND)
        self.a_node_leads_for_a_turn(which)
        self.what_it_was_handed_is_started(which, twice=False, oldest=True)

    @precondition(lambda self: any(node.running for node in self.nodes))
    @rule(which=st.integers(0, 5), state=st.sampled_from([State.SUCCEEDED, State.FAILED, State.CANCELLED]))
    def a_run_ends(self, which: int, state: State) -> None:
        node = max(self.nodes, key=lambda node: len(node.running))
        self._record(node.running.pop(which % len(node.running)), state)

    @rule(which=st.integers(0, 1))
    def a_node_dies(self, which: int) -> None:
        node = self.nodes[which]
        self.lost += node.running
        Node.objects.filter(name=node.name).delete()
        # The others needn't wait for its lease: `Lease` itself has that tested.
        node.lease.release()
        self.nodes[which] = self._new_node()

    @rule()
    def dead_nodes_are_settled(self) -> None:
        settle(self.now, LONG)

    @precondition(lambda self: self.lost)
    @rule(state=st.sampled_from([State.SUCCEEDED, State.FAILED]))
    def a_node_thought_dead_wakes_and_records(self, state: State) -> None:
        self._record(self.lost.pop(), state)

    def _record(self, run: Run, state: State) -> None:
        # A failure may pause the job, and no edit comes while the clock is back.
        state = state if self.in_order else State.SUCCEEDED
        error = "broken on purpose" if state == State.FAILED else ""
        record(
            [Outcome(run=run, node=run.node, state=state, finished_at=self.now, duration=SECOND, error=error)]
        )
        line = self.lines[run.job_id]
        if not line.gone and not line.paused and Job.objects.filter(name=line.name, paused=True).exists():
            line.paused, line.paused_until = True, None
            assert state == State.FAILED

    # What holds

    @invariant()
    def no_policy_is_overstepped_and_no_history_lost(self) -> None:
        records, going, held = Counter[str](), Counter[str](), Counter[str]()
        for name, state, cause, waits in Run.objects.values_list("job_id", "state", "cause", "held"):
            records[name] += 1
            if cause == Cause.SCHEDULE and state in ACTIVE:
                (held if waits else going)[name] += 1
        for line in self.lines.values():
            assert going[line.name] <= line.limit, line.name
            assert held[line.name] <= line.held_limit, line.name
            assert records[line.name] >= line.records, line.name
            line.records = records[line.name]

    def _judge(self) -> None:
        for line in self.lines.values():
            accounts.assert_each_due_time_has_one_account(line.name, line.due)

    def teardown(self) -> None:
        try:
            self._come_to_rest()
        finally:
            self._travel.stop()

    def _come_to_rest(self) -> None:
        """No more due times; what is active comes to its end; then the books are closed and judged."""
        self._move_clock(self.latest)
        for line in self.defined:
            job = Job.objects.get(name=line.name)
            job.paused, job.paused_until = True, None
            job.save()
            line.list_up_to(self.now)
            line.paused, line.paused_until = True, None
        self.a_node_dies(1)
        for _ in range(ROUNDS):
            settle(self.now, LONG)
            self.a_node_leads_for_a_turn(0)
            self.what_it_was_handed_is_started(0, twice=False)
            while self.nodes[0].running:
                self._record(self.nodes[0].running.pop(), State.SUCCEEDED)
            if not accounts.unsettled():
                break
            self._move_clock(self.now + SECOND)
        accounts.assert_all_came_to_an_end()
        self.no_policy_is_overstepped_and_no_history_lost()


def test_the_books_balance_whatever_is_done_and_in_whatever_order() -> None:
    run_state_machine_as_test(
        Books,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=True,
            phases=[Phase.generate],  # to find a shorter story takes minutes
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
