"""A node's row: there while it lives, warm, and gone when it leaves."""

from __future__ import annotations

import os
import socket
from datetime import timedelta

import pytest
from django.db import InterfaceError, OperationalError
from django.db.models.functions import Now

import hotdata
from hotdata.models import Node
from hotdata.scheduling.presence import Presence
from tests.threads import eventually

TIMEOUT = timedelta(seconds=30)
BRISK = timedelta(seconds=0.06)  # a heartbeat each 20 ms

pytestmark = pytest.mark.django_db(transaction=True)


def grow_old(presence: Presence) -> None:
    Node.objects.filter(name=presence.name).update(heartbeat_at=Now() - timedelta(hours=1))


def test_a_node_is_on_record_for_as_long_as_the_block_lasts() -> None:
    with Presence(timeout=TIMEOUT) as presence:
        node = Node.objects.alive(TIMEOUT).get()
        assert (node.name, node.host, node.pid) == (presence.name, socket.gethostname(), os.getpid())
        assert (node.version, node.leading, node.running) == (hotdata.__version__, False, 0)
    assert not Node.objects.exists()


def test_a_node_that_is_announced_later_is_not_on_record_before() -> None:
    with Presence(timeout=BRISK, later=True) as presence:
        assert not Node.objects.exists()
        presence.announce()
        presence.announce()
        assert Node.objects.get().name == presence.name
        grow_old(presence)
        eventually(lambda: Node.objects.alive(timedelta(seconds=5)).exists())
    assert not Node.objects.exists()


def test_a_node_that_was_never_announced_leaves_without_a_word() -> None:
    with Presence(timeout=TIMEOUT, later=True):
        pass
    assert not Node.objects.exists()


def test_an_announcement_whose_answer_was_lost_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def made_unheard(presence: Presence) -> None:
        monkeypatch.undo()
        presence.beat()
        raise OperationalError("The connection is closed.")

    monkeypatch.setattr(Presence, "beat", made_unheard)
    with Presence(timeout=TIMEOUT, later=True) as presence:
        with pytest.raises(OperationalError):
            presence.announce()
        presence.announce()
        assert Node.objects.count() == 1


def test_two_nodes_of_one_process_have_names_of_their_own() -> None:
    with Presence(timeout=TIMEOUT) as first, Presence(timeout=TIMEOUT) as second:
        assert first.name != second.name
        assert Node.objects.count() == 2


def test_a_name_fits_its_column_whatever_the_host_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "h" * 255)
    with Presence(timeout=TIMEOUT) as presence:
        assert Node.objects.filter(name=presence.name).exists()


def test_the_row_is_removed_when_the_block_fails() -> None:
    with pytest.raises(RuntimeError, match="on purpose"), Presence(timeout=TIMEOUT):
        raise RuntimeError("on purpose")
    assert not Node.objects.exists()


def test_heartbeats_keep_the_row_warm_and_show_what_runs() -> None:
    with Presence(timeout=BRISK, running=lambda: 7) as presence:
        grow_old(presence)
        eventually(lambda: Node.objects.alive(timedelta(seconds=5)).filter(running=7).exists())


def test_who_leads_is_shown_at_once_and_kept_by_the_heartbeats() -> None:
    with Presence(timeout=TIMEOUT) as presence:
        presence.lead(True)
        assert Node.objects.get().leading
        presence.beat()
        assert Node.objects.get().leading
        presence.lead(False)
        assert not Node.objects.get().leading


def test_a_heartbeat_makes_a_row_again_that_somebody_tidied_away() -> None:
    with Presence(timeout=TIMEOUT, running=lambda: 2) as presence:
        presence.lead(True)
        Node.objects.all().delete()
        presence.beat()
        node = Node.objects.get()
        assert (node.name, node.leading) == (presence.name, True)


@pytest.mark.parametrize("error", [OperationalError, InterfaceError, RuntimeError])
def test_heartbeats_outlive_an_outage_of_the_database_and_any_other_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: type[Exception]
) -> None:
    """A heartbeat that ended for good would make a working node look dead, and its runs abandoned."""
    failures = 0
    beat = Presence.beat

    def fail_thrice(presence: Presence) -> None:
        nonlocal failures
        if failures < 3:
            failures += 1
            raise error("The connection is closed.")
        beat(presence)

    with Presence(timeout=BRISK) as presence:
        monkeypatch.setattr(Presence, "beat", fail_thrice)
        grow_old(presence)
        eventually(lambda: Node.objects.alive(timedelta(seconds=5)).exists())
    assert failures == 3
    [record] = [record for record in caplog.records if "heartbeat_failed" in record.getMessage()]
    assert bool(record.exc_info) == (error is RuntimeError), "what is not known is told in full"


def test_leaving_while_the_database_is_away_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise OperationalError("The server is gone.")

    with monkeypatch.context() as patched, Presence(timeout=TIMEOUT):
        patched.setattr("django.db.models.query.QuerySet.delete", fail)
    assert Node.objects.count() == 1, "the row grows old, like that of a node that died"
