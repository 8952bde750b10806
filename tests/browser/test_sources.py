"""The pages of sources, in a browser: readable for everybody, and with buttons that work."""

from __future__ import annotations

import pytest
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page, expect

from hotdata.models import FreshnessHour, Key, Source
from tests.browser.axe import axe
from tests.builders import make_call, make_source, store

pytestmark = [pytest.mark.only_on("sqlite"), pytest.mark.usefixtures("clear_cache")]


@pytest.fixture
def source() -> Source:
    """One with keys, reads and calls."""
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    FreshnessHour.objects.create(source="stock", hour=hour, fresh=10, ages=[0] * 20 + [10] + [0] * 48)
    make_call("stock")
    made = make_source(name="stock", title="行情", pinned=("AAPL", "北京"), key_policy="any")
    store(key="北京", age=5)
    store(key="TSLA", age=5)
    return made


def test_the_list_and_the_page_are_readable_for_everybody(page: Page, source: Source) -> None:
    for path in ("admin:hotdata_source_changelist", "admin:hotdata_source_add"):
        page.goto(reverse(path))
        axe(page)
    page.goto(reverse("admin:hotdata_source_change", args=[source.pk]))
    expect(page.get_by_role("heading", name="Keys kept hot")).to_be_visible()
    axe(page)


def test_the_page_is_as_wide_as_a_phone(page: Page, source: Source) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(reverse("admin:hotdata_source_change", args=[source.pk]))
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_key_is_searched_pinned_and_unpinned(page: Page, source: Source) -> None:
    page.goto(reverse("admin:hotdata_source_change", args=[source.pk]))
    page.get_by_label("Search keys").fill("TSLA")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("button", name="Pin TSLA").click()
    expect(page.get_by_text("TSLA is pinned: it is kept hot.")).to_be_visible()
    page.get_by_role("button", name="Unpin TSLA").click()
    expect(page.get_by_text("TSLA is pinned no more")).to_be_visible()
    assert not Key.objects.filter(key="TSLA").exists()


def test_a_key_is_added_in_the_form(page: Page, source: Source) -> None:
    page.goto(reverse("admin:hotdata_source_change", args=[source.pk]))
    page.get_by_text("Add another Pinned key").click()
    page.locator("#id_pinned-2-key").fill("上海")
    page.locator("#id_pinned-3-key").fill("深圳")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("was changed successfully")).to_be_visible()
    assert source.pinned_keys() == ["AAPL", "北京", "上海", "深圳"]


def test_a_test_that_can_not_be_made_says_why(page: Page, source: Source) -> None:
    Source.objects.update(secret_headers={"X-API-Key": "HOTDATA_SECRET_NOT_THERE"})
    page.goto(reverse("admin:hotdata_source_change", args=[source.pk]))
    page.locator("#hd-try-key").fill("AAPL")
    page.get_by_role("button", name="Test fetch").click()
    expect(page.get_by_text("HOTDATA_SECRET_NOT_THERE")).to_be_visible()
    axe(page)
