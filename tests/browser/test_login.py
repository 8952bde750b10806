from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page, expect

from tests.browser.axe import axe
from tests.browser.conftest import Visitors

pytestmark = pytest.mark.only_on("sqlite")

PASSWORD = "a password of the tests"


def log_in(page: Page, name: str, password: str) -> None:
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()


def test_a_person_logs_in_and_gets_the_page_they_asked_for(open_page: Visitors) -> None:
    User.objects.create_superuser("ada", password=PASSWORD)
    page = open_page()
    page.goto("/admin/hotdata/job/")
    log_in(page, "ada", "a guess")
    expect(page.get_by_text("Please enter the correct username and password")).to_be_visible()
    axe(page)
    log_in(page, "ada", PASSWORD)
    expect(page).to_have_url("/admin/hotdata/job/")
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_text("Logged out")).to_be_visible()


@pytest.mark.parametrize(
    "looks", [{}, {"dark": True}, {"phone": True}, {"language": "zh-CN"}], ids=lambda looks: "-".join(looks)
)
def test_everybody_can_use_the_login_page(open_page: Visitors, looks: dict[str, bool | str]) -> None:
    page = open_page(**looks)
    page.goto("/admin/login/")
    expect(page.locator("html")).to_have_attribute("lang", "zh-hans" if "language" in looks else "en")
    axe(page)
