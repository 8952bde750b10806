"""When `make` installs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tools.install import REQUIREMENTS, InstallError, fingerprint, install


def test_only_a_change_of_the_requirements_is_a_reason_to_install_again(tmp_path: Path) -> None:
    for name in REQUIREMENTS:
        (tmp_path / name).write_text("django\n")
    before = fingerprint(tmp_path)
    os.utime(tmp_path / REQUIREMENTS[0], (0, 0))
    assert fingerprint(tmp_path) == before
    (tmp_path / REQUIREMENTS[0]).write_text("django>=5\n")
    assert fingerprint(tmp_path) != before


def test_a_python_without_venv_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InstallError, match="apt install python3"):
        install(tmp_path / ".venv")
