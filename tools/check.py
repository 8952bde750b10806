"""Runs the named checks one after the other, all of them even if one fails, and says at the end how each went.

Usage: python -m tools.check lint types sqlite postgres [-- arguments for pytest]
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from types import FrameType

from tools.browser import NoBrowser, find_browser

PYTEST_FOUND_NO_TEST = 5

# Half of a run is waiting for processes: on two cores, four workers compute while others wait. More would make
# the tests that measure time wait for each other, on any machine.
PYTEST = ["pytest", "-n", "4", "--dist", "worksteal"]
CHECKS = {
    "lint": [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["tools.floors"]],
    "types": [["mypy"]],
    "sqlite": [PYTEST],
    "postgres": [PYTEST],
}

# mypy's plugin for Django reads the settings, which don't load without a key; nothing is signed with this one.
WITH_SETTINGS = {"SECRET_KEY": "only-for-reading-the-settings".ljust(40, "-")}


@dataclass(frozen=True, kw_only=True)
class Result:
    name: str
    verdict: str
    passed: bool
    seconds: float


class Interruption:
    """Whether somebody asked us to stop; the command that runs is then given the time to stop by itself."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self.running: subprocess.Popen[bytes] | None = None
        for asked in (signal.SIGINT, signal.SIGTERM):
            signal.signal(asked, self._note)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(signum)
        if self.signal == signal.SIGTERM and self.running:
            # Ctrl-C reaches the command from the terminal; this didn't. pytest tears down on SIGINT.
            self.running.send_signal(signal.SIGINT)

    def run(self, command: list[str], environment: dict[str, str]) -> int:
        with subprocess.Popen([sys.executable, "-m", *command], env=environment) as self.running:
            return self.running.wait()


def main(arguments: list[str]) -> int:
    names, extra = split(arguments)
    interruption = Interruption()
    results: list[Result] = []
    for name in names:
        results.append(check(name, extra, interruption))
        if interruption.signal:
            break
    print("\n" + summary(results))
    if interruption.signal:
        print("Interrupted.")
        return 128 + interruption.signal
    return 0 if all(result.passed for result in results) else 1


def split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Return the names of the checks, and what comes after `--`."""
    at = arguments.index("--") if "--" in arguments else len(arguments)
    return arguments[:at], arguments[at + 1 :]


def check(name: str, extra: list[str], interruption: Interruption) -> Result:
    print(f"\n== {name}", flush=True)
    began = time.monotonic()
    codes = []
    for command in CHECKS[name]:
        is_pytest = command is PYTEST
        environment = environment_of_tests(name) if is_pytest else WITH_SETTINGS | os.environ
        codes.append(interruption.run(command + extra if is_pytest else command, environment))
    passed, verdict = judge(name, codes)
    return Result(name=name, verdict=verdict, passed=passed, seconds=time.monotonic() - began)


def environment_of_tests(database: str) -> dict[str, str]:
    """Return this process's environment, in which pytest uses `database` and keeps the tests that it compiled."""
    # To compile them anew takes each worker 6 s (measured), of 9 until it can start.
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"HOTDATA_TEST_DB": database}


def judge(name: str, codes: list[int]) -> tuple[bool, str]:
    """Return whether the check passed and in which words, from the exit codes of its commands."""
    if name == "postgres" and codes == [PYTEST_FOUND_NO_TEST]:
        return True, "ok (no selected test uses a database)"
    if any(codes):
        return False, "FAILED"
    return True, "ok" if name != "sqlite" else f"ok{without_a_browser()}"


def without_a_browser() -> str:
    """Return what to say of the tests that were skipped for want of a browser, if there is none."""
    try:
        find_browser()
    except NoBrowser as error:
        return f", but the browser tests were skipped: {error}"
    return ""


def summary(results: list[Result]) -> str:
    lines = [f"{result.name:10}{result.seconds:7.1f} s   {result.verdict}" for result in results]
    return "\n".join(["== summary", *lines])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
