from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotdata.exceptions import BadSource
from hotdata.headers import check_headers, parse_retry_after

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)

# What may be sent


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-API-Key": "abc", "Authorization": "Bearer a.b-c_d=", "Accept": "application/json; q=0.9"},
        {"X-Empty": "", "X-Latin": "café", "User-Agent": "site/1.0", "If-None-Match": 'W/"1"'},
    ],
)
def test_ordinary_headers_may_be_sent(headers: dict[str, str]) -> None:
    check_headers(headers)


@pytest.mark.parametrize(
    "name",
    ["", " ", "X Key", "X-Key ", "X:Key", "X\rKey", "X-Key\n", "X\x00", "Kéy", "X(Key)", "名", 1, None],
)
def test_a_malformed_header_name_is_refused(name: Any) -> None:
    with pytest.raises(BadSource, match="not a header name"):
        check_headers({name: "value"})


@pytest.mark.parametrize(
    "name",
    [
        "Host",
        "host",
        "Content-Length",
        "Transfer-Encoding",
        "Connection",
        "Keep-Alive",
        "Upgrade",
        "TE",
        "Trailer",
        "Expect",
        "Accept-Encoding",
        "Proxy-Authorization",
        "Proxy-Connection",
        "proxy-anything",
    ],
)
def test_a_header_of_the_transport_is_refused(name: str) -> None:
    with pytest.raises(BadSource, match=name):
        check_headers({name: "value"})


@pytest.mark.parametrize(
    "value",
    [
        "a\r\nHost: evil.example",
        "a\nb",
        "a\rb",
        "a\n",
        "\x00",
        "a\tb",
        "\x1b[0m",
        "\x7f",
        "\x85",
        "名",
        " a",
        "a ",
        "\u2028",
        "\xa0a",
        1,
        None,
        b"a",
    ],
)
def test_a_header_value_with_anything_but_printable_latin_1_is_refused(value: Any) -> None:
    with pytest.raises(BadSource, match="X-Key"):
        check_headers({"X-Key": value})


# Retry-After


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", timedelta(0)),
        ("7", timedelta(seconds=7)),
        (" 120 ", timedelta(minutes=2)),
        ("3600", timedelta(hours=1)),
        ("3601", timedelta(hours=1)),
        ("999999999", timedelta(hours=1)),
        ("9" * 6000, None),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), timedelta(seconds=90)),
        (format_datetime(NOW + timedelta(days=400), usegmt=True), timedelta(hours=1)),
        (format_datetime(NOW - timedelta(days=1), usegmt=True), timedelta(0)),
        ("Sun, 01 Mar 2026 12:00:30 -0000", timedelta(seconds=30)),
        ("Sunday, 01-Mar-26 12:00:30 GMT", timedelta(seconds=30)),
        (None, None),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("1e3", None),
        ("٧", None),
        ("7, 8", None),
        ("Sun, 99 Mar 2026 12:00:30 GMT", None),
        ("Sun, 01 Mar 99999 12:00:30 GMT", None),
    ],
)
def test_a_retry_after_is_read_in_both_forms_and_bounded(
    value: str | None, expected: timedelta | None
) -> None:
    assert parse_retry_after(value, now=NOW) == expected


@given(st.text())
def test_no_retry_after_breaks_the_reader(value: str) -> None:
    waits = parse_retry_after(value, now=NOW)
    assert waits is None or timedelta(0) <= waits <= timedelta(hours=1)
