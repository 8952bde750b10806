"""The environment of a developer's site."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tools.environment import BadPort, base_environment, demo_port, point_to_demo, web_port
from tools.sockets import reserved_port
from tools.state import State


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path / ".local")


def test_the_environment_wins_over_the_file_and_the_file_over_the_first_runs_values(
    tmp_path: Path, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("DEBUG=0\nTIME_ZONE=Europe/Berlin\n")
    monkeypatch.setenv("TIME_ZONE", "Asia/Shanghai")
    monkeypatch.delenv("DEBUG", raising=False)
    environment = base_environment(tmp_path, state)
    assert (environment["DEBUG"], environment["TIME_ZONE"]) == ("0", "Asia/Shanghai")


def test_the_settings_module_of_another_project_is_not_taken_over(
    tmp_path: Path, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "other.settings")
    assert base_environment(tmp_path, state)["DJANGO_SETTINGS_MODULE"] == "project.settings"


@pytest.mark.parametrize("given", ["abc", "-1", "0", "65536", "80.0", "８０８０"])
def test_a_port_that_is_none_is_refused(given: str) -> None:
    with pytest.raises(BadPort):
        web_port({"PORT": given})


def test_the_demo_moves_to_a_free_port_and_stays_there(state: State) -> None:
    with reserved_port(20_000) as taken, socket.create_server(("127.0.0.1", taken)):
        environment = {"DEMO_PORT": str(taken)}
        with demo_port(environment, state):
            assert environment["DEMO_PORT"] != str(taken)
    again = state.variables()
    with demo_port(again, state):
        assert again["DEMO_PORT"] == environment["DEMO_PORT"]


def test_two_sites_that_start_together_get_a_demo_each(state: State) -> None:
    one, other = {"DEMO_PORT": "20000"}, {"DEMO_PORT": "20000"}
    with demo_port(one, state), demo_port(other, state):
        assert one["DEMO_PORT"] != other["DEMO_PORT"], "although nothing listens yet"


def test_the_demos_address_is_allowed_beside_those_of_the_developer() -> None:
    environment = {"DEMO_PORT": "8123", "HOTDATA_ALLOW_PRIVATE": "10.0.0.1:80"}
    point_to_demo(environment)
    assert environment["HOTDATA_DEMO_UPSTREAM"] == "http://127.0.0.1:8123"
    assert environment["HOTDATA_ALLOW_PRIVATE"] == "10.0.0.1:80,127.0.0.1:8123"
