"""The dashboard in a browser: it can be used by everybody, and it refreshes itself without getting in anybody's way."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from playwright.sync_api import Page, expect

from hotdata.models import Job
from hotdata.models.runs import Cause, State
from tests.browser.axe import axe
from tests.browser.conftest import Visitors
from tests.builders import make_call, make_job, make_run, make_source, store

pytestmark = [pytest.mark.only_on("sqlite"), pytest.mark.usefixtures("clear_cache")]

MINUTE = timedelta(minutes=1)


def make_day() -> None:
    """A bit of all that a dashboard shows."""
    now = timezone.now()
    for number, state in enumerate([State.SUCCEEDED, State.FAILED, State.RUNNING, State.SKIPPED]):
        job = make_job(name=f"job-{state}", title=f"{state.label} 股票行情")
        due = now - (number + 1) * MINUTE
        make_run(job, state=state, cause=Cause.SCHEDULE, scheduled_for=due, error="UpstreamStatus: 401 " * 20)
    make_source(name="stock", title="Stocks", pinned=("AAPL", "北京", "MSFT"), soft_ttl=MINUTE)
    store("stock", "AAPL", age=90)
    store("stock", "北京", age=10)
    make_call("stock")
    make_call("stock", outcome="failed", status=503)


@pytest.mark.parametrize(
    "looks",
    [{}, {"dark": True}, {"phone": True}, {"language": "zh-CN"}],
    ids=["light", "dark", "phone", "chinese"],
)
def test_everybody_can_use_it(open_page: Visitors, admin_user: User, looks: dict[str, bool | str]) -> None:
    make_day()
    page = open_page(admin_user, **looks)
    page.goto("/admin/")
    axe(page)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


# It refreshes itself


@pytest.fixture
def dashboard(page: Page) -> Page:
    """The page, whose clock the test sets on."""
    page.clock.install()
    page.goto("/admin/")
    expect(page.get_by_label("Refresh")).to_have_value("15")
    return page


def rename(title: str) -> None:
    Job.objects.update(title=title)


def heading(page: Page, title: str) -> None:
    expect(page.get_by_role("rowheader").first).to_have_text(title)


def stays(page: Page, title: str, milliseconds: int = 120_000) -> None:
    """However much time passes, nothing is asked of the site, and the page stays as it is."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.clock.run_for(milliseconds)
    heading(page, title)
    assert asked == []


def test_it_shows_what_is_new_and_stays_where_one_has_scrolled_to(page: Page, dashboard: Page) -> None:
    make_job()
    rename("before")
    page.reload()
    heading(page, "before")
    page.set_viewport_size({"width": 800, "height": 300})
    page.evaluate("window.scrollTo(0, 250)")
    rename("after")
    page.clock.run_for(16_000)
    heading(page, "after")
    assert page.evaluate("window.scrollY") == 250
    rename("later still")
    page.clock.run_for(16_000)
    heading(page, "later still")


def test_the_icon_turns_red(page: Page, dashboard: Page) -> None:
    icon = page.locator("link[rel=icon]")
    expect(icon).to_have_attribute("href", "/static/hotdata/icon-failing.svg")  # no scheduler leads
    page.evaluate("document.querySelector('link[rel=icon]').setAttribute('href', '/static/hotdata/icon.svg')")
    page.clock.run_for(16_000)
    expect(icon).to_have_attribute("href", "/static/hotdata/icon-failing.svg")


def test_the_choice_of_the_interval_is_kept(page: Page, dashboard: Page) -> None:
    make_job()
    rename("before")
    page.get_by_label("Refresh").select_option("0")
    page.reload()
    expect(page.get_by_label("Refresh")).to_have_value("0")
    rename("after")
    stays(page, "before")
    page.get_by_label("Refresh").select_option("5")
    page.clock.run_for(6_000)
    heading(page, "after")


def test_it_can_be_paused(page: Page, dashboard: Page) -> None:
    make_job()
    rename("before")
    page.reload()
    page.get_by_role("button", name="Pause").click()
    rename("after")
    stays(page, "before")
    page.get_by_role("button", name="Resume").click()
    page.clock.run_for(1_000)
    heading(page, "after")


def test_it_rests_while_something_in_it_has_the_focus(page: Page, dashboard: Page) -> None:
    make_job()
    rename("before")
    page.reload()
    page.get_by_role("rowheader").get_by_role("link").focus()
    rename("after")
    stays(page, "before", 30_000)
    page.get_by_label("Refresh").focus()
    page.clock.run_for(2_000)
    heading(page, "after")


def test_it_rests_while_a_text_in_it_is_selected(page: Page, dashboard: Page) -> None:
    make_job()
    rename("before")
    page.reload()
    page.get_by_role("rowheader").select_text()
    stays(page, "before", 30_000)


def test_it_rests_while_nobody_sees_it(page: Page, dashboard: Page) -> None:
    make_job()
    rename("before")
    page.reload()
    show = "hidden => { Object.defineProperty(document, 'hidden', {value: hidden, configurable: true});"
    show += " document.dispatchEvent(new Event('visibilitychange')); }"
    page.evaluate(show, True)
    rename("after")
    stays(page, "before")
    page.evaluate(show, False)
    page.clock.run_for(1_000)
    heading(page, "after")


def test_it_says_when_it_can_not_and_tries_again(page: Page, dashboard: Page, complaints: object) -> None:
    make_job()
    rename("before")
    page.reload()
    page.route("**/admin/", lambda route: route.fulfill(status=404, body="nothing"), times=1)
    complaints.expect("404")  # type: ignore[attr-defined]
    rename("after")
    page.clock.run_for(16_000)
    expect(page.get_by_text("Could not refresh. It is tried again.")).to_be_visible()
    heading(page, "before")
    page.clock.run_for(16_000)
    heading(page, "after")
    expect(page.get_by_text("Could not refresh. It is tried again.")).to_be_hidden()


def test_who_has_logged_out_is_not_shown_the_login_in_its_place(
    page: Page, dashboard: Page, complaints: object
) -> None:
    make_job()
    rename("before")
    page.reload()
    complaints.expect("")  # type: ignore[attr-defined]  # the browser tells of the redirect that isn't followed
    page.context.clear_cookies()
    page.clock.run_for(16_000)
    expect(page.get_by_text("Could not refresh. It is tried again.")).to_be_visible()
    heading(page, "before")


def test_nothing_is_announced_on_each_swap(page: Page, dashboard: Page) -> None:
    make_day()
    page.reload()
    live = "#dashboard [aria-live], #dashboard [role=alert], #dashboard [role=status]"
    expect(page.locator(live)).to_have_count(0)
