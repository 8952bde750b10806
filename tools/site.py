"""The processes of Procfile.dev under honcho, as one thing that is started, waited for and stopped."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tools.children import spawn, stop
from tools.sockets import wait_until

STOP_TIMEOUT = 15  # seconds; honcho itself kills 5 s after the first of its processes has ended
LAST_CALL = 3  # seconds that processes get which honcho left behind
MARK = "HOTDATA_DEV_SITE"  # an environment variable that all the processes of one site share


class SiteStopped(Exception):
    """A process of the site ended by itself, and honcho stopped the others."""


class Site:
    def __init__(self, honcho: subprocess.Popen[bytes], url: str) -> None:
        self._honcho = honcho
        self.url = url

    def wait_until_up(self, path: str, timeout: float) -> bool:
        """Wait for a success at `path`; return whether there was one in time. Raises SiteStopped."""
        # Not through a proxy that the environment may name.
        browser = urllib.request.build_opener(urllib.request.ProxyHandler({}))

        def answers() -> bool:
            self._check()
            try:
                with browser.open(self.url + path, timeout=2) as response:
                    return bool(response.status == 200)
            except OSError:
                return False

        return wait_until(answers, timeout=timeout, interval=0.2)

    def wait(self) -> None:
        """Wait until a process of the site ends, which is no good news: raises SiteStopped."""
        self._honcho.wait()
        self._check()

    def _check(self) -> None:
        if self._honcho.poll() is not None:
            raise SiteStopped


@contextmanager
def running_site(
    procfile: Path, processes: list[str], environment: dict[str, str], url: str, *, holding: tuple[int, ...]
) -> Iterator[Site]:
    """Run `processes` of `procfile` until the block is left; none of them is alive after that."""
    mark = secrets.token_hex(8)
    # Without `-e` honcho would let `.env` win over the environment that we worked out.
    command = [sys.executable, "-m", "honcho", "-f", str(procfile), "-e", os.devnull, "start", *processes]
    honcho = spawn(command, env={**environment, MARK: mark}, pass_fds=holding, stdin=subprocess.DEVNULL)
    try:
        yield Site(honcho, url)
    finally:
        stop(honcho, patience=STOP_TIMEOUT)
        _stop_the_rest(mark)


def _stop_the_rest(mark: str) -> None:
    """End what honcho left: asked to stop in its first instants, it dies of a KeyError and leaves everything."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        for process in _marked(mark):
            with suppress(ProcessLookupError):
                os.kill(process, how)
        if wait_until(lambda: not _marked(mark), timeout=LAST_CALL):
            return


def _marked(mark: str) -> list[int]:
    found = []
    for file in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # gone meanwhile, or somebody else's
            if f"{MARK}={mark}".encode() in file.read_bytes():
                found.append(int(file.parent.name))
    return found
