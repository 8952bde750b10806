"""Refresh windows: how they are written, and when they are open, also on days when the clocks are turned."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotdata.exceptions import BadSource
from hotdata.windows import DAYS, MAX_TEXT, Windows

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
NEW_YORK = "America/New_York"
EXCHANGES = "09:30-16:00 America/New_York mon-fri; 10:00-14:00 Asia/Shanghai sat"


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def in_zone(name: str, text: str, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(name), fold=fold)


def open_times(text: str, since: datetime, until: datetime) -> list[str]:
    """When `text` opens and closes between two instants, found minute by minute, in UTC."""
    windows = Windows.parse(text)
    changes, was = [], windows.is_open(since - MINUTE)
    for minute in range((until - since) // MINUTE):
        at = since + minute * MINUTE
        if windows.is_open(at) != was:
            was = not was
            changes.append(f"{'+' if was else '-'}{at:%a %H:%M}")
    return changes


# When they are open


@pytest.mark.parametrize(
    ("at", "is_open"),
    [
        ("2026-11-23 09:29:59.999999", False),  # a Monday
        ("2026-11-23 09:30", True),
        ("2026-11-23 15:59:59.999999", True),
        ("2026-11-23 16:00", False),
        ("2026-11-27 12:00", True),
        ("2026-11-28 12:00", False),
        ("2026-11-29 12:00", False),
    ],
)
def test_a_window_is_open_from_its_start_to_before_its_end(at: str, is_open: bool) -> None:
    windows = Windows.parse("09:30-16:00 America/New_York mon-fri")
    assert windows.is_open(in_zone(NEW_YORK, at)) is is_open
    assert windows.is_open(in_zone(NEW_YORK, at).astimezone(UTC)) is is_open


def test_several_windows_are_open_while_any_of_them_is() -> None:
    assert open_times(EXCHANGES, utc("2026-11-27 00:00"), utc("2026-11-30 00:00")) == [
        "+Fri 14:30",
        "-Fri 21:00",
        "+Sat 02:00",
        "-Sat 06:00",
    ]


def test_windows_that_meet_or_overlap_are_one() -> None:
    text = "08:00-12:00 UTC;12:00-14:00 UTC;13:00-15:00 UTC"
    assert open_times(text, utc("2026-11-23"), utc("2026-11-24")) == ["+Mon 08:00", "-Mon 15:00"]


def test_a_window_over_midnight_belongs_to_the_day_on_which_it_starts() -> None:
    changes = open_times("22:00-06:00 UTC fri", utc("2026-11-23"), utc("2026-11-30"))
    assert changes == ["+Fri 22:00", "-Sat 06:00"]


def test_a_window_may_end_with_its_day() -> None:
    for end in ("24:00", "00:00", "0:00"):
        changes = open_times(f"22:00-{end} UTC mon", utc("2026-11-23"), utc("2026-11-30"))
        assert changes == ["+Mon 22:00", "-Tue 00:00"]


@pytest.mark.parametrize(
    "text",
    ["", " ", "00:00-24:00 Asia/Shanghai", "00:00-24:00 UTC mon-sun", "12:00-11:59 UTC;11:00-13:00 UTC"],
)
def test_these_are_always_open(text: str) -> None:
    windows, at = Windows.parse(text), utc("2026-11-23")
    assert not open_times(text, at, at + 8 * DAY)
    assert windows.is_open(at)
    assert windows.opens_at(at) == at


@pytest.mark.parametrize(
    ("days", "meant"),
    [
        ("mon", "mon"),
        ("mon,wed-fri", "mon wed thu fri"),
        ("fri-mon", "mon fri sat sun"),
        ("sun-sat", " ".join(DAYS)),
        ("mon-sun", " ".join(DAYS)),
        ("tue-mon", " ".join(DAYS)),
        ("sat-sat", "sat"),
        ("sun-mon,mon,wed", "mon wed sun"),
        ("MON-Tue, Thu", "mon tue thu"),
        ("mon – wed", "mon tue wed"),
    ],
)
def test_days_are_listed_or_range_over_the_week(days: str, meant: str) -> None:
    windows = Windows.parse(f"12:00-13:00 UTC {days}")
    monday = utc("2026-11-23 12:00")
    assert [
        name for number, name in enumerate(DAYS) if windows.is_open(monday + number * DAY)
    ] == meant.split()


@pytest.mark.parametrize(
    "text",
    [
        "09:30-16:00 America/New_York",
        "9:30-16:00 America/New_York",
        "09:30–16:00 America/New_York",
        "09:30 - 16:00  America/New_York",
        "  09:30 – 16:00\tAmerica/New_York\n",
        "09:30-16:00 America/New_York mon-sun",
    ],
)
def test_one_window_may_be_written_in_many_ways(text: str) -> None:
    assert Windows.parse(text) == Windows.parse("09:30-16:00 America/New_York")


# When the clocks are turned: in New York forward on 2026-03-08 at 02:00, back on 2026-11-01 at 02:00


def test_a_window_keeps_to_the_clock_on_the_wall_when_the_offset_changes() -> None:
    text = "09:30-16:00 America/New_York"
    assert open_times(text, utc("2026-03-07"), utc("2026-03-09")) == [
        "+Sat 14:30",
        "-Sat 21:00",
        "+Sun 13:30",
        "-Sun 20:00",
    ]
    assert open_times(text, utc("2026-10-31"), utc("2026-11-02")) == [
        "+Sat 13:30",
        "-Sat 20:00",
        "+Sun 14:30",
        "-Sun 21:00",
    ]


@pytest.mark.parametrize(
    ("window", "changes"),
    [
        ("01:00-04:00", ["+Sun 06:00", "-Sun 08:00"]),
        ("01:00-02:30", ["+Sun 06:00", "-Sun 07:00"]),
        ("02:30-04:00", ["+Sun 07:00", "-Sun 08:00"]),
        ("02:00-03:00", []),
        ("02:15-02:45", []),
        ("23:00-02:30", ["-Sun 07:00"]),
    ],
)
def test_a_wall_time_that_is_skipped_opens_nothing(window: str, changes: list[str]) -> None:
    text = f"{window} America/New_York"
    assert open_times(text, utc("2026-03-08 05:00"), utc("2026-03-08 12:00")) == changes


@pytest.mark.parametrize(
    ("window", "changes"),
    [
        ("00:30-03:00", ["+Sun 04:30", "-Sun 08:00"]),
        ("01:00-02:00", ["+Sun 05:00", "-Sun 07:00"]),
        ("01:15-01:45", ["+Sun 05:15", "-Sun 05:45", "+Sun 06:15", "-Sun 06:45"]),
        ("00:30-01:30", ["+Sun 04:30", "-Sun 05:30", "+Sun 06:00", "-Sun 06:30"]),
        ("01:30-03:00", ["+Sun 05:30", "-Sun 06:00", "+Sun 06:30", "-Sun 08:00"]),
    ],
)
def test_a_wall_time_that_is_shown_twice_is_open_twice(window: str, changes: list[str]) -> None:
    text = f"{window} America/New_York"
    assert open_times(text, utc("2026-11-01 04:10"), utc("2026-11-01 12:00")) == changes


# When they open


@pytest.mark.parametrize(
    ("text", "at", "opening"),
    [
        ("09:30-16:00 America/New_York mon-fri", "2026-11-23 12:00", "2026-11-23 14:30"),
        ("09:30-16:00 America/New_York mon-fri", "2026-11-23 21:00", "2026-11-24 14:30"),
        ("09:30-16:00 America/New_York mon-fri", "2026-11-27 21:00", "2026-11-30 14:30"),
        (EXCHANGES, "2026-11-27 21:00", "2026-11-28 02:00"),
        ("09:30-16:00 America/New_York mon", "2026-11-23 21:00", "2026-11-30 14:30"),
        ("22:00-06:00 UTC mon", "2026-11-24 06:00", "2026-11-30 22:00"),
        # 02:15 on a Sunday is skipped on the 8th of March: a week later, and an hour earlier in UTC.
        ("02:15-02:45 America/New_York sun", "2026-03-01 08:00", "2026-03-15 06:15"),
        ("02:30-04:00 America/New_York sun", "2026-03-08 06:59:59", "2026-03-08 07:00"),
        ("01:15-01:45 America/New_York", "2026-11-01 05:45", "2026-11-01 06:15"),
        # Samoa went from Thursday to Saturday over the date line.
        ("12:00-13:00 Pacific/Apia fri", "2011-12-29 22:00", "2012-01-05 22:00"),
        ("00:00-24:00 Pacific/Apia fri", "2011-12-30 10:00", "2012-01-05 10:00"),
    ],
)
def test_the_next_opening_is_told_in_utc(text: str, at: str, opening: str) -> None:
    told = Windows.parse(text).opens_at(utc(at))
    assert told == utc(opening)
    assert told.tzinfo is UTC


@pytest.mark.parametrize("zone", [NEW_YORK, "Asia/Shanghai", "Pacific/Kiritimati"])
def test_it_makes_no_difference_in_which_zone_the_question_is_asked(zone: str) -> None:
    windows, at = Windows.parse(EXCHANGES), utc("2026-12-31 22:30")
    assert windows.is_open(at.astimezone(ZoneInfo(zone))) is False
    told = windows.opens_at(at.astimezone(ZoneInfo(zone)))
    assert told == utc("2027-01-01 14:30")
    assert told.tzinfo is UTC


def test_while_they_are_open_they_open_now() -> None:
    at = in_zone(NEW_YORK, "2026-11-23 12:00:00.123456")
    assert Windows.parse(EXCHANGES).opens_at(at) is at


CLOCK = st.builds(lambda hours, minutes: f"{hours:02}:{minutes:02}", st.integers(0, 23), st.integers(0, 59))
ZONES = st.sampled_from(
    [NEW_YORK, "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kolkata", "America/Santiago", "UTC"]
)
SOME_DAYS = st.lists(st.sampled_from(DAYS), min_size=1, max_size=3).map(",".join)
# Around the changes of the clocks of these zones in 2026, and elsewhere in the year.
INSTANTS = st.sampled_from(
    ["2026-03-08", "2026-03-29", "2026-04-05", "2026-10-04", "2026-10-25", "2026-11-01", "2026-07-01"]
)


@st.composite
def some_windows(draw: st.DrawFn) -> str:
    start, end = draw(st.lists(CLOCK, min_size=2, max_size=2, unique=True))
    return f"{start}-{end} {draw(ZONES)} {draw(SOME_DAYS)}"


@settings(deadline=None)  # it looks at up to ten thousand minutes
@given(
    st.lists(some_windows(), min_size=1, max_size=2).map(";".join),
    INSTANTS,
    st.integers(-3 * 86_400, 2 * 86_400),
)
def test_they_are_open_when_they_open_and_never_before(text: str, day: str, seconds: int) -> None:
    windows, at = Windows.parse(text), utc(day) + seconds * SECOND
    opening = windows.opens_at(at)
    assert windows.is_open(opening)
    assert at <= opening <= at + 15 * DAY
    if opening > at:
        assert not windows.is_open(opening - timedelta.resolution)
    assert not any(windows.is_open(at + n * 5 * MINUTE) for n in range((opening - at) // (5 * MINUTE)))


# What is no window


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("always", "'always' is not a window; windows look like 09:30-16:00 America/New_York mon-fri"),
        ("09:30-16:00", "is not a window"),
        ("09:30 America/New_York", "is not a window"),
        ("9-16 America/New_York", "is not a window"),
        ("09:30-16:00:30 UTC", "is not a window"),
        ("0930-1600 UTC", "is not a window"),
        ("009:30-16:00 UTC", "is not a window"),
        ("-1:30-16:00 UTC", "is not a window"),
        ("٠٩:٣٠-١٦:٠٠ UTC", "is not a window"),
        ("mon-fri 09:30-16:00 UTC", "is not a window"),
        (";", "'' is not a window"),
        ("09:30-16:00 UTC;", "'' is not a window"),
        ("09:30-16:00 UTC;;10:00-11:00 UTC", "'' is not a window"),
        ("09:60-16:00 UTC", "09:60 is not a time of day"),
        ("25:00-26:00 UTC", "25:00 is not a time of day"),
        ("22:00-24:01 UTC", "24:01 is not a time of day"),
        ("24:00-02:00 UTC", "can't start at 24:00"),
        ("09:30-09:30 UTC", "a whole day is 00:00-24:00"),
        ("00:00-00:00 UTC", "a whole day is 00:00-24:00"),
        ("09:30-16:00 New_York", "There is no time zone “New_York”"),
        ("09:30-16:00 mon-fri", "There is no time zone “mon-fri”"),
        ("09:30-16:00 ../../etc/passwd", "There is no time zone"),
        ("09:30-16:00 /etc/localtime", "There is no time zone"),
        ("09:30-16:00 Europe", "There is no time zone"),
        ("09:30-16:00 U\x00C", "There is no time zone"),
        ("09:30-16:00 UTC weekdays", "'weekdays' are no days; days look like mon-fri or sat,sun"),
        ("09:30-16:00 UTC mon-", "are no days"),
        ("09:30-16:00 UTC -mon", "are no days"),
        ("09:30-16:00 UTC mon-wed-fri", "are no days"),
        ("09:30-16:00 UTC mon,", "'' are no days"),
        ("09:30-16:00 UTC mon wed", "are no days"),
        ("09:30-16:00 UTC montag", "are no days"),
        ("09:30-16:00 UTC mon," * 30, "At most 500 characters"),
        (" " * (MAX_TEXT + 1), "At most 500 characters"),
    ],
)  # fmt: skip
def test_anything_else_is_refused_with_the_reason(text: str, message: str) -> None:
    with pytest.raises(BadSource) as refused:
        Windows.parse(text)
    assert refused.value.field == "windows"
    assert message in str(refused.value)


def test_as_many_windows_as_fit_are_read() -> None:
    text = ";".join(["9:30-16:00 UTC"] * 33)
    assert len(text) <= MAX_TEXT
    assert len(Windows.parse(text).windows) == 33


@given(st.text(st.sampled_from("0129:-–; ,monfrisUTC/"), max_size=30))
def test_whatever_is_typed_is_refused_or_usable(text: str) -> None:
    try:
        windows = Windows.parse(text)
    except BadSource:
        return
    windows.opens_at(utc("2026-11-23"))
