"""Sheets: what a spreadsheet opens, and finds no formula in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from hotdata.pages.sheets import cell, lines


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "  =1", "＝1", '=HYPERLINK("x")']
)
def test_no_cell_is_a_formula(text: str) -> None:
    assert cell(text).startswith("'")
    assert cell(text).replace("'", "") == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("boom;=1+1;x", "boom;'=1+1;x"),
        ('boom; "=1+1"', 'boom; "\'=1+1"'),
        ("boom\n=1+1", "boom\n'=1+1"),
        ("boom\r\n\t-1", "boom\r\n\t'-1"),
        ("a; b = c, -1", "a; b = c, -1"),
        ("line 1\nline 2", "line 1\nline 2"),
    ],
)
def test_no_part_of_a_cell_is_one_where_semicolons_stand_between_cells(text: str, shown: str) -> None:
    assert cell(text) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(None, ""), (-5, -5), ("a=b", "a=b"), (timedelta(seconds=-1), -1.0)]
)
def test_other_cells_stay_as_they_are(value: Any, shown: Any) -> None:
    assert cell(value) == shown


def test_a_decimal_has_all_its_digits_and_no_exponent() -> None:
    assert cell(Decimal("1E+3")) == "1000"
    assert cell(Decimal("0.000000000001")) == "0.000000000001"


def test_a_row_is_a_line_whatever_its_cells_hold() -> None:
    assert lines([["a", 1, None], ['b,"c"', datetime(2026, 11, 25, 12, tzinfo=UTC), "=1"]]) == (
        'a,1,\r\n"b,""c""",2026-11-25T12:00:00+00:00,\'=1\r\n'
    )
