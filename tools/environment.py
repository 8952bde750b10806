"""The variables of a developer's site: what the environment sets wins over `.env`, and that over `.local/env`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.sockets import LOOPBACK, reserved_port
from tools.state import State, read_variables

DEFAULT_PORT = 8000
DEFAULT_DEMO_PORT = 8100
GRACE = "3"  # seconds for running jobs at the end; honcho kills after 5


class BadPort(Exception):
    """PORT is not a port's number."""


def base_environment(root: Path, state: State) -> dict[str, str]:
    environment = {
        "HOTDATA_GRACE": GRACE,
        **state.variables(),
        **read_variables(root / ".env"),
        **os.environ,
        # Not a matter of taste: another project's settings, left in this shell, would run.
        "DJANGO_SETTINGS_MODULE": "project.settings",
        "PYTHONUNBUFFERED": "1",
    }
    # Found by Procfile.dev, and by a shell that no profile has set up.
    programs = str(Path(sys.executable).parent)
    environment["PATH"] = os.pathsep.join([programs, environment.get("PATH", os.defpath)])
    return environment


def web_port(environment: dict[str, str]) -> int:
    """Return the port of the web server, out of PORT. Raises BadPort."""
    given = environment.get("PORT") or str(DEFAULT_PORT)
    if not given.isascii() or not given.isdigit() or not 0 < int(given) < 65536:
        raise BadPort(given)
    return int(given)


@contextmanager
def demo_port(environment: dict[str, str], state: State) -> Iterator[None]:
    """Inside the block, DEMO_PORT is ours: the port of last time if it is free, else the next one; remembered."""
    with reserved_port(int(environment.get("DEMO_PORT", DEFAULT_DEMO_PORT))) as port:
        state.remember("DEMO_PORT", str(port))
        environment["DEMO_PORT"] = str(port)
        yield


def point_to_demo(environment: dict[str, str]) -> None:
    """Make the demo's sources ask the upstream at DEMO_PORT, which is a private address, and therefore allowed."""
    host = f"{LOOPBACK}:{environment.get('DEMO_PORT', DEFAULT_DEMO_PORT)}"
    allowed = [environment.get("HOTDATA_ALLOW_PRIVATE", ""), host]
    environment["HOTDATA_DEMO_UPSTREAM"] = f"http://{host}"
    environment["HOTDATA_ALLOW_PRIVATE"] = ",".join(filter(None, allowed))
