"""Charts as SVG, drawn on the server: strips, bars, lines, sparklines and meters. No script is needed to read one.

Each drawing is one image with a label that says what it shows; a mark's own words come when it is pointed at. Marks
are coloured by class, and tell their state by height or shape, too. Where a mark leads somewhere, a table on the same
page has the link for those who don't point.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from hotdata.pages.words import FAILED, OK, WARN, Look

WIDTH, HEIGHT = 640, 200
LEFT, RIGHT, TOP, BOTTOM = 52, 8, 10, 22
"""What the labels of the axes take of a chart."""
PITCH, STRIP_HEIGHT = 7, 18
SPARK_WIDTH, SPARK_HEIGHT = 90, 28
DASH = 5
"""How wide a point of a line is that has no neighbour."""
METER_WIDTH = 60
ICON_HEIGHTS = {FAILED.css: STRIP_HEIGHT, WARN.css: 15, OK.css: 12}
"""How tall a cell of a strip is; trouble stands out."""
SERIES = 6
"""Colours of lines; a chart shows as many, and no more."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell of a strip. Without a look nothing was there."""

    look: Look | None = None
    label: str = ""
    href: str = ""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of bars, stacked of `parts` from below."""

    parts: Sequence[tuple[Look, float]]
    label: str = ""
    href: str = ""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One series of a line chart; None where there is no value."""

    name: str
    values: Sequence[float | None]


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A label of an axis: on the upright one at a value, on the other one at a column's or point's index."""

    at: float
    label: str


def strip(cells: Sequence[Cell], label: str) -> SafeString:
    """A row of cells, oldest first: how it went, one time after the other."""
    # A page has thousands of cells, and `format_html` takes ten times as long as this.
    marks = SafeString("".join([_cell(at, cell) for at, cell in enumerate(cells)]))
    return format_html(
        '<svg class="hd-strip" viewBox="0 0 {} {}" width="{}" height="{}" role="img" aria-label="{}">{}</svg>',
        PITCH * len(cells), STRIP_HEIGHT, PITCH * len(cells), STRIP_HEIGHT, label, marks,
    )  # fmt: skip


def _cell(at: int, cell: Cell) -> str:
    title = f"<title>{escape(cell.label)}</title>" if cell.label else ""
    if cell.look is None:
        return f'<rect class="hd-none" x="{at * PITCH}" y="{STRIP_HEIGHT - 2}" width="5" height="2">{title}</rect>'
    height = ICON_HEIGHTS.get(cell.look.css, 8)
    place = f'x="{at * PITCH}" y="{STRIP_HEIGHT - height}" width="5" height="{height}" rx="1"'
    return f'<rect class="{cell.look.css}" {place}{_href(cell.href)}>{title}</rect>'


def bars(
    columns: Sequence[Column],
    *,
    label: str,
    y_ticks: Sequence[Tick],
    x_ticks: Sequence[Tick],
    threshold: Tick | None = None,
    width: int = WIDTH,
    room_for: int = 1,
) -> SafeString:
    """Columns over time. `threshold` is a dashed line at a value. The highest of `y_ticks` is the top.

    A chart that gets more room on its page than others is drawn with more `width`, so that its letters stay small.
    Columns are no wider than if there were `room_for` so many; fewer keep to the right, where the present is.
    """
    top = _top(y_ticks)
    pitch = (width - LEFT - RIGHT) / max(len(columns), room_for)
    left = width - RIGHT - pitch * len(columns)
    marks = format_html_join(
        "", "{}", ((_column(column, left + at * pitch, pitch, top),) for at, column in enumerate(columns))
    )
    line = _threshold(threshold, top, width) if threshold is not None else ""
    ticks = [Tick(at=left + (tick.at + 0.5) * pitch, label=tick.label) for tick in x_ticks]
    return _chart(label, y_ticks, top, ticks, format_html("{}{}", marks, line), width)


def _column(column: Column, x: float, pitch: float, top: float) -> SafeString:
    rects, below = [], 0.0
    for seen, value in column.parts:
        if value <= 0:
            continue
        height = max(_height(min(value, top - below), top), 1.0)
        rects.append(
            (seen.css, _n(x + pitch * 0.1), _n(_y(below, top) - height), _n(pitch * 0.8), _n(height))
        )
        below += value
    return format_html(
        '<g{}><title>{}</title><rect class="hd-hover" x="{}" y="{}" width="{}" height="{}"/>{}</g>',
        _href(column.href), column.label, _n(x), TOP, _n(pitch), HEIGHT - TOP - BOTTOM,
        format_html_join("", '<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>', rects),
    )  # fmt: skip


def lines(
    series: Sequence[Line],
    *,
    label: str,
    y_ticks: Sequence[Tick],
    x_ticks: Sequence[Tick],
    threshold: Tick | None = None,
) -> SafeString:
    """Lines over time, of which all have as many points; at most `SERIES` of them. `threshold` is as for `bars`."""
    top = _top(y_ticks)
    points = max((len(line.values) for line in series), default=1)
    step = (WIDTH - LEFT - RIGHT) / max(points - 1, 1)
    drawn = format_html_join(
        "",
        '<path class="hd-line hd-series-{}" d="{}"><title>{}</title></path>',
        (
            (
                at,
                _path([(LEFT + x * step, _y_of(value, top)) for x, value in enumerate(line.values)]),
                line.name,
            )
            for at, line in enumerate(series[:SERIES])
        ),
    )
    line = _threshold(threshold, top) if threshold is not None else ""
    ticks = [Tick(at=LEFT + tick.at * step, label=tick.label) for tick in x_ticks]
    return _chart(label, y_ticks, top, ticks, format_html("{}{}", drawn, line))


def legend(names: Sequence[str]) -> SafeString:
    """Which line is whose, below a chart of `lines`."""
    items = format_html_join(
        "",
        '<li><svg class="hd-key" viewBox="0 0 10 10" width="10" height="10" aria-hidden="true">'
        '<rect class="hd-series-{}" width="10" height="10" rx="2"/></svg> {}</li>',
        list(enumerate(names[:SERIES])),
    )
    return format_html('<ul class="hd-legend">{}</ul>', items)


def sparkline(
    values: Sequence[float | None], label: str, series: int = 0, *, least: float = 0.0
) -> SafeString:
    """A small line without axes, from `least`, or its own least value if that is lower, to its highest."""
    known = [value for value in values if value is not None]
    bottom, top = min([least, *known]), max(known, default=0.0)
    span = top - bottom or 1.0
    step = SPARK_WIDTH / max(len(values) - 1, 1)
    points = [
        (
            at * step,
            None if value is None else SPARK_HEIGHT - 2 - (SPARK_HEIGHT - 4) * (value - bottom) / span,
        )
        for at, value in enumerate(values)
    ]
    return format_html(
        '<svg class="hd-spark" viewBox="0 0 {} {}" width="{}" height="{}" role="img" aria-label="{}">'
        '<path class="hd-line hd-series-{}" d="{}"/></svg>',
        SPARK_WIDTH, SPARK_HEIGHT, SPARK_WIDTH, SPARK_HEIGHT, label, series % SERIES, _path(points),
    )  # fmt: skip


def meter(share: float, seen: Look, label: str) -> SafeString:
    """How much of a limit is used: a bar that is full at 1, and stays full above."""
    return format_html(
        '<svg class="hd-meter" viewBox="0 0 {} 6" width="{}" height="6" role="img" aria-label="{}">'
        '<rect class="hd-track" width="{}" height="6" rx="3"/><rect class="{}" width="{}" height="6" rx="3"/></svg>',
        METER_WIDTH, METER_WIDTH, label, METER_WIDTH, seen.css, _n(METER_WIDTH * min(max(share, 0.0), 1.0)),
    )  # fmt: skip


def round_ticks(highest: float, count: int = 4) -> list[float]:
    """From zero, in steps of 1, 2 or 5 times a power of ten, to the first one that isn't below `highest`."""
    if highest <= 0:
        return [0.0, 1.0]
    raw = highest / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    return [round(step * at, 10) for at in range(math.ceil(highest / step - 1e-9) + 1)]


def _chart(
    label: str,
    y_ticks: Sequence[Tick],
    top: float,
    x_ticks: Sequence[Tick],
    drawn: SafeString,
    width: int = WIDTH,
) -> SafeString:
    grid = format_html_join(
        "",
        '<line class="hd-grid" x1="{0}" x2="{1}" y1="{2}" y2="{2}"/>'
        '<text class="hd-tick hd-end" x="{3}" y="{2}" dy="3">{4}</text>',
        ((LEFT, width - RIGHT, _n(_y(tick.at, top)), LEFT - 6, tick.label) for tick in y_ticks),
    )
    times = format_html_join(
        "",
        '<text class="hd-tick hd-middle" x="{}" y="{}">{}</text>',
        ((_n(tick.at), HEIGHT - 6, tick.label) for tick in x_ticks),
    )
    return format_html(
        '<svg class="hd-chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}{}{}</svg>',
        width, HEIGHT, label, grid, times, drawn,
    )  # fmt: skip


def _threshold(tick: Tick, top: float, width: int = WIDTH) -> SafeString:
    y = _n(_y(min(tick.at, top), top))
    return format_html(
        '<line class="hd-threshold" x1="{0}" x2="{1}" y1="{2}" y2="{2}"/>'
        '<text class="hd-tick hd-end" x="{1}" y="{2}" dy="-4">{3}</text>',
        LEFT, width - RIGHT, y, tick.label,
    )  # fmt: skip


def _path(points: Sequence[tuple[float, float | None]]) -> str:
    """A line through `points` that is broken where there is none; a lone point is a dash."""
    words, drawing = [], False
    for at, (x, y) in enumerate(points):
        if y is None:
            drawing = False
            continue
        lone = not drawing and (at + 1 == len(points) or points[at + 1][1] is None)
        if lone:
            words.append(f"M{_n(x - DASH / 2)} {_n(y)}h{DASH}")
        else:
            words.append(f"{'L' if drawing else 'M'}{_n(x)} {_n(y)}")
        drawing = True
    return "".join(words)


def _href(href: str) -> SafeString | str:
    return format_html(' data-href="{}"', href) if href else ""


def _top(ticks: Sequence[Tick]) -> float:
    return max((tick.at for tick in ticks), default=0.0) or 1.0


def _height(value: float, top: float) -> float:
    return (HEIGHT - TOP - BOTTOM) * value / top


def _y(value: float, top: float) -> float:
    return HEIGHT - BOTTOM - _height(value, top)


def _y_of(value: float | None, top: float) -> float | None:
    return None if value is None else _y(min(value, top), top)


def _n(value: float) -> str:
    """A coordinate: with a point in every language."""
    return f"{value:.1f}"
