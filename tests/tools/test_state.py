"""What `make run` keeps in `.local`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tools.sockets import wait_until
from tools.state import AlreadyRunning, State, read_variables


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path / ".local")


def test_the_secret_key_is_made_once_and_is_for_this_user_only(state: State) -> None:
    first = state.variables()
    assert len(first["SECRET_KEY"]) >= 32
    assert state.variables() == first
    assert (state.directory.stat().st_mode & 0o777, (state.directory / "env").stat().st_mode & 0o777) == (
        0o700,
        0o600,
    )


def test_a_remembered_value_joins_the_others(state: State) -> None:
    key = state.variables()["SECRET_KEY"]
    state.remember("DEMO_PORT", "8101")
    assert state.variables() == {"SECRET_KEY": key, "DEBUG": "1", "DEMO_PORT": "8101"}


def test_a_second_run_is_refused_and_learns_whose_the_first_is(state: State) -> None:
    with state.lock(), pytest.raises(AlreadyRunning, match=r"^\d+$"), State(state.directory).lock():
        pass


def test_the_lock_is_held_until_the_last_process_that_shares_it_is_gone(state: State) -> None:
    with state.lock() as lock:
        survivor = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[lock])
    with survivor, pytest.raises(AlreadyRunning), state.lock():
        pass
    assert wait_until(lambda: can_lock(state), timeout=5)


def can_lock(state: State) -> bool:
    try:
        with state.lock():
            return True
    except AlreadyRunning:
        return False


def test_a_file_of_variables_is_read_as_people_write_them(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("# a comment\n\nexport A=1\nB = 'two words'\nURL=redis://h/0?a=b\n")
    assert read_variables(file) == {"A": "1", "B": "two words", "URL": "redis://h/0?a=b"}
    assert read_variables(tmp_path / "missing") == {}
