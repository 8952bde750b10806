from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from datetime import UTC, datetime, timedelta

import pytest

from hotdata.models import Job
from hotdata.models.runs import Cause, State
from hotdata.observing.activity import Tally, Timeline, TimelineRow
from hotdata.observing.jobs import BriefRun, JobHealth, JobStatus
from hotdata.pages import timelines
from hotdata.pages.strips import DayStrips, look_of, says
from hotdata.pages.words import FAILED, MUTED, OK, RUNNING, WARN, Look

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
NOW = datetime(2026, 11, 23, 12, 10, tzinfo=UTC)
SINCE, UNTIL = NOW - 90 * MINUTE, NOW + 30 * MINUTE
SPAN = timelines.WIDTH - timelines.LEFT - timelines.RIGHT
HOSTILE = "<script>alert(1)</script>"


def ran(ago: timedelta, duration: timedelta | None = SECOND, state: State = State.SUCCEEDED) -> BriefRun:
    return BriefRun(7, state, Cause.SCHEDULE, NOW - ago, 1, duration)


def draw(
    *runs: BriefRun,
    title: str = "Stocks",
    planned: tuple[datetime, ...] = (),
    known_since: datetime = SINCE,
    known_until: datetime = UNTIL,
) -> ElementTree.Element:
    status = JobStatus(
        job=Job(name="stocks", title=title),
        health=JobHealth.HEALTHY,
        due_next=None,
        error="",
        latest=runs,
        cut_off=False,
    )
    row = TimelineRow(
        status=status, runs=runs, known_since=known_since, planned=planned, known_until=known_until
    )
    drawn = timelines.draw(Timeline(since=SINCE, now=NOW, until=UNTIL, rows=(row,)))
    assert "<script" not in drawn
    return ElementTree.fromstring(drawn)


def marks(svg: ElementTree.Element) -> list[ElementTree.Element]:
    return [rect for rect in svg.findall("rect") if "data-href" in rect.attrib]


def test_a_mark_is_where_its_run_was_and_as_long() -> None:
    (mark,) = marks(draw(ran(45 * MINUTE, 12 * MINUTE)))
    assert float(mark.attrib["x"]) == pytest.approx(timelines.LEFT + SPAN * 45 / 120, abs=0.1)
    assert float(mark.attrib["width"]) == pytest.approx(SPAN * 12 / 120, abs=0.1)
    assert mark.attrib["data-href"] == "/admin/hotdata/run/7/change/"
    assert mark.findtext("title") == "2026-11-23 11:25:00 UTC · Succeeded · 12 min"


def test_a_running_one_reaches_until_now_and_one_from_before_begins_at_the_edge() -> None:
    (mark,) = marks(draw(ran(180 * MINUTE, None, State.RUNNING)))
    assert float(mark.attrib["x"]) == timelines.LEFT
    assert float(mark.attrib["width"]) == pytest.approx(SPAN * 90 / 120, abs=0.1)


def test_what_took_no_time_can_be_seen() -> None:
    (mark,) = marks(draw(ran(MINUTE, timedelta(0))))
    assert float(mark.attrib["width"]) == timelines.LEAST


def test_what_was_passed_over_is_lower_than_what_ran() -> None:
    skipped, succeeded = marks(draw(ran(MINUTE), ran(2 * MINUTE, None, State.SKIPPED)))
    assert float(skipped.attrib["height"]) < float(succeeded.attrib["height"])


def test_planned_fires_are_rings_after_now() -> None:
    (ring,) = draw(planned=(NOW + 15 * MINUTE,)).findall("circle")
    assert float(ring.attrib["cx"]) == pytest.approx(timelines.LEFT + SPAN * 105 / 120, abs=0.1)


def test_bands_say_where_there_is_more() -> None:
    def bands(svg: ElementTree.Element) -> list[str | None]:
        return [rect.findtext("title") for rect in svg.findall("rect") if rect.attrib["class"] == "hd-more"]

    assert bands(draw(ran(MINUTE))) == []
    assert bands(draw(ran(MINUTE), known_since=NOW - MINUTE, known_until=NOW + MINUTE)) == [
        "More runs than are shown",
        "More due times than are shown",
    ]


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        ("Stocks", "Stocks"),
        ("a" * 27, "a" * 27),
        ("a" * 28, "a" * 26 + "…"),
        ("股" * 13, "股" * 13),
        ("股" * 14, "股" * 12 + "…"),
        (HOSTILE, HOSTILE),
    ],
)
def test_a_long_title_is_cut_and_told_to_who_points_at_it(title: str, shown: str) -> None:
    label = next(text for text in draw(title=title).findall("text") if text.attrib["class"] == "hd-name")
    assert (label.text, label.findtext("title")) == (shown, title)


# Strips


def tally(**counts: int) -> Tally:
    return Tally(counts={State(state): count for state, count in counts.items()})


@pytest.mark.parametrize(
    ("counts", "look"),
    [
        ({"succeeded": 3}, OK),
        ({"succeeded": 3, "skipped": 1}, OK),
        ({"succeeded": 3, "timed_out": 1}, WARN),
        ({"failed": 1, "missed": 1}, FAILED),
        ({"running": 1}, RUNNING),
        ({"missed": 2}, MUTED),
        ({"cancelled": 2}, MUTED),
    ],
)
def test_a_half_hour_looks_like_the_worst_in_it(counts: dict[str, int], look: Look) -> None:
    assert look_of(tally(**counts)) is look


def test_a_half_hour_is_put_into_words_with_the_bad_ones_first() -> None:
    assert says(tally(succeeded=3, failed=1, missed=2, cancelled=1, running=1)) == (
        "1 failed · 3 succeeded · 2 missed or skipped · 1 cancelled · 1 under way"
    )
    assert says(tally()) == "no runs"


def test_a_strip_says_when_each_of_its_cells_began() -> None:
    strip = DayStrips([NOW, NOW + 30 * MINUTE]).draw([tally(), tally(failed=1)], "1 failed")
    empty, failed = ElementTree.fromstring(strip).findall("rect")
    assert (empty.findtext("title"), failed.findtext("title")) == (None, "12:40 1 failed")
