"""Letters: what a report or a statement says, as people read it, and how it is put into plain text and into HTML.

A letter is a title, some sentences, figures, one chart and tables: what is shown of a report anywhere, in mail, on its
page and in files, is made of it. Cells hold plain values; a column says what they are.

The HTML is for mail programs: styles on the elements, nothing from elsewhere, no colour for text or paper, so that it
looks right in the dark. Some programs show no SVG, as Gmail does. So the chart has no words of its own, and its figures
stand below it in a table, with bars that are made of cells.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.template.defaultfilters import filesizeformat
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import ngettext

from hotdata import figures
from hotdata.figures import NONE
from hotdata.text import visible

LONGEST_TEXT = 300  # characters of one cell
MOST_ROWS = 20
"""Of a table in a mail: Gmail cuts off what comes after 100 kB."""
CHART_WIDTH, CHART_HEIGHT = 600, 120
WIDEST_PITCH = CHART_WIDTH / 7
"""From bar to bar: a single one would look like a wall."""
BAR_WIDTH = 160  # pixels of the longest bar in the table below the chart

FONT = "font:14px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif"
FRAME = f"margin:0;padding:16px;{FONT};color-scheme:light dark"
CELL = "padding:4px 12px 4px 0;border-bottom:1px solid #888"
HEAD = CELL + ";text-align:left;font-weight:normal;font-size:12px;opacity:.75"
RIGHT = ";text-align:right;white-space:nowrap"


class Unit(enum.StrEnum):
    """What the values of a column, or a figure, are."""

    TEXT = "text"
    JOB = "job"
    """The name of a job; a source's likewise. A page has links to them."""
    SOURCE = "source"
    RUN = "run"
    """The number of a run."""
    COUNT = "count"
    SHARE = "share"
    """1 is 100 %."""
    CHANGE = "change"
    """A share that was added or, below zero, taken away."""
    SECONDS = "seconds"
    BYTES = "bytes"
    MOMENT = "moment"
    MONEY = "money"
    """An `Amount`."""

    @property
    def is_number(self) -> bool:
        return self not in WORDS


WORDS = (Unit.TEXT, Unit.JOB, Unit.SOURCE, Unit.MOMENT)


class Tone(enum.StrEnum):
    """What a part of a bar is, for its colour."""

    GOOD = "good"
    BAD = "bad"
    OTHER = "other"
    PLAIN = "plain"
    """Neither good nor bad: an amount."""


COLOURS = {Tone.GOOD: "#2f9e5f", Tone.BAD: "#e0493e", Tone.OTHER: "#8791a5", Tone.PLAIN: "#4f7df0"}
"""Seen on white and on black."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure with its name; in a cell, where the column names it, without."""

    label: str
    value: Any
    unit: Unit = Unit.COUNT

    @property
    def said(self) -> str:
        return said(self.value, self.unit)


@dataclass(frozen=True, kw_only=True)
class Column:
    """The head of a column."""

    label: str
    unit: Unit = Unit.TEXT


@dataclass(frozen=True, kw_only=True)
class Section:
    """A table with its title. ``name`` stands in addresses and file names.

    A cell may be a `Figure`, where the rows of a column are of several units.
    """

    name: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Any]]
    empty: str = ""
    """What is said instead of a table without rows; nothing: the section is left out."""
    note: str = ""
    more: int = 0
    """Rows that there are beside these."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """What the bars of a chart are stacked of."""

    label: str
    tone: Tone


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bar: a value for each of the chart's parts."""

    label: str
    values: Sequence[int | Decimal]


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Bars side by side, over time or by what they are of."""

    title: str
    parts: Sequence[Part]
    bars: Sequence[Bar]

    @property
    def highest(self) -> int | Decimal:
        return max((sum(bar.values) for bar in self.bars), default=0)

    def share(self, value: int | Decimal) -> float:
        """How high it is drawn: 1 is as high as the highest bar."""
        return float(value / self.highest)


@dataclass(frozen=True, kw_only=True)
class Letter:
    """What is said, in the language that was active when it was made."""

    title: str
    """Also the subject of a mail, with `gist` after it."""
    gist: str = ""
    intro: Sequence[str] = ()
    figures: Sequence[Figure] = ()
    chart: Chart | None = None
    sections: Sequence[Section] = field(default_factory=tuple)

    @property
    def subject(self) -> str:
        return f"{self.title}: {self.gist}" if self.gist else self.title

    @property
    def shown(self) -> list[Section]:
        """The sections that have something to say."""
        return [section for section in self.sections if section.rows or section.empty]


def said(value: Any, unit: Unit) -> str:
    """`value` in words of the active language, on one line."""
    if isinstance(value, Figure):
        return value.said
    if value is None:
        return NONE
    match unit:
        case Unit.COUNT:
            return f"{value:,}"
        case Unit.SHARE:
            return figures.share(value)
        case Unit.CHANGE:
            return f"{value:+.0%}"
        case Unit.SECONDS:
            return figures.took(timedelta(seconds=value))
        case Unit.BYTES:
            return filesizeformat(value).replace("\xa0", " ")
        case Unit.RUN:
            return f"#{value}"
        case Unit.MOMENT:
            return (
                f"{timezone.localtime(value):%Y-%m-%d %H:%M}" if isinstance(value, datetime) else str(value)
            )
    line = " ".join(visible(str(value)).split())
    return line if len(line) <= LONGEST_TEXT else line[: LONGEST_TEXT - 1] + "…"


# Plain text


def as_text(letter: Letter, *, link: str = "", most: int = MOST_ROWS) -> str:
    """The letter as plain text, with a `link` to where there is more than `most` rows of a table."""
    return "\n".join(_lines(letter, link, most)).rstrip() + "\n"


def _lines(letter: Letter, link: str, most: int) -> Iterator[str]:
    yield from (letter.title, "=" * len(letter.title), "")
    yield from letter.intro
    if link:
        yield from ("", link)
    yield ""
    width = max((len(figure.label) for figure in letter.figures), default=0)
    for figure in letter.figures:
        yield f"{figure.label + ':':{width + 1}} {figure.said}"
    if letter.chart and letter.chart.highest:
        yield from _chart_lines(letter.chart)
    for section in letter.shown:
        yield from ("", section.title, "-" * len(section.title))
        if not section.rows:
            yield section.empty
            continue
        yield from _table_lines(section, most)
        yield from _notes(section, most)


def _notes(section: Section, most: int) -> Iterator[str]:
    """What stands below a table of which `most` rows are shown."""
    left_out = max(len(section.rows) - most, 0) + section.more
    if left_out > 0:
        text = ngettext("%(n)s row more is left out here.", "%(n)s rows more are left out here.", left_out)
        yield text % {"n": f"{left_out:,}"}
    if section.note:
        yield section.note


def _table_lines(section: Section, most: int) -> Iterator[str]:
    """A line for each row: lines that are cut at 76 columns, as by some programs, would be no table any more."""
    for row in section.rows[:most]:
        first, *others = [
            said(value, column.unit) for value, column in zip(row, section.columns, strict=True)
        ]
        named = [
            f"{column.label} {text}"
            for column, text in zip(section.columns[1:], others, strict=True)
            if text not in (NONE, "0", "")
        ]
        yield f"* {first}: {', '.join(named)}" if named else f"* {first}"


def _chart_lines(chart: Chart) -> Iterator[str]:
    yield from ("", chart.title, "-" * len(chart.title))
    width = max(len(bar.label) for bar in chart.bars)
    for bar in chart.bars:
        marks = "#" * round(40 * chart.share(sum(bar.values)))
        parts = [
            f"{value:,} {part.label}" for part, value in zip(chart.parts, bar.values, strict=True) if value
        ]
        yield f"{bar.label:{width}} {marks} {', '.join(parts)}".rstrip()


# HTML


def as_html(letter: Letter, *, link: str = "", link_text: str = "", most: int = MOST_ROWS) -> str:
    """The letter as an HTML document for mail, as `as_text`. Whatever its texts hold, they are shown as texts."""
    return str(
        format_html(
            '<!DOCTYPE html><html style="color-scheme:light dark"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width">'
            '<meta name="color-scheme" content="light dark"><title>{}</title></head>'
            '<body style="{}"><h1 style="margin:0 0 8px;font-size:20px">{}</h1>{}{}{}{}{}</body></html>',
            letter.subject, FRAME, letter.title,
            format_html_join("", '<p style="margin:0 0 8px">{}</p>', ((text,) for text in letter.intro)),
            format_html('<p style="margin:0 0 8px"><a href="{}">{}</a></p>', link, link_text or link) if link else "",
            _figures_html(letter.figures),
            _chart_html(letter.chart) if letter.chart and letter.chart.highest else "",
            format_html_join("", "{}", ((_section_html(section, most),) for section in letter.shown)),
        )
    )  # fmt: skip


def _figures_html(listed: Sequence[Figure]) -> SafeString:
    rows = format_html_join(
        "",
        '<tr><th scope="row" style="{}">{}</th><td style="{}"><strong>{}</strong></td></tr>',
        ((HEAD, figure.label, CELL + RIGHT, figure.said) for figure in listed),
    )
    return _table(rows) if listed else SafeString("")


def _section_html(section: Section, most: int) -> SafeString:
    title = _title(section.title)
    if not section.rows:
        return format_html('{}<p style="margin:0 0 8px">{}</p>', title, section.empty)
    heads = format_html_join(
        "",
        '<th scope="col" style="{}">{}</th>',
        ((HEAD + (RIGHT if column.unit.is_number else ""), column.label) for column in section.columns),
    )
    rows = format_html_join("", "<tr>{}</tr>", ((_cells(section, row),) for row in section.rows[:most]))
    notes = format_html_join(
        "",
        '<p style="margin:4px 0 8px;font-size:12px;opacity:.75">{}</p>',
        ((note,) for note in _notes(section, most)),
    )
    return format_html("{}{}{}", title, _table(format_html("<tr>{}</tr>{}", heads, rows)), notes)


def _cells(section: Section, row: Sequence[Any]) -> SafeString:
    return format_html_join(
        "",
        '<td style="{}">{}</td>',
        (
            (CELL + (RIGHT if column.unit.is_number else ""), said(value, column.unit))
            for value, column in zip(row, section.columns, strict=True)
        ),
    )


def _chart_html(chart: Chart) -> SafeString:
    pitch = min(CHART_WIDTH / len(chart.bars), WIDEST_PITCH)
    rects = [
        (COLOURS[tone], f"{at * pitch + pitch * 0.1:.1f}", f"{y:.1f}", f"{pitch * 0.8:.1f}", f"{height:.1f}")
        for at, bar in enumerate(chart.bars)
        for tone, y, height in _stacked(chart, bar)
    ]
    svg = format_html(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {0} {1}" width="{0}" height="{1}" role="img" '
        'aria-label="{2}" style="display:block;max-width:100%;height:auto;'
        'border-bottom:1px solid rgba(128,128,128,.6)">{3}</svg>',
        CHART_WIDTH, CHART_HEIGHT, chart.title,
        format_html_join("", '<rect fill="{}" x="{}" y="{}" width="{}" height="{}"/>', rects),
    )  # fmt: skip
    heads = format_html_join(
        "", '<th scope="col" style="{}">{}</th>', ((HEAD + RIGHT, part.label) for part in chart.parts)
    )
    rows = format_html_join("", "{}", ((_bar_row(chart, bar),) for bar in chart.bars))
    head = format_html('<tr><th style="{0}"></th>{1}<th style="{0}"></th></tr>', HEAD, heads)
    return format_html("{}{}{}", _title(chart.title), svg, _table(format_html("{}{}", head, rows)))


def _stacked(chart: Chart, bar: Bar) -> Iterator[tuple[Tone, float, float]]:
    """The parts of a bar from below: colour, upper edge and height."""
    y = float(CHART_HEIGHT)
    for part, value in zip(chart.parts, bar.values, strict=True):
        if value:
            height = CHART_HEIGHT * chart.share(value)
            y -= height
            yield part.tone, y, height


def _bar_row(chart: Chart, bar: Bar) -> SafeString:
    """The figures of a bar, and the bar again of cells as wide as it is high."""
    values = format_html_join(
        "", '<td style="{}">{}</td>', ((CELL + RIGHT, f"{value:,}") for value in bar.values)
    )
    widths = [
        (COLOURS[part.tone], max(1, round(BAR_WIDTH * chart.share(value))))
        for part, value in zip(chart.parts, bar.values, strict=True)
        if value
    ]
    cells = format_html_join(
        "", '<td style="background:{0};width:{1}px;height:10px;padding:0" width="{1}"></td>', widths
    )
    bars = format_html(
        '<table role="presentation" style="border-collapse:collapse"><tr>{}</tr></table>', cells
    )
    return format_html(
        '<tr><td style="{}">{}</td>{}<td style="{}">{}</td></tr>',
        CELL + ";white-space:nowrap", bar.label, values, CELL, bars if widths else "",
    )  # fmt: skip


def _title(text: str) -> SafeString:
    return format_html('<h2 style="margin:20px 0 6px;font-size:16px">{}</h2>', text)


def _table(rows: SafeString) -> SafeString:
    return format_html('<table style="border-collapse:collapse;font-size:13px">{}</table>', rows)
