"""What `runscheduler` is told at its start, and what it does when its loop fails."""

from __future__ import annotations

import gc
import signal
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command

from hotdata.execution.threads import ThreadExecutor
from hotdata.models import Node
from hotdata.scheduling.scheduler import Scheduler


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


@pytest.fixture
def _spared() -> Iterator[None]:
    """This process as it was before: the command takes its signals, and tunes its garbage collector."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    threshold = gc.get_threshold()
    yield
    gc.set_threshold(*threshold)
    gc.unfreeze()
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_spared")
def test_a_loop_that_fails_stops_the_executor_and_the_error_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    graces = []

    def fail(scheduler: Scheduler) -> None:
        raise RuntimeError("broken on purpose")

    stop = ThreadExecutor.stop
    monkeypatch.setattr(Scheduler, "start", fail)
    monkeypatch.setattr(
        ThreadExecutor, "stop", lambda executor, grace: graces.append(grace) or stop(executor, grace)
    )
    with pytest.raises(RuntimeError, match="on purpose"):
        call_command("runscheduler", "--grace=7")
    assert graces == [timedelta(seconds=7)]
    assert not Node.objects.exists()
