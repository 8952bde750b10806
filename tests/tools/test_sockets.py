"""Where servers of our own listen."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.sockets import MAX_SOCKET_PATH, make_private, socket_path


def test_a_socket_stays_with_its_server_where_its_path_fits() -> None:
    directory = Path("/", "d" * (MAX_SOCKET_PATH - len("//s")))
    assert socket_path(directory, "s") == directory / "s"
    assert len(str(socket_path(Path(f"{directory}d"), "s"))) < MAX_SOCKET_PATH


def test_two_long_directories_share_no_socket() -> None:
    one, other = (Path("/", "d" * MAX_SOCKET_PATH, name) for name in ("one", "other"))
    assert socket_path(one, "s") == socket_path(one, "s") != socket_path(other, "s")


def test_a_directory_that_others_may_enter_is_not_trusted(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("open", "link"):
        with pytest.raises(PermissionError):
            make_private(tmp_path / name)
