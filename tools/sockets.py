"""Where servers of our own listen: ports that are free, and socket paths that are short enough."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import socket
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

LOOPBACK = "127.0.0.1"
MAX_SOCKET_PATH = 107  # bytes that fit into sockaddr_un; the 108th ends the string


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: connections of the last run that linger in TIME_WAIT don't count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


@contextmanager
def reserved_port(preferred: int) -> Iterator[int]:
    """Yield `preferred`, or the next port that is free. No other caller of this user gets it until the block ends.

    A port that is only seen to be free may be somebody else's by the time that our server listens. The lock keeps
    off other sites of the same user; the system's choice would be from the range in which clients get their ports.
    """
    directory = Path(f"/tmp/hotdata-{os.geteuid()}-ports")  # noqa: S108 - see make_private
    make_private(directory)
    for port in range(preferred, 65536):
        with (directory / str(port)).open("w") as lock:
            if _locked(lock) and is_free(port):
                yield port
                return
    raise OSError(errno.EADDRINUSE, f"no port from {preferred} on is free")


def _locked(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def socket_path(directory: Path, name: str) -> Path:
    """Return where a socket called `name` of the server in `directory` goes: there, if that isn't too long.

    Else it is in a directory below /tmp that depends on nothing but `directory`: the address stays the same from
    one run to the next.
    """
    path = directory / name
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH:
        return path
    digest = hashlib.sha256(os.fsencode(directory)).hexdigest()[:12]
    return Path("/tmp", f"hotdata-{os.geteuid()}-{digest}", name)  # noqa: S108 - see make_private


def make_private(directory: Path) -> None:
    """Make `directory`, for this user only. Raises PermissionError if somebody else was there first."""
    directory.mkdir(mode=0o700, exist_ok=True)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise PermissionError(
            f"{directory} must be a directory that only you can read; remove it and try again."
        )


def wait_until(condition: Callable[[], bool], *, timeout: float, interval: float = 0.02) -> bool:
    """Ask `condition` until it holds; return whether it did within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(interval)
    return True
