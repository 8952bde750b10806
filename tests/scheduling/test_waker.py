"""A sleep that can be ended from a thread, from a signal handler, and before it begins."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from hotdata.scheduling.waker import Waker
from tests.threads import in_thread

LONG = 20.0  # seconds: a sleep that lasts that long has not been ended
SHORT = 0.05


@pytest.fixture
def waker() -> Iterator[Waker]:
    waker = Waker()
    yield waker
    waker.close()


def test_a_sleep_that_nobody_ends_lasts_its_time(waker: Waker) -> None:
    began = time.monotonic()
    assert waker.sleep(SHORT) is False
    assert SHORT <= time.monotonic() - began < LONG / 2


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_no_time_to_sleep_is_no_sleep(waker: Waker, seconds: float) -> None:
    assert waker.sleep(seconds) is False


def test_a_wake_up_from_another_thread_ends_the_sleep(waker: Waker) -> None:
    began = time.monotonic()
    threading.Timer(SHORT, waker.wake).start()
    assert waker.sleep(LONG) is True
    assert time.monotonic() - began < LONG / 2


def test_a_wake_up_from_a_signal_handler_ends_the_sleep(waker: Waker) -> None:
    began = time.monotonic()
    before = signal.signal(signal.SIGALRM, lambda number, frame: waker.wake())
    try:
        signal.setitimer(signal.ITIMER_REAL, SHORT)
        assert waker.sleep(LONG) is True
    finally:
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - began < LONG / 2


def test_a_wake_up_from_a_handler_that_interrupts_another_wake_up_blocks_nothing(waker: Waker) -> None:
    """What a lock could not survive: the handler runs in the thread that is inside `wake`."""
    hits = 0

    def handle(number: int, frame: object) -> None:
        nonlocal hits
        hits += 1
        waker.wake()

    before = signal.signal(signal.SIGALRM, handle)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        until = time.monotonic() + LONG
        while hits < 50 and time.monotonic() < until:
            waker.wake()
            waker.sleep(0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert hits >= 50


@pytest.fixture
def handled() -> Iterator[list[int]]:
    """The signals that were handled; SIGUSR1 is."""
    numbers: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: numbers.append(number))
    yield numbers
    signal.signal(signal.SIGUSR1, before)


def test_a_signal_that_interrupts_no_sleep_ends_it_nevertheless(waker: Waker, handled: list[int]) -> None:
    """It comes to another thread, as one may that comes right before the sleep: it is noted, and handled later."""

    def send() -> None:
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)

    began = time.monotonic()
    with waker.woken_by_signals():
        threading.Timer(SHORT, send).start()
        assert waker.sleep(LONG) is True
    assert time.monotonic() - began < LONG / 2
    assert handled == [signal.SIGUSR1]


def test_signals_are_written_into_the_pipe_for_no_longer_than_asked(waker: Waker, handled: list[int]) -> None:
    with waker.woken_by_signals():
        pass
    signal.raise_signal(signal.SIGUSR1)
    assert waker.sleep(0) is False
    assert handled == [signal.SIGUSR1]


def test_in_a_thread_that_runs_no_handlers_signals_are_left_alone(waker: Waker) -> None:
    def sleep() -> bool:
        with waker.woken_by_signals():
            return waker.sleep(0)

    assert in_thread(sleep).result(LONG) is False


def test_a_wake_up_before_the_sleep_ends_it(waker: Waker) -> None:
    waker.wake()
    assert waker.sleep(LONG) is True


def test_many_wake_ups_end_one_sleep(waker: Waker) -> None:
    for _ in range(1000):
        waker.wake()
    assert waker.sleep(LONG) is True
    assert waker.sleep(0) is False


def test_more_wake_ups_than_the_pipe_holds_block_nobody(waker: Waker) -> None:
    for _ in range(200_000):
        waker.wake()
    assert waker.sleep(LONG) is True
    assert waker.sleep(0) is False


def test_a_wake_up_after_the_end_writes_to_nobody() -> None:
    """The pipe's number may be another file's by then: a connection to the database, say."""
    waker = Waker()
    waker.close()
    waker.wake()
    reader, writer = os.pipe()
    other_reader, other_writer = os.pipe()
    try:
        for descriptor in (reader, other_reader):
            os.set_blocking(descriptor, False)
        waker.wake()
        for descriptor in (reader, other_reader):
            with pytest.raises(BlockingIOError):
                os.read(descriptor, 1)
    finally:
        for descriptor in (reader, writer, other_reader, other_writer):
            os.close(descriptor)


def test_wakers_leave_no_open_files() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        Waker().close()
    assert len(os.listdir("/proc/self/fd")) == before
