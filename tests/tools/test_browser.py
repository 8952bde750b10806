"""Which browser is found, and what is said when there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import browser
from tools.browser import VARIABLE, NoBrowser, find_browser, is_required
from tools.check import judge


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All that is on PATH: nothing yet. Nor is there one that playwright brought."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path))
    monkeypatch.delenv(VARIABLE, raising=False)
    return tmp_path


def make_program(path: Path) -> Path:
    path.touch(mode=0o755)
    return path


def test_a_browser_on_the_path_is_found(programs: Path) -> None:
    chrome = make_program(programs / "google-chrome")
    assert find_browser() == chrome
    chromium = make_program(programs / "chromium")
    assert find_browser() == chromium


def test_the_one_that_is_named_goes_before(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_program(programs / "chromium")
    mine = make_program(programs / "mine")
    monkeypatch.setenv(VARIABLE, str(mine))
    assert find_browser() == mine
    assert is_required()


def test_one_that_is_named_and_is_not_there_is_told(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_program(programs / "chromium")
    monkeypatch.setenv(VARIABLE, str(programs / "mine"))
    with pytest.raises(NoBrowser, match="mine, which is no program"):
        find_browser()


def test_with_none_it_is_said_how_to_get_one(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NoBrowser, match="apt install chromium"):
        find_browser()
    assert not is_required()
    monkeypatch.setenv(VARIABLE, browser.REQUIRED)
    assert is_required()
    with pytest.raises(NoBrowser):
        find_browser()


def test_the_summary_of_all_checks_says_what_was_skipped(programs: Path) -> None:
    passed, verdict = judge("sqlite", [0])
    assert passed
    assert "the browser tests were skipped: there is no Chromium" in verdict
    make_program(programs / "chromium")
    assert judge("sqlite", [0]) == (True, "ok")
