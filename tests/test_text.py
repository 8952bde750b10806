"""Text that comes from anywhere goes on record without secrets, and in a form that every database takes."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from hotdata.text import shortened, storable

SECRET = "s3same/open+now=="


@pytest.fixture(autouse=True)
def _a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOTDATA_SECRET_STOCKS", SECRET)
    monkeypatch.setenv("HOTDATA_SECRET_SHORT", "e")


@pytest.mark.parametrize("spelt", [SECRET, quote(SECRET, safe="")])
def test_a_secret_is_taken_out_however_a_url_spells_it(spelt: str) -> None:
    kept = storable(f"GET https://example.com/?key={spelt}&symbol=AAPL failed")
    assert kept == "GET https://example.com/?key=[secret]&symbol=AAPL failed"


def test_a_secret_too_short_to_be_one_leaves_the_text_readable() -> None:
    assert storable("eleven eels") == "eleven eels"


def test_what_a_database_cannot_hold_is_replaced() -> None:
    assert storable("a\x00b\ud800c") == "a\ufffdb?c"


def test_a_long_text_keeps_its_two_ends() -> None:
    kept = shortened("a" * 50 + "b" * 1000 + "c" * 50, 100)
    assert kept.startswith("a" * 50)
    assert kept.endswith("c" * 50)
    assert "1,000 characters left out" in kept
