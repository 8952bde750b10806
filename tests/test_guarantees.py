"""What `docs/guarantees.md` names as shown by a test is shown by a test that there is."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).resolve().parent
GUARANTEES = TESTS.parent / "docs" / "guarantees.md"
REFERENCE = re.compile(r"`(…|[\w/]+\.py)(?:::(test_\w+))?`")
"""A file, or … for the one before it, and a test in it."""


def missing(text: str) -> list[str]:
    """The references of `text` that lead nowhere."""
    found, file = [], ""
    for reference in REFERENCE.finditer(text):
        named, test = reference.groups()
        file = file if named == "…" else named
        path = TESTS / file
        if not path.is_file() or (test and f"def {test}(" not in path.read_text(encoding="utf-8")):
            found.append(reference[0])
    return found


def test_each_test_that_a_promise_names_is_there() -> None:
    text = GUARANTEES.read_text(encoding="utf-8")
    assert len(REFERENCE.findall(text)) > 50
    assert missing(text) == []


def test_a_test_that_is_gone_is_noticed() -> None:
    gone = "`test_guarantees.py`, `…::test_that_is_gone`, `gone.py`, `…::test_each_test_that_a_promise_names_is_there`"
    assert missing(gone) == [
        "`…::test_that_is_gone`",
        "`gone.py`",
        "`…::test_each_test_that_a_promise_names_is_there`",
    ]
