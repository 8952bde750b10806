"""What `make test` makes of its checks."""

from __future__ import annotations

from tools.check import Result, judge, split, summary


def test_a_check_passes_only_if_all_its_commands_do() -> None:
    assert judge("lint", [0, 0]) == (True, "ok")
    assert judge("lint", [0, 1]) == (False, "FAILED")


def test_a_selection_without_a_database_is_no_failure_on_postgres() -> None:
    assert judge("postgres", [5])[0]
    assert not judge("sqlite", [5])[0]


def test_what_follows_the_dashes_goes_to_pytest() -> None:
    assert split(["lint", "sqlite", "--", "-k", "a or b"]) == (["lint", "sqlite"], ["-k", "a or b"])
    assert split(["lint"]) == (["lint"], [])


def test_the_summary_names_each_check_with_its_verdict() -> None:
    text = summary([Result(name="lint", verdict="FAILED", passed=False, seconds=1.25)])
    assert text.splitlines()[1].split() == ["lint", "1.2", "s", "FAILED"]
