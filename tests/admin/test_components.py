"""The health pages: how each component is, since when, and what changed; and the line on the dashboard."""

from __future__ import annotations

import html
import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from hotdata.models import Component, ComponentChange
from hotdata.observing.components import STALE_AFTER
from tests.builders import Staff, make_change, make_component, make_source

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clear_cache")]

LIST = "/admin/hotdata/component/"
CHANGES = "/admin/hotdata/componentchange/"
LONG = STALE_AFTER + timedelta(minutes=5)


def page_of(client: Client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200
    return " ".join(answer.content.decode().split())


def words(page: str) -> str:
    """What is read, without the markup."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


def listed(client: Client, path: str) -> list[Any]:
    return list(client.get(path).context["cl"].result_list)


# The list


def test_the_worst_component_comes_first_and_each_says_what_was_seen(admin_client: Client) -> None:
    make_component(name="database")
    make_component(name="source:stock", state="degraded", detail="2 of 3 hot keys are overdue.")
    make_component(name="redis", state="down", detail="Redis can't be reached.\nReally.")
    assert [row.name for row in listed(admin_client, LIST)] == ["redis", "source:stock", "database"]
    said = words(page_of(admin_client, LIST))
    assert "redis ✕ Down Redis can't be reached." in said
    assert "source:stock ! Degraded 2 of 3 hot keys are overdue." in said
    assert "database ✓ OK" in said
    assert "Not checked since" not in said


def test_what_was_not_checked_for_long_is_not_known_whatever_it_was(admin_client: Client) -> None:
    make_component(name="database", checked_at=timezone.now() - LONG)
    make_component(name="redis", state="down", checked_at=timezone.now() - LONG)
    page = page_of(admin_client, LIST)
    assert "hd-ok" not in page
    assert "database ! Unknown last seen: OK" in words(page)
    assert "redis ! Unknown last seen: Down" in words(page)
    assert "Not checked since 6 min ago : the job health_check doesn't run" in words(page)


def test_an_empty_list_says_who_checks(admin_client: Client) -> None:
    assert "Nothing has been checked yet: the job health_check does it" in page_of(admin_client, LIST)


def test_components_are_filtered_by_how_they_stand(admin_client: Client) -> None:
    make_component(name="a")
    make_component(name="b", checked_at=timezone.now() - LONG)
    make_component(name="c", state="down")
    for standing, name in (("ok", "a"), ("unknown", "b"), ("down", "c")):
        assert [row.name for row in listed(admin_client, f"{LIST}?state={standing}")] == [name]
    assert [row.name for row in listed(admin_client, f"{LIST}?o=0")] == ["a", "b", "c"]
    assert listed(admin_client, f"{LIST}?q=Redis+answers&state=degraded") == []


def test_health_is_in_the_navigation_of_who_may_see_it(staff: Staff) -> None:
    link = f'<a href="{LIST}"'
    assert link in page_of(staff("view_component"), "/admin/")
    assert link not in page_of(staff("view_job", "view_node"), "/admin/")
    assert staff("view_job").get(LIST).status_code == 403
    assert staff("view_component").get(CHANGES).status_code == 403


# A component's page


def test_a_components_page_shows_what_changed_of_it(admin_client: Client) -> None:
    row = make_component(name="redis", detail="<script>a\x1b[31m")
    make_change(component="redis", before="", after="ok", detail="<script>first")
    make_change(component="redis", before="ok", after="down", detail="second")
    make_change(component="database", detail="another")
    page = page_of(admin_client, f"{LIST}{row.pk}/change/")
    assert "✓ OK → ✕ Down second" in words(page)
    assert "new → ✓ OK <script>first" in words(page)
    assert page.index("second") < page.index("first")
    assert "another" not in page
    assert "&lt;script&gt;a␛[31m" in page
    assert f'href="{CHANGES}?component=redis"' in page


def test_who_may_not_see_changes_sees_the_component_alone(staff: Staff) -> None:
    row = make_component(name="source:stock")
    make_source(name="stock")
    make_change(component="source:stock", detail="a detail of a change")
    page = page_of(staff("view_component"), f"{LIST}{row.pk}/change/")
    assert "Redis answers." in page
    assert "a detail of a change" not in page
    assert "/admin/hotdata/source/" not in page


def test_the_page_of_a_source_is_a_click_away(admin_client: Client) -> None:
    source = make_source(name="stock")
    row = make_component(name="source:stock")
    path = f"{LIST}{row.pk}/change/"
    assert f'href="/admin/hotdata/source/{source.pk}/change/"' in page_of(admin_client, path)
    source.delete()
    assert "The page of this source" not in page_of(admin_client, path)


@pytest.mark.parametrize("path", ["add/", "{}/delete/", "{}/change/"])
def test_nobody_edits_what_was_seen(admin_client: Client, path: str) -> None:
    for model, place in ((make_component(), LIST), (make_change(), CHANGES)):
        before = list(type(model).objects.values())
        answer = admin_client.post(place + path.format(model.pk), {"state": "ok", "post": "yes"})
        assert answer.status_code == 403
        assert list(type(model).objects.values()) == before


# Changes


def test_changes_are_found_by_component_outcome_time_and_text(admin_client: Client) -> None:
    old = make_change(component="redis", at=timezone.now() - timedelta(days=2), detail="Old.")
    down = make_change(component="redis", detail="Away.")
    up = make_change(component="redis", before="down", after="ok", detail="Redis answers.")
    gone = make_change(component="source:stock", before="ok", after="", detail="")
    for query, found in (
        ("", [gone, up, down, old]),
        ("?component=redis", [up, down, old]),
        ("?component=gone-long-ago", []),
        ("?after=down", [down, old]),
        ("?after=gone", [gone]),
        ("?component=redis&after=ok", [up]),
        ("?time=day", [gone, up, down]),
        (f"?until={timezone.now() - timedelta(days=1):%Y-%m-%d}", [old]),
        (f"?before={up.pk}", [down, old]),
        ("?q=answers", [up]),
        ("?q=STOCK", [gone]),
    ):
        assert listed(admin_client, CHANGES + query) == found, query
    said = words(page_of(admin_client, CHANGES))
    assert "source:stock ✓ OK → gone" in said
    assert "4 changes of components" in said


@pytest.mark.parametrize("query", ["?after=splendid", "?time=never", "?before=x"])
def test_a_question_that_makes_no_sense_is_refused(admin_client: Client, query: str) -> None:
    assert admin_client.get(CHANGES + query).status_code == 302


def test_changes_of_a_component_that_is_gone_can_be_looked_at(admin_client: Client) -> None:
    change = make_change(component="source:old", detail="It was so.")
    assert not Component.objects.exists()
    assert "It was so." in page_of(admin_client, f"{CHANGES}{change.pk}/change/")
    assert [row.pk for row in listed(admin_client, f"{CHANGES}?component=source:old")] == [change.pk]
    assert ComponentChange.objects.count() == 1


# The dashboard


def test_the_dashboard_names_what_is_not_well_for_who_may_see_it(staff: Staff, admin_client: Client) -> None:
    make_component(name="database")
    redis = make_component(name="redis", state="down", detail="Away <b>.")
    make_component(name="source:stock", state="degraded")
    make_component(name="source:old", checked_at=timezone.now() - LONG)
    page = page_of(admin_client, "/admin/")
    said = "Health redis ✕ Down source:stock ! Degraded ! Unknown 1 component wasn't checked for a while"
    assert said in words(page)
    assert f'<a href="{LIST}{redis.pk}/change/" title="Away &lt;b&gt;.">redis</a>' in page
    assert "icon-failing.svg" in page
    assert "redis" not in page_of(staff("view_job"), "/admin/")


def test_of_many_that_are_not_well_the_dashboard_names_the_worst(admin_client: Client) -> None:
    for number in range(9):
        make_component(name=f"source:{number}", state="degraded")
    make_component(name="z", state="down")
    said = words(page_of(admin_client, "/admin/"))
    assert "Health z ✕ Down source:0 ! Degraded" in said
    assert "and 4 more" in said


def test_while_all_is_well_the_dashboard_says_nothing_of_it(admin_client: Client) -> None:
    make_component()
    page = page_of(admin_client, "/admin/")
    assert page.count(LIST) == 1  # the navigation
