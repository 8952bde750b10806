"""What the database itself refuses, whoever writes: each constraint is broken behind the models' back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.apps import apps
from django.db import IntegrityError, models, transaction

from hotdata.models import (
    Alert,
    ApiCall,
    ChangeCounter,
    Cleaning,
    Component,
    Delivery,
    FreshnessHour,
    HotKey,
    Job,
    Key,
    Lease,
    Node,
    PriceList,
    Provided,
    Report,
    Run,
    Silence,
    Source,
    SourceUsage,
    Statement,
    StatementLine,
    TokenUsage,
    TotalsCursor,
)
from hotdata.models.runs import ACTIVE, FINISHED, Cause, State
from tests.builders import make_job, make_run, make_source

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 23, 14, 50, tzinfo=UTC)
SECOND = timedelta(seconds=1)

BROKEN_JOBS: list[tuple[str, dict[str, Any]]] = [
    ("job_trigger_", {"trigger": "moon"}),  # both checks of the trigger refuse it
    ("job_trigger_complete", {"cron": ""}),
    ("job_trigger_complete", {"trigger": "interval"}),
    ("job_trigger_complete", {"trigger": "interval", "interval": timedelta(0)}),
    ("job_trigger_complete", {"trigger": "interval", "interval": -SECOND}),
    ("job_trigger_complete", {"trigger": "date"}),
    ("job_overlap_known", {"overlap": "maybe"}),
    ("job_isolation_known", {"isolation": "island"}),
    ("job_max_instances_positive", {"max_instances": 0}),
    ("job_jitter_not_negative", {"jitter": -SECOND}),
    ("job_ends_after_start", {"starts_at": NOW, "ends_at": NOW - SECOND}),
    ("job_retry_delays_in_order", {"retry_delay": -SECOND}),
    ("job_retry_delays_in_order", {"retry_delay": 2 * SECOND, "retry_delay_max": SECOND}),
]

BROKEN_RUNS: list[tuple[str, dict[str, Any]]] = [
    ("run_", {"state": "lost", "finished_at": None}),  # so does any check that lists states
    ("run_cause_known", {"cause": "weather"}),
    ("run_scheduled_has_due_time", {"cause": Cause.SCHEDULE}),
    ("run_scheduled_has_due_time", {"scheduled_for": NOW}),
    *[("run_finished_has_end", {"state": state}) for state in FINISHED],
    *[("run_finished_has_end", {"state": state, "started_at": NOW, "finished_at": NOW}) for state in ACTIVE],
    ("run_running_has_start", {"state": State.RUNNING}),
    ("run_held_waits", {"held": True, "node": "a-node"}),
    ("run_held_waits", {"held": True, "node": "", "state": State.RUNNING, "started_at": NOW}),
]

BROKEN_SOURCES: list[tuple[str, dict[str, Any]]] = [
    ("source_ttls_in_order", {"soft_ttl": timedelta(0)}),
    ("source_ttls_in_order", {"soft_ttl": 2 * SECOND, "hard_ttl": SECOND}),
    ("source_timeout_positive", {"timeout": timedelta(0)}),
    *[("source_budget_positive", {name: 0}) for name in ("concurrency", "calls_per_minute", "burst")],
    ("source_batch_size_positive", {"batch_size": 0}),
    ("source_breaker_positive", {"breaker_failures": 0}),
    ("source_breaker_positive", {"breaker_pause": timedelta(0)}),
    *[
        ("source_times_positive", {name: timedelta(0)})
        for name in ("absent_ttl", "refresh_after", "max_age", "objective_age")
    ],
    ("source_ages_in_order", {"refresh_after": 2 * SECOND, "max_age": SECOND}),
    ("source_objective_is_share", {"objective_share": -0.1}),
    ("source_objective_is_share", {"objective_share": 1.1}),
    ("source_key_policy_known", {"key_policy": "some"}),
    ("source_pattern_given", {"key_policy": "pattern"}),
    ("source_value_kind_known", {"value_kind": "integer"}),
    ("source_failed_share_is_share", {"max_failed_share": -0.1}),
    ("source_failed_share_is_share", {"max_failed_share": 1.1}),
]

BROKEN_KEYS: list[tuple[str, dict[str, Any]]] = [
    ("key_not_empty", {"key": ""}),
    ("key_weight_in_range", {"weight": 0}),
    ("key_weight_in_range", {"weight": -1}),
    ("key_weight_in_range", {"weight": 1001}),
]

# Rows of the other models that break a constraint, each where a row like `there()` stands already.
CALL = {"source": "s", "keys": "K", "url": "https://a.example/", "started_at": NOW, "duration": SECOND}
PRICES = {"valid_from": "2026-10", "currency": "USD", "tiers": "1"}
LINE = {"statement_id": "not-yet", "source": "s", "count": 1, "failed": 0, "size": 0, "charged": 1}
REPORT = {"kind": "k", "period": "2026-11-25", "data": {}, "records": 0, "made_at": NOW, "made_by": "x"}
THAT_DAY, NEXT_DAY = NOW.date(), NOW.date() + timedelta(days=1)
ALERT = {"kind": "failing", "subject": "a", "summary": "x", "opened_at": NOW, "seen_at": NOW}
MAIL = {"channel": "mail", "recipient": "a@example.com", "about": "alert", "created_at": NOW}
BROKEN_ROWS: list[tuple[str, models.Model]] = [
    ("alert_open_once", Alert(**ALERT)),
    ("delivery_state_known", Delivery(state="lost", **MAIL)),
    ("silence_of_known", Silence(of="key", name="a", until=NOW, by="ada", created_at=NOW)),
    ("call_outcome_known", ApiCall(outcome="perhaps", **CALL)),
    ("component_state_known", Component(name="redis", state="unwell", since=NOW, checked_at=NOW)),
    ("changecounter_single_row", ChangeCounter(id=2)),
    ("cleaning_single_row", Cleaning(id=2)),
    ("lease_single_row", Lease(id=2)),
    ("totalscursor_single_row", TotalsCursor(id=2, runs=0, accounts=0, moved_at=NOW)),
    ("provided_once", Provided(kind="job", name="a")),
    ("freshness_hour_once", FreshnessHour(source="s", hour=NOW)),
    ("source_usage_once", SourceUsage(day=NOW.date(), source="s")),
    ("token_usage_once", TokenUsage(day=NOW.date(), source="s", token="t")),
    ("price_list_kind_known", PriceList(source="s", kind="moods", **PRICES)),
    ("price_list_once", PriceList(source="s", kind="calls", **PRICES)),
    ("statement_revision_positive", Statement(number="n", month="2026-10", revision=0, issued_at=NOW)),
    ("statement_once", Statement(number="another", month="2026-10", revision=1, issued_at=NOW)),
    ("statement_line_kind_known", StatementLine(kind="moods", **LINE)),
    ("statement_line_once", StatementLine(kind="calls", **LINE)),
    ("hotkey_remembered_once", HotKey(source="s", key="K", reads_per_minute=2, seen_at=NOW)),
    ("report_once", Report(first=THAT_DAY, after=NEXT_DAY, **REPORT)),
    ("report_days_in_order", Report(first=NEXT_DAY, after=NEXT_DAY, **REPORT)),
]


def refused() -> Any:
    """Expect the database to refuse what happens inside, and keep the test's own transaction usable."""
    return pytest.raises(IntegrityError)


@pytest.mark.parametrize(("constraint", "fields"), BROKEN_JOBS)
def test_a_job_that_makes_no_sense_is_refused(constraint: str, fields: dict[str, Any]) -> None:
    job = make_job()
    with refused() as error, transaction.atomic():
        Job.objects.filter(pk=job.pk).update(**fields)
    assert constraint in str(error.value)


@pytest.mark.parametrize(("constraint", "fields"), BROKEN_JOBS)
def test_a_new_job_that_makes_no_sense_is_refused(constraint: str, fields: dict[str, Any]) -> None:
    with refused() as error, transaction.atomic():
        Job.objects.bulk_create([Job(**({"name": "j", "task": "t", "cron": "* * * * *"} | fields))])
    assert constraint in str(error.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"starts_at": NOW, "ends_at": NOW},
        {"starts_at": NOW},
        {"ends_at": NOW},
        {"retry_delay": timedelta(0), "retry_delay_max": timedelta(0)},
        {"trigger": "interval", "interval": SECOND, "cron": ""},
        {"trigger": "date", "run_at": NOW, "cron": ""},
    ],
)
def test_a_job_at_the_edge_of_sense_is_accepted(fields: dict[str, Any]) -> None:
    job = make_job()
    assert Job.objects.filter(pk=job.pk).update(**fields) == 1


@pytest.mark.parametrize(("constraint", "fields"), BROKEN_RUNS)
def test_a_run_that_makes_no_sense_is_refused(constraint: str, fields: dict[str, Any]) -> None:
    run = make_run(make_job())
    with refused() as error, transaction.atomic():
        Run.objects.filter(pk=run.pk).update(**fields)
    assert constraint in str(error.value)


def test_a_due_time_has_one_account() -> None:
    job, other = make_job(), make_job()
    scheduled = {"cause": Cause.SCHEDULE, "scheduled_for": NOW}
    make_run(job, **scheduled)
    make_run(other, **scheduled)
    make_run(job, cause=Cause.SCHEDULE, scheduled_for=NOW + SECOND)
    with refused(), transaction.atomic():
        make_run(job, state=State.MISSED, **scheduled)
    assert Run.objects.count() == 3


def test_runs_that_no_due_time_caused_may_be_many() -> None:
    job = make_job()
    for _ in range(3):
        make_run(job)
    assert Run.objects.of_job(job.name).count() == 3


@pytest.mark.parametrize(("constraint", "fields"), BROKEN_SOURCES)
def test_a_source_that_makes_no_sense_is_refused(constraint: str, fields: dict[str, Any]) -> None:
    source = make_source()
    with refused() as error, transaction.atomic():
        Source.objects.filter(pk=source.pk).update(**fields)
    assert constraint in str(error.value)


@pytest.mark.parametrize(("constraint", "row"), BROKEN_ROWS)
def test_a_row_of_another_model_that_makes_no_sense_is_refused(constraint: str, row: models.Model) -> None:
    Alert.objects.create(**ALERT)
    Provided.objects.create(kind="job", name="a")
    FreshnessHour.objects.create(source="s", hour=NOW)
    HotKey.objects.create(source="s", key="K", reads_per_minute=1, seen_at=NOW)
    SourceUsage.objects.create(day=NOW.date(), source="s")
    TokenUsage.objects.create(day=NOW.date(), source="s", token="t")
    PriceList.objects.create(source="s", kind="calls", **PRICES)
    Statement.objects.create(number="one", month="2026-10", revision=1, issued_at=NOW)
    StatementLine.objects.create(kind="calls", **LINE)
    Report.objects.create(first=THAT_DAY, after=NEXT_DAY, **REPORT)
    with refused(), transaction.atomic():
        type(row)._default_manager.bulk_create([row])
    Statement.objects.create(number="not-yet", month="2026-10", revision=2, issued_at=NOW)


@pytest.mark.parametrize(
    "fields",
    [
        {"key_policy": "pattern", "key_pattern": "[A-Z]+"},
        {"key_policy": "any", "key_pattern": ""},
        {"refresh_after": SECOND, "max_age": SECOND},
        {"refresh_after": None, "max_age": None, "absent_ttl": None, "objective_age": None},
        {"objective_share": 1},
    ],
)
def test_a_source_at_the_edge_of_sense_is_accepted(fields: dict[str, Any]) -> None:
    source = make_source()
    assert Source.objects.filter(pk=source.pk).update(**fields) == 1


@pytest.mark.parametrize(("constraint", "fields"), BROKEN_KEYS)
def test_a_pinned_key_that_makes_no_sense_is_refused(constraint: str, fields: dict[str, Any]) -> None:
    source = make_source(pinned=("AAPL",))
    with refused() as error, transaction.atomic():
        source.pinned.update(**fields)
    assert constraint in str(error.value)


def test_a_key_is_pinned_once_per_source() -> None:
    source = make_source(pinned=("AAPL",))
    make_source(pinned=("AAPL",))
    with refused(), transaction.atomic():
        Key.objects.bulk_create([Key(source=source, key="AAPL")])


@pytest.mark.parametrize("model", [Job, Source, Node])
def test_a_name_is_taken_once(model: type[models.Model]) -> None:
    rows: dict[Any, dict[str, Any]] = {
        Job: {"task": "t", "cron": "* * * * *"},
        Source: {},
        Node: {"host": "h", "pid": 1, "version": "0"},
    }
    model._default_manager.bulk_create([model(name="taken", **rows[model])])
    with refused(), transaction.atomic():
        model._default_manager.bulk_create([model(name="taken", **rows[model])])


def test_every_check_of_every_model_is_broken_here() -> None:
    declared = {
        constraint.name
        for model in apps.get_app_config("hotdata").get_models()
        for constraint in model._meta.constraints
    }
    broken = {name for name, _ in [*BROKEN_JOBS, *BROKEN_RUNS, *BROKEN_SOURCES, *BROKEN_KEYS, *BROKEN_ROWS]}
    assert declared - broken == {
        # Values that nothing else knows either, above.
        "job_trigger_known",
        "run_state_known",
        # In tests of their own.
        "run_one_account_per_due_time",
        "key_pinned_once",
    }
