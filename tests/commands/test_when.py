"""Points in time as people type them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from hotdata.management.when import parse_when

NOW = datetime(2026, 11, 23, 6, 59, 30, tzinfo=UTC)
SHANGHAI = "Asia/Shanghai"
BERLIN = "Europe/Berlin"  # forward on 2027-03-28 at 02:00, back on 2026-10-25 at 03:00


def when(text: str, now: datetime = NOW, time_zone: str = "UTC") -> datetime:
    return parse_when(text, now=now, time_zone=time_zone)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "ahead"),
    [
        ("in 1 second", timedelta(seconds=1)),
        ("in 90 s", timedelta(seconds=90)),
        ("in 90s", timedelta(seconds=90)),
        ("in 5 minutes", timedelta(minutes=5)),
        ("in 5 min", timedelta(minutes=5)),
        ("in 5 m", timedelta(minutes=5)),
        ("In 2 Hours", timedelta(hours=2)),
        ("in 1 h", timedelta(hours=1)),
        ("  in  3  days ", timedelta(days=3)),
    ],
)
def test_some_time_from_now(text: str, ahead: timedelta) -> None:
    assert when(text) == NOW + ahead


@pytest.mark.parametrize(
    ("text", "time_zone", "expected"),
    [
        ("09:30", "UTC", "2026-11-23T09:30"),
        ("7:00", "UTC", "2026-11-23T07:00"),
        ("06:59", "UTC", "2026-11-24T06:59"),
        ("00:00", "UTC", "2026-11-24T00:00"),
        ("15:30", SHANGHAI, "2026-11-23T07:30"),
        ("09:30", SHANGHAI, "2026-11-24T01:30"),
    ],
)
def test_a_time_of_day_is_the_next_one_in_the_jobs_zone(text: str, time_zone: str, expected: str) -> None:
    assert when(text, time_zone=time_zone) == utc(expected)


@pytest.mark.parametrize(
    ("text", "time_zone", "expected"),
    [
        ("2026-11-24 09:30", "UTC", "2026-11-24T09:30"),
        ("2026-11-24T09:30:15", "UTC", "2026-11-24T09:30:15"),
        ("2026-11-24 09:30", SHANGHAI, "2026-11-24T01:30"),
        ("2026-11-24T09:30+02:00", SHANGHAI, "2026-11-24T07:30"),
        ("2026-11-24T09:30Z", SHANGHAI, "2026-11-24T09:30"),
        ("2026-11-24", SHANGHAI, "2026-11-23T16:00"),
    ],
)
def test_a_date_and_time_is_in_the_jobs_zone_unless_it_has_an_offset(
    text: str, time_zone: str, expected: str
) -> None:
    assert when(text, time_zone=time_zone) == utc(expected)


def test_what_is_returned_is_in_utc_whatever_was_typed() -> None:
    for text in ("09:30", "2026-11-24 09:30", "2026-11-24T09:30+02:00", "in 5 minutes"):
        assert when(text, time_zone=SHANGHAI).tzinfo is UTC


@pytest.mark.parametrize("text", ["02:30", "2027-03-28 02:30"])
def test_a_time_that_the_clocks_skip_is_an_hour_later_by_the_new_clock(text: str) -> None:
    assert when(text, now=utc("2027-03-28T00:00"), time_zone=BERLIN) == utc("2027-03-28T01:30")


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2026-10-25T00:00", "2026-10-25T00:30"),  # before both
        ("2026-10-25T00:40", "2026-10-25T01:30"),  # between the two
        ("2026-10-25T01:10", "2026-10-25T01:30"),  # in the repeated hour
        ("2026-10-25T01:40", "2026-10-26T01:30"),  # after both
    ],
)
def test_a_time_that_comes_twice_is_the_first_one_ahead(now: str, expected: str) -> None:
    assert when("02:30", now=utc(now), time_zone=BERLIN) == utc(expected)


def test_a_time_of_day_is_found_across_a_clock_change() -> None:
    now = datetime(2027, 3, 27, 12, 0, tzinfo=ZoneInfo(BERLIN))
    assert when("09:00", now=now, time_zone=BERLIN) == utc("2027-03-28T07:00")


@pytest.mark.parametrize(
    "text",
    ["2026-11-23 06:59", "2026-11-23T06:59:30Z", "2020-01-01", "0001-01-01T12:00+02:00", "in 0 minutes"],
)
def test_the_past_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="lies in the past"):
        when(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "tomorrow",
        "in five minutes",
        "in -5 minutes",
        "in 1.5 hours",
        "5 minutes",
        "in 5",
        "in 12345678 days",
        "9",
        "09:3",
        "2026-13-01",
        "2026-11-24 25:00",
        "24.11.2026",
        "9999-12-31T23:59-12:00",
        "０９：３０",
    ],
)
def test_what_can_not_be_read_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(ValueError, match=r"no time that can be read\. Say it like 'in 5 minutes'"):
        when(text)


@pytest.mark.parametrize("text", ["24:00", "12:60", "99:99"])
def test_what_no_clock_shows_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"{text} is no time of day"):
        when(text)
