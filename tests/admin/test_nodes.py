"""The nodes page: who leads, who stands by, and who died."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.admin.views.main import ChangeList
from django.db.models.functions import Now
from django.test import Client

from hotdata.conf import conf
from hotdata.models import Node

SECOND = timedelta(seconds=1)

pytestmark = pytest.mark.django_db


def make_node(name: str, *, silent: timedelta = timedelta(0), leading: bool = False) -> Node:
    heard = Now() - silent
    return Node.objects.create(
        name=name, host="here", pid=1, version="1", running=2, leading=leading, heartbeat_at=heard
    )


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
    roles = {name: str(role) for name, (role,) in shown(admin_client, "role").items()}
    assert roles == {"first": "leading", "second": "standing by", "third": "dead"}
    page = admin_client.get("/admin/hotdata/node/").content.decode()
    assert all(f'<td class="field-role">{role}</td>' in page for role in roles.values())


def test_a_leader_that_is_not_heard_of_is_dead_and_runs_nothing(admin_client: Client) -> None:
    make_node("living", leading=True, silent=conf().node_timeout - 5 * SECOND)
    make_node("dead", leading=True, silent=conf().node_timeout + 2 * SECOND)
    assert shown(admin_client, "role", "running_now") == {"living": ("leading", 2), "dead": ("dead", None)}
