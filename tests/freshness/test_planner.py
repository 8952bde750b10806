from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from hotdata.exceptions import CacheUnavailable
from hotdata.freshness import planner
from hotdata.models import Source
from tests.builders import make_source, store

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clear_cache")]

PINNED = ("TSLA", "AAPL", "北京", "MSFT")


@pytest.fixture
def source() -> Source:
    return make_source(name="stock", pinned=PINNED)


def test_the_hot_set_is_what_is_pinned_in_the_order_of_pinning(source: Source) -> None:
    make_source(name="news", pinned=("general",))
    assert planner.hot_set(source) == list(PINNED)


def test_a_source_without_pinned_keys_has_nothing_due() -> None:
    assert planner.due_keys(make_source(), timezone.now()) == []


def test_what_was_never_fetched_is_due(source: Source) -> None:
    assert planner.due_keys(source, timezone.now()) == list(PINNED)


def test_what_is_stale_is_due_and_what_is_fresh_is_not(source: Source) -> None:
    store(key="AAPL", age=10, soft_ttl=60)
    store(key="MSFT", age=10, soft_ttl=60)
    store(key="TSLA", age=61, soft_ttl=60)
    assert planner.due_keys(source, timezone.now()) == ["TSLA", "北京"]


def test_a_key_is_due_from_its_soft_expiry_on(source: Source) -> None:
    (soft_expiry,) = {
        store(key=key, fetched_at=1e9, soft_expiry=2e9, hard_expiry=9e9).soft_expiry for key in PINNED
    }
    at = datetime.fromtimestamp(soft_expiry, UTC)
    assert planner.due_keys(source, at - timedelta(seconds=1)) == []
    assert planner.due_keys(source, at) == list(PINNED)


def test_what_is_stored_but_not_pinned_is_not_due(source: Source) -> None:
    store(key="GOOGL", age=600, soft_ttl=60)
    assert "GOOGL" not in planner.due_keys(source, timezone.now())


def test_entries_of_another_source_do_not_count(source: Source) -> None:
    store("news", "AAPL")
    assert "AAPL" in planner.due_keys(source, timezone.now())


def test_an_unreachable_redis_is_told_as_such(source: Source, redis_down: None) -> None:
    with pytest.raises(CacheUnavailable):
        planner.due_keys(source, timezone.now())
