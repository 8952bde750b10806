"""What a change of clocks does to the next due times is said."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hotdata.triggers import CronTrigger, IntervalTrigger
from hotdata.triggers.preview import Fire, preview

HOUR = timedelta(hours=1)
BEFORE_SPRING = datetime(2027, 3, 27, 12, tzinfo=UTC)  # Europe/Berlin: 2027-03-28, 02:00 becomes 03:00
BEFORE_AUTUMN = datetime(2027, 10, 30, 12, tzinfo=UTC)  # 2027-10-31, 03:00 becomes 02:00


def berlin(expression: str) -> CronTrigger:
    return CronTrigger(expression=expression, time_zone="Europe/Berlin")


def wall(fire: Fire) -> str:
    return f"{fire.at:%m-%d %H:%M}"


def test_a_time_that_the_clocks_skip_is_shown_where_it_is_moved_to() -> None:
    first, second, third = preview(berlin("30 2 * * *"), 3, BEFORE_SPRING)
    assert (wall(first), first.moved, first.turned) == ("03-28 03:00", True, HOUR)
    assert (wall(second), second.moved, second.turned) == ("03-29 02:30", False, timedelta(0))
    assert not third.moved


def test_a_time_that_the_clocks_show_twice_is_the_first_of_two() -> None:
    first, second = preview(berlin("30 2 * * *"), 2, BEFORE_AUTUMN)
    assert (wall(first), first.showing, first.turned) == ("10-31 02:30", 1, timedelta(0))
    assert (wall(second), second.showing, second.turned) == ("11-01 02:30", 0, -HOUR)


def test_what_follows_the_clock_is_due_in_both_of_the_repeated_hours() -> None:
    fires = preview(berlin("30 * * * *"), 16, BEFORE_AUTUMN)
    shown = [(wall(fire), fire.showing) for fire in fires if fire.showing]
    assert shown == [("10-31 02:30", 1), ("10-31 02:30", 2)]


def test_an_interval_says_when_the_clocks_turn_and_is_never_moved() -> None:
    trigger = IntervalTrigger(interval=12 * HOUR, anchor=BEFORE_SPRING, time_zone="Europe/Berlin")
    fires = preview(trigger, 3, BEFORE_SPRING)
    assert [fire.turned for fire in fires] == [timedelta(0), HOUR, timedelta(0)]
    assert not any(fire.moved for fire in fires)


def test_a_zone_without_changes_has_nothing_to_say() -> None:
    trigger = CronTrigger(expression="0 3 * * *", time_zone="Asia/Shanghai")
    for fire in preview(trigger, 10, BEFORE_SPRING):
        assert (fire.turned, fire.moved, fire.showing) == (timedelta(0), False, 0)
