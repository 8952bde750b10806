from __future__ import annotations

import pytest
from django.test import Client

from tests.builders import Staff

pytestmark = pytest.mark.django_db


def labels(client: Client, page: str = "/admin/", part: str = "navigation") -> list[str]:
    return [str(link.label) for link in client.get(page).context[part]]


def test_the_navigation_shows_what_the_user_may_see(staff: Staff) -> None:
    client = staff("view_job", "change_source", "view_node")
    assert labels(client) == ["Dashboard", "Jobs", "Sources"]
    assert labels(client, part="more") == ["Nodes", "All tables"]


def test_the_menu_is_marked_where_one_is_on_one_of_its_pages(admin_client: Client) -> None:
    assert admin_client.get("/admin/hotdata/node/").context["in_more"]
    assert not admin_client.get("/admin/hotdata/job/").context["in_more"]


def test_the_navigation_marks_where_one_is(admin_client: Client) -> None:
    links = admin_client.get("/admin/hotdata/job/").context["navigation"]
    assert [str(link.label) for link in links if link.current] == ["Jobs"]


def test_nobody_gets_a_navigation_before_they_are_logged_in(client: Client) -> None:
    assert labels(client, "/admin/login/") == labels(client, "/admin/login/", "more") == []


def test_other_apps_tables_are_a_click_away(admin_client: Client) -> None:
    page = admin_client.get("/admin/tables/").content.decode()
    assert "/admin/auth/user/" in page


def test_a_list_shows_its_filters_as_menus_and_the_chosen_one(admin_client: Client) -> None:
    page = admin_client.get("/admin/hotdata/run/", {"outcome": "failed"}).content.decode()
    assert "Outcome: <b>Failed</b>" in page
    assert "changelist-filter" not in page
    assert "Nothing matches." in page
