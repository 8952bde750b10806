"""The servers that the tests need, in a process of their own that ends when its standard input does.

So they are stopped and their files removed however pytest ends, even by SIGKILL: the pipe closes by itself.
Usage: python -m tools.servers redis [postgres]; prints one line of JSON when they are ready.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tools.postgres_server import postgres_server
from tools.redis_server import redis_server
from tools.sockets import MAX_SOCKET_PATH

LONGEST_NAME = len("/hotdata-test-xxxxxxxx/postgres/.s.PGSQL.5432.lock")


def main(wanted: list[str]) -> None:
    with ExitStack() as running:
        directory = Path(running.enter_context(_short_directory()))
        addresses = {}
        if "redis" in wanted:
            addresses["REDIS_URL"] = running.enter_context(redis_server(directory / "redis", keep=False))
        if "postgres" in wanted:
            addresses["DATABASE_URL"] = running.enter_context(postgres_server(directory / "postgres"))
        sys.stdout.write(json.dumps(addresses) + "\n")
        sys.stdout.flush()
        sys.stdin.read()


def _short_directory() -> tempfile.TemporaryDirectory[str]:
    """Make a directory that sockets fit into and that the account which runs PostgreSQL for root can reach."""
    parent = tempfile.gettempdir()
    if os.geteuid() == 0 or len(os.fsencode(parent)) + LONGEST_NAME > MAX_SOCKET_PATH:
        parent = "/tmp"  # noqa: S108 - only as the parent of a directory with a random name
    made = tempfile.TemporaryDirectory(prefix="hotdata-test-", dir=parent, ignore_cleanup_errors=True)
    Path(made.name).chmod(0o711)  # the account must pass through, no more
    return made


if __name__ == "__main__":
    main(sys.argv[1:])
