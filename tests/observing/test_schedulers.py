"""Who leads, who stands by, who is dead."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db.models.functions import Now

from hotdata.models import Lease, Node
from hotdata.observing.schedulers import look

pytestmark = pytest.mark.django_db

SECOND = timedelta(seconds=1)


def make_node(name: str, *, silent_for: timedelta = 0 * SECOND, leading: bool = False) -> Node:
    node = Node.objects.create(name=name, host="host", pid=1, version="1", leading=leading, running=3)
    Node.objects.filter(pk=node.pk).update(heartbeat_at=Now() - silent_for)
    return node


def test_without_nodes_nobody_leads() -> None:
    found = look()
    assert (found.leader, found.standbys, found.dead, found.last_leader) == (None, (), (), "")


def test_nodes_are_told_apart_by_what_they_said_and_when() -> None:
    Lease.acquire("leader", 10 * SECOND)
    make_node("leader", leading=True, silent_for=2 * SECOND)
    make_node("standby")
    make_node("killed", silent_for=3600 * SECOND, leading=True)
    make_node("killed-too", silent_for=60 * SECOND)
    found = look()
    assert found.leader is not None
    assert (found.leader.name, found.leader.running) == ("leader", 3)
    assert found.leader.silent_for == pytest.approx(2 * SECOND, abs=SECOND)
    assert [node.name for node in found.standbys] == ["standby"]
    assert [node.name for node in found.dead] == ["killed-too", "killed"]


def test_of_two_that_say_they_lead_the_holder_of_the_lease_does() -> None:
    Lease.acquire("second", 10 * SECOND)
    make_node("second", leading=True, silent_for=2 * SECOND)
    make_node("deposed", leading=True)
    found = look()
    assert found.leader is not None
    assert found.leader.name == "second"
    assert [node.name for node in found.standbys] == ["deposed"]


def test_a_leader_that_fell_silent_is_dead_and_remembered() -> None:
    Lease.acquire("leader", 10 * SECOND)
    make_node("leader", leading=True, silent_for=60 * SECOND)
    found = look()
    assert (found.leader, found.last_leader) == (None, "leader")


def test_a_word_from_the_future_is_no_life() -> None:
    make_node("ahead", leading=True, silent_for=-3600 * SECOND)
    assert look().leader is None
