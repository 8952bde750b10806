"""Silencing in a browser: the button, the form under it, and the way back."""

from __future__ import annotations

import pytest
from django.urls import reverse
from playwright.sync_api import Page, expect

from hotdata.models import Silence
from tests.builders import make_job

pytestmark = pytest.mark.only_on("sqlite")


def test_a_job_is_silenced_until_a_time_and_that_is_ended(page: Page) -> None:
    job = make_job(name="update")
    page.goto(reverse("admin:hotdata_job_change", args=[job.pk]))
    page.locator("summary", has_text="Silence").click()
    page.get_by_label("Until").first.fill("2099-01-01T12:00")
    page.get_by_label("A note for the others", exact=True).fill("Moving.")
    page.get_by_role("button", name="Silence its alerts").click()
    expect(
        page.get_by_text("Its alerts are silenced by root until 2099-01-01 12:00:00 UTC. Moving.")
    ).to_be_visible()
    assert Silence.objects.get().note == "Moving."
    page.get_by_role("button", name="End the silence").click()
    expect(page.locator("summary", has_text="Silence")).to_be_visible()
