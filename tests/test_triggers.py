"""Triggers: what they accept, when they are due, how they read, and that counting is cheap."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta, timezone
from time import thread_time
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.utils.translation import override
from hypothesis import given, settings
from hypothesis import strategies as st

from hotdata.exceptions import BadTrigger
from hotdata.triggers import CronTrigger, DateTrigger, DueTimes, IntervalTrigger, Trigger, stable_offset

NOW = datetime(2026, 11, 23, 6, 59, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def make_cron(expression: str = "*/5 * * * *", **fields: Any) -> CronTrigger:
    return CronTrigger(expression=expression, **fields)


def make_interval(interval: timedelta = MINUTE, anchor: datetime = NOW, **fields: Any) -> IntervalTrigger:
    return IntervalTrigger(interval=interval, anchor=anchor, **fields)


def make_date(run_at: datetime = NOW, **fields: Any) -> DateTrigger:
    return DateTrigger(run_at=run_at, **fields)


MAKERS = (make_cron, make_interval, make_date)


# What is refused, which field is blamed, and what the operator reads


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("", "has 0 fields; exactly five are expected: minute hour day month weekday"),
        ("   ", "has 0 fields"),
        ("5", "has 1 field; exactly five"),
        ("* * * *", "has 4 fields; exactly five"),
        ("0 0 * * * *", "has 6 fields; exactly five are expected: minute hour day month weekday"),
        ("60 * * * *", "“60” is no valid minute; allowed are 0-59"),
        ("* 24 * * *", "“24” is no valid hour; allowed are 0-23"),
        ("* * 0 * *", "“0” is no valid day; allowed are 1-31"),
        ("* * 32 * *", "“32” is no valid day"),
        ("* * * 13 *", "“13” is no valid month; allowed are 1-12 or JAN-DEC"),
        ("* * * FOO *", "“FOO” is no valid month"),
        ("* * * * 8", "“8” is no valid weekday; allowed are 0-7 or SUN-SAT"),
        ("* * * * fri-mon", "“fri-mon” is no valid weekday"),
        ("*/0 * * * *", "“*/0” is no valid minute"),
        ("1,,2 * * * *", "“1,,2” is no valid minute"),
        ("5-1 * * * *", "“5-1” is no valid minute"),
        ("-1 * * * *", "“-1” is no valid minute"),
        ("1.5 * * * *", "“1.5” is no valid minute"),
        ("٣ * * * *", "is no valid minute"),
        ("0 0 30 2 *", "“0 0 30 2 *” never comes due"),
        ("0 0 31 4,6,9,11 *", "never comes due"),
        ("0 0 LW * */7", "never comes due"),  # the last working day of a month is no Sunday
        ("@daily", "“@daily” can't be used; write it out as “0 0 * * *”"),
        ("@HOURLY", "write it out as “0 * * * *”"),
        ("@every 5m", "“@every” can't be used; write the five fields out"),
        ("@reboot", "“@reboot” can't be used; write the five fields out"),
        ("1," * 100 + "1 * * * *", "longer than 200 characters"),
    ],
)
def test_a_bad_expression_is_blamed_on_cron_in_words_that_help(expression: str, message: str) -> None:
    with pytest.raises(BadTrigger, match=r"\.$") as caught:
        make_cron(expression)
    assert caught.value.field == "cron"
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "name", ["", "Mars/Olympus", "europe/nowhere", "Europe", "../../etc/passwd", "/etc", "a\0b"]
)
@pytest.mark.parametrize("make", MAKERS)
def test_a_time_zone_that_does_not_exist_is_refused(make: Callable[..., Trigger], name: str) -> None:
    with pytest.raises(BadTrigger, match="There is no time zone") as caught:
        make(time_zone=name)
    assert caught.value.field == "time_zone"


@pytest.mark.parametrize("field", ["starts_at", "ends_at"])
@pytest.mark.parametrize("make", MAKERS)
def test_a_window_without_a_time_zone_is_refused(make: Callable[..., Trigger], field: str) -> None:
    with pytest.raises(BadTrigger, match="needs a time zone") as caught:
        make(**{field: NOW.replace(tzinfo=None)})
    assert caught.value.field == field


@pytest.mark.parametrize("make", MAKERS)
def test_a_window_that_ends_before_it_starts_is_refused(make: Callable[..., Trigger]) -> None:
    with pytest.raises(BadTrigger, match="end lies before the start") as caught:
        make(starts_at=NOW, ends_at=NOW - SECOND)
    assert caught.value.field == "ends_at"


@pytest.mark.parametrize(
    ("interval", "message"),
    [
        (timedelta(0), "one second or longer"),
        (-MINUTE, "one second or longer"),
        (timedelta(milliseconds=999), "one second or longer"),
        (timedelta(seconds=1.5), "whole number of seconds"),
    ],
)
def test_an_interval_is_a_positive_number_of_whole_seconds(interval: timedelta, message: str) -> None:
    with pytest.raises(BadTrigger, match=message) as caught:
        make_interval(interval)
    assert caught.value.field == "interval"


def test_a_date_without_a_time_zone_is_refused() -> None:
    with pytest.raises(BadTrigger, match="needs a time zone") as caught:
        make_date(NOW.replace(tzinfo=None))
    assert caught.value.field == "run_at"


def test_a_date_beyond_the_calendar_is_refused() -> None:
    with pytest.raises(BadTrigger, match="out of range") as caught:
        make_date(datetime.max.replace(tzinfo=timezone(-HOUR)))
    assert caught.value.field == "run_at"


@pytest.mark.parametrize("window", [{"starts_at": NOW + SECOND}, {"ends_at": NOW - SECOND}])
def test_a_date_outside_of_its_window_is_refused(window: dict[str, datetime]) -> None:
    with pytest.raises(BadTrigger, match="never come due") as caught:
        make_date(**window)
    assert caught.value.field == "run_at"


def test_a_negative_jitter_is_refused() -> None:
    with pytest.raises(BadTrigger, match="negative") as caught:
        stable_offset("prices", -SECOND)
    assert caught.value.field == "jitter"


@settings(deadline=None, max_examples=300)
@given(
    st.text(max_size=60)
    | st.lists(st.text("0123456789*/,-#LW ", max_size=5), min_size=5, max_size=5).map(" ".join)
)
def test_any_text_is_either_a_trigger_or_a_bad_trigger(text: str) -> None:
    try:
        trigger = make_cron(text)
    except BadTrigger:
        return
    assert trigger.next_after(NOW)
    assert trigger.describe()


# Values


@pytest.mark.parametrize("make", MAKERS)
def test_a_trigger_is_compared_by_value(make: Callable[..., Trigger]) -> None:
    elsewhere = NOW.astimezone(ZoneInfo("Asia/Shanghai"))
    assert make(starts_at=NOW) == make(starts_at=elsewhere)
    assert hash(make(starts_at=NOW)) == hash(make(starts_at=elsewhere))
    assert make(starts_at=NOW) != make(starts_at=NOW - SECOND)
    assert make() != make(time_zone="Asia/Shanghai")


def test_triggers_of_different_kinds_are_never_equal() -> None:
    assert len({make() for make in MAKERS}) == len(MAKERS)


@pytest.mark.parametrize("make", MAKERS)
def test_a_trigger_never_changes(make: Callable[..., Trigger]) -> None:
    with pytest.raises(FrozenInstanceError):
        make().time_zone = "UTC"  # type: ignore[misc]


@pytest.mark.parametrize("make", MAKERS)
def test_a_trigger_survives_the_way_to_another_process(make: Callable[..., Trigger]) -> None:
    trigger = make(starts_at=NOW)
    assert pickle.loads(pickle.dumps(trigger)) == trigger


def test_white_space_in_an_expression_does_not_matter() -> None:
    assert make_cron(" 0\t9  * *   mon-fri\n") == make_cron("0 9 * * mon-fri")


# When cron is due


@pytest.mark.parametrize(
    ("expression", "days"),
    [
        ("0 0 * * 0", [29]),
        ("0 0 * * 7", [29]),
        ("0 0 * * sun", [29]),
        ("0 0 * * mon-fri", [24, 25, 26, 27, 30]),
        ("0 0 * * MON,Wed", [25, 30]),
        ("0 0 * * 1-5/2", [25, 27, 30]),
        ("0 0 28 * 5", [27, 28]),  # both days restricted: either will do
        ("0 0 24-30/2 * *", [24, 26, 28, 30]),
        ("0 0 */7 * *", [29]),
        ("0 0 * nov,dec 5#4", [27]),
        ("0 0 L * *", [30]),
        ("0 0 * * 5L", [27]),
    ],
)
def test_days_are_chosen_as_by_debians_cron(expression: str, days: list[int]) -> None:
    due = make_cron(expression).first_due(40, NOW, at("2026-11-30"))
    assert [each.day for each in due] == days


@pytest.mark.parametrize("month", ["feb,OCT-dec", "2,10-12", "2,10,11,12"])
def test_months_may_be_named_or_numbered(month: str) -> None:
    due = make_cron(f"0 0 1 {month} *").first_due(4, NOW, NOW + 400 * DAY)
    assert [each.month for each in due] == [12, 2, 10, 11]


def test_a_leap_day_is_waited_for() -> None:
    assert make_cron("0 0 29 2 *").next_after(NOW) == at("2028-02-29")
    # The longest wait there is: a leap day that is a Sunday, across 2100, which is no leap year.
    assert make_cron("0 0 29 2 */7").next_after(at("2088-02-29")) == at("2128-02-29")


@pytest.mark.parametrize(
    ("field", "hours"), [("5-5/2", [5]), ("05-5/1", [5]), ("5-7/2,9-9/3", [5, 7, 9]), ("0-0/9", [0])]
)
def test_a_step_never_leads_out_of_its_range(field: str, hours: list[int]) -> None:
    due = make_cron(f"0 {field} * * *").first_due(24, at("2026-11-22T23:59"), at("2026-11-23T23:59"))
    assert [each.hour for each in due] == hours


def test_an_expression_means_the_clock_of_its_time_zone() -> None:
    trigger = make_cron("30 9 * * *", time_zone="Asia/Shanghai")
    assert trigger.next_after(NOW) == at("2026-11-24T01:30")
    (shown,) = trigger.preview(1, NOW)
    assert shown.isoformat() == "2026-11-24T09:30:00+08:00"
    assert shown.tzinfo == ZoneInfo("Asia/Shanghai")


def test_seconds_and_microseconds_never_let_a_due_time_slip() -> None:
    trigger = make_cron("* * * * *")
    minute = at("2026-01-01T00:01")
    for early in (timedelta.resolution, SECOND, timedelta(seconds=59, microseconds=999_999)):
        assert trigger.next_after(minute - early) == minute
        assert trigger.due_between(minute - early, minute).count == 1
        assert trigger.due_between(minute - MINUTE, minute - early).count == 0
    assert trigger.next_after(minute) == minute + MINUTE


# When intervals and dates are due


def test_an_interval_is_due_at_its_anchor_and_at_every_step_from_it() -> None:
    trigger = make_interval(timedelta(seconds=90))
    assert trigger.first_due(3, NOW - DAY, NOW + DAY) == [NOW, NOW + 1.5 * MINUTE, NOW + 3 * MINUTE]
    assert trigger.next_after(NOW) == NOW + 1.5 * MINUTE
    assert trigger.next_after(NOW + 100 * DAY + SECOND) == NOW + 100 * DAY + 1.5 * MINUTE


def test_a_start_takes_the_anchors_place() -> None:
    start = NOW + timedelta(seconds=7)
    trigger = make_interval(starts_at=start)
    assert trigger == make_interval(anchor=start, starts_at=start)
    assert trigger.first_due(2, NOW - DAY, NOW + DAY) == [start, start + MINUTE]


def test_an_interval_longer_than_the_calendar_is_due_once() -> None:
    trigger = make_interval(timedelta(days=999_999_999))
    assert trigger.first_due(2, NOW - DAY, NOW + DAY) == [NOW]
    assert trigger.next_after(NOW) is None


@settings(deadline=None)
@given(
    interval=st.integers(1, 100_000).map(lambda seconds: seconds * SECOND),
    shift=st.floats(-30, 30),
    span=st.floats(0, 30),
)
def test_an_interval_counts_what_an_enumeration_finds(interval: timedelta, shift: float, span: float) -> None:
    after = NOW + shift * interval
    until = after + span * interval
    expected = [due for due in (NOW + number * interval for number in range(70)) if after < due <= until]
    trigger = make_interval(interval)
    found = trigger.due_between(after, until)
    outermost = (expected[0], expected[-1]) if expected else (None, None)
    assert (found.count, found.first, found.last) == (len(expected), *outermost)
    assert trigger.first_due(70, after, until) == expected


def test_a_date_is_due_once() -> None:
    trigger = make_date()
    assert trigger.next_after(NOW - timedelta.resolution) == NOW
    assert trigger.next_after(NOW) is None
    assert trigger.due_between(NOW - DAY, NOW) == DueTimes(count=1, first=NOW, last=NOW)
    assert trigger.due_between(NOW, NOW + DAY) == DueTimes()


# What all of them promise


def make_minutely(kind: str, **fields: Any) -> Trigger:
    return make_cron("* * * * *", **fields) if kind == "cron" else make_interval(anchor=NOW - DAY, **fields)


@pytest.mark.parametrize("kind", ["cron", "interval"])
def test_start_and_end_belong_to_the_window(kind: str) -> None:
    trigger = make_minutely(kind, starts_at=NOW, ends_at=NOW + 2 * MINUTE)
    assert trigger.first_due(9, NOW - DAY, NOW + DAY) == [NOW, NOW + MINUTE, NOW + 2 * MINUTE]
    assert trigger.due_between(NOW - DAY, NOW + DAY) == DueTimes(count=3, first=NOW, last=NOW + 2 * MINUTE)
    assert trigger.next_after(NOW + 2 * MINUTE) is None
    assert trigger.preview(5, NOW + 2 * MINUTE) == []


@pytest.mark.parametrize("kind", ["cron", "interval"])
def test_a_range_excludes_where_it_begins_and_includes_where_it_ends(kind: str) -> None:
    trigger = make_minutely(kind)
    assert trigger.due_between(NOW, NOW + MINUTE) == DueTimes(count=1, first=NOW + MINUTE, last=NOW + MINUTE)
    assert trigger.due_between(NOW, NOW + MINUTE - timedelta.resolution) == DueTimes()
    assert trigger.due_between(NOW, NOW) == DueTimes()
    assert trigger.due_between(NOW + HOUR, NOW) == DueTimes()
    assert trigger.first_due(0, NOW, NOW + HOUR) == []


@pytest.mark.parametrize("make", MAKERS)
def test_instants_come_out_in_utc_whatever_zone_they_went_in_with(make: Callable[..., Trigger]) -> None:
    trigger = make(time_zone="America/New_York")
    after = (NOW - MINUTE).astimezone(ZoneInfo("Asia/Shanghai"))
    due = [trigger.next_after(after), trigger.due_between(after, after + DAY).last]
    due += trigger.first_due(2, after, after + DAY)
    assert {each.tzinfo for each in due if each} == {UTC}


@pytest.mark.parametrize("make", MAKERS)
def test_an_instant_without_a_time_zone_is_never_guessed_at(make: Callable[..., Trigger]) -> None:
    with pytest.raises(TypeError, match="naive"):
        make().next_after(NOW.replace(tzinfo=None))


@pytest.mark.parametrize("make", MAKERS)
def test_the_ends_of_the_calendar_are_no_surprise(make: Callable[..., Trigger]) -> None:
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    trigger = make(time_zone="Pacific/Kiritimati", ends_at=last)
    assert trigger.next_after(first) is not None
    assert trigger.next_after(last) is None
    assert trigger.next_after(last.replace(tzinfo=timezone(-HOUR))) is None
    assert trigger.due_between(last, last) == DueTimes()


def test_an_instant_in_a_repeated_hour_is_taken_as_the_one_it_is() -> None:
    second_time = datetime(2026, 11, 1, 1, 30, tzinfo=ZoneInfo("America/New_York"), fold=1)
    trigger = make_cron("*/5 * * * *", time_zone="America/New_York")
    assert trigger.next_after(second_time) == at("2026-11-01T06:35")


def test_apscheduler_is_told_what_follows_the_previous_fire() -> None:
    trigger = make_cron("0 * * * *")
    assert trigger.get_next_fire_time(at("2026-01-01T05:00"), NOW) == at("2026-01-01T06:00")
    assert trigger.get_next_fire_time(None, at("2026-01-01T05:00")) == at("2026-01-01T05:00")
    assert trigger.get_next_fire_time(None, at("2026-01-01T05:01")) == at("2026-01-01T06:00")
    assert make_date().get_next_fire_time(NOW, NOW) is None


# Words


@pytest.mark.parametrize(
    ("trigger", "words"),
    [
        (make_cron("*/5 * * * *"), "Every 5 minutes"),
        (make_cron("* * * * *"), "Every minute"),
        (make_cron("30 21 * * mon-fri"), "At 21:30, Monday through Friday"),
        (make_cron("0 0 1 jan,may *"), "At 00:00, on day 1 of the month, only in January and May"),
        # As Debian's cron has it: every second weekday from Friday on, and either the day or the weekday.
        (make_cron("0 0 * * 5/2"), "At 00:00, only on Sunday and Friday"),
        (make_cron("0 0 13 * fri"), "At 00:00, on day 13 of the month, or on Friday"),
        (make_cron("0 0 13 * 6-7"), "At 00:00, on day 13 of the month, or on Sunday and Saturday"),
        (make_cron("0 0 */2 * fri"), "At 00:00, every 2 days, only on Friday"),
        (make_cron("0 9 * * 1#2"), "At 09:00, on the second Monday of the month"),
        (make_cron("0 9 * * 1#2,5L"), "0 9 * * 1#2,5L"),  # which cron-descriptor can't say
        (make_interval(SECOND), "Every 1 second"),
        (make_interval(timedelta(seconds=90)), "Every 90 seconds"),
        (make_interval(MINUTE), "Every 1 minute"),
        (make_interval(90 * MINUTE), "Every 90 minutes"),
        (make_interval(HOUR), "Every 1 hour"),
        (make_interval(36 * HOUR), "Every 36 hours"),
        (make_interval(2 * DAY), "Every 2 days"),
        (make_date(), "Once, at 2026-11-23 06:59 UTC"),
        (make_date(NOW + SECOND), "Once, at 2026-11-23 06:59:01 UTC"),
        (make_date(time_zone="Asia/Shanghai"), "Once, at 2026-11-23 14:59 Asia/Shanghai"),
    ],
)
def test_a_trigger_describes_itself(trigger: Trigger, words: str) -> None:
    with override("en"):
        assert trigger.describe() == words


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("zh-hans", "在 09:30，星期一至星期五，仅限五月"),
        ("de", "Um 09:30, Montag bis Freitag, nur im Mai"),
        ("sw", "At 09:30, Monday through Friday, only in May"),  # cron-descriptor has no Swahili
    ],
)
def test_an_expression_is_described_in_the_active_language(language: str, words: str) -> None:
    with override(language):
        assert make_cron("30 9 * may mon-fri").describe() == words


@pytest.mark.parametrize(
    ("trigger", "words"),
    [
        (make_cron("* * * * *"), "每分钟"),
        (make_cron("20 * * * *"), "整点过 20 分"),
        (make_cron("5/15 9-17 * * *"), "每 15 分钟，从整点过 5 分起，在 09:00 至 17:59 之间"),
        (make_cron("0 8,12,20 * * sat,sun"), "在 08:00、12:00 和 20:00，仅限星期六和星期日"),
        (make_cron("0 9 * * 1#2"), "在 09:00，每月第二个星期一"),
        (make_cron("0 0 1 */3 *"), "在 00:00，每月 1 日，每 3 个月"),
        (make_cron("0 0 13 * 1-3"), "在 00:00，每月 13 日，或星期一、星期二和星期三"),
        (make_cron("1-59/2 * * * *"), "每 2 分钟，整点过 1 至 59 分"),
        (make_interval(90 * MINUTE), "每 90 分钟"),
        (make_date(time_zone="Asia/Shanghai"), "一次，2026年11月23日 14:59（Asia/Shanghai）"),
        (make_date(NOW + SECOND), "一次，2026年11月23日 06:59:01（UTC）"),
    ],
)
def test_a_trigger_describes_itself_in_chinese(trigger: Trigger, words: str) -> None:
    with override("zh-hans"):
        assert trigger.describe() == words


def test_an_expression_is_described_while_translation_is_off() -> None:
    with override(None):
        assert make_cron("*/5 * * * *").describe() == "Every 5 minutes"


# Jitter


def test_an_offset_depends_on_the_seed_alone() -> None:
    # Pinned: another figure would move every job that has a jitter.
    assert stable_offset("prices", HOUR) == timedelta(minutes=35, seconds=42, milliseconds=664)
    assert stable_offset("prices", HOUR) != stable_offset("news", HOUR)


def test_offsets_spread_over_the_jitter_and_stay_below_it() -> None:
    offsets = [stable_offset(f"job-{number}", MINUTE) for number in range(1_000)]
    assert all(timedelta(0) <= offset < MINUTE for offset in offsets)
    per_quarter = [sum(offset // (MINUTE / 4) == quarter for offset in offsets) for quarter in range(4)]
    assert all(200 < count < 300 for count in per_quarter)


@pytest.mark.parametrize("jitter", [timedelta(0), timedelta(microseconds=999), timedelta(milliseconds=1)])
def test_a_jitter_below_its_granularity_is_none(jitter: timedelta) -> None:
    assert stable_offset("prices", jitter) == timedelta(0)


# Cost


def seconds_for(work: Callable[[], object]) -> float:
    started = thread_time()
    work()
    return thread_time() - started


@pytest.mark.parametrize(
    ("trigger", "count"),
    [
        (make_cron("* * * * *", time_zone="America/New_York"), 5_258_880),
        (make_interval(SECOND, anchor=NOW), 315_532_800),
    ],
)
def test_ten_years_are_counted_in_less_time_than_a_few_of_their_due_times_are_listed(
    trigger: Trigger, count: int
) -> None:
    until = NOW + 3652 * DAY
    assert trigger.due_between(NOW, until).count == count
    counting = min(seconds_for(lambda: trigger.due_between(NOW, until)) for _ in range(3))
    listing = min(seconds_for(lambda: trigger.first_due(5_000, NOW, until)) for _ in range(3))
    assert counting < listing
