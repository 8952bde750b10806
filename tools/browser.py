"""The Chromium that drives the browser tests and takes the pictures of docs: one that is installed.

HOTDATA_TEST_BROWSER is the path of one, or the word `required`: then to have none is an error.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from playwright.sync_api import Browser, Playwright, sync_playwright

VARIABLE = "HOTDATA_TEST_BROWSER"
REQUIRED = "required"
NAMES = ("chromium", "chromium-browser", "google-chrome")

# Nothing but this machine is reached, whatever a page or the browser itself asks for.
ARGUMENTS = ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]


class NoBrowser(Exception):
    """Why there is no browser, and what to do about it."""


def is_required() -> bool:
    return bool(os.environ.get(VARIABLE))


def find_browser() -> Path:
    """Return the browser's path. Raises NoBrowser. Not to be called while playwright runs."""
    asked = os.environ.get(VARIABLE, "")
    if asked not in ("", REQUIRED):
        if not os.access(asked, os.X_OK):
            raise NoBrowser(f"{VARIABLE} names {asked}, which is no program")
        return Path(asked)
    for name in NAMES:
        if found := shutil.which(name):
            return Path(found)
    with sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path)
    if not own.is_file():
        raise NoBrowser(
            f"there is no Chromium: install one (apt install chromium), or set {VARIABLE} to its path"
        )
    return own


def launch(playwright: Playwright, path: Path) -> Browser:
    return playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
