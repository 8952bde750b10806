"""Runs and calls are found along indexes, and nothing looks at a whole table."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from hotdata.models import ApiCall, Run
from hotdata.models.runs import ACTIVE, FAILURES, NEVER_STARTED, Cause, State
from hotdata.observing import finding
from hotdata.observing.calls import CallSearch
from hotdata.observing.finding import Found, bounded_count
from hotdata.observing.runs import RunSearch
from tests.builders import make_call, make_job, make_run

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


def ids(found: Found) -> list[int]:
    return list(found.rows.values_list("id", flat=True))


@pytest.fixture
def runs() -> dict[str, Run]:
    """One run of each kind, an hour apart, the oldest first."""
    job, other = make_job(name="update", title="Stock quotes"), make_job(name="other")
    now = timezone.now()
    kinds: dict[str, dict[str, Any]] = {
        "failed": {"state": State.FAILED, "error": "UpstreamStatus: 503 from a < b"},
        "succeeded": {"state": State.SUCCEEDED},
        "by api": {"state": State.SUCCEEDED, "cause": Cause.API},
        "abandoned": {"state": State.ABANDONED, "reason": "Its node died."},
        "skipped": {"state": State.SKIPPED, "cause": Cause.SCHEDULE, "scheduled_for": now},
        "other": {"state": State.SUCCEEDED, "job": other},
        "other failed": {"state": State.FAILED, "job": other, "cause": Cause.API},
        "running": {"state": State.RUNNING},
        "queued": {"state": State.QUEUED, "job": other},
    }
    return {
        name: make_run(fields.pop("job", job), created_at=now - HOUR * (len(kinds) - at), **fields)
        for at, (name, fields) in enumerate(kinds.items())
    }


SEARCHES: list[tuple[RunSearch, list[str]]] = [
    (
        RunSearch(),
        [
            "queued",
            "running",
            "other failed",
            "other",
            "skipped",
            "abandoned",
            "by api",
            "succeeded",
            "failed",
        ],
    ),
    (RunSearch(job="update"), ["running", "skipped", "abandoned", "by api", "succeeded", "failed"]),
    (RunSearch(states=frozenset(FAILURES)), ["other failed", "abandoned", "failed"]),
    (RunSearch(states=frozenset(FAILURES), job="update"), ["abandoned", "failed"]),
    (RunSearch(states=frozenset([State.ABANDONED])), ["abandoned"]),
    (RunSearch(states=frozenset(NEVER_STARTED)), ["skipped"]),
    (RunSearch(states=frozenset([State.SUCCEEDED])), ["other", "by api", "succeeded"]),
    (RunSearch(states=frozenset([State.SUCCEEDED]), job="update"), ["by api", "succeeded"]),
    (RunSearch(states=frozenset(ACTIVE)), ["queued", "running"]),
    (RunSearch(states=frozenset(ACTIVE), job="other"), ["queued"]),
    (RunSearch(states=frozenset([State.RUNNING])), ["running"]),
    (RunSearch(cause=Cause.API), ["other failed", "by api"]),
    (RunSearch(cause=Cause.API, job="update"), ["by api"]),
    (RunSearch(cause=Cause.API, states=frozenset(FAILURES)), ["other failed"]),
    (RunSearch(cause=Cause.SCHEDULE), ["skipped"]),
    (RunSearch(cause=Cause.CLI), []),
    (RunSearch(text="update"), ["running", "skipped", "abandoned", "by api", "succeeded", "failed"]),
    (RunSearch(text="quotes"), ["running", "skipped", "abandoned", "by api", "succeeded", "failed"]),
    (RunSearch(text="update", job="other"), []),
    (RunSearch(text="503 FROM a <"), ["failed"]),
    (RunSearch(text="node died"), ["abandoned"]),
    (RunSearch(text="node died", job="other"), []),
    (RunSearch(text="other", job="other", cause=Cause.API), ["other failed"]),
    (RunSearch(text="%"), []),
]


@pytest.mark.parametrize(("search", "expected"), SEARCHES)
def test_runs_are_found_newest_first(runs: dict[str, Run], search: RunSearch, expected: list[str]) -> None:
    assert ids(search.find()) == [runs[name].id for name in expected]


def test_a_run_is_found_by_its_number(runs: dict[str, Run]) -> None:
    for text in (str(runs["failed"].id), f" #{runs['failed'].id} "):
        assert ids(RunSearch(text=text).find()) == [runs["failed"].id]
    assert ids(RunSearch(text=str(runs["failed"].id), job="other").find()) == []
    assert ids(RunSearch(text=str(runs["failed"].id), states=frozenset([State.SUCCEEDED])).find()) == []


def test_a_number_that_no_run_has_is_looked_for_in_errors(runs: dict[str, Run]) -> None:
    Run.objects.filter(id=503).delete()
    assert ids(RunSearch(text="503").find()) == [runs["failed"].id]
    assert ids(RunSearch(text="#503").find()) == []


@pytest.mark.parametrize("text", ["9" * 18, "9" * 30, "²", "#", "١"])
def test_numbers_that_no_run_has_find_none(runs: dict[str, Run], text: str) -> None:
    assert ids(RunSearch(text=text).find()) == []


def test_runs_of_several_jobs_are_found_by_a_part_of_their_names(runs: dict[str, Run]) -> None:
    make_job(name="otherwise")
    found = RunSearch(text="othe", states=frozenset([State.SUCCEEDED])).find()
    assert ids(found) == [runs["other"].id]


def test_runs_are_found_by_the_time_they_were_made(runs: dict[str, Run]) -> None:
    now = timezone.now()
    last = [runs["queued"].id, runs["running"].id]
    assert ids(RunSearch(since=now - 2.5 * HOUR).find()) == last
    assert ids(RunSearch(since=now - 3.5 * HOUR, states=frozenset(FAILURES)).find()) == [
        runs["other failed"].id
    ]
    between = RunSearch(since=now - 4.5 * HOUR, until=now - 2.5 * HOUR)
    assert ids(between.find()) == [runs["other failed"].id, runs["other"].id]
    assert ids(RunSearch(since=now + HOUR).find()) == []
    assert len(ids(RunSearch(until=now + HOUR).find())) == len(runs)
    assert ids(RunSearch(until=now - 2000 * HOUR).find()) == []


def test_a_search_goes_on_where_another_left_off(runs: dict[str, Run]) -> None:
    assert ids(RunSearch(before=runs["succeeded"].id).find()) == [runs["failed"].id]
    assert ids(RunSearch(before=runs["abandoned"].id, cause=Cause.API).find()) == [runs["by api"].id]


def test_what_only_rows_tell_is_asked_of_the_latest(
    monkeypatch: pytest.MonkeyPatch, runs: dict[str, Run]
) -> None:
    monkeypatch.setattr(finding, "LOOKED_THROUGH", 2)
    first = RunSearch(states=frozenset([State.SUCCEEDED])).find()
    assert ids(first) == []
    assert first.horizon == runs["other failed"].id
    second = RunSearch(states=frozenset([State.SUCCEEDED]), before=first.horizon + 1).find()
    assert ids(second) == [runs["other"].id]
    said = RunSearch(text="503 from").find()
    assert (ids(said), said.horizon) == ([], runs["abandoned"].id)


def test_a_text_that_is_a_part_of_another_jobs_name_is_looked_for_in_the_errors_of_the_one(
    runs: dict[str, Run],
) -> None:
    make_job(name="upstream_check")
    assert ids(RunSearch(text="upstream", job="update").find()) == [runs["failed"].id]


@pytest.mark.parametrize(
    "search", [RunSearch(), RunSearch(states=frozenset(FAILURES)), RunSearch(job="update")]
)
def test_what_comes_after_a_place_goes_on_along_the_same_way(runs: dict[str, Run], search: RunSearch) -> None:
    found = search.find()
    everything = ids(found)
    assert list(found.after(everything[0]).values_list("id", flat=True)) == everything[1:]


def test_nothing_is_left_out_where_an_index_tells_all(
    monkeypatch: pytest.MonkeyPatch, runs: dict[str, Run]
) -> None:
    monkeypatch.setattr(finding, "LOOKED_THROUGH", 1)
    for search in (RunSearch(), RunSearch(job="update"), RunSearch(states=frozenset(FAILURES), job="update")):
        assert search.find().horizon is None


def test_a_count_ends_at_its_limit(runs: dict[str, Run]) -> None:
    assert bounded_count(RunSearch().find().rows, 5) == 6
    assert bounded_count(RunSearch().find().rows, 50) == len(runs)


# Calls


@pytest.fixture
def calls() -> dict[str, ApiCall]:
    """One call of each kind, an hour apart, the oldest first."""
    now = timezone.now()
    kinds: dict[str, dict[str, Any]] = {
        "failed": {"outcome": ApiCall.Outcome.FAILED, "error": "UpstreamStatus: 503"},
        "ok": {"keys": "AAPL,北京"},
        "news": {"source": "news", "outcome": ApiCall.Outcome.NOT_MODIFIED},
        "news failed": {"source": "news", "outcome": ApiCall.Outcome.FAILED},
    }
    return {
        name: make_call(**({"started_at": now - HOUR * (len(kinds) - at)} | fields))
        for at, (name, fields) in enumerate(kinds.items())
    }


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        (CallSearch(), ["news failed", "news", "ok", "failed"]),
        (CallSearch(source="news"), ["news failed", "news"]),
        (CallSearch(outcome=ApiCall.Outcome.FAILED), ["news failed", "failed"]),
        (CallSearch(outcome=ApiCall.Outcome.FAILED, source="news"), ["news failed"]),
        (CallSearch(outcome=ApiCall.Outcome.NOT_MODIFIED), ["news"]),
        (CallSearch(source="stock", outcome=ApiCall.Outcome.OK), ["ok"]),
        (CallSearch(text="北京"), ["ok"]),
        (CallSearch(text="503", source="stock"), ["failed"]),
        (CallSearch(run=999), []),
    ],
)
def test_calls_are_found_newest_first(
    calls: dict[str, ApiCall], search: CallSearch, expected: list[str]
) -> None:
    assert ids(search.find()) == [calls[name].id for name in expected]


def test_the_calls_of_a_run_are_found_within_its_time(calls: dict[str, ApiCall]) -> None:
    now = timezone.now()
    run = make_run(
        make_job(), state=State.SUCCEEDED, created_at=now - 3.5 * HOUR, finished_at=now - 1.5 * HOUR
    )
    ApiCall.objects.update(run_id=run.id)
    assert ids(CallSearch(run=run.id).find()) == [calls["news"].id, calls["ok"].id]
    Run.objects.update(state=State.RUNNING, started_at=now, finished_at=None)
    assert ids(CallSearch(run=run.id).find()) == [calls["news failed"].id, calls["news"].id, calls["ok"].id]


def test_calls_are_found_by_their_time(calls: dict[str, ApiCall]) -> None:
    now = timezone.now()
    assert ids(CallSearch(since=now - 2.5 * HOUR).find()) == [calls["news failed"].id, calls["news"].id]
    assert ids(CallSearch(until=now - 2.5 * HOUR).find()) == [calls["ok"].id, calls["failed"].id]
    assert ids(CallSearch(before=calls["ok"].started_at).find()) == [calls["failed"].id]


# Ways


@pytest.fixture
def _as_if_large() -> Iterator[None]:
    """PostgreSQL prefers to read a small table whole; asked not to, it tells whether it has another way."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute("SET LOCAL enable_sort = off")
            cursor.execute("SET LOCAL enable_bitmapscan = off")
    return


WAYS: list[tuple[RunSearch | CallSearch, str]] = [
    (RunSearch(), r"hotdata_run_pkey|SCAN hotdata_run$"),
    (RunSearch(before=5), "hotdata_run_pkey|INTEGER PRIMARY KEY"),
    (RunSearch(job="update"), "run_of_job_by_time"),
    (RunSearch(job="update", cause=Cause.SCHEDULE), "run_of_job_by_time"),
    (RunSearch(states=frozenset(FAILURES)), "run_unsuccessful"),
    (RunSearch(states=frozenset([State.MISSED]), job="update", before=5), "run_unsuccessful"),
    (RunSearch(text="a part of an error"), "run_unsuccessful"),
    (RunSearch(cause=Cause.MANUAL), "run_unscheduled"),
    (RunSearch(cause=Cause.MANUAL, job="update", before=5), "run_unscheduled|run_of_job_by_time"),
    (CallSearch(), "call_by_age"),
    (CallSearch(source="stock"), "call_of_source"),
    (CallSearch(outcome=ApiCall.Outcome.FAILED), "call_failed"),
    (CallSearch(outcome=ApiCall.Outcome.FAILED, source="stock"), "call_failed"),
]


@pytest.mark.usefixtures("_as_if_large")
@pytest.mark.parametrize(("search", "way"), WAYS)
def test_each_search_walks_along_an_index(search: RunSearch | CallSearch, way: str) -> None:
    plan = search.find().rows[:50].explain()
    assert re.search(way, plan), plan
    assert "TEMP B-TREE" not in plan, plan
    assert "Sort" not in plan, plan


@pytest.mark.usefixtures("_as_if_large")
@pytest.mark.parametrize("states", [frozenset(ACTIVE), frozenset([State.RUNNING])])
def test_what_has_not_ended_is_found_by_its_own_index(states: frozenset[State]) -> None:
    assert re.search("run_active_of_job|run_waiting", RunSearch(states=states).find().rows[:50].explain())
