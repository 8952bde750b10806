from __future__ import annotations

import pytest
from django.test import Client

from tests.builders import Staff

pytestmark = pytest.mark.django_db


def labels(client: Client, page: str = "/admin/") -> list[str]:
    return [str(link.label) for link in client.get(page).context["navigation"]]


def test_the_navigation_shows_what_the_user_may_see(staff: Staff) -> None:
    assert labels(staff("view_job", "change_source")) == ["Dashboard", "Jobs", "Sources", "All tables"]


def test_the_navigation_marks_where_one_is(admin_client: Client) -> None:
    links = admin_client.get("/admin/hotdata/job/").context["navigation"]
    assert [str(link.label) for link in links if link.current] == ["Jobs"]


def test_nobody_gets_a_navigation_before_they_are_logged_in(client: Client) -> None:
    assert labels(client, "/admin/login/") == []


def test_other_apps_tables_are_a_click_away(admin_client: Client) -> None:
    page = admin_client.get("/admin/tables/").content.decode()
    assert "/admin/auth/user/" in page


def test_a_list_shows_its_filters_as_menus_and_the_chosen_one(admin_client: Client) -> None:
    page = admin_client.get("/admin/hotdata/run/", {"outcome": "failed"}).content.decode()
    assert "Outcome: <b>Failed</b>" in page
    assert "changelist-filter" not in page
    assert "Nothing matches." in page
