from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from hotdata.exceptions import GateClosed
from hotdata.freshness import recent
from hotdata.freshness.gate import Limits, Recent
from hotdata.freshness.replies import Reply
from hotdata.freshness.upstream import gate_of, upstream_of
from hotdata.models import ApiCall, Source
from project.demo.upstream import DemoUpstream
from tests.builders import make_call, make_source
from tests.freshness.hostile import HostileUpstream

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("clear_cache")]

TIMEOUT = timedelta(seconds=10)
LIMITS = Limits(calls_per_minute=60, burst=5, concurrency=3, failures=4, pause=timedelta(seconds=30))
Outcome = ApiCall.Outcome


def recall(limits: Limits = LIMITS) -> Recent:
    return recent.recall("stock", limits, TIMEOUT)


def called(seconds_ago: float, status: int | None = 200, **fields: Any) -> ApiCall:
    outcome = Outcome.OK if status == 200 else Outcome.FAILED
    started_at = timezone.now() - timedelta(seconds=seconds_ago)
    return make_call(**({"started_at": started_at, "status": status, "outcome": outcome} | fields))


def seconds(durations: Iterable[timedelta]) -> list[int]:
    return sorted(round(duration.total_seconds()) for duration in durations)


def ask(source: Source, key: str) -> Reply:
    """One call, which nobody puts on record."""
    upstream = upstream_of(source)
    (request,) = upstream.batches([key])
    return upstream.submit(request, None, lambda: TIMEOUT).result(TIMEOUT.total_seconds())


# Calls


def test_without_any_call_nothing_was_lost() -> None:
    called(600)
    make_call(source="news")
    assert recall() == Recent(settling=TIMEOUT + recent.RECORDED_WITHIN)


def test_the_calls_on_record_of_a_minute_and_a_second_are_known() -> None:
    for ago in (1, 30, 60, 62, 300):
        called(ago)
    assert seconds(recall().calls) == [1, 30, 60]


def test_a_call_of_this_process_is_known_before_it_is_on_record_and_counts_once_when_it_is() -> None:
    begun = timezone.now() - timedelta(seconds=20)
    recent.note("stock", begun)
    recent.note("news", begun)
    called(40)
    assert seconds(recall().calls) == [20, 40]
    called(0, started_at=begun)
    assert seconds(recall().calls) == [20, 40]


def test_what_this_process_asked_longer_ago_is_forgotten() -> None:
    recent.note("stock", timezone.now() - timedelta(seconds=100))
    assert not recall().calls
    recent.note("stock", timezone.now() - timedelta(seconds=90))
    recent.note("stock", timezone.now())
    assert seconds(recall().calls) == [0]


def test_where_there_were_calls_there_may_be_more_that_are_not_on_record() -> None:
    called(60)
    assert recall().unrecorded == 3 + 5 + 3, "under way, a burst, and three seconds of the minute's pace"


def test_of_many_calls_only_so_many_are_looked_at_as_the_budget_is_and_as_may_be_under_way() -> None:
    ApiCall.objects.bulk_create(
        ApiCall(
            source="stock", outcome=Outcome.OK, started_at=timezone.now(), duration=timedelta(milliseconds=1)
        )
        for _ in range(100)
    )
    assert len(recall().calls) == 60 + 3


# Cooldown


def wished(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


@pytest.mark.parametrize("status", [429, 503])
def test_an_upstream_is_left_alone_for_as_long_as_it_wanted_to_be(status: int) -> None:
    called(30)
    called(20, status, duration=timedelta(seconds=5), cooldown=wished(600))
    assert seconds([recall().cooldown]) == [585]


def test_a_cooldown_is_known_when_the_call_that_it_came_with_is_long_past() -> None:
    called(1800, 429, cooldown=wished(3600))
    assert seconds([recall().cooldown]) == [1800]


def test_of_two_cooldowns_on_record_the_one_that_ends_later_counts() -> None:
    called(20, 429, cooldown=wished(90))
    called(10, 503, cooldown=wished(30))
    assert seconds([recall().cooldown]) == [70]


def test_calls_that_were_under_way_do_not_hide_a_cooldown() -> None:
    limits = replace(LIMITS, calls_per_minute=1, failures=1)
    called(20, 429, cooldown=wished(90))
    for ago in (19, 18, 17):
        called(ago, duration=timedelta(seconds=9))
    assert seconds([recall(limits).cooldown]) == [70]


def test_a_refusal_that_wishes_for_nothing_is_no_cooldown() -> None:
    called(20, 503)
    assert recall().cooldown == timedelta(0)


def test_a_cooldown_ends() -> None:
    called(100, 429, cooldown=wished(60))
    assert recall().cooldown == timedelta(0)


# Breaker


def test_outages_in_a_row_are_counted_until_now() -> None:
    called(50, 500)
    called(40)
    called(30, None)
    called(20, 502)
    called(10, 500, duration=timedelta(seconds=4))
    found = recall()
    assert found.failures == 3
    assert seconds([found.failed]) == [6]


@pytest.mark.parametrize("status", [404, 429])
def test_a_refusal_is_no_outage(status: int) -> None:
    called(30, 500)
    called(20, status)
    assert recall().failures == 0


def test_outages_are_known_for_as_long_as_a_breaker_may_have_been_open() -> None:
    for ago in (170, 168, 166, 164):
        called(ago, 500)
    assert recall().failures == 4
    assert not recall().calls


def test_a_body_without_a_value_is_no_outage_on_record(hostile: HostileUpstream) -> None:
    source = make_source(name="stock", base_url=hostile.url(""), path="/{key}")
    reply = ask(source, "html")
    assert reply.call.status == 200
    reply.call.save()
    assert recall().failures == 0


# The database


def away(execute: Callable[..., Any], *args: Any) -> Any:
    raise OperationalError("The server is away.")


def test_without_the_database_too_nobody_is_asked() -> None:
    with connection.execute_wrapper(away), pytest.raises(GateClosed) as caught:
        gate_of(Source(name="stock")).enter(hold=TIMEOUT)
    assert (caught.value.reason, caught.value.source) == ("unknown", "stock")
    assert caught.value.retry_after == recent.TRY_AGAIN
    gate_of(Source(name="stock")).enter(hold=TIMEOUT)


def test_a_known_gate_needs_no_database() -> None:
    gate = gate_of(Source(name="stock"))
    gate.enter(hold=TIMEOUT)
    with connection.execute_wrapper(away):
        gate.enter(hold=TIMEOUT)


def test_a_thread_that_asked_the_database_for_the_gate_keeps_no_connection(demo: DemoUpstream) -> None:
    source = make_source(name="stock", base_url=demo.url, concurrency=1, calls_per_minute=1, burst=1)
    called(5)
    upstream = upstream_of(source)
    assert ask(source, "AAPL").call is None, "the gate has let nobody through"
    assert upstream._pool.submit(lambda: connection.connection).result() is None


def test_a_call_that_was_asked_for_is_known_at_once(demo: DemoUpstream) -> None:
    ask(make_source(name="stock", base_url=demo.url), "AAPL")
    assert not ApiCall.objects.exists()
    assert seconds(recall().calls) == [0]
