"""Cron against the clock: due times are compared with a walk through every minute of real time zones."""

from __future__ import annotations

import bisect
import functools
import itertools
import random
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hotdata.models import Job, Run
from hotdata.models.policies import Overlap
from hotdata.scheduling.firing import fire
from hotdata.triggers import CronTrigger

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
EXPRESSIONS = (
    "* * * * *",
    "0 * * * *",
    "*/15 1-3 * * *",
    "*/20 2 * * *",
    "0 0 * * *",
    "30 1 * * *",
    "30 2 * * *",
    "0,15,30,45 1-3 * * *",
    "30 0-23 * * *",
    "0 0 * * 1-5",
    "30 2 * * 1-5",
    "0 0 1 * *",
    "15,45 0,2,23 13 * 0,5",
)
EXPRESSIONS_OF_A_YEAR = EXPRESSIONS[1:]
EXPRESSIONS_TO_FIRE = (
    "0 * * * *",
    "0 0 * * *",
    "30 1 * * *",
    "30 2 * * *",
    "0 0 1 * *",
    "0 0 * * 1-5",
    "30 2 * * 1-5",
)
YEARS = (
    ("America/New_York", 2026),
    ("Europe/Berlin", 2026),
    ("Europe/London", 2026),
    ("Australia/Lord_Howe", 2026),  # changes by 30 minutes
    ("America/Santiago", 2026),  # leaps over midnight
    ("Asia/Shanghai", 1986),  # had summer time from 1986 to 1991
)
POLICIES: tuple[dict[str, Any], ...] = (
    {"coalesce": True},
    {"coalesce": False, "overlap": Overlap.ALLOW_ALL, "max_instances": 3},
    {"coalesce": False, "misfire_grace_time": timedelta(hours=2)},
)
# Days around a change that is odd in its own way: at midnight, across it, of hours, of a whole day.
ODDITIES = (
    ("America/Sao_Paulo", datetime(2018, 11, 4, tzinfo=UTC)),
    ("America/Sao_Paulo", datetime(2018, 2, 18, tzinfo=UTC)),
    ("America/Havana", datetime(2026, 3, 8, tzinfo=UTC)),
    ("America/Havana", datetime(2026, 11, 1, tzinfo=UTC)),
    ("America/St_Johns", datetime(2006, 4, 2, tzinfo=UTC)),
    ("America/St_Johns", datetime(2006, 10, 29, tzinfo=UTC)),
    ("Africa/Cairo", datetime(2026, 4, 24, tzinfo=UTC)),
    ("Pacific/Apia", datetime(2011, 12, 30, tzinfo=UTC)),
    ("Pacific/Kwajalein", datetime(1969, 10, 1, tzinfo=UTC)),
    ("Antarctica/Casey", datetime(2009, 10, 18, tzinfo=UTC)),
    ("Antarctica/Casey", datetime(2010, 3, 5, tzinfo=UTC)),
    ("Antarctica/Troll", datetime(2026, 3, 29, tzinfo=UTC)),
    ("Europe/Lisbon", datetime(1992, 9, 27, tzinfo=UTC)),
    ("Asia/Shanghai", datetime(1991, 9, 15, tzinfo=UTC)),
    ("Asia/Shanghai", datetime(2026, 4, 12, tzinfo=UTC)),
    ("Asia/Pyongyang", datetime(2018, 5, 5, tzinfo=UTC)),
)


def parse_field(text: str, low: int, high: int) -> set[int]:
    """The values of a field of numbers, lists, ranges and steps, by a reading of its own."""
    values: set[int] = set()
    for item in text.split(","):
        base, _, step = item.partition("/")
        first, _, last = base.partition("-")
        if base == "*":
            first, last = str(low), str(high)
        elif step and not last:
            last = str(high)
        values |= set(range(int(first), int(last or first) + 1, int(step or 1)))
    return values


class Oracle:
    """Says of a wall time whether an expression matches it, by looking at its five fields."""

    def __init__(self, expression: str) -> None:
        minute, hour, day, month, weekday = expression.split()
        self.times = frozenset(itertools.product(parse_field(hour, 0, 23), parse_field(minute, 0, 59)))
        self.days = parse_field(day, 1, 31)
        self.months = parse_field(month, 1, 12)
        self.weekdays = {number % 7 for number in parse_field(weekday, 0, 7)}
        self.both_days = day.startswith("*") or weekday.startswith("*")
        self.fixed = not minute.startswith("*") and not hour.startswith("*")

    def matches_day(self, wall: datetime) -> bool:
        if wall.month not in self.months:
            return False
        found = (wall.day in self.days, wall.isoweekday() % 7 in self.weekdays)
        return all(found) if self.both_days else any(found)

    def due(self, minutes: Minutes) -> list[datetime]:
        looked_at = minutes.reached if self.fixed else minutes.shown
        found = (moment for time in self.times for moment in looked_at[time] if self.matches_day(moment.wall))
        return sorted({moment.instant for moment in found})


ALL_TIMES = frozenset(itertools.product(range(24), range(60)))


class Moment(NamedTuple):
    wall: datetime
    instant: datetime


@dataclass(frozen=True, kw_only=True)
class Minutes:
    """Minutes in [start, end), by the hour and minute of the wall time that a zone's clock comes to then."""

    start: datetime
    end: datetime
    shown: Mapping[tuple[int, int], list[Moment]]
    reached: Mapping[tuple[int, int], list[Moment]]
    """Those that it shows, or has leapt over, for the first time."""


def walk(
    time_zone: str, start: datetime, end: datetime, times: Collection[tuple[int, int]] = ALL_TIMES
) -> Minutes:
    """Look at the zone's clock every minute in [start, end), and note where it comes to one of `times` of a day."""
    zone = ZoneInfo(time_zone)
    shown, reached = defaultdict(list), defaultdict(list)
    latest = start.astimezone(zone).replace(tzinfo=None) - MINUTE
    for timestamp in range(int(start.timestamp()), int(end.timestamp()), 60):
        wall = datetime.fromtimestamp(timestamp, zone).replace(tzinfo=None)
        if (time := (wall.hour, wall.minute)) in times:
            shown[time].append(Moment(wall, datetime.fromtimestamp(timestamp, UTC)))
        while latest < wall:
            latest += MINUTE
            if (time := (latest.hour, latest.minute)) in times:
                reached[time].append(Moment(latest, datetime.fromtimestamp(timestamp, UTC)))
    return Minutes(start=start, end=end, shown=shown, reached=reached)


# For what looks at the same few days again and again; a year would take too much room.
walk_days = functools.cache(walk)


@pytest.fixture(scope="module", params=YEARS, ids=lambda year: year[0])
def year(request: pytest.FixtureRequest) -> tuple[str, Minutes]:
    """A time zone, and a whole year of it."""
    time_zone, number = request.param
    start, end = (datetime(each, 1, 1, tzinfo=UTC) for each in (number, number + 1))
    times = frozenset().union(*(Oracle(expression).times for expression in EXPRESSIONS_OF_A_YEAR))
    return time_zone, walk(time_zone, start, end, times)


def assert_due(trigger: CronTrigger, expected: list[datetime], start: datetime, end: datetime) -> None:
    """The trigger has exactly these due times in [start, end), whichever way it is asked."""
    after, until = start - timedelta.resolution, end - timedelta.resolution
    assert trigger.first_due(len(expected) + 1, after, until) == expected
    summary = trigger.due_between(after, until)
    outermost = (expected[0], expected[-1]) if expected else (None, None)
    assert (summary.count, summary.first, summary.last) == (len(expected), *outermost)


def test_a_whole_year_is_due_as_the_clock_on_the_wall_says(year: tuple[str, Minutes]) -> None:
    time_zone, minutes = year
    for expression in EXPRESSIONS_OF_A_YEAR:
        expected = Oracle(expression).due(minutes)
        assert_due(
            CronTrigger(expression=expression, time_zone=time_zone), expected, minutes.start, minutes.end
        )


def test_the_records_of_a_whole_year_stand_for_what_the_clock_on_the_wall_says(
    year: tuple[str, Minutes],
) -> None:
    """With a scheduler that is mostly there in time, and now and then away for up to three days."""
    time_zone, minutes = year
    for number, expression in enumerate(EXPRESSIONS_TO_FIRE):
        # In three zones that follow one another, each expression meets each policy.
        policy = POLICIES[(number + [zone for zone, _ in YEARS].index(time_zone)) % len(POLICIES)]
        job = Job(name="a-job", task="a_task", cron=expression, time_zone=time_zone, **policy)
        due = Oracle(expression).due(minutes)
        assert stood_for(fire_for_a_time(job, minutes.start, minutes.end), due) == due


def fire_for_a_time(job: Job, start: datetime, end: datetime) -> Iterator[Run]:
    """What a scheduler puts on record from `start` on: all that is due before `end`."""
    timetable, chance = job.timetable(), random.Random(job.cron)
    fire_at = timetable.next_fire(start - timedelta.resolution)
    while fire_at is not None and fire_at < end:
        late = chance.uniform(0, 3) * DAY if chance.random() < 0.1 else chance.random() * SECOND
        now = min(fire_at + late, end - timedelta.resolution)
        yield from fire(job, timetable, timetable.due_since(fire_at, now), now=now, node="a-node")
        fire_at = timetable.next_fire(now)


def stood_for(records: Iterable[Run], due: list[datetime]) -> list[datetime]:
    """Those of `due` that `records` stand for, in the order of the records; each record must say how many."""
    found = []
    for record in records:
        first, last = record.coalesced_since or record.scheduled_for, record.scheduled_for
        assert first is not None
        assert last is not None
        covered = due[bisect.bisect_left(due, first) : bisect.bisect_right(due, last)]
        assert covered, f"nothing is due from {first} to {last}"
        assert (covered[0], covered[-1], len(covered)) == (first, last, record.coalesced + 1)
        found += covered
    return found


@pytest.mark.parametrize("expression", EXPRESSIONS)
@pytest.mark.parametrize(("time_zone", "change"), ODDITIES)
def test_an_odd_change_of_the_clock_is_followed(time_zone: str, change: datetime, expression: str) -> None:
    start, end = change - 2 * DAY, change + 3 * DAY
    expected = Oracle(expression).due(walk_days(time_zone, start, end))
    assert_due(CronTrigger(expression=expression, time_zone=time_zone), expected, start, end)


def numbers(low: int, high: int) -> st.SearchStrategy[str]:
    """A cron field: a star, a step, or a list of values and ranges, now and then with a step."""
    value = st.integers(low, high)
    span = st.tuples(value, value).map(lambda pair: f"{min(pair)}-{max(pair)}")
    item = st.one_of(value.map(str), span, st.tuples(span, st.integers(1, 9)).map(lambda p: f"{p[0]}/{p[1]}"))
    stars = st.one_of(st.just("*"), st.integers(1, high).map(lambda step: f"*/{step}"))
    return st.one_of(stars, st.lists(item, min_size=1, max_size=3).map(",".join))


# Days up to 28 and all months: the expressions are to be due often, and never to be refused.
CRON = st.tuples(
    numbers(0, 59), numbers(0, 23), numbers(1, 28), st.just("*"), st.one_of(st.just("*"), numbers(0, 7))
).map(" ".join)
ZONED_CHANGES = st.sampled_from(
    [
        *ODDITIES,
        ("America/New_York", datetime(2026, 3, 8, tzinfo=UTC)),
        ("America/New_York", datetime(2026, 11, 1, tzinfo=UTC)),
        ("Australia/Lord_Howe", datetime(2026, 4, 5, tzinfo=UTC)),
        ("Australia/Lord_Howe", datetime(2026, 10, 4, tzinfo=UTC)),
        ("UTC", datetime(2028, 2, 28, tzinfo=UTC)),
    ]
)
SECONDS = st.integers(-2 * 86400, 2 * 86400).map(lambda seconds: timedelta(seconds=seconds))


@settings(deadline=None, max_examples=150)
@given(expression=CRON, change=ZONED_CHANGES, early=SECONDS, late=SECONDS)
def test_any_expression_is_due_in_any_range_as_the_clock_says(
    expression: str, change: tuple[str, datetime], early: timedelta, late: timedelta
) -> None:
    time_zone, instant = change
    start, end = instant + min(early, late), instant + max(early, late)
    # The walk sets out before the range, since a fold that began earlier may reach into it.
    minutes = walk_days(time_zone, instant - 4 * DAY, instant + 3 * DAY)
    expected = [due for due in Oracle(expression).due(minutes) if start <= due < end]
    assert_due(CronTrigger(expression=expression, time_zone=time_zone), expected, start, end)


@settings(deadline=None, max_examples=100)
@given(
    expression=CRON,
    time_zone=st.sampled_from(
        ["America/New_York", "Australia/Lord_Howe", "Europe/London", "Asia/Gaza", "UTC"]
    ),
    after=st.datetimes(datetime(1975, 1, 1), datetime(2037, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    span=st.timedeltas(timedelta(0), timedelta(days=400)),
)
@example("* * * * *", "Europe/London", datetime(2025, 12, 31, tzinfo=UTC), timedelta(days=2))
def test_what_is_counted_is_what_an_enumeration_finds(
    expression: str, time_zone: str, after: datetime, span: timedelta
) -> None:
    trigger = CronTrigger(expression=expression, time_zone=time_zone)
    most = 5_000
    found = trigger.first_due(most, after, after + span)
    until = found[-1] if len(found) == most else after + span
    assert trigger.due_between(after, until).count == len(found)
    assert trigger.due_between(after, until).last == (found[-1] if found else None)


@settings(deadline=None, max_examples=60)
@example("*/6 * */8 * *", "America/New_York", datetime(2020, 10, 26, tzinfo=UTC))
@given(
    # CronSim reads 5-5/2 as 5/2; we don't.
    expression=CRON.filter(lambda expression: not re.search(r"\b(\d+)-\1/", expression)),
    time_zone=st.sampled_from(["America/New_York", "Europe/Berlin", "Asia/Tokyo", "UTC"]),
    after=st.datetimes(datetime(2000, 1, 1), datetime(2036, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)
def test_cronsim_agrees_where_a_zone_changes_by_whole_hours(
    expression: str, time_zone: str, after: datetime
) -> None:
    theirs = CronSim(expression, after.astimezone(ZoneInfo(time_zone)))
    expected: list[datetime] = []
    while len(expected) < 50:
        due = next(theirs).astimezone(UTC)
        # It gives a time twice when the gap holds two appointments, and looks back into a fold it starts in.
        if due > (expected[-1] if expected else after):
            expected.append(due)
    found = CronTrigger(expression=expression, time_zone=time_zone).preview(50, after)
    # In UTC: to Python, a time in a repeated hour equals none of another zone.
    assert [due.astimezone(UTC) for due in found] == expected


DAILY_IN_THE_GAP = (
    ("America/New_York", "2026-03-08", "00:00", "00:00"),
    ("America/New_York", "2026-03-08", "01:30", "01:30"),
    ("America/New_York", "2026-03-08", "02:30", "03:00"),
    ("Europe/Berlin", "2026-03-29", "00:00", "00:00"),
    ("Europe/Berlin", "2026-03-29", "01:30", "01:30"),
    ("Europe/Berlin", "2026-03-29", "02:30", "03:00"),
    ("Australia/Lord_Howe", "2026-10-04", "00:00", "00:00"),
    ("Australia/Lord_Howe", "2026-10-04", "01:30", "01:30"),
    ("Australia/Lord_Howe", "2026-10-04", "02:15", "02:30"),
    ("Australia/Lord_Howe", "2026-10-04", "02:30", "02:30"),
    ("Asia/Shanghai", "1986-05-04", "00:00", "00:00"),
    ("Asia/Shanghai", "1986-05-04", "02:30", "03:00"),
    ("Asia/Shanghai", "2026-05-04", "02:30", "02:30"),
    ("America/Sao_Paulo", "2018-11-04", "00:00", "01:00"),
)


@pytest.mark.parametrize(("time_zone", "day", "planned", "shown"), DAILY_IN_THE_GAP)
def test_a_daily_job_runs_once_on_the_day_the_clock_springs_forward(
    time_zone: str, day: str, planned: str, shown: str
) -> None:
    assert shown_on(time_zone, day, f"{planned[3:]} {planned[:2]} * * *") == [shown]


FALLS_BACK = (  # zone, day, a time that comes twice, the offset in hours when it comes first
    ("America/New_York", "2026-11-01", "01:45", -4),
    ("Europe/Berlin", "2026-10-25", "02:45", 2),
    ("Australia/Lord_Howe", "2026-04-05", "01:45", 11),
    ("Asia/Shanghai", "1986-09-14", "01:45", 9),
)


@pytest.mark.parametrize("planned", ["00:00", "01:30", "02:30"])
@pytest.mark.parametrize(("time_zone", "day"), [case[:2] for case in FALLS_BACK])
def test_a_daily_job_runs_once_on_the_day_the_clock_falls_back(
    time_zone: str, day: str, planned: str
) -> None:
    assert shown_on(time_zone, day, f"{planned[3:]} {planned[:2]} * * *") == [planned]


@pytest.mark.parametrize(("time_zone", "day", "planned", "hours"), FALLS_BACK)
def test_an_appointment_that_comes_twice_is_kept_the_first_time(
    time_zone: str, day: str, planned: str, hours: int
) -> None:
    trigger = CronTrigger(expression=f"{planned[3:]} {planned[:2]} * * *", time_zone=time_zone)
    midnight = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(time_zone))
    (due,) = trigger.preview(1, midnight)
    assert (f"{due:%F %H:%M}", due.utcoffset()) == (f"{day} {planned}", timedelta(hours=hours))


def test_the_day_after_the_clock_sprang_forward_a_job_at_midnight_runs() -> None:
    trigger = CronTrigger(expression="0 0 * * *", time_zone="America/New_York")
    days = [due.date().isoformat() for due in trigger.preview(3, datetime(2026, 3, 8, 1, tzinfo=UTC))]
    assert days == ["2026-03-08", "2026-03-09", "2026-03-10"]


def test_a_monthly_job_at_midnight_skips_no_month() -> None:
    trigger = CronTrigger(expression="0 0 1 * *", time_zone="America/New_York")
    due = trigger.preview(12, datetime(2026, 1, 1, tzinfo=UTC))
    assert [(each.month, each.day, each.hour) for each in due] == [(month, 1, 0) for month in range(1, 13)]


@pytest.mark.parametrize("expression", ["0 * * * *", "*/60 * * * *"])
@pytest.mark.parametrize(
    ("time_zone", "day", "count"),
    [
        ("America/New_York", "2026-03-08", 23),
        ("America/New_York", "2026-11-01", 25),
        ("Europe/Berlin", "2026-03-29", 23),
        ("Europe/Berlin", "2026-10-25", 25),
        ("Asia/Shanghai", "1986-05-04", 23),
        ("Asia/Shanghai", "1986-09-14", 25),
        ("Asia/Shanghai", "2026-05-04", 24),
        ("Australia/Lord_Howe", "2026-10-04", 23),  # 02:00 doesn't exist
        ("Australia/Lord_Howe", "2026-04-05", 24),  # 01:30 to 02:00 comes twice, but no full hour
    ],
)
def test_an_hourly_job_follows_the_clock_through_gap_and_fold(
    time_zone: str, day: str, count: int, expression: str
) -> None:
    assert len(shown_on(time_zone, day, expression)) == count


def test_appointments_that_share_a_gap_are_made_up_for_once() -> None:
    assert shown_on("America/New_York", "2026-03-08", "0,30 2 * * *") == ["03:00"]
    assert shown_on("America/New_York", "2026-03-08", "0,30 2,3 * * *") == ["03:00", "03:30"]


def test_an_appointment_on_a_day_that_never_was_is_made_up_for_the_next() -> None:
    trigger = CronTrigger(expression="0 12 30 12 *", time_zone="Pacific/Apia")
    (due,) = trigger.preview(1, datetime(2011, 12, 1, tzinfo=UTC))
    assert due.isoformat() == "2011-12-31T00:00:00+14:00"


def test_an_appointment_kept_before_new_year_is_not_kept_again_after_it() -> None:
    # The clock went back from midnight to 22:56:19, and showed 23:30 again when the year had turned in UTC.
    trigger = CronTrigger(expression="30 23 * * *", time_zone="Africa/Sao_Tome")
    due = trigger.first_due(2, datetime(1883, 12, 31, 12, tzinfo=UTC), datetime(1884, 1, 3, tzinfo=UTC))
    assert [f"{each:%d %T}" for each in due] == ["31 23:03:04", "02 00:06:45"]


def test_every_quarter_of_an_hour_is_due_where_the_clock_falls_back_by_half_an_hour() -> None:
    shown = shown_on("Australia/Lord_Howe", "2026-04-05", "*/15 1-2 * * *")
    assert shown == [
        *("01:00", "01:15", "01:30", "01:45", "01:30", "01:45"),
        *("02:00", "02:15", "02:30", "02:45"),
    ]


def shown_on(time_zone: str, day: str, expression: str) -> list[str]:
    """What the clock of the zone shows at each due time of a local day."""
    midnight = datetime.fromisoformat(day)
    zone = ZoneInfo(time_zone)
    trigger = CronTrigger(expression=expression, time_zone=time_zone)
    around = trigger.preview(200, midnight.replace(tzinfo=zone).astimezone(UTC) - DAY)
    return [f"{due:%H:%M}" for due in around if due.date() == midnight.date()]
