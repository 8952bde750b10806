"""`make screenshots`: takes the pictures of docs/images, of a site of its own with a busy day on record.

The site has its database and its Redis in a temporary directory and listens on the loopback. All that is started is
stopped, and the directory removed, however this ends.
Usage: python -m tools.screenshots [NAME ...]     (by default, all)
"""

from __future__ import annotations

import os
import secrets
import signal
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from playwright.sync_api import Browser, Page, sync_playwright

from tools.browser import NoBrowser, find_browser, launch
from tools.children import spawn, stop
from tools.palette import with_palette
from tools.redis_server import redis_server
from tools.sockets import LOOPBACK, reserved_port, wait_until

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
FIRST_PORT = 8300
UP_TIMEOUT = 30  # seconds
USER = "operator"

DESK: dict[str, Any] = {"viewport": {"width": 1440, "height": 900}}
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 2,
    "is_mobile": True,
    "has_touch": True,
}


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture: which page, how it is looked at, and what is done there before."""

    name: str
    path: str
    dark: bool = False
    phone: bool = False
    language: str = "en"
    height: int | None = None
    """In pixels of the page, from its top; the whole page where it is None."""
    prepare: Callable[[Page], None] = lambda page: None


def type_a_schedule(page: Page) -> None:
    """A job that is being made, on Sundays at an hour that the clocks skip once a year."""
    page.locator("#id_name").fill("weekly_report")
    page.locator("#id_title").fill("Weekly report")
    page.locator("#id_task").select_option("refresh_source")
    page.locator("#id_param-source").fill("stock")
    page.locator("#id_time_zone").fill("Europe/Berlin")
    page.locator("#id_cron").fill("30 2 * 3 sun")
    page.locator("#hd-preview time").first.wait_for()


def pictures() -> tuple[Picture, ...]:
    """All of them; the database is filled."""
    from hotdata.models import Job, Run, Source
    from tools.showcase import WORTH_A_LOOK

    job = Job.objects.get(name=WORTH_A_LOOK).pk
    source = Source.objects.get(name="stock").pk
    running = Run.objects.get(state="running").pk
    admin = "/admin/hotdata"
    return (
        # The first ones show what a minute later is over.
        Picture(name="run", path=f"{admin}/run/{running}/change/"),
        Picture(name="source", path=f"{admin}/source/{source}/change/", height=1400),
        Picture(name="sources", path=f"{admin}/source/"),
        Picture(name="dashboard", path="/admin/"),
        Picture(name="dashboard-dark", path="/admin/", dark=True),
        Picture(name="dashboard-zh", path="/admin/", language="zh-CN"),
        Picture(name="dashboard-phone", path="/admin/", phone=True, height=1688),
        Picture(name="jobs", path=f"{admin}/job/"),
        Picture(name="job", path=f"{admin}/job/{job}/change/", height=1400),
        Picture(name="job-form", path=f"{admin}/job/add/", height=1400, prepare=type_a_schedule),
        Picture(name="job-history", path=f"{admin}/job/{job}/history/", height=480),
        Picture(name="runs", path=f"{admin}/run/", height=1200),
    )


def main(names: list[str]) -> int:
    for asked in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(asked, leave)
    try:
        path = find_browser()
    except NoBrowser as error:
        print(f"Error: {error}.", file=sys.stderr)
        return 1
    with ExitStack() as running:
        directory = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="hotdata-pictures-")))
        redis = running.enter_context(redis_server(directory / "redis", keep=False))
        session = set_up(directory, redis)

        from django.utils import timezone

        from tools.showcase import keep_up

        chosen = [picture for picture in pictures() if picture.name in names or not names]
        site = running.enter_context(served())
        playwright = running.enter_context(sync_playwright())
        browser = launch(playwright, path)
        running.callback(browser.close)
        for picture in chosen:
            keep_up(timezone.now())
            take(browser, site, session, picture)
    return 0


def leave(signum: int, frame: FrameType | None) -> NoReturn:
    """End this process by way of every `finally`."""
    raise SystemExit(128 + signum)


def set_up(directory: Path, redis: str) -> str:
    """Make Django's environment, and fill the database and the Redis; returns the session of who looks at it."""
    for name in list(os.environ):
        if name.startswith("HOTDATA_"):
            del os.environ[name]
    os.environ.update(
        DJANGO_SETTINGS_MODULE="project.settings",
        SECRET_KEY=secrets.token_urlsafe(48),
        DATABASE_URL=f"sqlite:///{directory / 'hotdata.sqlite3'}",
        REDIS_URL=redis,
        DEBUG="0",
        SECURE_COOKIES="0",
        TIME_ZONE="UTC",
        LOG_LEVEL="WARNING",
        # Django refuses to query where a loop runs; playwright's stands still while it isn't called.
        DJANGO_ALLOW_ASYNC_UNSAFE="1",
    )
    import django

    django.setup()

    from django.conf import settings
    from django.contrib.auth.models import User
    from django.core.management import call_command
    from django.test import Client
    from django.utils import timezone

    from tools import showcase

    call_command("migrate", interactive=False, verbosity=0)
    showcase.fill(timezone.now())
    client = Client()
    client.force_login(User.objects.create_superuser(USER))
    return str(client.cookies[settings.SESSION_COOKIE_NAME].value)


@contextmanager
def served() -> Iterator[str]:
    """Serve the site; gives its address."""
    with reserved_port(FIRST_PORT) as port:
        url = f"http://{LOOPBACK}:{port}"
        server = spawn(
            [sys.executable, "-m", "gunicorn", "--bind", f"{LOOPBACK}:{port}", "--threads", "4",
             "--no-control-socket", "--log-level", "warning", "project.wsgi"],
            cwd=ROOT,
            env={**os.environ, "PYTHONWARNINGS": "ignore:No directory at"},  # static files need not be collected
        )  # fmt: skip
        try:
            if not wait_until(lambda: server.poll() is not None or answers(url), timeout=UP_TIMEOUT):
                raise RuntimeError(f"The site did not answer within {UP_TIMEOUT} s.")
            if server.poll() is not None:
                raise RuntimeError("The site did not start; the reason is above.")
            yield url
        finally:
            stop(server)


def answers(url: str) -> bool:
    browser = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with browser.open(f"{url}/admin/login/", timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def take(browser: Browser, site: str, session: str, picture: Picture) -> None:
    context = browser.new_context(
        base_url=site,
        locale=picture.language,
        timezone_id="UTC",
        color_scheme="dark" if picture.dark else "light",
        reduced_motion="reduce",
        **(PHONE if picture.phone else DESK),
    )
    try:
        context.add_cookies([{"name": "sessionid", "value": session, "url": site}])
        page = context.new_page()
        page.goto(picture.path, wait_until="load")
        picture.prepare(page)
        page.evaluate("document.activeElement && document.activeElement.blur()")
        file = IMAGES / f"{picture.name}.png"
        clip: Any = picture.height and {
            "x": 0,
            "y": 0,
            "width": page.viewport_size["width"] if page.viewport_size else 0,
            "height": picture.height,
        }
        taken = page.screenshot(full_page=True, clip=clip, animations="disabled", caret="hide")
        file.write_bytes(with_palette(page, taken))
        print(f"{file.relative_to(ROOT)}  {file.stat().st_size // 1000} kB", flush=True)
    finally:
        context.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
