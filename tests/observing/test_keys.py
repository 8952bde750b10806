"""How old hot keys are, against what they may be."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries
from redis import Redis

from hotdata.exceptions import CacheUnavailable
from hotdata.models import HotKey, Source
from hotdata.observing.keys import KeyAge, key_ages, watched_sources
from tests.builders import make_source, store

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clear_cache")]

MINUTE, HOUR, DAY = (timedelta(seconds=seconds) for seconds in (60, 3600, 86_400))


def remember(source: str, **rates: float) -> None:
    now = timezone.now()
    HotKey.objects.bulk_create(
        HotKey(source=source, key=key, reads_per_minute=rate, seen_at=now) for key, rate in rates.items()
    )


def ages() -> list[KeyAge]:
    now = timezone.now()
    return key_ages(watched_sources(now), now)


def test_the_hot_keys_are_the_pinned_ones_and_those_read_most() -> None:
    make_source(name="stock", title="Stocks", pinned=("MSFT", "AAPL"), hot_keys=2)
    make_source(name="news")
    remember("stock", AAPL=9, TSLA=1, NVDA=5, GOOG=3)
    remember("gone", X=1)
    news, stock = watched_sources(timezone.now())
    assert (news.name, news.id, news.keys, str(news)) == (
        "news",
        Source.objects.get(name="news").pk,
        (),
        "news",
    )
    assert (set(stock.keys[:2]), stock.keys[2:], str(stock)) == ({"MSFT", "AAPL"}, ("NVDA", "GOOG"), "Stocks")


def test_what_nobody_has_read_for_a_day_is_not_hot() -> None:
    make_source(name="stock")
    HotKey.objects.create(source="stock", key="OLD", reads_per_minute=5, seen_at=timezone.now() - 2 * DAY)
    assert watched_sources(timezone.now())[0].keys == ()


def test_the_worst_come_first() -> None:
    make_source(name="stock", pinned=("A", "B", "C", "北京"), soft_ttl=MINUTE)
    make_source(name="off", pinned=("Z",), soft_ttl=MINUTE, enabled=False)
    store("stock", "A", age=30)
    store("stock", "北京", age=90)
    store("stock", "C", age=10)
    store("off", "Z", age=500)
    found = ages()
    assert [key.key for key in found] == ["B", "北京", "A", "C", "Z"]
    assert [key.is_missing for key in found] == [True, False, False, False, False]
    assert [key.is_overdue for key in found] == [False, True, False, False, False]
    assert found[1].share == pytest.approx(1.5, abs=0.05)
    assert found[1].age == pytest.approx(90 * timedelta(seconds=1), abs=timedelta(seconds=3))


def test_the_limit_is_the_time_until_it_is_stale_or_a_longer_maximum_age() -> None:
    make_source(name="a", soft_ttl=MINUTE)
    make_source(name="b", soft_ttl=MINUTE, max_age=HOUR)
    make_source(name="c", soft_ttl=HOUR, max_age=MINUTE)
    assert [source.limit for source in watched_sources(timezone.now())] == [MINUTE, HOUR, HOUR]


def test_a_source_whose_windows_are_closed_or_are_none_rests() -> None:
    today = f"{timezone.now():%a}".lower()
    others = ",".join(day for day in ("mon", "tue", "wed", "thu", "fri", "sat", "sun") if day != today)
    make_source(name="closed", windows=f"06:00-06:01 UTC {others}")
    make_source(name="nonsense")
    Source.objects.filter(name="nonsense").update(windows="nonsense")
    make_source(name="open")
    assert [source.rests for source in watched_sources(timezone.now())] == [True, True, False]


def test_it_takes_one_query_and_one_round_trip(
    django_assert_num_queries: DjangoAssertNumQueries, redis: Redis
) -> None:
    for number in range(3):
        make_source(name=f"source-{number}", pinned=("A", "B"))
        store(f"source-{number}", "A", value="x" * 100_000)
    ages()
    before = redis.info("stats")["total_net_output_bytes"]
    with django_assert_num_queries(1):
        assert len(ages()) == 6
    assert redis.info("stats")["total_net_output_bytes"] - before < 20_000


def test_what_is_no_entry_reads_as_missing(redis: Redis) -> None:
    make_source(name="stock", pinned=("AAPL",))
    store("stock", "AAPL")
    (name,) = redis.keys("*e:stock:*")
    redis.set(name, "nonsense that is longer than a fence")
    assert ages()[0].is_missing


@pytest.mark.usefixtures("redis_down")
def test_an_unreachable_redis_is_told_as_such() -> None:
    make_source(name="stock", pinned=("AAPL",))
    sources = watched_sources(timezone.now())
    with pytest.raises(CacheUnavailable):
        key_ages(sources, timezone.now())
