"""From the form to the scheduler: what is typed there is what a running scheduler does, without being told."""

from __future__ import annotations

import pytest
from django.urls import reverse
from playwright.sync_api import Locator, Page, expect

from hotdata.models import Job, Run, Schedule
from hotdata.models.runs import Cause
from tests.browser.conftest import MILLISECONDS
from tests.builders import make_job
from tests.scheduling.processes import SchedulerProcess
from tests.threads import PATIENCE, eventually

pytestmark = pytest.mark.only_on("sqlite")

MINUTE = 60.0  # seconds
ONCE_A_YEAR = "0 0 1 1 *"


def job_page(job: Job) -> str:
    return reverse("admin:hotdata_job_change", args=[job.pk])


def messages(page: Page) -> Locator:
    return page.locator(".messagelist")


def test_a_cron_job_is_made_with_the_preview_and_is_seen_to_fire(
    page: Page, scheduler: SchedulerProcess
) -> None:
    page.goto(reverse("admin:hotdata_job_add"))
    page.locator("#id_name").fill("each_minute")
    page.locator("#id_title").fill("Each minute")
    page.locator("#id_task").select_option("echo")
    page.locator("#id_param-text").fill("hello")
    cron, preview = page.locator("#id_cron"), page.locator("#hd-preview")
    cron.fill("* * * *")
    expect(page.locator(".field-cron .hd-live-error")).to_be_visible()
    expect(cron).to_have_attribute("aria-invalid", "true")
    expect(preview.locator("time")).to_have_count(0)
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".field-cron .errorlist")).to_be_visible()
    cron.fill("* * * * *")
    expect(preview).to_contain_text("Every minute")
    expect(preview.locator("time")).to_have_count(10)
    page.get_by_role("button", name="Save", exact=True).click()
    expect(messages(page)).to_contain_text("was added successfully")
    assert Job.objects.get().params == {"text": "hello"}

    page.goto(reverse("admin:index"))
    page.get_by_label("Refresh").select_option("5")
    row = page.get_by_role("row").filter(has_text="Each minute")
    expect(row.get_by_text("Healthy")).to_be_visible(timeout=(MINUTE + PATIENCE) * MILLISECONDS)
    run = Run.objects.get()
    assert (run.cause, run.result["text"]) == (Cause.SCHEDULE, "hello")
    assert run.scheduled_for is not None
    assert run.scheduled_for.second == 0


def test_the_running_scheduler_follows_an_edit_and_its_revert(
    page: Page, scheduler: SchedulerProcess
) -> None:
    job = make_job(task="echo", cron=ONCE_A_YEAR, title="Yearly")
    page.goto(job_page(job))
    expect(page.locator(".hd-head")).to_contain_text("At 00:00, on day 1 of the month, only in January")
    assert not Run.objects.exists()
    page.get_by_role("radio", name="Interval").check()
    page.locator("#id_interval").fill("1 s")
    expect(page.locator("#hd-preview")).to_contain_text("Every 1 second")
    page.get_by_role("button", name="Save and continue editing").click()
    expect(messages(page)).to_contain_text("was changed successfully")
    eventually(Run.objects.filter(cause=Cause.SCHEDULE).exists)

    page.reload()
    expect(page.get_by_role("region", name="Recent runs").get_by_role("row").nth(1)).to_contain_text(
        "Schedule"
    )
    page.get_by_role("link", name="Change log").click()
    page.get_by_role("row").filter(has_text="Created.").get_by_role("button", name="Go back to this").click()
    expect(messages(page)).to_contain_text("Reverted")
    job.refresh_from_db()
    assert (job.trigger, job.cron) == ("cron", ONCE_A_YEAR)
    planned = Schedule.objects.get(id=job.name).next_run_time
    # What it was about to do, it does; and then it stays where the revert has put it.
    eventually(lambda: not Run.objects.active().exists())
    assert (planned.month, planned.day, planned.hour) == (1, 1, 0)
    assert Schedule.objects.get(id=job.name).next_run_time == planned
