"""Runs in the browser: the page follows a run while it goes on; and both pages are for everybody."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from playwright.sync_api import Page, expect

from hotdata.models import Run
from hotdata.models.runs import State
from tests.browser.axe import axe
from tests.browser.conftest import Visitors
from tests.builders import make_call, make_job, make_run

pytestmark = pytest.mark.only_on("sqlite")

LIST = "/admin/hotdata/run/"


def url(run: Run) -> str:
    return f"{LIST}{run.pk}/change/"


@pytest.fixture
def running() -> Run:
    return make_run(
        make_job(name="update"),
        state=State.RUNNING,
        progress_done=1,
        progress_total=4,
        log="the first line\n",
    )


def test_progress_and_log_grow_before_ones_eyes_until_the_run_ends(page: Page, running: Run) -> None:
    page.goto(url(running))
    bar, log = page.locator("#hd-progress"), page.locator("#hd-log")
    expect(bar).to_have_attribute("value", "1")
    Run.objects.update(progress_done=3, log="the first line\nthe second <b>line</b>\n")
    expect(bar).to_have_attribute("value", "3")
    expect(log).to_have_text("the first line\nthe second <b>line</b>\n")
    Run.objects.update(
        state=State.SUCCEEDED,
        finished_at=timezone.now(),
        duration=timedelta(seconds=2),
        result={"refreshed": 12},
    )
    expect(page.get_by_label("Result")).to_contain_text('"refreshed": 12')
    expect(page.get_by_role("status")).to_have_text("Succeeded")
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)


def test_a_run_is_cancelled_by_its_button(page: Page, running: Run) -> None:
    page.goto(url(running))
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#hd-run-live")).to_contain_text("root asked it to stop.")
    running.refresh_from_db()
    assert running.cancel_requested_by == "root"


def test_nothing_is_asked_for_while_nobody_looks(page: Page, running: Run) -> None:
    page.goto(url(running))
    expect(page.locator("#hd-progress")).to_have_attribute("value", "1")
    page.evaluate("Object.defineProperty(document, 'hidden', {value: true, configurable: true})")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    Run.objects.update(progress_done=2)
    with pytest.raises(AssertionError):
        expect(page.locator("#hd-progress")).to_have_attribute("value", "2", timeout=2500)
    page.evaluate("Object.defineProperty(document, 'hidden', {value: false, configurable: true})")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator("#hd-progress")).to_have_attribute("value", "2")


@pytest.mark.parametrize(("dark", "phone"), [(False, False), (True, False), (False, True)])
def test_the_pages_of_runs_are_accessible(
    open_page: Visitors, admin_user: User, running: Run, dark: bool, phone: bool
) -> None:
    retrying = make_run(
        running.job, state=State.RETRYING, error="x" * 4000, attempt=1, attempts=[{"error": "broken <b>"}]
    )
    failed = make_run(
        running.job, state=State.FAILED, error="x" * 500, traceback="Traceback", result={"a": 1}, params={"b": 2},
        requested_by="ada", log="a line\n" * 100,
    )  # fmt: skip
    make_call(keys="AAPL,北京" * 50, run_id=failed.pk)
    page = open_page(admin_user, dark=dark, phone=phone)
    for path in (
        LIST,
        f"{LIST}?outcome=missed",
        url(failed),
        url(retrying),
        url(running),
        "/admin/hotdata/apicall/",
        "/admin/hotdata/node/",
    ):
        page.goto(path)
        axe(page)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), path
