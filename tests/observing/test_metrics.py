"""Metrics: what is shown is the truth, with bounded labels, at a bounded cost, and as much of it as can be known."""

from __future__ import annotations

import threading
from datetime import date, timedelta
from typing import Any

import pytest
from django.db import OperationalError
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from hotdata.freshness import meters
from hotdata.freshness.meters import Served
from hotdata.freshness.upstream import gate_of
from hotdata.models import Alert, Component, Node, Run, Schedule, SourceUsage
from hotdata.models.runs import Cause, State
from hotdata.observing import metrics, source_metrics, totals
from hotdata.observing.counting import OTHER
from hotdata.observing.metrics import Readings, read
from hotdata.observing.totals import roll_up
from hotdata.retention.cleanup import CleanUp, Share
from hotdata.retention.kinds import BY_NAME
from tests.builders import make_job, make_run, make_source
from tests.threads import eventually
from tools.redis_server import RedisServer

SECOND = timedelta(seconds=1)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clear_cache")]

Samples = dict[tuple[str, ...], float]


def scraped() -> Samples:
    """The value of each sample, by its name and the values of its labels in the order of their names."""
    text = generate_latest(read(timezone.now())).decode()  # type: ignore[arg-type]
    samples: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            of = (sample.name, *(sample.labels[label] for label in sorted(sample.labels)))
            assert of not in samples, f"{of} is there twice"
            samples[of] = sample.value
    return samples


def of(samples: Samples, name: str) -> dict[Any, float]:
    """The samples called `name`, by the value of their one label, or by the values of all."""
    return {
        found[1] if len(found) == 2 else found[1:]: value
        for found, value in samples.items()
        if found[0] == name
    }


def make_ended(job: Any, state: State = State.SUCCEEDED, **fields: Any) -> Run:
    now = timezone.now()
    values = {"attempt": 1, "started_at": now, "created_at": now, "duration": SECOND}
    return make_run(job, state=state, **(values | fields))


# Runs


def test_runs_are_shown_by_job_and_outcome_with_those_that_never_happened() -> None:
    roll_up(timezone.now())
    job = make_job(name="stocks")
    roll_up(timezone.now())
    for _ in range(3):
        make_ended(job)
    make_ended(job, State.TIMED_OUT)
    assert of(scraped(), "hotdata_runs_total") == {
        ("stocks", "succeeded"): 3,
        ("stocks", "failed"): 0,
        ("stocks", "timed_out"): 1,
        ("stocks", "cancelled"): 0,
        ("stocks", "abandoned"): 0,
    }


def test_durations_and_delays_are_histograms() -> None:
    job = make_job(name="stocks")
    for _ in range(2):
        roll_up(timezone.now())
    now = timezone.now()
    make_ended(job, duration=timedelta(seconds=0.3), created_at=now - 2 * SECOND, started_at=now)
    make_ended(job, duration=timedelta(hours=2), created_at=now - 2 * SECOND, started_at=now)
    samples = scraped()
    buckets = of(samples, "hotdata_run_duration_seconds_bucket")
    assert samples["hotdata_run_duration_seconds_count", "stocks"] == 2
    assert samples["hotdata_run_duration_seconds_sum", "stocks"] == pytest.approx(7200.3)
    assert list(buckets.values()) == [0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 2]
    assert (buckets["stocks", "0.1"], buckets["stocks", "0.5"], buckets["stocks", "+Inf"]) == (0, 1, 2)
    assert samples["hotdata_run_start_delay_seconds_count", "stocks"] == 2
    assert samples["hotdata_run_start_delay_seconds_sum", "stocks"] == pytest.approx(4, abs=0.01)


def test_due_times_that_came_to_nothing_are_shown_by_a_word_for_their_reason() -> None:
    job = make_job(name="stocks")
    for _ in range(2):
        roll_up(timezone.now())
    now = timezone.now()
    due = {"cause": Cause.SCHEDULE, "coalesced": 2}
    make_run(
        job,
        state=State.MISSED,
        scheduled_for=now,
        reason="Late by more than the grace time of 0:00:01.",
        **due,
    )
    make_run(job, state=State.SKIPPED, scheduled_for=now + SECOND, reason="<hostile>", **due)
    assert of(scraped(), "hotdata_due_times_total") == {
        ("missed", "stocks", "late"): 3,
        ("skipped", "stocks", "other"): 3,
    }


def test_before_counting_begins_there_is_all_but_the_totals() -> None:
    make_ended(make_job())
    samples = scraped()
    assert not of(samples, "hotdata_runs_total")
    assert not of(samples, "hotdata_totals_age_seconds")
    assert samples["hotdata_runs_running",] == 0


def test_what_waits_is_shown_and_how_far_behind_the_schedulers_are() -> None:
    now = timezone.now()
    job = make_job()
    Schedule.objects.filter(id=job.name).update(next_run_time=now - 20 * SECOND)
    for state, fields in {
        State.QUEUED: {"ready_at": now - 90 * SECOND},
        State.RETRYING: {"attempt": 1, "started_at": now, "ready_at": now + 60 * SECOND},
        State.RUNNING: {},
    }.items():
        make_run(job, state=state, **fields)
    make_run(job, node="", held=True, ready_at=now - 900 * SECOND)
    samples = scraped()
    assert of(samples, "hotdata_runs_waiting") == {"queued": 1, "retrying": 1, "held": 1}
    assert samples["hotdata_runs_running",] == 1
    assert samples["hotdata_schedules_late",] == 1
    assert samples["hotdata_lag_seconds",] == pytest.approx(90, abs=5)


def test_nothing_that_is_due_makes_no_lag() -> None:
    make_job()
    assert scraped()["hotdata_lag_seconds",] == 0


def test_the_schedulers_are_shown_and_who_leads() -> None:
    now = timezone.now()
    for name, leading, silent in (("one", True, 0), ("two", False, 0), ("three", False, 3600)):
        Node.objects.create(name=name, host="here", pid=1, version="1", leading=leading)
        Node.objects.filter(name=name).update(heartbeat_at=now - silent * SECOND)
    samples = scraped()
    assert of(samples, "hotdata_leader") == {"one": 1}
    assert of(samples, "hotdata_nodes") == {"leading": 1, "standby": 1, "dead": 1}


# Upstreams


def test_calls_are_those_of_all_days() -> None:
    for day in (1, 2):
        SourceUsage.add(
            [SourceUsage(day=date(2026, 11, day), source="stock", calls=5, failed_calls=1, size=70)]
        )
    samples = scraped()
    assert of(samples, "hotdata_upstream_calls_total") == {("failed", "stock"): 2, ("ok", "stock"): 8}
    assert of(samples, "hotdata_upstream_bytes_total") == {"stock": 140}


def test_calls_go_on_to_count_when_clean_up_deletes_their_days() -> None:
    for days in (100, 1):
        day = (timezone.now() - timedelta(days=days)).date()
        SourceUsage.add([SourceUsage(day=day, source="stock", calls=5, failed_calls=1, size=70)])
    before = scraped()
    deleted = CleanUp([Share(kind=BY_NAME["usage"], days=62)], timezone.now()).run()
    assert [account.deleted for account in deleted] == [1]
    for counter in ("hotdata_upstream_calls_total", "hotdata_upstream_bytes_total"):
        assert of(scraped(), counter) == of(before, counter) != {}


def test_reads_are_counted_for_ever_and_ages_over_the_last_minutes(redis: Redis) -> None:
    source = make_source(name="stock")
    for _ in range(2):
        for served, age in ((Served.FRESH, 2.0), (Served.STALE, 100.0), (Served.MISS, None)):
            meters.note(source.name, served, age)
        meters.note_wait(source.name, 0.25)
        meters.flush()
    for minute in redis.scan_iter("*m:stock:*"):
        redis.delete(minute)  # as after two days
    meters.note(source.name, Served.FRESH, 1.0)
    meters.flush()
    samples = scraped()
    assert of(samples, "hotdata_reads_total") == {
        ("fresh", "stock"): 3,
        ("stale", "stock"): 2,
        ("last_known", "stock"): 0,
        ("miss", "stock"): 2,
        ("error", "stock"): 0,
    }
    assert of(samples, "hotdata_gate_waits_total") == {"stock": 2}
    assert of(samples, "hotdata_gate_wait_seconds_total") == {"stock": 0.5}
    assert of(samples, "hotdata_entry_age_seconds") == {
        ("0.5", "stock"): pytest.approx(1.0),
        ("0.99", "stock"): pytest.approx(1.0),
    }


def test_a_wait_at_the_gate_is_counted(redis: Redis) -> None:
    source = make_source(name="stock", calls_per_minute=600, burst=1, concurrency=5)
    for _ in range(2):
        gate_of(source).wait(hold=SECOND, patience=lambda: 5.0)
    meters.flush()
    samples = scraped()
    assert of(samples, "hotdata_gate_waits_total") == {"stock": 1}
    assert 0.02 < of(samples, "hotdata_gate_wait_seconds_total")["stock"] < 5


def test_gates_are_shown_with_their_budget(redis: Redis) -> None:
    source = make_source(name="stock", calls_per_minute=600, burst=5, breaker_failures=1)
    make_source(name="news", calls_per_minute=60)
    gate_of(source).enter(hold=SECOND).leave(failed=True, cooldown=30 * SECOND)
    samples = scraped()
    assert of(samples, "hotdata_breaker_open") == {"stock": 1, "news": 0}
    assert of(samples, "hotdata_budget_used_calls") == {"stock": 1, "news": 0}
    assert of(samples, "hotdata_budget_calls") == {"stock": 600, "news": 60}
    assert of(samples, "hotdata_cooldown_seconds")["stock"] == pytest.approx(30, abs=5)


def test_a_key_is_no_label() -> None:
    make_source(name="stock", pinned=("SECRETKEY",))
    meters.note("stock", Served.FRESH, 1.0)
    meters.flush()
    assert "SECRETKEY" not in str(scraped())


# What somebody should know of


def test_open_alerts_and_components_are_shown() -> None:
    now = timezone.now()
    for number, closed_at in enumerate((None, None, now)):
        Alert.objects.create(
            kind="failing",
            subject=f"job-{number}",
            summary="It fails.",
            opened_at=now,
            seen_at=now,
            closed_at=closed_at,
        )
    for name, state in (("redis", "ok"), ('source:"a\\b"\n', "down")):
        Component.objects.create(name=name, state=state, since=now, checked_at=now)
    samples = scraped()
    assert of(samples, "hotdata_alerts_open")["failing"] == 2
    assert of(samples, "hotdata_alerts_open")["missed"] == 0
    assert of(samples, "hotdata_component_state") == {"redis": 0, 'source:"a\\b"\n': 2}


# Bounds


def test_there_are_no_more_labels_than_there_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(totals, "MOST_JOBS", 2)
    for module in (metrics, source_metrics):
        monkeypatch.setattr(module, "MOST_SOURCES", 2)
    jobs = [make_job() for _ in range(5)]
    for _ in range(2):
        roll_up(timezone.now())
    for job in jobs:
        make_ended(job)
    sources = [make_source(name=name) for name in "dcba"]
    for source in sources:
        meters.note(source.name, Served.FRESH, 1.0)
        SourceUsage.add([SourceUsage(day=date(2026, 11, 1), source=source.name, calls=1)])
    meters.flush()
    samples = scraped()
    assert samples["hotdata_runs_total", OTHER, "succeeded"] == 3
    assert len({job for job, _ in of(samples, "hotdata_runs_total")}) == 3
    assert samples["hotdata_reads_total", "fresh", OTHER] == 2
    assert of(samples, "hotdata_upstream_calls_total")["ok", OTHER] == 2
    assert set(of(samples, "hotdata_breaker_open")) == {"c", "d"}
    assert of(samples, "hotdata_labels_cut") == {"job": 3, "source": 2}


def test_a_reading_takes_no_more_statements_however_much_there_is(
    django_assert_max_num_queries: Any,
) -> None:
    def fill() -> None:
        job = make_job()
        roll_up(timezone.now())
        for state in State:
            fields = {"attempt": 1, "started_at": timezone.now()} if state != State.QUEUED else {}
            make_run(job, state=state, **fields)
        source = make_source(pinned=("A", "B"))
        SourceUsage.add([SourceUsage(day=date(2026, 11, 1), source=source.name, calls=1)])

    fill()
    # The three around a transaction of PostgreSQL among them.
    with django_assert_max_num_queries(18) as few:
        read(timezone.now())
    for _ in range(5):
        fill()
    with CaptureQueriesContext(few.connection) as many:
        read(timezone.now())
    assert len(many) <= len(few)


# What can't be known


def test_without_redis_the_rest_is_shown_and_it_is_said(moody_redis: RedisServer) -> None:
    make_source(name="stock")
    roll_up(timezone.now())
    assert scraped()["hotdata_redis_up",] == 1
    moody_redis.stop()
    samples = scraped()
    assert samples["hotdata_redis_up",] == 0
    assert not of(samples, "hotdata_breaker_open")
    assert not of(samples, "hotdata_reads_total")
    assert of(samples, "hotdata_nodes")
    assert samples["hotdata_totals_age_seconds",] < 60


# One reading for all


def test_who_asks_while_a_reading_is_taken_gets_the_same_one(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()
    taken: list[object] = []

    def slow(now: object) -> object:
        begun.set()
        assert go_on.wait(10)
        taken.append(reading := object())
        return reading

    monkeypatch.setattr(metrics, "read", slow)
    readings, got = Readings(), []
    threads = [threading.Thread(target=lambda: got.append(readings.latest())) for _ in range(5)]
    for thread in threads:
        thread.start()
    assert begun.wait(10)
    go_on.set()
    for thread in threads:
        thread.join()
    assert got == taken * 5


def test_a_reading_grows_old_and_another_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "KEPT", 0.01)
    readings = Readings()
    first = readings.latest()
    eventually(lambda: readings.latest() is not first)


def test_an_outage_is_found_out_once_for_all_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[int] = []

    def away(now: object) -> object:
        tries.append(1)
        raise OperationalError("The server is away.")

    readings = Readings()
    with monkeypatch.context() as patched:
        patched.setattr(metrics, "read", away)
        for _ in range(3):
            with pytest.raises(OperationalError):
                readings.latest()
    assert tries == [1]
    monkeypatch.setattr(metrics, "KEPT", 0.0)
    assert readings.latest()
