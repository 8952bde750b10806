"""Makes the virtual environment what the requirement files say, and does nothing when it already is.

Runs before anything is installed, so it uses the standard library only.
Usage: python -m tools.install DIRECTORY
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ("requirements.txt", "requirements-apprise.txt", "requirements-dev.txt")
STAMP = "installed-requirements"


class InstallError(Exception):
    """Why the installation can't go on, and what to do about it."""


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.install", description="Install into a virtual environment."
    )
    parser.add_argument("directory", type=Path, help="the virtual environment, made if it doesn't exist")
    directory = parser.parse_args(arguments).directory
    try:
        with _alone():
            install(directory)
    except InstallError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def install(directory: Path) -> None:
    if not _works(directory):
        _create(directory)
    stamp = directory / STAMP
    wanted = fingerprint(ROOT)
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    print(
        f"Installing requirements-dev.txt into {directory} (the first time this takes a minute or two) ...",
        flush=True,
    )
    pip = [
        str(directory / "bin" / "python"),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]
    if subprocess.run([*pip, "-r", str(ROOT / "requirements-dev.txt")], check=False).returncode:
        raise InstallError("pip could not install the requirements; its message is above.")
    # Written last: an installation that was interrupted is done again.
    stamp.write_text(wanted)


def fingerprint(root: Path) -> str:
    """Return a digest of the requirement files: their times change with every checkout, their content doesn't."""
    return hashlib.sha256(b"\0".join((root / name).read_bytes() for name in REQUIREMENTS)).hexdigest()


def _works(directory: Path) -> bool:
    """Whether the environment's Python starts and has pip: not after the system's Python moved, or a Ctrl-C."""
    has_pip = "import importlib.util, sys; sys.exit(importlib.util.find_spec('pip') is None)"
    try:
        return subprocess.run([str(directory / "bin" / "python"), "-c", has_pip], check=False).returncode == 0
    except OSError:
        return False


def _create(directory: Path) -> None:
    if not importlib.util.find_spec("venv") or not importlib.util.find_spec("ensurepip"):
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise InstallError(
            f"{sys.executable} has no venv module. On Debian and Ubuntu: apt install python{version}-venv"
        )
    version = ".".join(map(str, sys.version_info[:3]))
    print(f"Creating {directory} with Python {version} ({sys.executable}) ...", flush=True)
    if directory.exists():
        shutil.rmtree(directory)
    if subprocess.run([sys.executable, "-m", "venv", str(directory)], check=False).returncode:
        shutil.rmtree(directory, ignore_errors=True)
        raise InstallError(f"{sys.executable} could not make a virtual environment; its message is above.")


@contextmanager
def _alone() -> Iterator[None]:
    """Let a second `make` in the same clone wait for the first one's installation."""
    directory = os.open(ROOT, os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
