"""When a failed attempt is tried again."""

from __future__ import annotations

from datetime import timedelta

import pytest

from hotdata.execution.retry import retry_delay

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)


def with_luck(monkeypatch: pytest.MonkeyPatch, luck: float) -> None:
    monkeypatch.setattr("random.random", lambda: luck)


def test_the_longest_possible_delay_doubles_with_each_attempt_up_to_the_cap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with_luck(monkeypatch, 1.0)
    delays = [retry_delay(attempt, first=10 * SECOND, longest=60 * SECOND) for attempt in range(1, 6)]
    assert delays == [10 * SECOND, 20 * SECOND, 40 * SECOND, 60 * SECOND, 60 * SECOND]


def test_the_jitter_is_full_so_a_retry_may_come_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with_luck(monkeypatch, 0.0)
    assert retry_delay(5, first=10 * SECOND, longest=60 * SECOND) == timedelta(0)


def test_the_jitter_spreads_delays_over_the_whole_range() -> None:
    delays = [retry_delay(1, first=100 * SECOND, longest=HOUR) for _ in range(1000)]
    assert all(timedelta(0) <= delay <= 100 * SECOND for delay in delays)
    quarters = {int(delay / (25 * SECOND)) for delay in delays}
    assert quarters >= {0, 1, 2, 3}


def test_an_upstreams_wish_to_be_left_alone_is_honoured_beyond_the_cap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with_luck(monkeypatch, 1.0)
    assert retry_delay(1, first=SECOND, longest=SECOND, retry_after=HOUR) == HOUR


def test_an_upstreams_wish_never_shortens_the_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    with_luck(monkeypatch, 1.0)
    assert retry_delay(1, first=HOUR, longest=HOUR, retry_after=SECOND) == HOUR


@pytest.mark.parametrize("attempt", [33, 100, 32_767])
def test_the_delay_of_a_late_attempt_is_the_cap_and_no_overflow(
    monkeypatch: pytest.MonkeyPatch, attempt: int
) -> None:
    with_luck(monkeypatch, 1.0)
    assert retry_delay(attempt, first=timedelta(milliseconds=1), longest=HOUR) == HOUR


def test_large_delays_do_not_overflow_on_the_way_to_the_cap() -> None:
    assert retry_delay(40, first=timedelta(days=30), longest=timedelta(days=60)) <= timedelta(days=60)
