"""The judge of the books: whether each due time has one account, each attempt began once, and all came to an end.

It reads nothing but the records and what tasks wrote into a file, and computes due times by itself: a mistake
in the product's own arithmetic shows as a gap or an overlap.
"""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from hotdata.models import Job, Run
from hotdata.models.runs import ACTIVE, FINISHED, Cause, State

NEVER_RAN = (State.MISSED, State.SKIPPED)


def now() -> datetime:
    return datetime.now(UTC)


# Due times


def due_times(job: Job, *, since: datetime, until: datetime) -> list[datetime]:
    """The due times of an interval job from `since` to `until`, counted from its anchor by repeated addition."""
    assert job.interval is not None
    time = job.starts_at or job.created_at
    found = []
    while time <= until:
        if time >= since:
            found.append(time)
        time += job.interval
    return found


def assert_each_due_time_has_one_account(name: str, due: Sequence[datetime]) -> None:
    """The records of the job called `name` stand for `due`: all of them, each once, and for nothing else.

    A record stands for the due times from ``coalesced_since`` to ``scheduled_for``, ``coalesced + 1`` of them.
    """
    due = sorted(due)
    times_accounted: Counter[datetime] = Counter()
    for run in scheduled_runs(name):
        assert run.scheduled_for is not None
        since = run.coalesced_since or run.scheduled_for
        stands_for = due[bisect.bisect_left(due, since) : bisect.bisect_right(due, run.scheduled_for)]
        assert stands_for, f"{described(run)} stands for no due time of {name}"
        assert (stands_for[0], stands_for[-1]) == (since, run.scheduled_for), (
            f"{described(run)} begins or ends at what is no due time of {name}"
        )
        assert len(stands_for) == run.coalesced + 1, f"{described(run)} should count {len(stands_for)}"
        if run.state in NEVER_RAN:
            assert run.reason, f"{described(run)} gives no reason"
        times_accounted.update(stands_for)
    without = [time for time in due if not times_accounted[time]]
    assert not without, f"{name}: {len(without)} due times without an account, the first at {without[0]}"
    doubly = [time for time, times in times_accounted.items() if times > 1]
    assert not doubly, f"{name}: {len(doubly)} due times with two accounts, the first at {min(doubly)}"


def assert_each_second_has_one_account(job: Job, *, at_least: int = 1) -> None:
    """From the first due time of an interval job to the last on record, which is the `at_least`th or a later one."""
    last = max((run.scheduled_for for run in scheduled_runs(job.name) if run.scheduled_for), default=None)
    assert last is not None, f"{job.name} has no record at all"
    assert job.interval is not None
    due = due_times(job, since=job.starts_at or job.created_at + job.interval, until=last)
    assert len(due) >= at_least, f"{job.name}: only {len(due)} due times were reached"
    assert_each_due_time_has_one_account(job.name, due)


def scheduled_runs(name: str) -> Iterator[Run]:
    """What the schedule put on record for the job called `name`, by due time."""
    return Run.objects.of_job(name).filter(cause=Cause.SCHEDULE).order_by("scheduled_for").iterator()


def described(run: Run) -> str:
    since = f"{run.coalesced_since:%H:%M:%S.%f}…" if run.coalesced_since else ""
    return f"run {run.pk} ({run.state}, {since}{run.scheduled_for:%m-%d %H:%M:%S.%f}, +{run.coalesced})"


# Attempts


def attempts_begun(judge: Path) -> list[tuple[int, int]]:
    """What tasks wrote into the file `judge` as they began: run and number of the attempt."""
    if not judge.exists():
        return []
    lines = judge.read_text().splitlines()
    return [(int(run), int(attempt)) for run, attempt in (line.split() for line in lines)]


def assert_no_attempt_began_twice(judge: Path) -> None:
    begun = attempts_begun(judge)
    twice = [attempt for attempt, times in Counter(begun).items() if times > 1]
    assert not twice, f"begun more than once, as (run, attempt): {twice}"


def assert_what_succeeded_took_effect_once(judge: Path, runs: Iterable[Run]) -> None:
    """Each attempt that was begun is on record, and the last attempt of each run that succeeded was begun, once."""
    assert_no_attempt_began_twice(judge)
    begun = set(attempts_begun(judge))
    by_id = {run.pk: run for run in runs}
    for run_id, attempt in begun:
        run = by_id.get(run_id)
        assert run is not None, f"attempt {attempt} of run {run_id} was begun and is not on record"
        assert attempt <= run.attempt, f"attempt {attempt} of {run_id} was begun; on record are {run.attempt}"
    for run in by_id.values():
        if run.state == State.SUCCEEDED:
            assert (run.pk, run.attempt) in begun, f"run {run.pk} is said to have succeeded and never began"


# Ends


def unsettled() -> list[Run]:
    """Runs that have not come to an end."""
    return list(Run.objects.filter(state__in=ACTIVE))


def assert_all_came_to_an_end() -> None:
    """No run is active any more, and each has its end. It may lie before its beginning: clocks are set back."""
    assert not unsettled(), [f"{run.job_id} {run.pk} {run.state} on {run.node!r}" for run in unsettled()]
    for run in Run.objects.filter(state__in=FINISHED).iterator():
        assert run.finished_at is not None, f"run {run.pk} is {run.state} without an end"


def assert_each_abandoned_run_was_recovered_once(name: str) -> None:
    """For a job with ``recover``: what was lost with its node was run again, once, as a new run."""
    lost = set(
        Run.objects.of_job(name)
        .filter(state=State.ABANDONED, started_at__isnull=False)
        .values_list("pk", flat=True)
    )
    recoveries = Counter(
        Run.objects.of_job(name).filter(cause=Cause.RECOVERY).values_list("recovers", flat=True)
    )
    assert recoveries == Counter(lost), f"{name}: lost {sorted(lost)}, recovered {dict(recoveries)}"
