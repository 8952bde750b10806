"""The site as a person sees it: real processes, and a real browser that keeps an eye on what pages do.

There is one browser and one web server for all tests of a process; each test has pages and rows of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from playwright.sync_api import Browser, Error, Page, expect, sync_playwright
from redis import Redis

from project.demo.upstream import DemoUpstream
from tests.browser.complaints import Complaints
from tests.browser.web import WebServer
from tests.conftest import environment_of_children
from tests.scheduling.processes import LEADING, SchedulerProcess
from tests.threads import PATIENCE
from tools.browser import NoBrowser, find_browser, is_required, launch

MILLISECONDS = 1000
ALLOW_LOOP = "DJANGO_ALLOW_ASYNC_UNSAFE"

DESKTOP = {"width": 1280, "height": 900}
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 2,
    "is_mobile": True,
    "has_touch": True,
}

expect.set_options(timeout=PATIENCE * MILLISECONDS)


# The browser


@dataclass(frozen=True, kw_only=True)
class Driven:
    """A browser, and the event loop with which playwright drives it between its calls."""

    browser: Browser
    loop: asyncio.AbstractEventLoop

    @contextmanager
    def at_hand(self) -> Iterator[Browser]:
        """Playwright leaves its loop running in this thread. Only in the block: outside, other tests go on."""
        asyncio._set_running_loop(self.loop)
        try:
            yield self.browser
        finally:
            asyncio._set_running_loop(None)


@pytest.fixture(scope="session")
def driven() -> Iterator[Driven]:
    try:
        path = find_browser()
    except NoBrowser as error:
        if is_required():
            pytest.fail(f"The browser tests can't run: {error}.", pytrace=False)
        pytest.skip(f"Browser tests: {error}.")
    playwright = sync_playwright().start()
    driven = Driven(browser=launch(playwright, path), loop=asyncio.get_running_loop())
    asyncio._set_running_loop(None)
    yield driven
    with driven.at_hand():
        driven.browser.close()
        playwright.stop()


@pytest.fixture
def browser(driven: Driven, monkeypatch: pytest.MonkeyPatch) -> Iterator[Browser]:
    # Django refuses to query where a loop runs; this one stands still until playwright is called.
    monkeypatch.setenv(ALLOW_LOOP, "1")
    with driven.at_hand() as browser:
        yield browser


# The site


@pytest.fixture(scope="session")
def demo() -> Iterator[DemoUpstream]:
    with DemoUpstream() as running:
        yield running


@pytest.fixture(scope="session")
def environment(django_db_setup: None, demo: DemoUpstream) -> dict[str, str]:
    """Of the site's processes: the database and the Redis of this process, and the upstream."""
    return {
        **environment_of_children(),
        "HOTDATA_DEMO_UPSTREAM": demo.url,
        "HOTDATA_ALLOW_PRIVATE": f"{demo.host}:{demo.port}",
    }


@pytest.fixture(scope="session")
def web(driven: Driven, environment: dict[str, str]) -> Iterator[WebServer]:
    with WebServer(environment) as server:
        yield server


@pytest.fixture
def scheduler(
    transactional_db: None, redis: Redis, environment: dict[str, str]
) -> Iterator[SchedulerProcess]:
    """A scheduler at work."""
    with SchedulerProcess(environment) as process:
        process.wait_for(LEADING)
        yield process


# Its pages


@pytest.fixture
def complaints(web: WebServer) -> Complaints:
    return Complaints(web.url)


class Visitors:
    """Opens pages of the site, each in a window and a session of its own."""

    def __init__(self, browser: Browser, site: str, complaints: Complaints) -> None:
        self._browser = browser
        self._site = site
        self._complaints = complaints

    def __call__(
        self, user: User | None = None, *, dark: bool = False, phone: bool = False, language: str = "en"
    ) -> Page:
        """An empty page for `user`, who is logged in, or for a stranger."""
        context = self._browser.new_context(
            base_url=self._site,
            locale=language,
            timezone_id="UTC",
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
            **(PHONE if phone else {"viewport": DESKTOP}),
        )
        context.set_default_timeout(PATIENCE * MILLISECONDS)
        if user is not None:
            client = Client()
            client.force_login(user)
            session = client.cookies[settings.SESSION_COOKIE_NAME].value
            context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": self._site}])
        self._complaints.watch(context)
        return context.new_page()


@pytest.fixture
def open_page(
    transactional_db: None, redis: Redis, browser: Browser, web: WebServer, complaints: Complaints
) -> Iterator[Visitors]:
    """Opens pages, as many as the test wants; fails it for what the browser complains of."""
    yield Visitors(browser, web.url, complaints)
    try:
        complaints.check()
    finally:
        for context in browser.contexts:
            for page in context.pages:
                # Chromium never closes a page that is on its way to another one.
                with contextlib.suppress(Error):  # the other one was there first
                    page.goto("about:blank")
            context.close()


@pytest.fixture
def page(open_page: Visitors, admin_user: User) -> Page:
    """A page of a superuser, on a desk, in English."""
    return open_page(admin_user)
