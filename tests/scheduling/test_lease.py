"""The lease: one node leads, in an epoch of its own, and stops trusting itself before another can begin."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import OperationalError, connection, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from hotdata.models import ChangeCounter, Lease
from hotdata.scheduling import lease as lease_module
from hotdata.scheduling.lease import LeaseKeeper
from tests.threads import eventually, in_thread

TTL = timedelta(seconds=4)

pytestmark = pytest.mark.django_db


@pytest.fixture
def uptime(monkeypatch: pytest.MonkeyPatch) -> Uptime:
    """The monotonic clock that keepers see, in the hands of the test."""
    clock = Uptime()
    monkeypatch.setattr(lease_module, "time", clock)
    return clock


class Uptime:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


def make_keeper(node: str = "first", ttl: timedelta = TTL) -> LeaseKeeper:
    return LeaseKeeper(node=node, ttl=ttl)


def run_out() -> None:
    """Let the lease's time be up by the database's clock."""
    Lease.objects.update(expires_at=Now() - timedelta(milliseconds=10))


def lock(keeper: LeaseKeeper) -> bool:
    with transaction.atomic():
        return keeper.lock()


# Taking, renewing, losing, releasing


def test_the_first_node_leads_and_the_second_stands_by() -> None:
    first, second = make_keeper("first"), make_keeper("second")
    assert first.keep()
    assert not second.keep()
    assert (first.leading, second.leading) == (True, False)
    assert (first.epoch, second.epoch) == (1, None)
    assert Lease.objects.get().holder == "first"


def test_a_node_that_never_asked_does_not_lead() -> None:
    keeper = make_keeper()
    assert not keeper.leading
    assert not lock(keeper)


def test_renewing_prolongs_the_lease_in_the_same_epoch() -> None:
    keeper = make_keeper()
    keeper.keep()
    Lease.objects.update(expires_at=F("expires_at") - TTL / 2)
    before = Lease.objects.get().expires_at
    assert keeper.keep()
    assert keeper.epoch == 1
    assert Lease.objects.get().expires_at > before


def test_the_lease_expires_by_the_clock_of_the_database() -> None:
    make_keeper().keep()
    assert Lease.objects.filter(expires_at__gt=Now(), expires_at__lte=Now() + TTL).exists()


def test_a_lease_that_ran_out_is_taken_in_a_new_epoch() -> None:
    first, second = make_keeper("first"), make_keeper("second")
    first.keep()
    run_out()
    assert second.keep()
    assert second.epoch == 2
    assert not first.keep(), "the old leader finds out when it renews"
    assert not first.leading


def test_a_lease_that_ran_out_unnoticed_is_renewed_by_its_holder() -> None:
    keeper = make_keeper()
    keeper.keep()
    run_out()
    assert keeper.keep()
    assert keeper.epoch == 1


def test_a_released_lease_can_be_taken_at_once() -> None:
    first, second = make_keeper("first"), make_keeper("second")
    first.keep()
    first.release()
    assert not first.leading
    assert second.keep()
    assert second.epoch == 2


def test_a_deposed_node_releases_nothing_of_its_successor() -> None:
    first, second = make_keeper("first"), make_keeper("second")
    first.keep()
    run_out()
    second.keep()
    first.release()
    assert lock(second)


def test_releasing_twice_is_no_error() -> None:
    keeper = make_keeper()
    keeper.keep()
    keeper.release()
    keeper.release()


def test_the_epoch_grows_with_each_change_of_hands() -> None:
    epochs = []
    for number in range(5):
        keeper = make_keeper(f"node-{number}")
        assert keeper.keep()
        epochs.append(keeper.epoch)
        keeper.release()
    assert epochs == [1, 2, 3, 4, 5]


def test_a_node_that_takes_the_lease_again_begins_a_new_epoch() -> None:
    keeper = make_keeper()
    keeper.keep()
    keeper.release()
    keeper.keep()
    assert keeper.epoch == 2


def test_a_node_that_stands_by_learns_how_long_the_lease_has_to_run() -> None:
    make_keeper("first").keep()
    standby = make_keeper("second")
    standby.keep()
    assert 0 < standby.free_in <= TTL.total_seconds()
    run_out()
    assert Lease.look().is_open_to("second", TTL)


def test_standing_by_is_one_query_and_writes_nothing() -> None:
    make_keeper("first").keep()
    with CaptureQueriesContext(connection) as captured:
        make_keeper("second").keep()
    assert [query["sql"].split()[0] for query in captured] == ["SELECT"]


def test_a_renewal_is_one_statement_that_brings_the_change_counter() -> None:
    keeper = make_keeper()
    keeper.keep()
    assert keeper.change is None, "what was seen before this node led counts for nothing"
    ChangeCounter.bump()
    with CaptureQueriesContext(connection) as captured:
        keeper.keep()
    assert len(captured) == 1
    assert keeper.change == ChangeCounter.current() == 1


def test_a_renewal_before_the_first_change_of_all_is_one_nevertheless() -> None:
    keeper = make_keeper()
    keeper.keep()
    assert keeper.keep()
    assert (keeper.change, keeper.epoch) == (0, 1)


def test_who_takes_a_lease_that_ran_out_is_told_whose_it_was() -> None:
    first, second = make_keeper("first"), make_keeper("second")
    first.keep()
    run_out()
    second.keep()
    assert second.replaced == "first"


def test_nobody_is_replaced_by_one_who_takes_what_was_given_up() -> None:
    first, second = make_keeper("first"), make_keeper("second")
    first.keep()
    first.release()
    second.keep()
    assert second.replaced == ""


# Trust


def test_trust_ends_without_a_renewal(uptime: Uptime) -> None:
    keeper = make_keeper()
    keeper.keep()
    uptime.now += TTL.total_seconds() - 0.01
    assert keeper.leading
    uptime.now += 0.02
    assert not keeper.leading


def test_trust_counts_from_the_start_of_the_renewal(uptime: Uptime, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database may have begun to count as soon as it was asked, however late its answer comes."""
    keeper = make_keeper()
    acquire = Lease.acquire

    def answer_late(holder: str, ttl: timedelta) -> int | None:
        epoch = acquire(holder, ttl)
        uptime.now += TTL.total_seconds() - 0.5
        return epoch

    monkeypatch.setattr(Lease, "acquire", answer_late)
    assert keeper.keep()
    uptime.now += 0.6
    assert not keeper.leading


def test_an_answer_later_than_the_lease_is_long_makes_no_leader(
    uptime: Uptime, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = make_keeper()
    acquire = Lease.acquire

    def answer_too_late(holder: str, ttl: timedelta) -> int | None:
        epoch = acquire(holder, ttl)
        uptime.now += TTL.total_seconds() + 0.1
        return epoch

    monkeypatch.setattr(Lease, "acquire", answer_too_late)
    assert not keeper.keep()


def test_a_node_that_can_not_reach_the_database_steps_down(monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = make_keeper()
    keeper.keep()

    def fail(*args: object) -> bool:
        raise OperationalError("The server closed the connection.")

    with monkeypatch.context() as patched:
        patched.setattr(Lease, "renew", fail)
        with pytest.raises(OperationalError):
            keeper.keep()
    assert not keeper.leading
    assert not lock(keeper)


# The lock


def test_the_leader_locks_its_lease() -> None:
    keeper = make_keeper()
    keeper.keep()
    assert lock(keeper)


@pytest.mark.parametrize("trusting", [True, False])
def test_trust_alone_locks_nothing(trusting: bool) -> None:
    """A leader that slept still trusts itself when it wakes; the database knows better."""
    first, second = make_keeper("first"), make_keeper("second")
    first.keep()
    run_out()
    if trusting:
        second.keep()
    assert first.leading
    assert not lock(first)
    assert not first.leading


@pytest.mark.django_db(transaction=True)
def test_nobody_takes_a_lease_that_a_claim_has_locked() -> None:
    """Its time runs out in the middle of the claim; the next leader begins after the claim's commit."""
    first, second = make_keeper("first", ttl=timedelta(seconds=0.3)), make_keeper("second")
    first.keep()
    began, committed = threading.Event(), threading.Event()

    def take_over() -> bool:
        began.set()
        taken = second.keep()
        assert committed.is_set()
        return taken

    with transaction.atomic():
        assert first.lock()
        eventually(lambda: in_thread(Lease.look).result(10).is_open_to("second", TTL))
        taking = in_thread(take_over)
        assert began.wait(10)
        with pytest.raises(TimeoutError):
            taking.result(0.2)
        committed.set()
    assert taking.result(20)
    assert second.epoch == 2


# Races


@pytest.mark.django_db(transaction=True)
def test_of_many_that_race_for_a_free_lease_one_wins() -> None:
    for round_ in range(1, 6):
        keepers = [make_keeper(f"node-{number}") for number in range(4)]
        barrier = threading.Barrier(len(keepers))

        def race(keeper: LeaseKeeper, barrier: threading.Barrier = barrier) -> bool:
            barrier.wait(10)
            return keeper.keep()

        races = [in_thread(lambda keeper=keeper: race(keeper)) for keeper in keepers]  # type: ignore[misc]
        assert [running.result(30) for running in races].count(True) == 1
        [leader] = [keeper for keeper in keepers if keeper.leading]
        lease = Lease.objects.get()
        assert (lease.holder, lease.epoch, leader.epoch) == (leader._node, round_, round_)
        leader.release()
