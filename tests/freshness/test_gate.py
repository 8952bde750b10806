from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from bisect import bisect_left
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from hotdata.exceptions import CacheUnavailable, GateClosed, UpstreamError
from hotdata.freshness import gate as gates
from hotdata.freshness.gate import Gate, Limits, Passage, Recent
from tests.freshness.conftest import OwnRedis
from tests.threads import PATIENCE
from tools.children import spawn, stop

pytestmark = pytest.mark.usefixtures("clear_cache")

ROOT = Path(__file__).resolve().parents[2]

HOLD = timedelta(seconds=10)
PAUSE = timedelta(seconds=30)
A_TEST = timedelta(seconds=1)  # at most, from its first call to Redis to its last


class Clock:
    """How far the time of Redis is ahead. Redis's own goes on, but no test takes a second of it."""

    def __init__(self) -> None:
        self._ahead = timedelta()

    def __call__(self) -> timedelta:
        return self._ahead

    def advance(self, duration: timedelta | float) -> None:
        self._ahead += duration if isinstance(duration, timedelta) else timedelta(seconds=duration)

    @property
    def seconds(self) -> float:
        return self._ahead.total_seconds()


@pytest.fixture
def clock() -> Clock:
    return Clock()


GateMaker = Callable[..., Gate]


@pytest.fixture
def make_gate(clock: Clock) -> GateMaker:
    """Makes gates on the test's clock that keep hardly anybody out, unless told otherwise."""

    def make(source: str = "stock", recent: Callable[[], Recent] = Recent, **limits: Any) -> Gate:
        generous = {"calls_per_minute": 6000, "burst": 6000, "concurrency": 64, "failures": 5, "pause": PAUSE}
        return Gate(source, Limits(**(generous | limits)), recent=recent, clock_offset=clock)

    return make


def enter(gate: Gate, hold: timedelta = HOLD) -> Passage:
    return gate.enter(hold=hold)


def call(gate: Gate, *, failed: bool = False, cooldown: timedelta | None = None) -> Passage:
    """A call that takes no time."""
    passage = enter(gate)
    passage.leave(failed=failed, cooldown=cooldown)
    return passage


def refusal(gate: Gate) -> GateClosed:
    with pytest.raises(GateClosed) as caught:
        enter(gate)
    return caught.value


def calls_until_refused(gate: Gate) -> int:
    """How many calls go through at once, one after the other."""
    for number in range(10_000):
        try:
            call(gate)
        except GateClosed:
            return number
    raise AssertionError("the gate lets everybody in")


def is_about(found: timedelta, seconds: float) -> bool:
    return timedelta(seconds=seconds) - A_TEST < found <= timedelta(seconds=seconds)


def trip(gate: Gate) -> None:
    """Open the breaker."""
    for _ in range(gate.limits.failures):
        call(gate, failed=True)


def most_in_a_window(numbers: Sequence[int], window: timedelta) -> int:
    """The most passages in any window of this length, open at its end."""
    times = sorted(numbers)
    length = window // timedelta(microseconds=1)
    return max(bisect_left(times, start + length) - place for place, start in enumerate(times))


# The budget


@pytest.mark.parametrize("burst", [1, 10, 30, 300])
def test_no_minute_has_more_calls_than_the_budget_and_nearly_all_of_it_is_used(
    make_gate: GateMaker, clock: Clock, burst: int
) -> None:
    gate = make_gate(calls_per_minute=30, burst=burst)
    numbers: list[int] = []
    while clock.seconds < 600:
        try:
            numbers.append(call(gate).number)
        except GateClosed as closed:
            clock.advance(min(closed.retry_after, timedelta(seconds=1)))
    assert most_in_a_window(numbers, timedelta(minutes=1)) == 30
    assert len(numbers) >= 0.95 * 300


def test_a_call_counts_for_a_second_longer_than_a_minute_since_it_may_be_late_at_the_upstream(
    make_gate: GateMaker, clock: Clock
) -> None:
    gate = make_gate(calls_per_minute=3, burst=3)
    assert calls_until_refused(gate) == 3
    clock.advance(60)
    assert refusal(gate).reason == "budget"
    clock.advance(1)
    assert calls_until_refused(gate) == 3


def test_a_refusal_for_the_budget_tells_when_the_window_has_room(make_gate: GateMaker, clock: Clock) -> None:
    gate = make_gate(calls_per_minute=3, burst=3)
    call(gate)
    clock.advance(25)
    call(gate)
    call(gate)
    clock.advance(5)
    retry_after = refusal(gate).retry_after
    assert is_about(retry_after, 31)
    clock.advance(retry_after - A_TEST)
    assert refusal(gate).reason == "budget"
    clock.advance(A_TEST)
    call(gate)


def test_after_a_quiet_time_a_burst_goes_through_at_once_and_then_the_minutes_pace(
    make_gate: GateMaker, clock: Clock
) -> None:
    gate = make_gate(calls_per_minute=12, burst=4)
    assert calls_until_refused(gate) == 4
    assert is_about(refusal(gate).retry_after, 5)
    for _ in range(5):
        clock.advance(5)
        assert calls_until_refused(gate) == 1
    clock.advance(10)
    assert calls_until_refused(gate) == 2
    clock.advance(600)
    assert calls_until_refused(gate) == 4


def test_a_refused_call_costs_nothing(make_gate: GateMaker, clock: Clock) -> None:
    gate = make_gate(calls_per_minute=12, burst=1)
    call(gate)
    for _ in range(50):
        assert refusal(gate).reason == "budget"
    clock.advance(5)
    call(gate)


def test_sources_have_budgets_of_their_own(make_gate: GateMaker) -> None:
    stock, news = (make_gate(source, calls_per_minute=1, burst=1) for source in ("stock", "news"))
    assert calls_until_refused(stock) == 1
    assert calls_until_refused(news) == 1


def test_all_gates_of_a_source_are_one(make_gate: GateMaker) -> None:
    call(make_gate(calls_per_minute=2, burst=2))
    assert calls_until_refused(make_gate(calls_per_minute=2, burst=2)) == 1


def test_a_clock_that_is_set_back_exceeds_no_budget_and_closes_the_gate_for_a_minute_at_most(
    make_gate: GateMaker, clock: Clock
) -> None:
    gate = make_gate(calls_per_minute=3, burst=3)
    assert calls_until_refused(gate) == 3
    clock.advance(-3600)
    assert is_about(refusal(gate).retry_after, 61)
    clock.advance(61)
    assert calls_until_refused(gate) == 3


def test_no_two_passages_have_the_same_number_whatever_the_clock_does(
    make_gate: GateMaker, clock: Clock
) -> None:
    gate = make_gate()
    first = call(gate).number
    clock.advance(-3600)
    assert refusal(gate).reason == "budget", "what was used before is not known any more, so it may be all"
    clock.advance(1)
    assert call(gate).number > first


# Concurrency


def test_no_more_calls_are_under_way_than_may_be(make_gate: GateMaker) -> None:
    gate = make_gate(concurrency=2)
    first, _second = enter(gate), enter(gate)
    assert refusal(gate).reason == "concurrency"
    first.leave(failed=False)
    enter(gate)
    assert refusal(gate).reason == "concurrency"


def test_as_many_threads_as_may_have_a_call_under_way_and_never_more(make_gate: GateMaker) -> None:
    under_way, most = 0, 0
    lock = threading.Lock()
    all_places_taken = threading.Barrier(3)

    def work(_: int) -> None:
        nonlocal under_way, most
        passage = gate.wait(hold=timedelta(minutes=5), patience=lambda: PATIENCE)
        with lock:
            under_way += 1
            most = max(most, under_way)
        all_places_taken.wait(PATIENCE)
        with lock:
            under_way -= 1
        passage.leave(failed=False)

    gate = make_gate(concurrency=3)
    with ThreadPoolExecutor(9) as pool:
        list(pool.map(work, range(36)))
    assert most == 3


def test_a_passage_that_is_never_left_ends_with_its_hold(make_gate: GateMaker, clock: Clock) -> None:
    gate = make_gate(concurrency=1)
    enter(gate)
    clock.advance(4)
    assert is_about(refusal(gate).retry_after, 6)
    clock.advance(6)
    enter(gate)


def test_each_passage_has_its_own_hold(make_gate: GateMaker, clock: Clock) -> None:
    gate = make_gate(concurrency=2)
    enter(gate, hold=timedelta(seconds=60))
    enter(gate, hold=timedelta(seconds=10))
    clock.advance(10)
    enter(gate, hold=timedelta(seconds=30))
    assert is_about(refusal(gate).retry_after, 30)


def test_a_passage_is_left_only_once(make_gate: GateMaker) -> None:
    gate = make_gate(failures=2)
    passage = enter(gate)
    passage.leave(failed=True)
    passage.leave(failed=True)
    passage.leave(failed=False)
    assert gate.look().failures == 1


# The cooldown


def test_a_cooldown_closes_the_gate_until_it_is_over(make_gate: GateMaker, clock: Clock) -> None:
    gate = make_gate()
    call(gate, cooldown=timedelta(seconds=20))
    closed = refusal(gate)
    assert closed.reason == "cooldown"
    assert is_about(closed.retry_after, 20)
    clock.advance(19)
    assert refusal(gate).reason == "cooldown"
    clock.advance(1)
    call(gate)


@pytest.mark.parametrize("asked", [(20, 5), (5, 20)])
def test_of_two_cooldowns_the_one_that_ends_later_counts(
    make_gate: GateMaker, asked: tuple[int, int]
) -> None:
    gate = make_gate()
    passages = [enter(gate), enter(gate)]
    for passage, seconds in zip(passages, asked, strict=True):
        passage.leave(failed=True, cooldown=timedelta(seconds=seconds))
    assert is_about(refusal(gate).retry_after, 20)


def test_a_success_does_not_end_a_cooldown(make_gate: GateMaker) -> None:
    gate = make_gate()
    earlier = enter(gate)
    call(gate, cooldown=timedelta(seconds=20))
    earlier.leave(failed=False)
    assert refusal(gate).reason == "cooldown"


def test_when_more_than_one_thing_closes_the_gate_the_longest_is_told(
    make_gate: GateMaker, clock: Clock
) -> None:
    gate = make_gate(failures=1, concurrency=1)
    call(gate, failed=True, cooldown=timedelta(seconds=20))
    assert refusal(gate).reason == "breaker"
    clock.advance(PAUSE)
    call(gate, failed=True, cooldown=timedelta(minutes=10))
    assert refusal(gate).reason == "cooldown"


# The breaker


def test_failures_in_a_row_open_the_breaker(make_gate: GateMaker, clock: Clock) -> None:
    gate = make_gate(failures=3)
    call(gate, failed=True)
    call(gate, failed=True)
    call(gate, failed=True)
    closed = refusal(gate)
    assert closed.reason == "breaker"
    assert is_about(closed.retry_after, 30)
    clock.advance(29)
    assert refusal(gate).reason == "breaker"


def test_a_success_between_failures_resets_their_count(make_gate: GateMaker) -> None:
    gate = make_gate(failures=3)
    for _ in range(5):
        call(gate, failed=True)
        call(gate, failed=True)
        call(gate)
    assert gate.look().failures == 0


def test_after_the_pause_there_is_one_probe_at_a_time(make_gate: GateMaker, clock: Clock) -> None:
    gate = make_gate()
    trip(gate)
    clock.advance(PAUSE)
    enter(gate)
    clock.advance(2)
    closed = refusal(gate)
    assert closed.reason == "breaker"
    assert is_about(closed.retry_after, 8)


def test_a_probe_that_succeeds_closes_the_breaker_and_resets_it(make_gate: GateMaker, clock: Clock) -> None:
    gate = make_gate(failures=3)
    trip(gate)
    clock.advance(PAUSE)
    call(gate, failed=True)
    clock.advance(2 * PAUSE)
    call(gate)
    enter(gate)
    enter(gate)
    assert gate.look().failures == 0
    trip(gate)
    assert is_about(refusal(gate).retry_after, 30)


@pytest.mark.parametrize(
    ("pause", "pauses"), [(30, [30, 60, 120, 120, 120]), (300, [300, 300, 300]), (70, [70, 120, 120])]
)
def test_each_failed_probe_doubles_the_pause_up_to_a_cap(
    make_gate: GateMaker, clock: Clock, pause: int, pauses: list[int]
) -> None:
    gate = make_gate(pause=timedelta(seconds=pause))
    trip(gate)
    for expected in pauses:
        retry_after = refusal(gate).retry_after
        assert is_about(retry_after, expected)
        clock.advance(expected)
        call(gate, failed=True)


def test_a_probe_that_is_never_left_makes_way_for_another_after_its_hold(
    make_gate: GateMaker, clock: Clock
) -> None:
    gate = make_gate()
    trip(gate)
    clock.advance(PAUSE)
    lost = enter(gate)
    clock.advance(HOLD)
    lost_too = enter(gate)
    clock.advance(HOLD)
    probe = enter(gate)
    lost.leave(failed=True)
    closed = refusal(gate)
    assert closed.reason == "breaker"
    assert is_about(closed.retry_after, 10), "a lost probe has no say any more"
    probe.leave(failed=False)
    lost_too.leave(failed=True)
    assert gate.look().breaker == "closed"
    assert gate.look().failures == 0


def test_a_probe_that_is_not_made_leaves_the_breaker_open_and_makes_way_at_once(
    make_gate: GateMaker, clock: Clock
) -> None:
    gate = make_gate()
    trip(gate)
    clock.advance(PAUSE)
    enter(gate).leave(failed=None)
    assert gate.look().breaker == "half-open"
    call(gate)
    assert gate.look().breaker == "closed"


def test_many_gates_are_looked_at_at_once_as_they_are_one_by_one(make_gate: GateMaker, redis: Redis) -> None:
    well, dead, unused = make_gate("stock", calls_per_minute=30), make_gate("news"), make_gate("weather")
    call(well)
    enter(well)
    trip(dead)
    redis.script_flush()
    states = gates.look_each([well, dead, unused])
    assert [(state.calls, state.under_way, state.breaker, state.budget) for state in states] == [
        (2, 1, "closed", 30),
        (5, 0, "open", 6000),
        (0, 0, "closed", 6000),
    ]
    assert gates.look_each([]) == []


def test_a_call_that_is_not_made_is_no_success(make_gate: GateMaker) -> None:
    gate = make_gate(failures=3)
    call(gate, failed=True)
    call(gate, failed=True)
    enter(gate).leave(failed=None)
    assert (gate.look().failures, gate.look().under_way) == (2, 0)


def test_calls_that_entered_before_the_breaker_opened_do_not_lengthen_the_pause(
    make_gate: GateMaker, clock: Clock
) -> None:
    gate = make_gate(failures=3)
    before = [enter(gate, hold=timedelta(minutes=5)) for _ in range(10)]
    trip(gate)
    clock.advance(20)
    for passage in before[:4]:
        passage.leave(failed=True)
    assert is_about(refusal(gate).retry_after, 10)
    clock.advance(10)
    probe = enter(gate)
    for passage in before[4:7]:
        passage.leave(failed=True)
    probe.leave(failed=False)
    for passage in before[7:]:
        passage.leave(failed=True)
    assert gate.look().breaker == "closed"
    assert gate.look().failures == 0


def test_a_success_that_entered_before_the_breaker_opened_does_not_close_it(make_gate: GateMaker) -> None:
    gate = make_gate()
    before = enter(gate)
    trip(gate)
    before.leave(failed=False)
    assert refusal(gate).reason == "breaker"


def test_a_clock_that_is_set_back_does_not_lengthen_the_pause(make_gate: GateMaker, clock: Clock) -> None:
    gate = make_gate()
    trip(gate)
    clock.advance(-3600)
    assert is_about(refusal(gate).retry_after, 30)
    clock.advance(PAUSE)
    call(gate)


class Outage:
    """An upstream that fails after `duration`, and ten callers a second who try, whatever the gate said before."""

    def __init__(self, gate: Gate, clock: Clock, duration: timedelta) -> None:
        self._gate = gate
        self._clock = clock
        self._duration = duration.total_seconds()
        self._under_way: list[tuple[float, Passage]] = []
        self.calls = 0

    def last(self, duration: timedelta) -> None:
        end = self._clock.seconds + duration.total_seconds()
        while self._clock.seconds < end:
            self._end_calls()
            for _ in range(10):
                try:
                    passage = enter(self._gate, hold=timedelta(seconds=self._duration + 1))
                except GateClosed:
                    break
                self.calls += 1
                self._under_way.append((self._clock.seconds + self._duration, passage))
                self._end_calls()
            self._clock.advance(1)

    def _end_calls(self) -> None:
        while self._under_way and self._under_way[0][0] <= self._clock.seconds:
            self._under_way.pop(0)[1].leave(failed=True)


@pytest.mark.parametrize("duration", [0, 1, 10])
def test_in_an_outage_of_ten_minutes_at_most_25_calls_reach_the_upstream_and_one_probe_ends_it(
    make_gate: GateMaker, clock: Clock, duration: int
) -> None:
    gate = make_gate(failures=5, pause=PAUSE, concurrency=8)
    outage = Outage(gate, clock, timedelta(seconds=duration))
    outage.last(timedelta(minutes=10))
    assert 5 < outage.calls <= 25
    clock.advance(gates.MAX_PAUSE)
    probe = enter(gate)
    assert refusal(gate).reason == "breaker"
    probe.leave(failed=False)
    for _ in range(20):
        call(gate)


# Limits that are edited


def test_an_edited_budget_applies_at_the_next_enter(make_gate: GateMaker, clock: Clock) -> None:
    assert calls_until_refused(make_gate(calls_per_minute=5, burst=5)) == 5
    clock.advance(30)
    assert is_about(refusal(make_gate(calls_per_minute=5, burst=5)).retry_after, 31)
    assert calls_until_refused(make_gate(calls_per_minute=8, burst=8)) == 3
    assert is_about(refusal(make_gate(calls_per_minute=2, burst=2)).retry_after, 61)
    clock.advance(61)
    assert calls_until_refused(make_gate(calls_per_minute=2, burst=2)) == 2


def test_a_faster_pace_applies_at_the_next_enter(make_gate: GateMaker, clock: Clock) -> None:
    slow, fast = make_gate(calls_per_minute=1, burst=1), make_gate(calls_per_minute=60, burst=1)
    call(slow)
    assert is_about(refusal(slow).retry_after, 61)
    assert is_about(refusal(fast).retry_after, 1)
    clock.advance(1)
    call(fast)


def test_an_edited_concurrency_applies_at_the_next_enter(make_gate: GateMaker) -> None:
    passages = [enter(make_gate(concurrency=3)) for _ in range(3)]
    enter(make_gate(concurrency=4))
    passages[0].leave(failed=False)
    passages[1].leave(failed=False)
    assert refusal(make_gate(concurrency=2)).reason == "concurrency"
    passages[2].leave(failed=False)
    enter(make_gate(concurrency=2))


def test_an_edited_pause_applies_at_the_next_enter(make_gate: GateMaker) -> None:
    trip(make_gate(pause=timedelta(days=1)))
    assert is_about(refusal(make_gate(pause=PAUSE)).retry_after, 30)


# Waiting


class Sleeps:
    """What a waiter slept, in seconds; the clock goes on by as much. Then `wake` is called."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.all: list[float] = []
        self.wake: Callable[[], None] = lambda: None

    def __call__(self, seconds: float) -> None:
        self.all.append(seconds)
        self._clock.advance(seconds)
        self.wake()


@pytest.fixture
def sleeps(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Sleeps:
    sleeps = Sleeps(clock)
    monkeypatch.setattr(gates, "sleep", sleeps)
    return sleeps


def patience(clock: Clock, seconds: float) -> Callable[[], float]:
    end = clock.seconds + seconds
    return lambda: end - clock.seconds


def test_who_waits_for_the_budget_enters_when_there_is_room(
    make_gate: GateMaker, clock: Clock, sleeps: Sleeps
) -> None:
    gate = make_gate(calls_per_minute=12, burst=1)
    call(gate)
    gate.wait(hold=HOLD, patience=patience(clock, 30))
    assert 4.9 <= sum(sleeps.all) <= 5.2
    assert len(sleeps.all) <= 12, "it asks too often"
    assert max(sleeps.all) <= 0.6


def test_who_waits_for_a_fast_pace_asks_no_more_than_a_hundred_times_a_second(
    make_gate: GateMaker, clock: Clock, sleeps: Sleeps
) -> None:
    gate = make_gate(calls_per_minute=100_000, burst=1)
    for _ in range(20):
        gate.wait(hold=HOLD, patience=patience(clock, 30)).leave(failed=False)
    assert min(sleeps.all, default=1) >= 0.01


def test_who_waits_for_a_place_enters_soon_after_another_has_left(
    make_gate: GateMaker, clock: Clock, sleeps: Sleeps
) -> None:
    gate = make_gate(concurrency=1)
    other = enter(gate)

    def wake() -> None:
        if clock.seconds > 5:
            other.leave(failed=False)

    sleeps.wake = wake
    gate.wait(hold=HOLD, patience=patience(clock, 30))
    assert 5 < clock.seconds < 5.7
    assert len(sleeps.all) <= 20, "it asks too often"


def test_who_waits_in_vain_gives_up_when_the_patience_ends(
    make_gate: GateMaker, clock: Clock, sleeps: Sleeps
) -> None:
    gate = make_gate(concurrency=1)
    enter(gate)
    with pytest.raises(GateClosed) as caught:
        gate.wait(hold=HOLD, patience=patience(clock, 3))
    assert caught.value.reason == "concurrency"
    assert clock.seconds == pytest.approx(3)


def test_a_wait_for_the_budget_that_does_not_fit_is_refused_at_once(
    make_gate: GateMaker, clock: Clock, sleeps: Sleeps
) -> None:
    gate = make_gate(calls_per_minute=12, burst=1)
    call(gate)
    with pytest.raises(GateClosed) as caught:
        gate.wait(hold=HOLD, patience=patience(clock, 4))
    assert caught.value.reason == "budget"
    assert sleeps.all == []


def test_neither_a_cooldown_nor_the_breaker_is_waited_for(
    make_gate: GateMaker, clock: Clock, sleeps: Sleeps
) -> None:
    cooling, broken = make_gate("cooling"), make_gate("broken")
    call(cooling, cooldown=timedelta(seconds=1))
    trip(broken)
    for gate in cooling, broken:
        with pytest.raises(GateClosed):
            gate.wait(hold=HOLD, patience=patience(clock, 600))
    assert sleeps.all == []


def test_a_breaker_that_opens_meanwhile_ends_the_wait(
    make_gate: GateMaker, clock: Clock, sleeps: Sleeps
) -> None:
    gate = make_gate(concurrency=1, failures=1)
    other = enter(gate)
    sleeps.wake = lambda: other.leave(failed=True)
    with pytest.raises(GateClosed) as caught:
        gate.wait(hold=HOLD, patience=patience(clock, 600))
    assert caught.value.reason == "breaker"


def test_what_ends_the_patience_ends_the_wait(make_gate: GateMaker, sleeps: Sleeps) -> None:
    def cancelled() -> float:
        raise KeyboardInterrupt

    gate = make_gate(concurrency=1)
    enter(gate)
    with pytest.raises(KeyboardInterrupt):
        gate.wait(hold=HOLD, patience=cancelled)


# What is shown


def test_a_refusal_is_an_error_of_the_upstream_that_names_reason_and_time(make_gate: GateMaker) -> None:
    gate = make_gate()
    call(gate, cooldown=timedelta(hours=30))
    closed = refusal(gate)
    assert isinstance(closed, UpstreamError)
    assert (closed.source, closed.reason, closed.permanent) == ("stock", "cooldown", False)
    assert str(closed) == "The gate of stock is closed (cooldown): it can be asked again in 108000 s."


def test_a_gate_that_was_never_entered_is_open(make_gate: GateMaker) -> None:
    state = make_gate(calls_per_minute=7).look()
    assert (state.calls, state.budget, state.under_way, state.failures) == (0, 7, 0, 0)
    assert (state.breaker, state.cooldown, state.pause) == ("closed", timedelta(), timedelta())


def test_a_look_shows_what_goes_on(make_gate: GateMaker, clock: Clock) -> None:
    gate = make_gate()
    enter(gate, hold=timedelta(seconds=40))
    enter(gate)
    clock.advance(30)
    call(gate, failed=True)
    call(gate, failed=True, cooldown=timedelta(seconds=20))
    state = gate.look()
    assert (state.calls, state.under_way, state.failures) == (4, 1, 2)
    assert is_about(state.cooldown, 20)
    clock.advance(30.5)
    assert gate.look().calls == 2
    assert gate.look().cooldown == timedelta()


def test_a_look_shows_how_the_breaker_stands(make_gate: GateMaker, clock: Clock) -> None:
    gate = make_gate()
    trip(gate)
    assert gate.look().breaker == "open"
    assert is_about(gate.look().pause, 30)
    clock.advance(PAUSE)
    assert gate.look().breaker == "half-open"
    probe = enter(gate)
    assert gate.look().breaker == "half-open"
    assert gate.look().pause == timedelta()
    probe.leave(failed=False)
    assert gate.look().breaker == "closed"


def test_a_look_changes_nothing(make_gate: GateMaker, redis: Redis) -> None:
    gate = make_gate(calls_per_minute=1, burst=1)
    gate.look()
    assert redis.keys("*") == []
    call(gate)


# Redis


def test_nothing_stays_in_redis_of_a_source_that_is_not_used_any_more(
    make_gate: GateMaker, redis: Redis
) -> None:
    gate = make_gate()
    trip(gate)
    make_gate("news").enter(hold=HOLD).leave(failed=False, cooldown=timedelta(days=3))
    make_gate("weather").enter(hold=HOLD)
    left = {name.decode(): redis.pttl(name) / 1000 for name in redis.scan_iter()}
    day = timedelta(days=1).total_seconds()
    assert 60 < left["hd:1:gw:stock"] <= 61
    assert 9 < left["hd:1:gc:weather"] <= 10
    assert day < left["hd:1:g:stock"] < 1.01 * day
    assert 4 * day < left["hd:1:g:news"] < 4.01 * day
    assert min(left.values()) > 0


def test_what_is_over_does_not_pile_up_while_the_source_is_used(
    make_gate: GateMaker, clock: Clock, redis: Redis
) -> None:
    gate = make_gate()
    for _ in range(20):
        enter(gate)
        clock.advance(30)
    assert redis.zcard("hd:1:gc:stock") == 1
    assert redis.zcard("hd:1:gw:stock") == 3


def test_a_short_hold_does_not_end_a_longer_one(make_gate: GateMaker, redis: Redis) -> None:
    gate = make_gate()
    enter(gate, hold=timedelta(seconds=300))
    enter(gate, hold=timedelta(seconds=1))
    assert redis.pttl("hd:1:gc:stock") > 290_000


def test_entering_and_leaving_and_looking_are_one_round_trip_each(
    make_gate: GateMaker, own_redis: OwnRedis
) -> None:
    gate = make_gate()
    call(gate)
    gate.look()
    own_redis.client.config_resetstat()
    call(gate)
    gate.look()
    stats = own_redis.client.info("commandstats")
    assert stats["cmdstat_evalsha"]["calls"] == 3
    assert not stats.keys() & {"cmdstat_eval", "cmdstat_script", "cmdstat_script|load"}


def test_without_redis_nobody_enters(make_gate: GateMaker, redis_down: None) -> None:
    gate = make_gate()
    with pytest.raises(CacheUnavailable):
        enter(gate)
    with pytest.raises(CacheUnavailable):
        gate.wait(hold=HOLD, patience=lambda: 60.0)
    with pytest.raises(CacheUnavailable):
        gate.look()


def test_a_passage_can_be_left_when_redis_is_gone(make_gate: GateMaker, own_redis: OwnRedis) -> None:
    passage = enter(make_gate())
    own_redis.stop()
    passage.leave(failed=False, cooldown=timedelta(seconds=5))


def test_a_redis_that_forgot_everything_is_no_trouble_to_those_who_leave(
    make_gate: GateMaker, redis: Redis
) -> None:
    gate = make_gate()
    passage = enter(gate)
    redis.flushdb()
    passage.leave(failed=True)
    assert gate.look().failures == 1


# When Redis has lost it


def ago(*seconds: float) -> list[timedelta]:
    return [timedelta(seconds=each) for each in seconds]


def test_a_gate_that_redis_lost_counts_the_calls_that_are_on_record(
    make_gate: GateMaker, clock: Clock
) -> None:
    gate = make_gate(recent=lambda: Recent(calls=ago(5, 30, 50)), calls_per_minute=4, burst=4)
    assert gate.look().calls == 0
    assert calls_until_refused(gate) == 1
    assert is_about(refusal(gate).retry_after, 11)
    clock.advance(11)
    assert calls_until_refused(gate) == 1


def test_of_more_calls_than_the_budget_the_latest_count(make_gate: GateMaker, clock: Clock) -> None:
    gate = make_gate(recent=lambda: Recent(calls=ago(60, 5, 50, 20)), calls_per_minute=2, burst=2)
    assert is_about(refusal(gate).retry_after, 41)
    clock.advance(41)
    assert calls_until_refused(gate) == 1
    assert is_about(refusal(gate).retry_after, 15)


def test_the_minutes_pace_goes_on_where_it_was(make_gate: GateMaker) -> None:
    gate = make_gate(recent=lambda: Recent(calls=ago(1, 1, 1)), calls_per_minute=12, burst=4)
    assert calls_until_refused(gate) == 1
    assert is_about(refusal(gate).retry_after, 4)


def test_calls_that_are_not_on_record_yet_count_until_they_must_be_and_then_those_that_are(
    make_gate: GateMaker, clock: Clock
) -> None:
    first = Recent(calls=ago(10), unrecorded=3, settling=timedelta(seconds=8))
    then = Recent(calls=ago(9, 9, 18))  # of what was not on record, two calls came about
    answers = iter([first, then])
    gate = make_gate(recent=lambda: next(answers), calls_per_minute=6, burst=6)
    assert calls_until_refused(gate) == 2
    assert is_about(refusal(gate).retry_after, 8)
    clock.advance(8)
    assert calls_until_refused(gate) == 1
    assert gate.look().calls == 6
    assert next(answers, None) is None


def test_with_less_budget_than_there_may_be_calls_it_is_closed_until_they_are_on_record(
    make_gate: GateMaker, clock: Clock
) -> None:
    settling = timedelta(seconds=8)
    answers = iter([Recent(calls=ago(10), unrecorded=100, settling=settling), Recent(calls=ago(18))])
    gate = make_gate(recent=lambda: next(answers), calls_per_minute=2, burst=2)
    closed = refusal(gate)
    assert closed.reason == "budget"
    assert is_about(closed.retry_after, 8)
    clock.advance(8)
    assert calls_until_refused(gate) == 1


def test_a_call_through_the_gate_is_not_counted_again_when_it_is_on_record(
    make_gate: GateMaker, clock: Clock
) -> None:
    settling = timedelta(seconds=8)
    answers = iter([Recent(calls=ago(10), unrecorded=1, settling=settling), Recent(calls=ago(18, 4))])
    gate = make_gate(recent=lambda: next(answers), calls_per_minute=4, burst=4)
    enter(gate)
    clock.advance(4)
    call(gate)
    clock.advance(4)
    assert calls_until_refused(gate) == 1


def test_of_all_who_tell_it_the_first_counts(make_gate: GateMaker) -> None:
    limits = {"calls_per_minute": 4, "burst": 4}
    first = make_gate(recent=lambda: Recent(calls=ago(5, 5)), **limits)

    def held_up() -> Recent:
        call(first)
        return Recent()

    assert calls_until_refused(make_gate(recent=held_up, **limits)) == 1


def test_who_was_held_up_until_the_gate_asks_again_must_look_again(
    make_gate: GateMaker, clock: Clock
) -> None:
    limits = {"calls_per_minute": 4, "burst": 4}
    settling = timedelta(seconds=8)
    first = make_gate(recent=lambda: Recent(calls=ago(5), unrecorded=1, settling=settling), **limits)
    looks = 0

    def recent() -> Recent:
        nonlocal looks
        looks += 1
        if looks == 1:
            call(first)
            clock.advance(settling)
            return Recent()
        return Recent(calls=ago(13, 9))

    assert calls_until_refused(make_gate(recent=recent, **limits)) == 1
    assert looks == 2


def test_the_records_are_asked_once(make_gate: GateMaker, redis: Redis) -> None:
    looks = 0

    def recent() -> Recent:
        nonlocal looks
        looks += 1
        return Recent()

    gate = make_gate(recent=recent)
    for _ in range(5):
        call(gate)
    assert looks == 1
    redis.flushdb()
    call(gate)
    call(gate)
    assert looks == 2


def test_a_cooldown_that_redis_lost_goes_on(make_gate: GateMaker, clock: Clock) -> None:
    gate = make_gate(recent=lambda: Recent(calls=ago(5), cooldown=timedelta(seconds=20)))
    closed = refusal(gate)
    assert closed.reason == "cooldown"
    assert is_about(closed.retry_after, 20)
    clock.advance(20)
    call(gate)


def test_a_cooldown_that_was_not_on_record_yet_counts_when_it_is(make_gate: GateMaker, clock: Clock) -> None:
    first = Recent(calls=ago(10), unrecorded=1, settling=timedelta(seconds=8))
    then = Recent(calls=ago(9, 18), cooldown=timedelta(seconds=20))
    answers = iter([first, then])
    gate = make_gate(recent=lambda: next(answers))
    call(gate)
    clock.advance(8)
    closed = refusal(gate)
    assert closed.reason == "cooldown"
    assert is_about(closed.retry_after, 20)


def test_a_breaker_that_redis_lost_is_open_until_its_pause_is_over(
    make_gate: GateMaker, clock: Clock
) -> None:
    gate = make_gate(recent=lambda: Recent(failures=5, failed=timedelta(seconds=10)), failures=5)
    closed = refusal(gate)
    assert closed.reason == "breaker"
    assert is_about(closed.retry_after, 20)
    clock.advance(20)
    enter(gate)
    assert refusal(gate).reason == "breaker", "there is one probe at a time"


def test_failures_that_redis_lost_count(make_gate: GateMaker) -> None:
    gate = make_gate(recent=lambda: Recent(failures=4, failed=timedelta(seconds=1)), failures=5)
    call(gate, failed=True)
    assert refusal(gate).reason == "breaker"


def test_who_leaves_a_gate_that_redis_lost_is_heard(make_gate: GateMaker, redis: Redis) -> None:
    gate = make_gate(failures=2)
    passages = [enter(gate), enter(gate)]
    redis.flushdb()
    passages[0].leave(failed=True)
    passages[1].leave(failed=False, cooldown=timedelta(seconds=20))
    assert refusal(gate).reason == "cooldown"


def test_while_the_records_cannot_be_asked_nobody_enters(make_gate: GateMaker, redis: Redis) -> None:
    def away() -> Recent:
        raise GateClosed(source="stock", reason="unknown", retry_after=timedelta(seconds=5))

    gate = make_gate(recent=away)
    assert refusal(gate).reason == "unknown"
    with pytest.raises(GateClosed, match="unknown"):
        gate.wait(hold=HOLD, patience=lambda: 60.0)
    assert redis.keys("*") == []


def test_what_a_gate_was_told_goes_with_it(make_gate: GateMaker, redis: Redis) -> None:
    told = Recent(calls=ago(5), unrecorded=3, settling=timedelta(seconds=8))
    refusal(make_gate(recent=lambda: told, calls_per_minute=1))
    assert set(redis.keys("*")) == {b"hd:1:g:stock", b"hd:1:gw:stock"}
    assert min(redis.pttl(name) for name in redis.keys("*")) > 0


class Records:
    """Calls that are on record when they have ended and some time has passed."""

    def __init__(self, clock: Clock, *, unrecorded: int) -> None:
        self._clock = clock
        self._unrecorded = unrecorded
        self._begun: list[float] = []

    lasts = 4  # seconds, from the start of a call until it is on record

    def add(self) -> None:
        self._begun.append(self._clock.seconds)

    def recent(self) -> Recent:
        now = self._clock.seconds
        return Recent(
            calls=ago(*(now - begun for begun in self._begun if now - 61 < begun <= now - self.lasts)),
            unrecorded=self._unrecorded if self._begun else 0,
            settling=timedelta(seconds=self.lasts),
        )


@pytest.mark.parametrize(("budget", "burst"), [(30, 1), (30, 10), (30, 30), (200, 20)])
def test_no_minute_has_more_calls_than_the_budget_when_redis_is_flushed_again_and_again(
    make_gate: GateMaker, clock: Clock, redis: Redis, budget: int, burst: int
) -> None:
    records = Records(clock, unrecorded=burst + budget * Records.lasts // 60 + 1)
    gate = make_gate(recent=records.recent, calls_per_minute=budget, burst=burst)
    numbers: list[int] = []
    flushes = iter([3, 10, 61, 75, 75.5, 140, 170, 177, 240, 400])
    flush_at = next(flushes)
    while clock.seconds < 500:
        if clock.seconds >= flush_at:
            redis.flushdb()
            flush_at = next(flushes, 1000)
        try:
            numbers.append(call(gate).number)
            records.add()
        except GateClosed as closed:
            clock.advance(min(closed.retry_after, timedelta(seconds=0.5)))
    assert most_in_a_window(numbers, timedelta(minutes=1)) <= budget
    assert len(numbers) >= 0.6 * budget * 500 / 60


# Many processes

PROCESSES = 4
THREADS = 4
WINDOW = timedelta(seconds=2)
BUDGET = 200
RUN_TIME = 3 * WINDOW

CROWD = f"""
import json, sys, time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from hotdata.exceptions import GateClosed
from hotdata.freshness import gate as gates

gates.MINUTE = timedelta(seconds={WINDOW.total_seconds()})
gates.WINDOW = gates.MINUTE + timedelta(milliseconds=20)
limits = gates.Limits(
    calls_per_minute={BUDGET}, burst=20, concurrency=8, failures=5, pause=timedelta(seconds=30)
)
gate = gates.Gate("stock", limits)

def work(end):
    numbers = []
    while True:
        try:
            passage = gate.wait(hold=timedelta(seconds=5), patience=lambda: end - time.monotonic())
        except GateClosed:
            return numbers
        numbers.append(passage.number)
        passage.leave(failed=False)

gate.look()
print("ready", flush=True)
sys.stdin.readline()
end = time.monotonic() + {RUN_TIME.total_seconds()}
with ThreadPoolExecutor({THREADS}) as pool:
    print(json.dumps([number for numbers in pool.map(work, [end] * {THREADS}) for number in numbers]))
"""


@pytest.mark.slow
def test_processes_that_want_more_use_the_budget_up_together_and_never_exceed_it() -> None:
    with ExitStack() as cleanup:
        crowd = []
        for _ in range(PROCESSES):
            process = spawn(
                [sys.executable, "-c", CROWD],
                farewell=signal.SIGKILL,
                cwd=ROOT,
                env={**os.environ},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            cleanup.enter_context(process)
            cleanup.callback(stop, process, how=signal.SIGKILL)
            crowd.append(process)
        for process in crowd:
            assert process.stdout.readline() == "ready\n"
        for process in crowd:
            process.stdin.write("go\n")
            process.stdin.flush()
        shares = [json.loads(process.communicate(timeout=60)[0]) for process in crowd]
    numbers = [number for share in shares for number in share]
    assert len(set(numbers)) == len(numbers)
    assert most_in_a_window(numbers, WINDOW) <= BUDGET
    assert len(numbers) >= 0.95 * BUDGET * (RUN_TIME / WINDOW)
    assert min(map(len, shares)) > 0
