"""How large batches are, by how long they took; no clock is real here."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotdata.retention.pace import AIM, FIRST, LEAST, LIMIT, LONGEST_REST, MOST, SHORTEST_REST, Pace


def worked(row: float, batches: int, fixed: float = 0.0) -> Pace:
    """A pace after so many full batches in which each row took so many seconds."""
    pace = Pace()
    for _ in range(batches):
        pace.took(fixed + row * pace.size, pace.size)
    return pace


@pytest.mark.parametrize("row", [1e-5, 1e-4, 1e-3])
def test_batches_become_as_large_as_takes_the_time_that_they_should(row: float) -> None:
    assert worked(row, 20).size * row == pytest.approx(AIM, rel=0.2)


@given(row=st.floats(1e-6, 0.005), fixed=st.floats(0, 0.005))
def test_no_batch_takes_longer_than_it_may_once_the_first_ones_were_timed(row: float, fixed: float) -> None:
    pace = worked(row, 3, fixed)
    for _ in range(20):
        took = fixed + row * pace.size
        assert took <= LIMIT
        pace.took(took, pace.size)
        assert LEAST <= pace.size <= MOST


def test_a_batch_grows_no_faster_than_it_doubles_and_shrinks_at_once() -> None:
    pace = Pace()
    pace.took(1e-6, FIRST)
    assert pace.size == 2 * FIRST
    pace.took(10 * AIM, pace.size)
    assert pace.size == pytest.approx(2 * FIRST / 10, abs=1)


def test_a_few_rows_that_were_quick_say_nothing_about_many() -> None:
    pace = Pace()
    pace.took(AIM / 2, 1)
    assert pace.size == FIRST
    pace.took(AIM * 2, 1)
    assert pace.size == LEAST


def test_a_batch_that_the_database_ended_is_tried_again_with_fewer_rows() -> None:
    pace = Pace()
    pace.gave_up()
    assert pace.size == FIRST // 4
    for _ in range(5):
        pace.gave_up()
    assert pace.size == LEAST


def test_others_get_more_time_than_a_batch_took() -> None:
    rests: list[float] = []
    pace = Pace(sleep=rests.append)
    for seconds in (0.0, 0.04, 3600):
        pace.rest(seconds)
    assert rests[0] == SHORTEST_REST
    assert 0.04 < rests[1] < 0.1
    assert rests[2] == LONGEST_REST


def test_the_longest_batch_is_remembered() -> None:
    pace = Pace()
    for seconds in (0.01, 0.07, 0.02):
        pace.took(seconds, 10)
    assert pace.longest == 0.07
