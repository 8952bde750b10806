"""The nodes page: who leads, who stands by, and who died."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.contrib.admin.views.main import ChangeList
from django.db.models.functions import Now
from django.test import Client

from hotdata.conf import conf
from hotdata.models import Node

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)

pytestmark = pytest.mark.django_db


def make_node(name: str, *, silent: timedelta = timedelta(0), leading: bool = False) -> Node:
    heard = Now() - silent
    return Node.objects.create(
        name=name, host="here", pid=1, version="1", running=2, leading=leading, heartbeat_at=heard
    )


def page(client: Client) -> str:
    return " ".join(client.get("/admin/hotdata/node/").content.decode().split())


def roles(client: Client) -> dict[str, str]:
    """The words of each node's pill, by name."""
    found = shown(client, "role")
    return {name: re.sub("<.*?>", "", str(role)).partition(" ")[2] for name, (role,) in found.items()}


def shown(client: Client, *columns: str) -> dict[str, tuple[object, ...]]:
    """What the list says of each node, by name."""
    page: ChangeList = client.get("/admin/hotdata/node/").context["cl"]
    return {
        node.name: tuple(getattr(page.model_admin, column)(node) for column in columns)
        for node in page.result_list
    }


def test_a_node_leads_or_stands_by_or_is_dead(admin_client: Client) -> None:
    make_node("first", leading=True)
    make_node("second")
    make_node("third", silent=conf().node_timeout + 2 * SECOND)
    assert roles(admin_client) == {"first": "Leading", "second": "Standing by", "third": "Dead"}


def test_a_leader_that_is_not_heard_of_is_dead_and_runs_nothing(admin_client: Client) -> None:
    make_node("living", leading=True, silent=conf().node_timeout - 5 * SECOND)
    make_node("dead", leading=True, silent=conf().node_timeout + 2 * SECOND)
    assert roles(admin_client) == {"living": "Leading", "dead": "Dead"}
    assert shown(admin_client, "running_now") == {"living": (2,), "dead": (None,)}


def test_the_last_beat_is_told_by_the_databases_clock(admin_client: Client) -> None:
    make_node("dead", silent=2 * HOUR)
    ((beat,),) = shown(admin_client, "beat").values()
    assert "2 h 0 min ago" in beat


def test_without_a_leader_the_list_says_what_to_do(admin_client: Client) -> None:
    assert "No scheduler has started yet: start <code>manage.py runscheduler</code>" in page(admin_client)
    make_node("dead", silent=2 * HOUR)
    assert "No scheduler leads" in page(admin_client)
    make_node("first", leading=True)
    assert "No scheduler leads" not in page(admin_client)


def test_a_node_has_a_page(admin_client: Client) -> None:
    node = make_node("first", leading=True)
    assert "Leading" in admin_client.get(f"/admin/hotdata/node/{node.pk}/change/").content.decode()
