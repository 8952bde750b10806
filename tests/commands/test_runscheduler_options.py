"""What `runscheduler` is told at its start."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--workers", "0"], "argument --workers: must be at least 1"),
        (["--workers", "-3"], "argument --workers: must be at least 1"),
        (["--workers", "many"], "argument --workers: must be a whole number"),
        (["--workers", "2.5"], "argument --workers: must be a whole number"),
        (["--grace", "abc"], "argument --grace: must be a number of seconds"),
        (["--grace", "-1"], "argument --grace: must be between 0 and 86400"),
        (["--grace", "nan"], "argument --grace: must be between 0 and 86400"),
        (["--grace", "inf"], "argument --grace: must be between 0 and 86400"),
        (["--colour", "red"], "unrecognized arguments: --colour red"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_with_a_sentence(options: list[str], says: str) -> None:
    with pytest.raises(CommandError, match=says):
        call_command("runscheduler", *options)


def test_its_help_says_how_to_stop_it_and_what_its_exit_code_means(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        call_command("runscheduler", "--help")
    help_text = capsys.readouterr().out
    assert ended.value.code == 0
    for word in ("--workers N", "--grace SECONDS", "(default: 20)", "SIGTERM or Ctrl-C", "Exit code: 0"):
        assert word in help_text
