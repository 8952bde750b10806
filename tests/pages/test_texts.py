from __future__ import annotations

import pytest

from hotdata.pages.texts import first_line, pretty, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\ttext\n北京", "plain\ttext\n北京"),
        ("10 %\r20 %\r\ndone", "10 %\n20 %\ndone"),
        ("\x1b[31mred\x00\x7f", "␛[31mred␀␡"),
        ("user\u202egnp.exe\u2066", "user\ufffdgnp.exe\ufffd"),
    ],
)
def test_what_can_not_be_seen_is_made_visible(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_the_first_line_is_the_first_that_says_something() -> None:
    assert first_line("\n\n  ValueError: broken\nmore") == "ValueError: broken"
    assert first_line("") == ""


def test_json_is_shown_as_it_reads_and_not_endlessly() -> None:
    assert pretty({"城市": ["北京"]}, 1000) == '{\n  "城市": [\n    "北京"\n  ]\n}'
    assert len(pretty(["x" * 100_000], 1000)) < 1100
