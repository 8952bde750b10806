"""The built-in tasks, performed as runs against the demo upstream."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import pytest
import time_machine
from django.core.exceptions import ValidationError
from django.db import OperationalError
from django.utils import timezone
from pytest_django import Settings
from redis import Redis

import hotdata
from hotdata import models, registry
from hotdata.conf import RETAINED
from hotdata.exceptions import UnknownKey
from hotdata.execution.outcome import Outcome
from hotdata.execution.runner import execute, make_context, perform
from hotdata.freshness import meters
from hotdata.freshness.lastknown import last_known
from hotdata.freshness.meters import Served
from hotdata.models import (
    ApiCall,
    Component,
    ComponentChange,
    Delivery,
    FreshnessHour,
    Job,
    Run,
    RunTotal,
    Source,
    SourceUsage,
    Statement,
)
from hotdata.models.components import Health
from hotdata.models.runs import State
from hotdata.observing import components, health, totals
from hotdata.observing.health import Part, Report
from project.demo.upstream import DemoUpstream
from tests.builders import (
    NODE,
    caches_at,
    issue_statement,
    make_call,
    make_job,
    make_prices,
    make_run,
    make_source,
    store,
)
from tests.freshness.conftest import close_upstreams
from tests.freshness.hostile import closed_port

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clear_cache")]

# What writes from other threads than the test's needs a database that no transaction of the test locks.
in_threads = pytest.mark.django_db(transaction=True)

CITIES = ("北京", "上海")


@pytest.fixture
def upstream(settings: Settings) -> Iterator[DemoUpstream]:
    """The demo upstream, which sources may ask."""
    with DemoUpstream() as upstream:
        settings.HOTDATA_ALLOW_PRIVATE = [f"127.0.0.1:{upstream.port}"]
        yield upstream
        close_upstreams()


def make_stocks(upstream: DemoUpstream, *pinned: str, **fields: Any) -> Source:
    return make_source(**({"name": "stock", "base_url": upstream.url, "pinned": pinned} | fields))


def performed(task: str, job: Job | None = None, **params: Any) -> Outcome:
    """What performing a run of `task` comes to."""
    run = make_run(job or make_job(task=task), task=task, params=params, state=State.RUNNING)
    return perform(run, make_context(run))


def asked(upstream: DemoUpstream) -> list[str]:
    return sorted(request.key for request in upstream.requests)


# refresh_source


def test_refresh_source_fetches_the_hot_set_and_says_what_came_of_it(upstream: DemoUpstream) -> None:
    make_stocks(upstream, "AAPL", "MSFT")
    outcome = performed("refresh_source", source="stock")
    assert outcome.state == State.SUCCEEDED
    assert (outcome.result["asked"], outcome.result["refreshed"], outcome.result["calls"]) == (2, 2, 2)
    assert (outcome.progress_done, outcome.progress_total) == (2, 2)
    assert hotdata.get("stock", "AAPL").value["symbol"] == "AAPL"
    assert set(ApiCall.objects.values_list("run_id", flat=True)) == {outcome.run.id}


def test_refresh_source_fetches_the_keys_that_it_is_given_and_no_others(upstream: DemoUpstream) -> None:
    make_stocks(upstream, "AAPL", "MSFT")
    performed("refresh_source", source="stock", keys=["TSLA"])
    assert asked(upstream) == ["TSLA"]


def test_refresh_source_with_an_empty_list_of_keys_asks_for_nothing(upstream: DemoUpstream) -> None:
    make_stocks(upstream, "AAPL")
    outcome = performed("refresh_source", source="stock", keys=[])
    assert (outcome.state, asked(upstream)) == (State.SUCCEEDED, [])


@pytest.mark.parametrize("enabled", [False, None])
def test_a_source_that_is_disabled_or_missing_fails_for_good(
    upstream: DemoUpstream, enabled: bool | None
) -> None:
    if enabled is not None:
        make_stocks(upstream, "AAPL", enabled=enabled)
    outcome = performed("refresh_source", source="stock")
    assert (outcome.state, outcome.permanent) == (State.FAILED, True)
    assert outcome.error == "UnknownSource: There is no enabled source 'stock'."
    assert asked(upstream) == []


def test_a_refresh_that_fails_says_which_keys_did_and_how_long_to_stay_away(upstream: DemoUpstream) -> None:
    make_stocks(upstream, "AAPL", "MSFT")
    upstream.set_fault("/stocks", "429", retry_after=30)
    outcome = performed("refresh_source", source="stock")
    assert (outcome.state, outcome.permanent) == (State.FAILED, False)
    assert outcome.error.startswith("RefreshFailed: 2 of 2 keys of stock failed: ")
    assert set(outcome.result["failed"]) == {"AAPL", "MSFT"}
    assert outcome.retry_after is not None
    assert timedelta(seconds=25) < outcome.retry_after <= timedelta(seconds=30)


def test_without_redis_the_upstream_is_not_asked(upstream: DemoUpstream, settings: Settings) -> None:
    make_stocks(upstream, "AAPL")
    settings.CACHES = caches_at(f"redis://{closed_port()}/0")
    outcome = performed("refresh_source", source="stock")
    assert (outcome.state, asked(upstream)) == (State.FAILED, [])
    assert outcome.error.startswith("CacheUnavailable: ")


# refresh_due


@in_threads
def test_refresh_due_refreshes_only_what_is_due_in_every_source(upstream: DemoUpstream) -> None:
    make_stocks(upstream, "AAPL", "MSFT", "TSLA")
    make_source(name="news", base_url=upstream.url, path="/news/{key}", pinned=("technology",))
    store("stock", "AAPL", age=10, soft_ttl=60)
    store("stock", "MSFT", age=70, soft_ttl=60)
    outcome = performed("refresh_due")
    assert outcome.state == State.SUCCEEDED
    assert asked(upstream) == ["MSFT", "TSLA", "technology"]
    assert {name: result["refreshed"] for name, result in outcome.result.items()} == {"news": 1, "stock": 2}
    assert set(ApiCall.objects.values_list("run_id", flat=True)) == {outcome.run.id}


@in_threads
def test_refresh_due_with_nothing_due_asks_nobody(upstream: DemoUpstream) -> None:
    make_stocks(upstream, "AAPL")
    performed("refresh_due")
    upstream.clear()
    outcome = performed("refresh_due")
    assert (outcome.state, outcome.result, asked(upstream)) == (State.SUCCEEDED, {}, [])


@in_threads
def test_refresh_due_leaves_disabled_sources_alone(upstream: DemoUpstream) -> None:
    make_stocks(upstream, "AAPL", enabled=False)
    performed("refresh_due")
    assert asked(upstream) == []


@in_threads
def test_one_source_that_fails_does_not_stop_the_others(upstream: DemoUpstream) -> None:
    make_stocks(upstream, "AAPL", name="a-broken-one")
    make_source(name="news", base_url=upstream.url, path="/news/{key}", pinned=("technology",))
    upstream.set_fault("/stocks", "500")
    outcome = performed("refresh_due")
    assert outcome.state == State.SUCCEEDED
    assert (outcome.result["a-broken-one"]["failures"], outcome.result["news"]["refreshed"]) == (1, 1)


@in_threads
def test_when_all_sources_fail_the_run_fails(upstream: DemoUpstream) -> None:
    make_stocks(upstream, "AAPL")
    upstream.set_fault("/stocks", "500")
    outcome = performed("refresh_due")
    assert outcome.state == State.FAILED
    assert outcome.error.startswith("RefreshFailed: 1 of 1 keys of stock failed: ")


@in_threads
def test_a_source_whose_definition_is_broken_does_not_stop_the_others(upstream: DemoUpstream) -> None:
    make_stocks(upstream, "AAPL", name="a-broken-one", path="/no/placeholder")
    make_source(name="news", base_url=upstream.url, path="/news/{key}", pinned=("technology",))
    outcome = performed("refresh_due")
    assert asked(upstream) == ["technology"]
    assert outcome.state == State.SUCCEEDED
    assert outcome.result["news"]["refreshed"] == 1
    assert "BadSource" in outcome.result["a-broken-one"]["error"]


@in_threads
def test_a_source_whose_secret_is_not_set_does_not_stop_the_others(upstream: DemoUpstream) -> None:
    secrets = {"X-API-Key": "HOTDATA_SECRET_THAT_IS_NOT_SET"}
    make_stocks(upstream, "AAPL", name="a-broken-one", secret_headers=secrets)
    make_source(name="news", base_url=upstream.url, path="/news/{key}", pinned=("technology",))
    outcome = performed("refresh_due")
    assert outcome.result["news"]["refreshed"] == 1
    assert "HOTDATA_SECRET_THAT_IS_NOT_SET" in outcome.result["a-broken-one"]["error"]


# warm_up


def make_forecast(upstream: DemoUpstream) -> None:
    make_source(name="weather", base_url=upstream.url, path="/weather/{key}", pinned=CITIES)
    make_source(name="forecast", base_url=upstream.url, path="/forecast/{key}")


@pytest.mark.parametrize(
    ("now", "day"),
    [
        ("2026-11-23T15:59:59", "2026-11-24"),  # 23:59:59 in Shanghai
        ("2026-11-23T16:00:00", "2026-11-25"),  # midnight in Shanghai
        ("2026-11-23T23:59:59", "2026-11-25"),
        ("2026-12-31T16:00:00", "2027-01-02"),
    ],
)
def test_warm_up_fetches_tomorrow_by_the_calendar_of_the_jobs_zone(
    upstream: DemoUpstream, now: str, day: str
) -> None:
    make_forecast(upstream)
    job = make_job(task="warm_up", time_zone="Asia/Shanghai")
    with time_machine.travel(datetime.fromisoformat(now).replace(tzinfo=UTC)):
        outcome = performed("warm_up", job)
        assert outcome.state == State.SUCCEEDED
        assert asked(upstream) == sorted(f"{city}:{day}" for city in CITIES)
        assert hotdata.get("forecast", f"北京:{day}").value["date"] == day


def test_warm_up_can_look_further_ahead(upstream: DemoUpstream) -> None:
    make_forecast(upstream)
    with time_machine.travel(datetime(2026, 11, 23, 12, tzinfo=UTC)):
        performed("warm_up", days_ahead=3)
    assert asked(upstream) == sorted(f"{city}:2026-11-26" for city in CITIES)


def test_warm_up_asks_for_a_city_with_what_it_was_pinned_with_and_so_do_later_refreshes(
    upstream: DemoUpstream,
) -> None:
    cities = make_source(name="weather", base_url=upstream.url, path="/weather/{key}")
    cities.pinned.create(key="北京", placeholders={"area": "forecast"})
    make_source(
        name="forecast", base_url=upstream.url, path="/{area}/{key}", query={"of": "{city}", "at": "{date}"}
    )
    with time_machine.travel(datetime(2026, 11, 23, 12, tzinfo=UTC)):
        performed("warm_up")
        performed("refresh_source", source="forecast", keys=["北京:2026-11-24"])
    assert [request.path for request in upstream.requests] == ["/forecast/北京:2026-11-24"] * 2
    # Some databases keep the order of a JSON object's names, and some don't.
    asked_for = [parse_qs(request.target.partition("?")[2]) for request in upstream.requests]
    assert asked_for == [{"of": ["北京"], "at": ["2026-11-24"]}] * 2


@in_threads
def test_after_a_flush_of_redis_forecasts_are_brought_back_as_they_were_asked_for(
    upstream: DemoUpstream, redis: Redis
) -> None:
    cities = make_source(name="weather", base_url=upstream.url, path="/weather/{key}")
    for city in CITIES:
        cities.pinned.create(key=city, placeholders={"area": "forecast"})
    make_source(name="forecast", base_url=upstream.url, path="/{area}/{key}", query={"of": "{city}"})
    performed("warm_up")
    keys, warm = asked(upstream), {request.target for request in upstream.requests}
    assert len(keys) == len(warm) == len(CITIES)
    performed("refresh_due")
    upstream.clear()
    redis.flushall()
    outcome = performed("refresh_due")
    assert outcome.state == State.SUCCEEDED
    assert {name: found["refreshed"] for name, found in outcome.result.items()} == {
        "forecast": 2,
        "weather": 2,
    }
    assert {request.target for request in upstream.requests if request.path.startswith("/forecast")} == warm
    upstream.clear()
    assert all(hotdata.get("forecast", key).value["city"] == key.partition(":")[0] for key in keys)
    assert upstream.requests == []


@in_threads
def test_after_a_flush_who_reads_a_forecast_first_has_it_fetched(
    upstream: DemoUpstream, redis: Redis
) -> None:
    make_forecast(upstream)
    performed("warm_up")
    (first, *_) = warm = asked(upstream)
    redis.flushall()
    last_known.clear()
    upstream.clear()
    assert hotdata.get("forecast", first).fetched_now
    assert hotdata.get_many("forecast", warm).keys() == set(warm)
    with pytest.raises(UnknownKey):
        hotdata.get("forecast", first.replace(":2", ":1"))
    assert asked(upstream) == warm


def test_warm_up_says_which_city_can_not_be_asked_for_and_why(upstream: DemoUpstream) -> None:
    make_source(name="weather", base_url=upstream.url, path="/weather/{key}", pinned=("北京",))
    make_source(name="forecast", base_url=upstream.url, path="/{area}/{key}")
    outcome = performed("warm_up")
    assert (outcome.state, outcome.permanent, asked(upstream)) == (State.FAILED, True, [])
    assert "This key brings nothing for {area}: it is not pinned with it." in outcome.error


def test_warm_up_without_its_sources_fails_for_good() -> None:
    outcome = performed("warm_up")
    assert (outcome.state, outcome.permanent) == (State.FAILED, True)
    assert outcome.error.startswith("UnknownSource: ")


# cleanup_logs


def test_cleanup_logs_deletes_what_is_old_and_counts_it() -> None:
    long_ago = timezone.now() - timedelta(days=31)
    old = make_run(make_job(), state=State.SUCCEEDED, created_at=long_ago)
    make_call(started_at=long_ago)
    young = make_run(make_job(), state=State.SUCCEEDED)
    outcome = performed("cleanup_logs", days=30)
    assert outcome.result["runs"] == outcome.result["calls"] == {"days": 30, "deleted": 1, "kept": {}}
    assert outcome.result["edits"]["kept"] == {"edit history is never deleted": Job.history.count()}
    assert (outcome.progress_done, outcome.progress_total) == (2, 2)
    assert not Run.objects.filter(pk=old.pk).exists()
    assert Run.objects.filter(pk=young.pk).exists()


def test_cleanup_logs_deletes_only_the_kinds_that_it_is_told() -> None:
    long_ago = timezone.now() - timedelta(days=1000)
    old = make_run(make_job(), state=State.SUCCEEDED, created_at=long_ago)
    make_call(started_at=long_ago)
    assert list(performed("cleanup_logs", kinds=["calls"]).result) == ["calls"]
    assert Run.objects.filter(pk=old.pk).exists()
    assert not ApiCall.objects.exists()


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"kinds": ["rnus"]}, "kinds: .*runs[|]calls"),
        ({"kinds": ["usage"], "days": 30}, "days: between 62 and"),
    ],
)
def test_cleanup_logs_refuses_what_it_can_not_do(params: dict[str, Any], said: str) -> None:
    outcome = performed("cleanup_logs", **params)
    assert (outcome.state, outcome.permanent) == (State.FAILED, True)
    assert re.search(said, outcome.error)


def test_cleanup_logs_tells_operators_which_kinds_there_are() -> None:
    told = inspect.getdoc(registry.tasks.get("cleanup_logs").function) or ""
    assert set(RETAINED) <= set(re.findall(r"\w+", told.partition(":param kinds:")[2]))


@pytest.mark.parametrize("days", [0, -1, 10**9])
def test_cleanup_logs_refuses_days_that_no_record_can_have(days: int) -> None:
    make_run(make_job(), state=State.SUCCEEDED)
    outcome = performed("cleanup_logs", days=days)
    assert (outcome.state, outcome.permanent) == (State.FAILED, True)
    assert outcome.error.startswith("BadParams: days: Expected `int` ")


def test_a_job_with_parameters_out_of_bounds_is_refused_where_it_is_edited() -> None:
    for task, params in (("cleanup_logs", {"days": -5}), ("warm_up", {"days_ahead": 10**9})):
        with pytest.raises(ValidationError) as refused:
            Job(name="j", task=task, params=params, cron="* * * * *").full_clean()
        assert refused.value.message_dict.keys() == {"params"}


# roll_up_freshness


def test_roll_up_freshness_writes_the_hours_that_are_over_and_counts_them() -> None:
    make_source(name="stock")
    with time_machine.travel(datetime(2026, 11, 23, 10, 30, tzinfo=UTC), tick=False):
        meters.note("stock", Served.FRESH, 1.0)
        meters.flush()
    with time_machine.travel(datetime(2026, 11, 23, 11, 5, tzinfo=UTC), tick=False):
        assert performed("roll_up_freshness").result == {"hours": 1}
        assert performed("roll_up_freshness").result == {"hours": 0}
    assert FreshnessHour.objects.get().fresh == 1


def test_roll_up_freshness_without_redis_fails_and_may_be_tried_again(settings: Settings) -> None:
    make_source(name="stock")
    settings.CACHES = caches_at(f"redis://{closed_port()}/0")
    outcome = performed("roll_up_freshness")
    assert (outcome.state, outcome.permanent) == (State.FAILED, False)


# roll_up_runs


def test_runs_are_rolled_up_and_those_that_did_that_are_thinned_out() -> None:
    job = make_job(task="roll_up_runs", keep_runs=1)
    then = timezone.now() - timedelta(hours=1)
    make_run(make_job(), state=State.SUCCEEDED, created_at=then)
    totals.roll_up(timezone.now())
    for _ in range(3):
        make_run(job, state=State.SUCCEEDED, attempt=1, created_at=then, started_at=then, finished_at=then)
    run = make_run(job)
    execute(run.id, NODE)
    run.refresh_from_db()
    assert (run.state, run.result, run.notable) == (State.SUCCEEDED, {"ids": 3}, False)
    assert RunTotal.objects.get(job=job.name).counts["run succeeded"] == 3
    assert Run.objects.of_job(job.name).count() == 2, "itself, and the latest before it"


# health_check


# monthly_billing


def test_monthly_billing_issues_last_months_statement_once(settings: Settings) -> None:
    settings.HOTDATA_REPORT_MAIL = ["ada@example.com"]
    make_prices("stock", tiers="0.01")
    SourceUsage.add([SourceUsage(day=date(2026, 10, 31), source="stock", calls=250)])
    with time_machine.travel(datetime(2026, 11, 1, 3, tzinfo=UTC), tick=False):
        outcome = performed("monthly_billing", make_job(name="billing", task="monthly_billing"))
        assert outcome.result == {"made": ["monthly_billing 2026-10/1"]}
        assert "Statement 2026-10/1: 2.50 USD was issued." in outcome.log
        assert performed("monthly_billing").result == {"made": []}
    statement = Statement.objects.get()
    assert (statement.number, statement.issued_by) == ("2026-10/1", f"billing #{outcome.run.pk}")
    assert Delivery.objects.count() == 1


def test_a_month_whose_first_no_scheduler_saw_is_made_up_for() -> None:
    issue_statement("2026-07")
    with time_machine.travel(datetime(2026, 11, 1, 3, tzinfo=UTC), tick=False):
        outcome = performed("monthly_billing")
    assert outcome.result == {"made": [f"monthly_billing 2026-{month}/1" for month in ("08", "09", "10")]}


def check_health(job: Job) -> Run:
    run = make_run(job)
    assert execute(run.id, NODE) is not None
    return Run.objects.get(pk=run.pk)


def test_a_health_check_succeeds_and_reports_whatever_it_finds() -> None:
    run = check_health(make_job(task="health_check"))
    assert run.state == State.SUCCEEDED
    assert run.result["state"] == "down"  # nobody leads
    assert run.result["parts"]["database"]["state"] == "ok"
    assert run.result["parts"]["scheduler"]["state"] == "down"


def test_a_health_check_puts_every_component_on_record_and_what_changed(settings: Settings) -> None:
    job = make_job(task="health_check")
    make_source(name="stock")
    check_health(job)
    check_health(job)
    names = ["database", "jobs", "migrations", "redis", "scheduler", "source:stock"]
    assert list(Component.objects.values_list("name", flat=True)) == names
    assert sorted(ComponentChange.objects.values_list("component", flat=True)) == names
    settings.CACHES = caches_at(f"redis://{closed_port()}/0")
    check_health(job)
    change = ComponentChange.objects.get(component="redis", before="ok")
    assert (change.after, change.detail) == ("down", Component.objects.get(name="redis").detail)


def test_a_health_check_is_notable_when_it_found_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    job = make_job(task="health_check", keep_runs=100)
    notable = []
    for state in (Health.OK, Health.OK, Health.DOWN, Health.DOWN, Health.OK):
        monkeypatch.setattr(
            health, "check", lambda state=state: Report(parts={"redis": Part(state=state, detail="")})
        )
        notable.append(check_health(job).notable)
    assert notable == [True, False, True, False, True]


def test_a_health_check_that_can_not_be_put_on_record_fails_and_is_notable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(report: Report) -> list[ComponentChange]:
        raise OperationalError("database is locked")

    monkeypatch.setattr(components, "record", fail)
    run = check_health(make_job(task="health_check"))
    assert (run.state, run.notable) == (State.FAILED, True)


def test_health_checks_keep_their_latest_hundred_and_what_changed() -> None:
    job = make_job(task="health_check", keep_runs=100)
    changed = make_run(job, state=State.SUCCEEDED, result={"state": "ok"}, notable=True)
    Run.objects.bulk_create(
        Run(
            job=job,
            task=job.task,
            cause="schedule",
            state=State.SUCCEEDED,
            scheduled_for=timezone.now() - timedelta(seconds=10 * number),
            created_at=timezone.now(),
            ready_at=timezone.now(),
            finished_at=timezone.now(),
            result={"state": "down"},
        )
        for number in range(150)
    )
    components.record(health.check())
    check = check_health(job)
    kept = Run.objects.of_job(job.name)
    assert kept.filter(pk=changed.pk).exists()
    assert not check.notable
    assert kept.exclude(pk__in=[changed.pk, check.pk]).count() == 100


def test_a_health_check_without_redis_reports_that_and_does_not_fail(settings: Settings) -> None:
    settings.CACHES = caches_at(f"redis://{closed_port()}/0")
    run = check_health(make_job(task="health_check"))
    assert (run.state, run.result["parts"]["redis"]["state"]) == (State.SUCCEEDED, "down")


def test_every_built_in_task_is_described_for_operators() -> None:
    for name in (
        "refresh_source",
        "refresh_due",
        "warm_up",
        "cleanup_logs",
        "roll_up_freshness",
        "roll_up_runs",
        "health_check",
    ):
        assert registry.tasks.get(name).description.endswith(".")


# Reports


def test_reports_are_made_once_in_the_name_of_their_run() -> None:
    with time_machine.travel(datetime(2026, 11, 30, 9, tzinfo=UTC), tick=False):
        daily, weekly, again = (performed(task) for task in ("daily_report", "weekly_report", "daily_report"))
    assert daily.result == {"made": ["daily_report 2026-11-29"]}
    assert weekly.result == {"made": ["weekly_report 2026-W48"]}
    assert (again.state, again.result) == (State.SUCCEEDED, {"made": []})
    made_by = models.Report.objects.values_list("kind", "made_by")
    assert dict(made_by) == {
        outcome.run.task: f"{outcome.run.job_id} #{outcome.run.pk}" for outcome in (daily, weekly)
    }
    assert "daily_report 2026-11-29 was made: Daily report 2026-11-29" in daily.log


def test_a_report_that_is_due_at_midnight_waits_until_the_day_is_on_record() -> None:
    with time_machine.travel(datetime(2026, 11, 30, 0, 0, 59, 500_000, tzinfo=UTC)):
        outcome = performed("daily_report")
    assert outcome.result == {"made": ["daily_report 2026-11-29"]}


def test_a_statement_that_is_due_at_midnight_waits_until_the_month_is_on_record() -> None:
    with time_machine.travel(datetime(2026, 12, 1, 0, 0, 59, 500_000, tzinfo=UTC)):
        outcome = performed("monthly_billing")
    assert outcome.result == {"made": ["monthly_billing 2026-11/1"]}
