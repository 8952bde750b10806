"""Records of due times that came to nothing: one for as long as nothing changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from hotdata.models import Job, Run, accounts
from hotdata.models.runs import OVERTAKEN, Cause, State
from tests.builders import make_job

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)

pytestmark = pytest.mark.django_db


def account(job: Job, at: datetime, state: State = State.SKIPPED, **fields: Any) -> Run:
    """An unsaved record of the job's due time `at`."""
    ended = None if state == State.QUEUED else at
    values = {"cause": Cause.SCHEDULE, "scheduled_for": at, "created_at": at, "ready_at": at}
    return Run(
        job=job, task=job.task, state=state, finished_at=ended, **(values | {"reason": "busy"} | fields)
    )


def spans(job: Job) -> list[tuple[str, datetime | None, datetime | None, int]]:
    """What the job's records stand for: state, first and last due time, and how many there are."""
    runs = Run.objects.of_job(job.name).order_by("scheduled_for")
    return [(r.state, r.coalesced_since or r.scheduled_for, r.scheduled_for, 1 + r.coalesced) for r in runs]


def test_skips_of_an_hour_are_one_record() -> None:
    job = make_job()
    for number in range(60):
        accounts.put_down([account(job, START + number * SECOND)])
    assert spans(job) == [(State.SKIPPED, START, START + 59 * SECOND, 60)]
    assert Run.objects.get().finished_at == START + 59 * SECOND


def test_what_stands_for_several_due_times_is_taken_in_whole() -> None:
    job = make_job()
    accounts.put_down([account(job, START + 2 * SECOND, coalesced=2, coalesced_since=START)])
    later = account(job, START + 6 * SECOND, coalesced=3, coalesced_since=START + 3 * SECOND)
    accounts.put_down([later])
    assert spans(job) == [(State.SKIPPED, START, START + 6 * SECOND, 7)]


@pytest.mark.parametrize(
    "later",
    [{"reason": "another"}, {"state": State.MISSED}, {"params": {"days": 1}}],
    ids=["reason", "state", "parameters"],
)
def test_another_fate_is_another_record(later: dict[str, Any]) -> None:
    job = make_job()
    accounts.put_down([account(job, START)])
    accounts.put_down([account(job, START + SECOND, **later)])
    assert len(spans(job)) == 2


def test_a_run_in_between_ends_a_record() -> None:
    job = make_job()
    for second, state in enumerate([State.SKIPPED, State.QUEUED, State.SKIPPED]):
        accounts.put_down([account(job, START + second * SECOND, state)])
    assert [count for *_, count in spans(job)] == [1, 1, 1]


def test_of_one_claim_only_the_first_record_can_go_on_with_an_earlier_one() -> None:
    """The skipped one comes after a run, although the job's record before that run says the same."""
    job = make_job()
    accounts.put_down([account(job, START)])
    accounts.put_down([account(job, START + SECOND, State.QUEUED), account(job, START + 2 * SECOND)])
    assert [state for state, *_ in spans(job)] == [State.SKIPPED, State.QUEUED, State.SKIPPED]


def test_jobs_keep_their_records_apart() -> None:
    one, other = make_job(), make_job()
    accounts.put_down([account(one, START)])
    accounts.put_down([account(one, START + SECOND), account(other, START + SECOND)])
    assert spans(one) == [(State.SKIPPED, START, START + SECOND, 2)]
    assert spans(other) == [(State.SKIPPED, START + SECOND, START + SECOND, 1)]


def test_after_a_day_a_record_is_closed() -> None:
    """Else clean-up, which goes by age, would take yesterday's due times with those of last month."""
    job = make_job()
    accounts.put_down([account(job, START)])
    accounts.put_down([account(job, START + 24 * HOUR)])
    assert len(spans(job)) == 2


def test_an_earlier_due_time_is_not_taken_in() -> None:
    """The clock was set back, and the job edited."""
    job = make_job()
    accounts.put_down([account(job, START)])
    accounts.put_down([account(job, START - HOUR)])
    assert [first for _, first, _, _ in spans(job)] == [START - HOUR, START]


def test_when_one_can_not_be_put_down_none_is_extended() -> None:
    job = make_job()
    accounts.put_down([account(job, START)])
    twice = [account(job, START + 2 * SECOND, State.QUEUED) for _ in range(2)]
    with pytest.raises(IntegrityError), transaction.atomic():
        accounts.put_down([account(job, START + SECOND), *twice])
    assert spans(job) == [(State.SKIPPED, START, START, 1)]


def test_what_overtakes_a_record_that_clean_up_deletes_is_a_record_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = make_job()
    accounts.put_down([account(job, START, reason=OVERTAKEN)])
    accounts.put_down([account(job, START + SECOND, State.QUEUED, reason="")])
    extend = accounts._extend

    def clean_up_and_extend(pairs: list[tuple[Run, Run]]) -> list[Run]:
        assert len(pairs) == 1
        Run.objects.filter(pk=pairs[0][0].pk).delete()
        return extend(pairs)

    monkeypatch.setattr(accounts, "_extend", clean_up_and_extend)
    accounts.overtake([job.name], START + 2 * SECOND)
    assert spans(job) == [(State.SKIPPED, START + SECOND, START + SECOND, 1)]


def test_to_overtake_runs_of_many_jobs_costs_no_more_statements_than_of_one() -> None:
    def cost(jobs: list[Job], at: datetime) -> int:
        accounts.put_down([account(job, at, State.QUEUED) for job in jobs])
        with CaptureQueriesContext(connection) as captured:
            accounts.overtake([job.name for job in jobs], at)
        return len(captured)

    jobs = [make_job() for _ in range(20)]
    cost(jobs, START)
    assert cost(jobs, START + SECOND) == cost(jobs[:1], START + 2 * SECOND)
    assert Run.objects.count() == 20


def test_many_jobs_cost_no_more_statements_than_one() -> None:
    def cost(jobs: list[Job], at: datetime) -> int:
        with CaptureQueriesContext(
            connection,
        ) as captured:
            accounts.put_down([account(job, at) for job in jobs])
        return len(captured)

    jobs = [make_job() for _ in range(20)]
    accounts.put_down([account(job, START) for job in jobs])
    assert cost(jobs, START + SECOND) == cost(jobs[:1], START + 2 * SECOND)
    assert Run.objects.count() == 20
