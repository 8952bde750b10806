from __future__ import annotations

import pytest

from hotdata.api.asking import Refused
from hotdata.api.cursors import cursor_at, name_at, number_at


@pytest.mark.parametrize("name", ["a", "update_hot_data", "x" * 100, "2-b", "-_"])
def test_a_cursor_leads_on_from_the_name_that_it_was_made_of(name: str) -> None:
    assert name_at(cursor_at(name)) == name


@pytest.mark.parametrize("number", [1, 10**18 - 1])
def test_a_cursor_leads_on_from_the_number_that_it_was_made_of(number: int) -> None:
    assert number_at(cursor_at(number)) == number


def test_a_cursor_needs_no_quoting_in_an_address() -> None:
    assert set(cursor_at("~~~???>>>")) <= set(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    )


def test_without_a_cursor_a_list_begins_at_its_beginning() -> None:
    assert name_at("") == ""
    assert number_at("") is None


@pytest.mark.parametrize(
    "cursor",
    ["a", "!", "YQ==", "YR", "Y Q", "YQ\n", "AA", "gA", "7aCA", "北京", "\ud800", "a+b/", "\x00", "=" * 9],
)
def test_what_no_page_gave_is_refused(cursor: str) -> None:
    """Among them another spelling of a name, half a character, and U+0000."""
    with pytest.raises(Refused) as refused:
        name_at(cursor)
    assert refused.value.status == 400


@pytest.mark.parametrize("text", ["a", "-1", "1.5", "1" * 19, "٣", " 1"])
def test_what_is_no_number_is_refused_where_one_is_expected(text: str) -> None:
    with pytest.raises(Refused):
        number_at(cursor_at(text))
