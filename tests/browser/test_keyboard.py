"""With the keyboard alone: what is to be pressed is reached by Tab, is seen to be reached, and does what it says."""

from __future__ import annotations

import re

import pytest
from django.urls import reverse
from playwright.sync_api import Locator, Page, expect

from hotdata.models import Run
from hotdata.models.runs import State
from tests.builders import make_job, make_run

pytestmark = pytest.mark.only_on("sqlite")

FAR = 80  # presses of Tab; no page has more in front of what matters
OUTLINED = (
    "it => getComputedStyle(it).outlineStyle !== 'none' && parseFloat(getComputedStyle(it).outlineWidth) > 0"
)


def tab_to(page: Page, wanted: Locator) -> None:
    """Press Tab until `wanted` has the focus, and see that it shows."""
    expect(wanted).to_be_visible()
    for _ in range(FAR):
        page.keyboard.press("Tab")
        if wanted.evaluate("it => it === document.activeElement"):
            assert wanted.evaluate(OUTLINED), "nobody sees where the focus is"
            return
    pytest.fail(f"{FAR} presses of Tab don't reach {wanted}")


def test_a_job_is_run_and_paused_from_the_list(page: Page) -> None:
    job = make_job(title="stocks")
    page.goto(reverse("admin:hotdata_job_changelist"))
    tab_to(page, page.get_by_role("button", name="Run stocks now"))
    page.keyboard.press("Enter")
    expect(page.locator(".messagelist")).to_be_visible()
    assert Run.objects.get().requested_by == "root"
    tab_to(page, page.get_by_role("switch", name="Schedule of stocks"))
    page.keyboard.press("Space")
    expect(page.get_by_role("switch", name="Schedule of stocks")).not_to_be_checked()
    job.refresh_from_db()
    assert job.paused


def test_a_job_is_paused_with_a_note_on_its_page(page: Page) -> None:
    job = make_job(title="stocks")
    page.goto(reverse("admin:hotdata_job_change", args=[job.pk]))
    tab_to(page, page.locator(".hd-pause summary"))
    page.keyboard.press("Enter")
    tab_to(page, page.get_by_label("Why?"))
    page.keyboard.type("Moving.")
    tab_to(page, page.get_by_role("button", name="Pause the job"))
    page.keyboard.press("Enter")
    expect(page.locator(".hd-head")).to_contain_text("Moving.")
    job.refresh_from_db()
    assert job.pause_note == "Moving."


def test_jobs_and_runs_are_filtered(page: Page) -> None:
    make_run(make_job(title="stocks"), state=State.FAILED)
    page.goto(reverse("admin:hotdata_job_changelist"))
    tab_to(page, page.locator(".hd-pills").get_by_role("link", name="Paused"))
    page.keyboard.press("Enter")
    expect(page.get_by_text("No job is like that.")).to_be_visible()
    page.goto(reverse("admin:hotdata_run_changelist"))
    tab_to(page, page.locator(".hd-filters summary").filter(has_text="Cause"))
    page.keyboard.press("Enter")
    tab_to(page, page.locator(".hd-filters details[open]").get_by_role("link", name="API"))
    page.keyboard.press("Enter")
    expect(page.locator("#result_list tbody tr")).to_have_count(0)
    assert "cause=api" in page.url


def test_a_run_is_cancelled(page: Page) -> None:
    run = make_run(make_job(), state=State.RUNNING)
    page.goto(reverse("admin:hotdata_run_change", args=[run.pk]))
    tab_to(page, page.get_by_role("button", name="Cancel"))
    page.keyboard.press("Enter")
    expect(page.locator("#hd-run-live")).to_contain_text("root asked it to stop.")
    run.refresh_from_db()
    assert run.cancel_requested_by == "root"


def test_a_menu_opens_by_enter_and_closes_by_escape_and_by_a_click_elsewhere(page: Page) -> None:
    page.goto(reverse("admin:hotdata_job_changelist"))
    more = page.locator(".hd-beyond > summary")
    nodes = page.locator(".hd-beyond").get_by_role("link", name="Nodes")
    tab_to(page, more)
    page.keyboard.press("Enter")
    expect(nodes).to_be_visible()
    page.keyboard.press("Escape")
    expect(nodes).to_be_hidden()
    expect(more).to_be_focused()
    more.click()
    page.get_by_role("heading", name="Jobs", exact=True).first.click(position={"x": 5, "y": 5})
    expect(nodes).to_be_hidden()
    more.click()
    nodes.click()
    expect(page).to_have_url(re.compile("/node/$"))
