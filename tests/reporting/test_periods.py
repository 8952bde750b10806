"""Periods: days, weeks and months as the clocks of the site's zone show them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from django.utils import timezone
from pytest_django import Settings

from hotdata.exceptions import NotOver
from hotdata.reporting.periods import Length, containing, last_complete, missing, parse, refuse_unfinished


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("UTC", "2026-03-29", 24),
        ("Europe/Berlin", "2026-03-29", 23),
        ("Europe/Berlin", "2026-10-25", 25),
        ("America/Santiago", "2026-09-06", 23),  # midnight itself is skipped
        ("America/Havana", "2026-11-01", 25),  # midnight comes twice
    ],
)
def test_a_day_is_as_long_as_the_clocks_make_it(settings: Settings, zone: str, day: str, hours: int) -> None:
    settings.TIME_ZONE = zone
    period = parse(day, Length.DAY)
    assert period.end - period.start == timedelta(hours=hours)
    assert period.before.end == period.start


@pytest.mark.parametrize(
    ("length", "name", "first", "after"),
    [
        (Length.DAY, "2026-12-31", date(2026, 12, 31), date(2027, 1, 1)),
        (Length.WEEK, "2026-W53", date(2026, 12, 28), date(2027, 1, 4)),
        (Length.WEEK, "2025-W01", date(2024, 12, 30), date(2025, 1, 6)),
        (Length.MONTH, "2026-02", date(2026, 2, 1), date(2026, 3, 1)),
        (Length.MONTH, "2026-12", date(2026, 12, 1), date(2027, 1, 1)),
    ],
)
def test_a_name_and_its_period_say_the_same(length: Length, name: str, first: date, after: date) -> None:
    period = parse(name, length)
    assert (period.first, period.after, period.name) == (first, after, name)


@pytest.mark.parametrize("length", Length)
@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026",
        "2026-13",
        "2026-02-30",
        "2026-W54",
        "9999-12",
        "0001-W01",
        "0001-01-01",
        "２０２６-11",
        "x",
    ],
)
def test_what_names_no_period_is_refused(settings: Settings, length: Length, text: str) -> None:
    settings.TIME_ZONE = "Asia/Shanghai"
    with pytest.raises(ValueError, match=f"is no {length}, such as"):
        parse(text, length)


def test_the_last_complete_period_is_one_of_the_sites_zone(settings: Settings) -> None:
    settings.TIME_ZONE = "Asia/Shanghai"
    now = datetime(2026, 11, 30, 16, 30, tzinfo=UTC)  # half past midnight on the first of December there
    assert last_complete(Length.DAY, now).name == "2026-11-30"
    assert last_complete(Length.MONTH, now).name == "2026-11"
    assert last_complete(Length.WEEK, now).name == "2026-W48"


def test_the_last_complete_period_is_one_of_the_sites_zone_whatever_zone_is_active(
    settings: Settings,
) -> None:
    settings.TIME_ZONE = "Asia/Shanghai"
    now = datetime(2026, 11, 30, 16, 30, tzinfo=UTC)
    with timezone.override("America/New_York"):
        assert last_complete(Length.DAY, now).name == "2026-11-30"
        assert last_complete(Length.MONTH, now).name == "2026-11"


def test_a_period_that_is_not_settled_is_refused_with_the_time_of_the_site(settings: Settings) -> None:
    settings.TIME_ZONE = "Asia/Shanghai"
    month = parse("2026-11", Length.MONTH)
    refuse_unfinished(month, month.settled)
    with (
        timezone.override("America/New_York"),
        pytest.raises(NotOver, match="from 2026-12-01 00:01 CST on"),
    ):
        refuse_unfinished(month, month.settled - timedelta(microseconds=1))


@pytest.mark.parametrize(
    ("after", "names"),
    [
        (None, ["2026-10"]),
        (date(2026, 7, 1), ["2026-09", "2026-10"]),
        (date(2026, 9, 1), ["2026-10"]),
        (date(2026, 10, 1), []),
        (date(2026, 11, 1), []),  # the clock was set back
    ],
)
def test_what_is_missing_are_the_latest_periods_since_the_last_one(
    after: date | None, names: list[str]
) -> None:
    now = datetime(2026, 11, 1, 3, tzinfo=UTC)
    assert [period.name for period in missing(Length.MONTH, after=after, now=now, most=2)] == names


def test_a_period_holds_the_day_it_was_asked_for_by() -> None:
    for offset in range(800):
        day = date(2024, 1, 1) + timedelta(days=offset)
        for length in Length:
            period = containing(day, length)
            assert period.first <= day < period.after
            assert parse(period.name, length) == period
