"""The timeline around now as one drawing: a row for each job, what ran to the left, and what is planned to the right.

Where a job ran too often for its runs to be known as far back as that, or is due too often, a band says so.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html import escape

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from hotdata.models.runs import State
from hotdata.observing.activity import Timeline, TimelineRow
from hotdata.observing.jobs import BriefRun
from hotdata.pages import places, words
from hotdata.pages.strips import clock

WIDTH, LEFT, RIGHT = 1140, 190, 12
ROW, TOP, BOTTOM = 22, 6, 26
MARK = 12
"""How high a mark is."""
LEAST = 3.0
"""How wide a mark is at least."""
STEP = timedelta(minutes=15)
LABEL_CELLS = 27
"""How many narrow characters a row's label has room for; a Chinese one takes two."""


def draw(timeline: Timeline) -> SafeString:
    """The drawing of `timeline`. Its marks lead to their runs."""
    canvas = _Canvas(timeline.since, timeline.until)
    height = TOP + ROW * len(timeline.rows) + BOTTOM
    bottom = height - BOTTOM
    now_x = canvas.x(timeline.now)
    rows = format_html_join(
        "",
        "{}",
        ((_row(canvas, row, TOP + ROW * at, timeline),) for at, row in enumerate(timeline.rows)),
    )
    return format_html(
        '<svg class="hd-chart hd-timeline" viewBox="0 0 {} {}" role="img" aria-label="{}">'
        '<rect class="hd-future" x="{}" y="{}" width="{}" height="{}"/>{}{}'
        '<line class="hd-now" x1="{}" x2="{}" y1="{}" y2="{}"/>'
        '<text class="hd-tick hd-middle hd-now-label" x="{}" y="{}">{}</text></svg>',
        WIDTH, height, _("What ran in the last 90 minutes, runs now, and is planned for the next 30"),
        now_x, TOP, _n(WIDTH - RIGHT - float(now_x)), bottom - TOP,
        _grid(canvas, timeline, bottom), rows,
        now_x, now_x, TOP - 4, bottom,
        now_x, height - 8, _("now %(time)s") % {"time": clock(timeline.now)},
    )  # fmt: skip


@dataclass(frozen=True)
class _Canvas:
    since: datetime
    until: datetime

    def x(self, moment: datetime) -> str:
        return _n(self.at(moment))

    def at(self, moment: datetime) -> float:
        """Where `moment` is; what lies outside is at the edge."""
        share = (moment - self.since) / (self.until - self.since)
        return LEFT + (WIDTH - LEFT - RIGHT) * min(max(share, 0.0), 1.0)


def _grid(canvas: _Canvas, timeline: Timeline, bottom: int) -> SafeString:
    return format_html_join(
        "",
        '<line class="hd-grid" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>'
        '<text class="hd-tick hd-middle" x="{0}" y="{3}">{4}</text>',
        (
            (canvas.x(at), TOP, bottom, bottom + BOTTOM - 8, "" if _is_near(at, timeline.now) else clock(at))
            for at in _quarters(timeline)
        ),
    )


def _quarters(timeline: Timeline) -> Iterator[datetime]:
    first = math.ceil(timeline.since.timestamp() / STEP.total_seconds()) * STEP.total_seconds()
    at = datetime.fromtimestamp(first, UTC)
    while at <= timeline.until:
        yield at
        at += STEP


def _is_near(at: datetime, now: datetime) -> bool:
    """Whether the label of `at` would lie under that of now."""
    return abs(at - now) < timedelta(minutes=8)


def _row(canvas: _Canvas, row: TimelineRow, y: int, timeline: Timeline) -> SafeString:
    title = str(row.status.job)
    return format_html(
        '<line class="hd-grid" x1="0" x2="{}" y1="{}" y2="{}"/><text class="hd-name" x="0" y="{}">{}<title>{}</title>'
        "</text>{}{}{}",
        WIDTH - RIGHT, y + ROW, y + ROW, y + 15, _shortened(title), title,
        _bands(canvas, row, y, timeline), _runs(canvas, row, y, timeline), _planned(canvas, row, y),
    )  # fmt: skip


def _bands(canvas: _Canvas, row: TimelineRow, y: int, timeline: Timeline) -> SafeString:
    bands = []
    if row.known_since > timeline.since:
        bands.append((timeline.since, row.known_since, _("More runs than are shown")))
    if row.known_until < timeline.until:
        bands.append((row.known_until, timeline.until, _("More due times than are shown")))
    return format_html_join(
        "",
        '<rect class="hd-more" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>',
        (
            (canvas.x(begin), y + 9, _n(canvas.at(end) - canvas.at(begin)), 4, label)
            for begin, end, label in bands
        ),
    )


def _runs(canvas: _Canvas, row: TimelineRow, y: int, timeline: Timeline) -> SafeString:
    # As in strips, `format_html` would take most of the page's time.
    return SafeString("".join([_mark(canvas, run, y, timeline.now) for run in reversed(row.runs)]))


def _mark(canvas: _Canvas, run: BriefRun, y: int, now: datetime) -> str:
    x = canvas.at(run.at)
    end = now if run.state == State.RUNNING else run.at + (run.duration or timedelta(0))
    width = max(canvas.at(end) - x, LEAST)
    label = f"{words.absolute(run.at)} · {run.state.label}"
    if run.duration is not None:
        label += f" · {words.took(run.duration)}"
    look = words.look(run.state)
    height = MARK if look is not words.MUTED else MARK // 2
    place = f'x="{_n(x)}" y="{y + 5 + (MARK - height)}" width="{_n(width)}" height="{height}" rx="1"'
    href = f' data-href="{escape(places.run(run.id))}"'
    return f'<rect class="{look.css}" {place}{href}><title>{escape(label)}</title></rect>'


def _planned(canvas: _Canvas, row: TimelineRow, y: int) -> SafeString:
    return format_html_join(
        "",
        '<circle class="hd-planned" cx="{}" cy="{}" r="3.2"><title>{}</title></circle>',
        ((canvas.x(at), y + 11, _("due %(time)s") % {"time": words.absolute(at)}) for at in row.planned),
    )


def _shortened(text: str) -> str:
    """As much of `text` as fits before the rows."""
    room = LABEL_CELLS
    for at, character in enumerate(text):
        room -= 2 if unicodedata.east_asian_width(character) in "WF" else 1
        if room < 0:
            return text[: at - 1].rstrip() + "…"
    return text


def _n(value: float) -> str:
    return f"{value:.1f}"
