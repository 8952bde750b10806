"""What a browser found wrong with the pages that a test opened: none of it is seen on the page itself."""

from __future__ import annotations

import contextlib

from playwright.sync_api import BrowserContext, ConsoleMessage, Error, Request, Response, WebError

from tests.threads import eventually

ICON = "/favicon.ico"  # asked for by the browser itself, where a page names none
ABORTED = "net::ERR_ABORTED"  # the page was left, or a script gave its own request up
BLOCKED = "csp"  # the console says why


class Complaints:
    """Errors and warnings on the console (breaches of the CSP among them), of scripts and of requests."""

    def __init__(self, site: str) -> None:
        self._site = site
        self._contexts: list[BrowserContext] = []
        self._found: list[str] = []
        self._expected: list[str] = []

    def watch(self, context: BrowserContext) -> None:
        context.on("console", self._note_console)
        context.on("weberror", self._note_script)
        context.on("requestfailed", self._note_failure)
        context.on("response", self._note_answer)
        self._contexts.append(context)

    def expect(self, text: str) -> None:
        """A complaint with `text` in it is what the test wants: there must be one."""
        self._expected.append(text)

    def check(self) -> None:
        """Fail the test for what wasn't expected, and for what was but doesn't come."""
        eventually(lambda: not self._missing())
        unexpected = [found for found in self._found if not any(text in found for text in self._expected)]
        assert not unexpected, "The browser complained:\n  " + "\n  ".join(unexpected)

    def _missing(self) -> list[str]:
        self._hear_all()
        return [text for text in self._expected if not any(text in found for found in self._found)]

    def _hear_all(self) -> None:
        """Events are heard while something is asked of the browser; answers come after what happened before them."""
        for context in self._contexts:
            for page in context.pages:
                with contextlib.suppress(Error):  # the page is being left
                    page.evaluate("0")

    def _note_console(self, message: ConsoleMessage) -> None:
        url = message.location.get("url", "")
        if message.type in ("error", "warning") and url != self._site + ICON:
            self._found.append(f"{message.type}: {message.text} ({url})")

    def _note_script(self, error: WebError) -> None:
        self._found.append(f"script: {error.error}")

    def _note_failure(self, request: Request) -> None:
        """To ask another host is to fail: the browser finds none."""
        if request.failure not in (ABORTED, BLOCKED):
            self._found.append(f"failed: {request.url}: {request.failure}")

    def _note_answer(self, answer: Response) -> None:
        if answer.status >= 500:
            self._found.append(f"status {answer.status}: {answer.url}")
