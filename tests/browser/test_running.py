"""Run now: from the button to the end of the run, with a scheduler that works on it."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.urls import reverse
from playwright.sync_api import Page, expect

from hotdata.models import Run
from hotdata.models.runs import Cause, State
from tests.builders import make_job
from tests.scheduling.processes import SchedulerProcess

pytestmark = pytest.mark.only_on("sqlite")


@pytest.fixture
def allowed(tmp_path: Path) -> Path:
    """The file with a byte for each step that the run may take."""
    return tmp_path / "allowed"


@pytest.fixture
def started(page: Page, scheduler: SchedulerProcess, allowed: Path) -> Page:
    """The page of a run that was asked for by its job's button, and waits for its first step."""
    job = make_job(task="keep_step", params={"steps": 3, "allowed": str(allowed)}, title="Steps")
    page.goto(reverse("admin:hotdata_job_change", args=[job.pk]))
    page.get_by_role("button", name="Run now").click()
    expect(page.locator("#hd-progress")).to_have_attribute("max", "3")
    return page


def test_a_run_is_asked_for_and_followed_to_its_end(started: Page, allowed: Path) -> None:
    bar, log = started.locator("#hd-progress"), started.locator("#hd-log")
    expect(bar).to_have_attribute("value", "0")
    allowed.write_text("x")
    expect(bar).to_have_attribute("value", "1")
    expect(log).to_contain_text("step 1")
    allowed.write_text("xx")
    expect(bar).to_have_attribute("value", "2")
    expect(log).to_contain_text("step 2")
    expect(started.locator("#hd-run-live")).to_contain_text("Running")
    allowed.write_text("xxx")
    expect(started.get_by_label("Result")).to_have_text("3")
    expect(started.locator("#hd-run-live")).to_contain_text("Succeeded")
    expect(started.get_by_role("button", name="Cancel")).to_have_count(0)
    expect(log).to_contain_text("step 3")
    run = Run.objects.get()
    assert (run.cause, run.requested_by) == (Cause.MANUAL, "root")


def test_a_run_under_way_is_cancelled(started: Page) -> None:
    started.get_by_role("button", name="Cancel").click()
    expect(started.locator("#hd-run-live")).to_contain_text("Cancelled")
    expect(started.get_by_role("button", name="Cancel")).to_have_count(0)
    run = Run.objects.get()
    assert (run.state, run.cancel_requested_by) == (State.CANCELLED, "root")
