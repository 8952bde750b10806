"""Text that comes from anywhere goes on record without secrets, and in a form that every database takes."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest
from pytest_django import Settings

from hotdata.text import holds_secret, printable, shortened, storable, without_credentials, without_secrets

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


def test_of_a_secret_with_its_scheme_the_token_alone_is_a_secret_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOTDATA_SECRET_BEARER", "Bearer tok-12345678")
    assert storable("invalid token tok-12345678, Bearer") == "invalid token [secret], Bearer"
    assert holds_secret("tok-12345678")


def test_a_secret_is_found_as_json_spells_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOTDATA_SECRET_QUOTED", 'quo"ted\\é-secret')
    for document in (json.dumps('quo"ted\\é-secret'), json.dumps('quo"ted\\é-secret', ensure_ascii=False)):
        assert holds_secret(document)


def test_a_short_secret_condemns_no_value_in_which_it_may_stand_by_chance(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOTDATA_SECRET_DEMO", "demo")
    assert not holds_secret("demographics")
    assert storable("key=demo") == "key=[secret]"


def test_the_setting_that_names_the_prefix_is_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOTDATA_SECRET_PREFIX", "HOTDATA_SECRET_")
    assert storable("HOTDATA_SECRET_STOCKS") == "HOTDATA_SECRET_STOCKS"


def test_json_data_is_freed_of_secrets_wherever_they_stand() -> None:
    data = {"urls": [f"?key={SECRET}", 1, None], SECRET: {"deep": [SECRET]}, "n": 2.5, "ok": True}
    assert without_secrets(data) == {
        "urls": ["?key=[secret]", 1, None],
        "[secret]": {"deep": ["[secret]"]},
        "n": 2.5,
        "ok": True,
    }


def test_what_is_printable_does_nothing_to_a_terminal() -> None:
    assert printable("北京 – é") == "北京 – é"
    assert printable("\x1b[2J\r\n\u202e\x9b") == "\\u001b[2J\\u000d\\u000a\\u202e\\u009b"


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("no redis://ada:hunter2@db:6379/0", "no redis://[secret]@db:6379/0"),
        ("no redis://:hunter2@db", "no redis://[secret]@db"),
        ("no https://db:80/a@b", "no https://db:80/a@b"),
        ("nobody knows 0pen-sesame", "nobody knows [secret]"),
        (f"key={SECRET}", "key=[secret]"),
    ],
)
def test_what_an_error_says_is_freed_of_the_sites_own_passwords(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, said: str, kept: str
) -> None:
    monkeypatch.setitem(settings.DATABASES["default"], "PASSWORD", "0pen-sesame")
    assert without_credentials(said) == kept
