"""The page of a job in a browser: what follows while somebody types, and whether everybody can use it."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from playwright.sync_api import Page, expect

from hotdata.models import Job
from hotdata.models.runs import State
from tests.admin.test_job_page import make_runs
from tests.browser.axe import axe
from tests.browser.conftest import Visitors
from tests.builders import make_job, make_run

pytestmark = pytest.mark.only_on("sqlite")

ADD = reverse("admin:hotdata_job_add")


@pytest.fixture
def job(transactional_db: None) -> Job:
    """One with everything that its page can show, in long words and short ones."""
    job = make_job(
        name="update-" + "x" * 93,
        title="更新 " + "stock-quotes" * 8,
        task="refresh_source",
        params={"source": "stock", "keys": ["AAPL", "北京"]},
    )
    make_runs(job, 70)
    make_run(job, state=State.FAILED, error="ValueError: " + "x" * 300)
    job.cron, job.params = "30 2 * * *", {"source": "stock"}
    job.save()
    job.set_paused(True, note="Moving the upstream.", by="ada")
    return job


def test_the_preview_follows_while_somebody_types(page: Page) -> None:
    page.goto(ADD)
    preview = page.locator("#hd-preview")
    page.get_by_label("Time zone").fill("Europe/Berlin")
    page.get_by_label("Cron", exact=False).and_(page.locator("#id_cron")).fill("30 2 * 3 sun")
    expect(preview).to_contain_text("At 02:30")
    expect(preview.locator("time")).to_have_count(10)
    expect(preview).to_contain_text("moved: the clocks skip its time")
    page.locator("#id_cron").fill("61 * * * *")
    expect(preview).to_contain_text("is no valid minute")
    expect(page.locator(".field-cron .hd-live-error")).to_contain_text("is no valid minute")
    expect(page.locator("#id_cron")).to_have_attribute("aria-invalid", "true")
    page.locator("#id_cron").fill("*/15 * * * *")
    expect(preview).to_contain_text("Every 15 minutes")
    expect(page.locator(".hd-live-error")).to_have_count(0)


def test_the_fields_are_those_of_the_chosen_trigger_and_task(page: Page) -> None:
    page.goto(ADD)
    expect(page.locator("#id_cron")).to_be_visible()
    expect(page.locator("#id_interval")).to_be_hidden()
    page.get_by_label("Interval", exact=True).and_(page.locator("input[type=radio]")).check()
    expect(page.locator("#id_interval")).to_be_visible()
    expect(page.locator("#id_cron")).to_be_hidden()
    page.locator("#id_interval").fill("1 h 30 min")
    expect(page.locator("#hd-preview")).to_contain_text("Every 90 minutes")
    page.locator("#id_name").fill("fresh")
    page.locator("#id_task").select_option("cleanup_logs")
    page.locator("#id_param-days").fill("31")
    page.locator("#id_task").select_option("warm_up")
    expect(page.locator("#id_param-days")).to_have_count(0)
    page.locator("#id_param-days_ahead").fill("2")
    page.get_by_role("button", name="Save and continue editing").click()
    expect(page.locator("#id_param-days_ahead")).to_have_value("2")
    saved = Job.objects.get()
    assert (saved.task, saved.params, saved.interval.total_seconds()) == ("warm_up", {"days_ahead": 2}, 5400)


def test_a_job_is_paused_with_a_note_and_an_edit_taken_back(page: Page) -> None:
    job = make_job(title="before")
    job.title = "after"
    job.save()
    page.goto(reverse("admin:hotdata_job_change", args=[job.pk]))
    page.locator("summary", has_text="Pause").first.click()
    page.get_by_label("Why?").fill("Moving.")
    page.get_by_role("button", name="Pause the job").click()
    expect(page.locator(".hd-head")).to_contain_text("Moving.")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator(".hd-head")).not_to_contain_text("Moving.")
    page.get_by_role("link", name="Change log").click()
    page.get_by_role("row").filter(has_text="Created.").get_by_role("button", name="Go back to this").click()
    expect(page.locator(".messagelist")).to_contain_text("Reverted")
    job.refresh_from_db()
    assert job.title == "before"


@pytest.mark.parametrize("look", [{}, {"dark": True}, {"phone": True}], ids=["light", "dark", "phone"])
def test_everybody_can_use_the_pages_of_a_job(
    open_page: Visitors, admin_user: User, job: Job, look: dict[str, Any]
) -> None:
    page = open_page(admin_user, **look)
    for path in (
        reverse("admin:hotdata_job_change", args=[job.pk]),
        reverse("admin:hotdata_job_history", args=[job.pk]),
        reverse("admin:hotdata_job_run_with", args=[job.pk]),
        reverse("admin:hotdata_job_deleted"),
        ADD,
    ):
        page.goto(path)
        axe(page)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), (
            f"{path} is too wide"
        )
