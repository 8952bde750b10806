"""`make run`: the whole site in one terminal, on a machine that has nothing but Python.

Redis is started first and stopped last, because migrating and setting up already talk to it; honcho runs the
rest from Procfile.dev. Ctrl-C, SIGTERM and a closed terminal stop everything in that order.
Usage: python -m tools.dev run
       python -m tools.dev manage COMMAND ...     (manage.py, with the environment of `run`)
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import NoReturn

from tools.children import spawn, stop
from tools.environment import BadPort, base_environment, demo_port, point_to_demo, web_port
from tools.redis_server import address, redis_server
from tools.site import Site, SiteStopped, running_site
from tools.sockets import LOOPBACK, is_free
from tools.state import AlreadyRunning, State

ROOT = Path(__file__).resolve().parent.parent
PROCFILE = ROOT / "Procfile.dev"
STATE = State(ROOT / ".local")

EXAMPLE = "/api/hot/stock/AAPL"
UP_TIMEOUT = 20  # seconds


class CannotRun(Exception):
    """Why the site can't be started, and what to do about it."""


def main(arguments: list[str]) -> int:
    try:
        if arguments[:1] == ["manage"]:
            manage(arguments[1:])
        run()
    except CannotRun as error:
        print(f"Error: {error}", file=sys.stderr)
    except AlreadyRunning as error:
        print(f"Error: this site is running already, or still stopping (process {error}).", file=sys.stderr)
    except SiteStopped:
        print("Error: a process ended by itself, so all were stopped; the reason is above.", file=sys.stderr)
    return 1


def run() -> None:
    """Run the site until a signal, which ends this process with status 0. Raises what `main` explains."""
    for asked in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(asked, leave)
    with ExitStack() as running:
        lock = running.enter_context(STATE.lock())
        environment = base_environment(ROOT, STATE)
        port = free_web_port(environment)
        environment["WEB_PORT"] = str(port)
        processes = ["web", "scheduler"]
        if "HOTDATA_DEMO_UPSTREAM" not in environment:
            running.enter_context(demo_port(environment, STATE))
            point_to_demo(environment)
            processes.append("upstream")
        if "REDIS_URL" not in environment:
            environment["REDIS_URL"] = running.enter_context(
                redis_server(STATE.redis, keep=True, holding=(lock,))
            )
        password = prepare(environment)
        site = running_site(PROCFILE, processes, environment, f"http://{LOOPBACK}:{port}", holding=(lock,))
        announce(running.enter_context(site), password).wait()


def leave(signum: int, frame: FrameType | None) -> NoReturn:
    """End this process by way of every `finally`, which stop what was started; a second signal can't cut in."""
    for asked in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(asked, signal.SIG_IGN)
    raise SystemExit(0)


def manage(arguments: list[str]) -> NoReturn:
    """Become manage.py, on the database and the Redis of `run`."""
    environment = base_environment(ROOT, STATE)
    environment.setdefault("REDIS_URL", address(STATE.redis))
    if "HOTDATA_DEMO_UPSTREAM" not in environment:
        point_to_demo(environment)
    command = [sys.executable, str(ROOT / "manage.py"), *arguments]
    os.execve(sys.executable, command, environment)  # noqa: S606 - no shell is meant


def free_web_port(environment: dict[str, str]) -> int:
    try:
        port = web_port(environment)
    except BadPort as error:
        raise CannotRun(f"PORT must be a number from 1 to 65535, not {error}.") from error
    if not is_free(port):
        raise CannotRun(f"port {port} is in use. Take another one: PORT={port + 1} make run")
    return port


def prepare(environment: dict[str, str]) -> str:
    """Migrate and set up; return the password of the admin user if one was made, else an empty text."""
    print("Preparing the database ...", flush=True)
    command = [sys.executable, "-m", "tools.prepare"]
    process = spawn(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        password, _ = process.communicate()
    finally:
        stop(process)
    if process.returncode:
        raise CannotRun("the database could not be prepared; the reason is above.")
    return str(password)


def announce(site: Site, password: str) -> Site:
    """Tell how to use the site when it can be used, or when it should have been possible by now."""
    try:
        serves = site.wait_until_up(EXAMPLE, UP_TIMEOUT)
    finally:
        if password:  # however the wait ended: it is shown now or never
            print(f"\n  Password of the user admin, shown only this once:  {password}", flush=True)
    known = "the password above" if password else "the password printed at the first run;"
    renew = "" if password else '\n           make a new one with: make manage ARGS="changepassword admin"'
    print(
        f"\n  hotdata is running. Ctrl-C stops it.\n"
        f"\n  Admin    {site.url}/admin/"
        f"\n  Log in   admin, {known}{renew}"
        f"\n  Try      curl {site.url}{EXAMPLE}"
        + (
            ""
            if serves
            else f"\n           (no answer yet after {UP_TIMEOUT} s: see the messages of the processes)"
        )
        + "\n",
        flush=True,
    )
    return site


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
