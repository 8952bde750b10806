"""Letters: whatever texts hold, they are shown as texts, in mail of either kind."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotdata.reporting.amounts import Amount
from hotdata.reporting.letters import (
    CHART_WIDTH,
    Bar,
    Chart,
    Column,
    Figure,
    Letter,
    Part,
    Section,
    Tone,
    Unit,
    as_html,
    as_text,
    said,
)

HOSTILE = '<script>alert(1)</script>" onload="x\r\nBcc: all@example.com\u202eevil\x00'


class Page(HTMLParser):
    """What a mail program finds: elements, attributes, texts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def letter(text: str = "x", **fields: Any) -> Letter:
    return Letter(
        **{
            "title": text,
            "gist": text,
            "intro": [text],
            "figures": [Figure(label=text, value=text, unit=Unit.TEXT)],
            "chart": Chart(
                title=text,
                parts=[Part(label=text, tone=Tone.GOOD), Part(label=text, tone=Tone.BAD)],
                bars=[Bar(label=text, values=(3, 1)), Bar(label="0", values=(0, 0))],
            ),
            "sections": [
                Section(
                    name="t",
                    title=text,
                    columns=[Column(label=text), Column(label=text, unit=Unit.COUNT)],
                    rows=[[text, 1200]],
                    note=text,
                ),
                Section(name="e", title=text, columns=[], rows=[], empty=text),
            ],
        }
        | fields
    )


@pytest.mark.parametrize("text", [HOSTILE, "<b>", "&lt;", "'\"", "{% now %}", "</title></body></html>"])
def test_hostile_texts_are_texts(text: str) -> None:
    harmless, hostile = Page(as_html(letter())), Page(as_html(letter(text)))
    assert hostile.tags == harmless.tags
    assert [name for name, _ in hostile.attributes] == [name for name, _ in harmless.attributes]


@given(st.text(min_size=1, max_size=50))
def test_no_text_changes_what_a_letter_is_made_of(text: str) -> None:
    assert Page(as_html(letter(text))).tags == Page(as_html(letter())).tags


def test_nothing_is_loaded_from_elsewhere_and_no_script_runs() -> None:
    page = Page(as_html(letter(), link="https://hot.example.com/", link_text="Open"))
    assert {"img", "script", "link", "iframe", "style"}.isdisjoint(page.tags)
    assert [value for name, value in page.attributes if name in ("src", "href")] == [
        "https://hot.example.com/"
    ]
    assert not any("url(" in value for name, value in page.attributes if name == "style")


def test_it_sets_no_colour_for_text_or_paper_so_that_it_can_be_read_in_the_dark() -> None:
    page = Page(as_html(letter()))
    styles = [value for name, value in page.attributes if name == "style"]
    painted = [style for style in styles if "background" in style]
    assert all(style.startswith("background:#") and "height:10px" in style for style in painted)
    assert not any(part.strip().startswith("color:") for style in styles for part in style.split(";"))
    assert ("content", "light dark") in page.attributes


def test_without_the_drawing_the_chart_is_a_table_of_figures_and_bars() -> None:
    html = as_html(letter())
    start, end = html.index("<svg"), html.index("</svg>")
    assert "<text" not in html[start:end], "what a program leaves of it that knows no SVG"
    page = Page(html[:start] + html[end:])
    assert {"3", "1", "0"} <= set(page.texts)
    assert len([value for name, value in page.attributes if name == "style" and "height:10px" in value]) == 2


def test_a_hostile_text_stays_on_its_line() -> None:
    text = as_text(letter(HOSTILE))
    cells = [line for line in text.splitlines() if line.startswith("* ")]
    assert len(cells) == 1
    assert "Bcc" in cells[0]
    assert "\u202e" not in cells[0]
    assert "\x00" not in cells[0]


def test_a_long_text_is_cut() -> None:
    assert said("x" * 1000, Unit.TEXT) == "x" * 299 + "…"


def test_an_empty_section_says_so_or_is_left_out() -> None:
    silent = Section(name="s", title="Silent", columns=[], rows=[])
    spoken = Section(name="s", title="Spoken", columns=[], rows=[], empty="There is none.")
    text = as_text(letter(sections=[silent, spoken], chart=None))
    assert "Silent" not in text
    assert "There is none." in text


def test_a_chart_of_nothing_is_left_out() -> None:
    nothing = Chart(title="Nothing", parts=[], bars=[Bar(label="0", values=())])
    assert "Nothing" not in as_text(letter(chart=nothing)) + as_html(letter(chart=nothing))


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (None, Unit.COUNT, "–"),
        (1234567, Unit.COUNT, "1,234,567"),
        (0.9999, Unit.SHARE, "99.9 %"),
        (-0.25, Unit.CHANGE, "-25%"),
        (1.42, Unit.SECONDS, "1.4 s"),
        (2048, Unit.BYTES, "2.0 KB"),
        (17, Unit.RUN, "#17"),
        (Amount(amount=Decimal("-1234.50"), currency="USD"), Unit.MONEY, "-1,234.50 USD"),
        (datetime(2026, 11, 25, 12, 30, tzinfo=UTC), Unit.MOMENT, "2026-11-25 12:30"),
        (Figure(label="", value=0.5, unit=Unit.SHARE), Unit.TEXT, "50.0 %"),
    ],
)
def test_values_are_put_as_their_units_are(value: Any, unit: Unit, words: str) -> None:
    assert said(value, unit) == words


def test_a_long_table_is_cut_in_mail_and_says_so() -> None:
    rows = [[f"job-{number}"] for number in range(25)]
    long = letter(
        sections=[Section(name="t", title="T", columns=[Column(label="Job", unit=Unit.JOB)], rows=rows)]
    )
    for mail in (as_text(long), as_html(long)):
        assert "job-19" in mail
        assert "job-20" not in mail
        assert "5 rows more are left out here." in mail
    assert "job-24" in as_text(long, most=100)


def test_rows_that_a_table_was_made_without_are_counted_too() -> None:
    table = Section(name="t", title="T", columns=[Column(label="Job")], rows=[["a"], ["b"], ["c"]], more=40)
    for most, left_out in ((2, 41), (50, 40)):
        assert f"{left_out} rows more are left out here." in as_text(letter(sections=[table]), most=most)


def test_amounts_are_drawn_like_counts() -> None:
    def drawn(*values: Any) -> Page:
        bars = [Bar(label=str(at), values=(value,)) for at, value in enumerate(values)]
        parts = [Part(label="USD", tone=Tone.PLAIN)]
        return Page(as_html(letter(chart=Chart(title="Amounts", parts=parts, bars=bars))))

    def heights(page: Page) -> list[str]:
        return [value for name, value in page.attributes if name == "height" and "." in value]

    amounts = drawn(Decimal("0.50"), Decimal("0.25"), Decimal(0))
    assert heights(amounts) == heights(drawn(2, 1, 0)) == ["120.0", "60.0"]
    assert "0.25" in amounts.texts


def test_a_single_bar_is_no_wall() -> None:
    chart = Chart(title="One", parts=[Part(label="x", tone=Tone.GOOD)], bars=[Bar(label="a", values=(1,))])
    page = Page(as_html(letter(chart=chart)))
    (width,) = [float(value) for name, value in page.attributes if name == "width" and "." in value]
    assert 0 < width < CHART_WIDTH / 7


def test_a_mail_of_long_tables_is_short_enough_not_to_be_cut_off() -> None:
    columns = [Column(label="a column", unit=Unit.COUNT)] * 12
    section = Section(name="t", title="T", columns=columns, rows=[[1_000_000] * 12] * 200)
    assert len(as_html(letter(sections=[section] * 3))) < 100_000
