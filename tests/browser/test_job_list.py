"""The list of jobs in a browser: what its buttons do, and whether everybody can use it."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page, expect

from hotdata.models import Job, Run
from hotdata.models.runs import Cause, State
from tests.browser.axe import axe
from tests.browser.conftest import Visitors
from tests.builders import make_job, make_run

pytestmark = pytest.mark.only_on("sqlite")

LIST = reverse("admin:hotdata_job_changelist")


@pytest.fixture
def jobs(transactional_db: None) -> None:
    """Some of which each looks different, in long words and short ones."""
    failing = make_job(name="failing", title="Finance news", cron="*/5 9-16 * * mon-fri")
    due = timezone.now() - timedelta(minutes=1)
    ended = {"cause": Cause.SCHEDULE, "attempt": 1, "started_at": due, "duration": timedelta(seconds=1)}
    make_run(failing, state=State.FAILED, error="ValueError: " + "x" * 300, scheduled_for=due, **ended)
    make_job(name="stocks", title="更新 " + "stock-quotes" * 12)
    paused = make_job(name="x" * 100)
    paused.set_paused(True, note="The upstream is moving to another host.", by="ada")
    make_job(name="broken", task="gone")


@pytest.mark.parametrize(
    "looks", [{}, {"dark": True}, {"phone": True}, {"language": "zh-CN"}], ids=lambda looks: "-".join(looks)
)
def test_everybody_can_use_the_list(
    open_page: Visitors, admin_user: User, jobs: None, looks: dict[str, bool | str]
) -> None:
    page = open_page(admin_user, **looks)
    page.goto(LIST)
    expect(page.locator("#result_list tbody tr")).to_have_count(4)
    axe(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.goto(f"{LIST}?q=nothing")
    axe(page)


def test_without_jobs_it_can_be_used_too(page: Page) -> None:
    page.goto(LIST)
    expect(page.get_by_role("link", name="Add a job")).to_be_visible()
    axe(page)


def test_a_job_is_run_from_its_row(page: Page, jobs: None) -> None:
    page.goto(LIST)
    page.get_by_role("button", name="Run Finance news now").click()
    expect(page.get_by_text(re.compile(r"Finance news: run \d+ is queued"))).to_be_visible()
    run = Run.objects.get(cause=Cause.MANUAL)
    page.get_by_role("link", name=f"run {run.pk}", exact=True).click()
    expect(page).to_have_url(re.compile(rf"/run/{run.pk}/"))


def test_a_switch_pauses_a_job_by_keyboard_and_the_filter_stays(page: Page, jobs: None) -> None:
    page.goto(LIST)
    page.get_by_role("link", name=re.compile("^Failing")).click()
    expect(page.locator("#result_list tbody tr")).to_have_count(1)
    switch = page.get_by_role("switch", name="Schedule of Finance news")
    expect(switch).to_be_checked()
    switch.focus()
    page.keyboard.press("Space")
    expect(page.get_by_text("Finance news is paused.")).to_be_visible()
    expect(page).to_have_url(f"{LIST}?health=failing")
    assert Job.objects.get(name="failing").paused_by == "root"


def test_several_are_paused_with_a_note_and_an_end(page: Page, jobs: None) -> None:
    page.goto(LIST)
    page.get_by_label("Select all objects on this page for an action").check()
    page.get_by_role("combobox", name="Action").select_option(label="Pause selected jobs…")
    page.locator("button[name=index]").click()  # Django calls it "Go", and from 6.1 on "Run"
    expect(page.get_by_role("heading", name="3 jobs will pass over their due times")).to_be_visible()
    axe(page)
    page.get_by_label("Why?").fill("The exchange is closed.")
    page.get_by_label("Until").fill("2099-12-31T06:00")
    page.get_by_role("button", name="Pause 3 jobs").click()
    expect(page.get_by_text("3 jobs paused.")).to_be_visible()
    expect(page.get_by_role("switch", checked=True)).to_have_count(0)
    row = page.locator("tr", has_text="stock-quotes")
    expect(row).to_contain_text("root: The exchange is closed.")
    expect(row).to_contain_text("until 2099-12-31 06:00")


def test_who_may_only_look_sees_no_button(open_page: Visitors, jobs: None) -> None:
    viewer = User.objects.create_user("ada", is_staff=True)
    viewer.user_permissions.set(Permission.objects.filter(codename="view_job"))
    page = open_page(viewer)
    page.goto(LIST)
    table = page.locator("#result_list tbody")
    expect(table.locator("tr")).to_have_count(4)
    expect(table.locator("button, input")).to_have_count(0)
