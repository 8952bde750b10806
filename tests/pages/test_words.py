from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import translation

from hotdata.models.runs import State
from hotdata.pages import words

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 ms"),
        (0.0304, "30 ms"),
        (1.44, "1.4 s"),
        (32.9, "32 s"),
        (119, "119 s"),
        (54 * 60 + 59, "54 min"),
        (9 * 3600 + 20 * 60, "9 h 20 min"),
        (3 * 86400 + 4 * 3600, "3 d 4 h"),
    ],
)
def test_a_duration_is_said_with_two_digits_or_so(seconds: float, said: str) -> None:
    assert words.took(timedelta(seconds=seconds)) == said


def test_a_duration_that_is_not_known_is_a_dash_and_not_nought() -> None:
    assert words.took(None) == "–"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-120, "2 min ago"), (-0.2, "just now"), (0, "just now"), (32, "in 32 s"), (0.1, "in 1.0 s")],
)
def test_a_time_is_said_as_its_distance(seconds: float, said: str) -> None:
    assert words.distance(NOW + timedelta(seconds=seconds), NOW) == said


def test_a_time_carries_itself_for_who_points_at_it() -> None:
    html = words.ago(NOW - timedelta(minutes=2), NOW)
    assert 'datetime="2026-11-25T11:58:00+00:00"' in html
    assert 'title="2026-11-25 11:58:00 UTC"' in html
    assert ">2 min ago<" in html


@pytest.mark.parametrize(
    ("share", "said"),
    [(None, "–"), (0, "0.0 %"), (0.00001, "0.1 %"), (0.9724, "97.2 %"), (0.99999, "99.9 %"), (1, "100.0 %")],
)
def test_a_share_is_all_or_nothing_only_when_it_is(share: float | None, said: str) -> None:
    assert words.share(share) == said


def test_numbers_are_written_as_the_language_does() -> None:
    with translation.override("de"):
        assert "1,4" in words.took(timedelta(seconds=1.4))


@pytest.mark.parametrize("state", State)
def test_every_state_of_a_run_has_a_sign_beside_its_colour(state: State) -> None:
    html = words.pill(state, state.label)
    assert state in words.LOOKS
    assert f'aria-hidden="true">{words.look(state).sign}</span>' in html
    assert str(state.label) in html


def test_a_label_is_escaped() -> None:
    assert "<b>" not in words.pill("failed", "<b>")


@pytest.mark.parametrize(
    ("moment", "said"),
    [
        (datetime(2026, 11, 25, 14, 35, tzinfo=UTC), "14:35"),
        (datetime(2026, 11, 25, 14, 35, 7, tzinfo=UTC), "14:35:07"),
        (datetime(2026, 11, 26, 2, 30, tzinfo=UTC), "2026-11-26 02:30"),
    ],
)
def test_a_time_is_said_without_what_goes_without_saying(moment: datetime, said: str) -> None:
    assert words.Clock(NOW).say(moment) == said
