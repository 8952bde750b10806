from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest
from django.utils import translation

from hotdata.pages import charts
from hotdata.pages.charts import Cell, Column, Line, Tick
from hotdata.pages.words import FAILED, OK

HOSTILE = '<script>alert("1")</script>\'&'


def parsed(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def test_a_strip_shows_trouble_taller_and_nothing_as_a_dash() -> None:
    svg = parsed(charts.strip([Cell(look=OK), Cell(look=FAILED), Cell()], "Runs"))
    ok, failed, none = svg.findall("rect")
    assert float(failed.attrib["height"]) > float(ok.attrib["height"]) > float(none.attrib["height"])
    assert [rect.attrib["x"] for rect in (ok, failed, none)] == ["0", "7", "14"]
    assert svg.attrib["role"] == "img"
    assert svg.attrib["aria-label"] == "Runs"


def test_bars_are_stacked_and_end_at_the_top() -> None:
    drawn = charts.bars(
        [Column(parts=[(OK, 30.0), (FAILED, 10.0)]), Column(parts=[(OK, 1000.0)])],
        label="Runs",
        y_ticks=[Tick(at=at, label=f"{at:g}") for at in (0.0, 20.0, 40.0)],
        x_ticks=[Tick(at=0, label="12:00")],
        threshold=Tick(at=20.0, label="p95"),
    )
    first, beyond = parsed(drawn).findall("g")
    ok, failed = first.findall("rect")[1:]
    assert float(failed.attrib["y"]) == pytest.approx(charts.TOP)
    assert float(failed.attrib["y"]) + float(failed.attrib["height"]) == pytest.approx(
        float(ok.attrib["y"]), abs=0.2
    )
    assert float(beyond.findall("rect")[1].attrib["y"]) == pytest.approx(charts.TOP)


def test_few_columns_are_narrow_and_keep_to_the_right() -> None:
    drawn = charts.bars(
        [Column(parts=[(OK, 1.0)])],
        label="Durations",
        y_ticks=[Tick(at=1.0, label="1 s")],
        x_ticks=[Tick(at=0, label="12:00")],
        room_for=10,
    )
    hover = parsed(drawn).findall("g/rect")[0]
    width = (charts.WIDTH - charts.LEFT - charts.RIGHT) / 10
    assert float(hover.attrib["width"]) == pytest.approx(width, abs=0.1)
    assert float(hover.attrib["x"]) + width == pytest.approx(charts.WIDTH - charts.RIGHT, abs=0.1)


def test_a_column_of_almost_nothing_can_be_seen_and_one_of_nothing_cannot() -> None:
    drawn = charts.bars(
        [Column(parts=[(OK, 0.001)]), Column(parts=[(OK, 0.0)])],
        label="Durations",
        y_ticks=[Tick(at=1000.0, label="1000")],
        x_ticks=[],
    )
    tiny, none = parsed(drawn).findall("g")
    assert float(tiny.findall("rect")[1].attrib["height"]) == 1
    assert len(none.findall("rect")) == 1


def test_a_line_is_broken_where_there_is_no_value_and_a_lone_point_shows() -> None:
    drawn = charts.lines(
        [Line(name="stock", values=[1.0, 2.0, None, 3.0])],
        label="Latency",
        y_ticks=[Tick(at=0.0, label="0"), Tick(at=4.0, label="4")],
        x_ticks=[],
    )
    path = parsed(drawn).find("path")
    assert path is not None
    assert path.attrib["d"].count("M") == 2
    assert path.attrib["d"].endswith("h5")


def test_a_meter_is_full_at_its_limit_and_no_longer_above() -> None:
    def width(share: float) -> float:
        return float(parsed(charts.meter(share, OK, "Use")).findall("rect")[1].attrib["width"])

    assert width(0.5) == charts.METER_WIDTH / 2
    assert width(7) == charts.METER_WIDTH
    assert width(-1) == 0


def test_a_sparkline_can_begin_above_zero_but_shows_all_of_its_values() -> None:
    def heights(values: list[float], least: float) -> list[float]:
        path = parsed(charts.sparkline(values, "Success", least=least)).find("path")
        assert path is not None
        return [float(pair.split()[1]) for pair in path.attrib["d"].replace("M", "L").split("L")[1:]]

    assert heights([0.9, 1.0], 0.8) == [(2 + charts.SPARK_HEIGHT - 2) / 2, 2]
    assert heights([0.5, 1.0], 0.8) == [charts.SPARK_HEIGHT - 2, 2]
    assert heights([0.8, 0.8], 0.8) == [charts.SPARK_HEIGHT - 2] * 2


@pytest.mark.parametrize(
    ("highest", "ticks"),
    [(0, [0, 1]), (40, [0, 10, 20, 30, 40]), (1.5, [0, 0.5, 1, 1.5]), (17, [0, 5, 10, 15, 20])],
)
def test_ticks_are_round_and_reach_the_highest_value(highest: float, ticks: list[float]) -> None:
    assert charts.round_ticks(highest) == ticks


def test_labels_are_escaped_wherever_they_stand() -> None:
    tick = Tick(at=0, label=HOSTILE)
    drawings = [
        charts.strip([Cell(look=OK, label=HOSTILE, href=HOSTILE), Cell(label=HOSTILE)], HOSTILE),
        charts.bars(
            [Column(parts=[(OK, 1.0)], label=HOSTILE, href=HOSTILE)],
            label=HOSTILE, y_ticks=[tick], x_ticks=[tick], threshold=tick,
        ),
        charts.lines([Line(name=HOSTILE, values=[1.0])], label=HOSTILE, y_ticks=[tick], x_ticks=[tick]),
        charts.legend([HOSTILE]),
        charts.sparkline([1.0], HOSTILE),
        charts.meter(0.5, OK, HOSTILE),
    ]  # fmt: skip
    for drawn in drawings:
        assert "<script" not in drawn
        parsed(drawn)


def test_coordinates_have_a_point_in_every_language() -> None:
    with translation.override("de"):
        drawn = charts.sparkline([1.0, 2.5, None, 3.0], "Latency")
    assert "," not in drawn
