"""One claim: what it fires, that it is one transaction, and what can't stop or fool it."""

from __future__ import annotations

import pickle
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from apscheduler.job import Job as APSchedulerJob
from apscheduler.schedulers.background import BackgroundScheduler
from django.db import DatabaseError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django_apscheduler.models import DjangoJob, DjangoJobExecution

from hotdata.exceptions import LostLease
from hotdata.models import Job, Lease, Node, Run, Schedule
from hotdata.models.policies import Overlap
from hotdata.models.runs import Cause, State
from hotdata.models.schedules import Kind, ScheduleQuerySet, ScheduleState
from hotdata.scheduling.jobstore import JobStore
from hotdata.scheduling.lease import LeaseKeeper
from hotdata.scheduling.recovery import settle
from tests.builders import make_job, make_run
from tests.threads import in_thread

NODE = "claiming-node"
START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
TTL = timedelta(seconds=30)

pytestmark = pytest.mark.django_db


@pytest.fixture
def lease() -> LeaseKeeper:
    keeper = LeaseKeeper(node=NODE, ttl=TTL)
    assert keeper.keep()
    return keeper


@pytest.fixture
def store(lease: LeaseKeeper) -> JobStore:
    return JobStore(node=NODE, lease=lease)


def make_minutely(**fields: Any) -> Job:
    """A job that is due at START and each minute after, and was planned before."""
    job = make_job(trigger=Kind.INTERVAL, interval=MINUTE, starts_at=START, cron="", **fields)
    due_at(job, START)
    return job


def due_at(job: Job, time: datetime) -> None:
    """Make `time` what the job's schedule is due at next; the tests' clock is not the wall clock."""
    Schedule.objects.filter(id=job.name).update(next_run_time=time + job.timetable().offset)


def next_run_time(job: Job) -> datetime | None:
    return Schedule.objects.get(id=job.name).next_run_time


def accounts(job: Job) -> list[tuple[datetime | None, str, int]]:
    """The job's records, oldest first: due time, state, and the number of due times that it stands for."""
    runs = Run.objects.of_job(job.name).order_by("scheduled_for")
    return [(run.scheduled_for, run.state, 1 + run.coalesced) for run in runs]


# What it fires


def test_a_claim_records_a_run_and_moves_the_schedule_on(store: JobStore) -> None:
    job = make_minutely()
    claim = store.claim(START + timedelta(seconds=5))
    [run] = claim.queued
    assert not claim.more
    stored = Run.objects.get()
    assert (stored.id, stored.job_id, stored.node, stored.state) == (run.id, job.name, NODE, State.QUEUED)
    assert stored.scheduled_for == START
    assert next_run_time(job) == START + MINUTE


def test_a_second_claim_finds_nothing(store: JobStore) -> None:
    make_minutely()
    store.claim(START)
    assert store.claim(START).queued == ()
    assert Run.objects.count() == 1


def test_what_is_not_due_yet_is_left_alone(store: JobStore) -> None:
    job = make_minutely()
    assert store.claim(START - timedelta(microseconds=1)).queued == ()
    assert next_run_time(job) == START


def test_only_queued_runs_are_handed_out(store: JobStore) -> None:
    job = make_minutely()
    make_run(job, state=State.RUNNING)
    assert store.claim(START).queued == []
    assert Run.objects.get(state=State.SKIPPED).scheduled_for == START


def test_runs_that_were_asked_for_by_hand_count_as_active(store: JobStore) -> None:
    job = make_minutely(overlap=Overlap.ALLOW_ALL, max_instances=2)
    for state in (State.QUEUED, State.RETRYING):
        make_run(job, state=state)
    store.claim(START)
    assert Run.objects.filter(state=State.SKIPPED).count() == 1


def test_a_long_downtime_is_one_run_that_counts_what_it_stands_for(store: JobStore) -> None:
    job = make_minutely()
    store.claim(START + 10_000 * MINUTE)
    assert accounts(job) == [(START + 10_000 * MINUTE, State.QUEUED, 10_001)]


def test_a_one_off_is_done_after_its_fire(store: JobStore) -> None:
    job = make_job(trigger=Kind.DATE, run_at=START, cron="")
    due_at(job, START)
    store.claim(START)
    assert accounts(job) == [(START, State.QUEUED, 1)]
    assert next_run_time(job) is None
    assert Job.objects.filter(name=job.name).exists()


def test_jitter_delays_the_fire_and_not_the_due_time(store: JobStore) -> None:
    job = make_minutely(jitter=timedelta(seconds=50))
    offset = job.timetable().offset
    assert offset > timedelta(0)
    assert store.claim(START + offset - timedelta(milliseconds=1)).queued == ()
    [run] = store.claim(START + offset).queued
    assert run.scheduled_for == START
    assert next_run_time(job) == START + MINUTE + offset


def test_a_paused_job_is_not_fired(store: JobStore) -> None:
    job = make_minutely()
    job.paused = True
    job.save()
    assert store.claim(START + 10 * MINUTE).queued == ()
    assert next_run_time(job) is None


# One transaction, in one epoch


@pytest.mark.parametrize("failing", ["insert", "advance"])
def test_a_claim_that_fails_half_way_changes_nothing(
    store: JobStore, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    job = make_minutely()

    def fail(*args: object) -> None:
        raise DatabaseError("The disk is full.")

    with monkeypatch.context() as patched:
        if failing == "advance":
            patched.setattr(ScheduleQuerySet, "advance", fail)
        else:
            patched.setattr("hotdata.models.bulk.insert", fail)
        with pytest.raises(DatabaseError):
            store.claim(START)
    assert not Run.objects.exists()
    assert next_run_time(job) == START
    assert len(store.claim(START).queued) == 1


def test_a_claim_in_an_old_epoch_changes_nothing(store: JobStore) -> None:
    job = make_minutely()
    Lease.objects.update(expires_at=START)
    assert LeaseKeeper(node="another-node", ttl=TTL).keep()
    with pytest.raises(LostLease):
        store.claim(START)
    assert not Run.objects.exists()
    assert next_run_time(job) == START


def test_a_claim_after_the_lease_ran_out_changes_nothing(store: JobStore) -> None:
    """Nobody took it yet, but somebody may at any moment."""
    make_minutely()
    Lease.objects.update(expires_at=START)
    with pytest.raises(LostLease):
        store.claim(START)
    assert not Run.objects.exists()


def test_a_claim_by_a_node_that_never_led_changes_nothing() -> None:
    make_minutely()
    with pytest.raises(LostLease):
        JobStore(node=NODE, lease=LeaseKeeper(node=NODE, ttl=TTL)).claim(START)
    assert not Run.objects.exists()


def test_a_node_that_comes_back_into_the_lease_does_not_fire_in_its_old_epoch(
    store: JobStore, lease: LeaseKeeper
) -> None:
    make_minutely()
    Lease.objects.update(expires_at=START)
    assert Lease.acquire(NODE, TTL) == (lease.epoch or 0) + 1
    with pytest.raises(LostLease):
        store.claim(START)


@pytest.mark.django_db(transaction=True)
def test_nothing_of_a_claim_is_seen_before_its_commit(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_minutely()
    seen: list[tuple[int, datetime | None]] = []
    advance = ScheduleQuerySet.advance

    def look_from_elsewhere(schedules: ScheduleQuerySet, due: list[Schedule]) -> None:
        advance(schedules, due)
        seen.append(in_thread(lambda: (Run.objects.count(), next_run_time(job))).result(10))

    monkeypatch.setattr(ScheduleQuerySet, "advance", look_from_elsewhere)
    store.claim(START)
    assert seen == [(0, START)]
    assert in_thread(Run.objects.count).result(10) == 1


@pytest.mark.only_on("postgres")
@pytest.mark.django_db(transaction=True)
def test_a_schedule_that_an_edit_has_locked_is_left_for_the_next_claim(store: JobStore) -> None:
    edited, other = make_minutely(), make_minutely()
    locked, claimed = threading.Event(), threading.Event()

    def edit() -> None:
        with transaction.atomic():
            Schedule.objects.select_for_update().get(id=edited.name)
            locked.set()
            assert claimed.wait(10)

    editing = in_thread(edit)
    assert locked.wait(10)
    assert [run.job_id for run in store.claim(START).queued] == [other.name]
    claimed.set()
    editing.result(10)
    assert [run.job_id for run in store.claim(START).queued] == [edited.name]


@pytest.mark.django_db(transaction=True)
def test_two_claims_at_once_fire_each_due_time_once(lease: LeaseKeeper) -> None:
    """As if two processes believed that they are the same node: the rows' locks and the unique index hold."""
    jobs = [make_minutely() for _ in range(20)]
    barrier = threading.Barrier(3)

    def claim() -> int:
        store = JobStore(node=NODE, lease=lease)
        barrier.wait(10)
        return len(store.claim(START).queued)

    claims = [in_thread(claim) for _ in range(2)]
    barrier.wait(10)
    assert sum(claim.result(20) for claim in claims) == len(jobs)
    assert Run.objects.count() == len(jobs)


# Due times that have an account already


def test_after_the_clock_was_set_back_no_due_time_runs_again(store: JobStore) -> None:
    again, other = make_minutely(), make_minutely()
    store.claim(START)
    Run.objects.update(state=State.SUCCEEDED, finished_at=START)
    Run.objects.of_job(other.name).delete()
    due_at(again, START)
    due_at(other, START)
    [run] = store.claim(START).queued
    assert run.job_id == other.name
    assert accounts(again) == [(START, State.SUCCEEDED, 1)]
    assert next_run_time(again) == START + MINUTE


def test_without_coalesce_only_the_due_times_on_record_are_left_out(store: JobStore) -> None:
    job = make_minutely(coalesce=False, overlap=Overlap.ALLOW_ALL, max_instances=10)
    store.claim(START + MINUTE)
    Run.objects.update(state=State.SUCCEEDED, finished_at=START)
    due_at(job, START)
    queued = store.claim(START + 3 * MINUTE).queued
    assert [run.scheduled_for for run in queued] == [START + 2 * MINUTE, START + 3 * MINUTE]
    assert [run.id for run in queued] == list(
        Run.objects.filter(state=State.QUEUED).order_by("scheduled_for").values_list("id", flat=True)
    )


# Definitions that changed behind the ORM's back


def test_a_job_that_was_deleted_by_raw_sql_fires_nothing(store: JobStore) -> None:
    deleted, other = make_minutely(), make_minutely()
    Job.objects.filter(name=deleted.name)._raw_delete("default")
    assert [run.job_id for run in store.claim(START).queued] == [other.name]
    assert store.get_next_run_time() == START + MINUTE


def test_an_edit_by_update_is_not_fired_by_the_old_timetable(store: JobStore) -> None:
    job = make_minutely()
    Job.objects.filter(name=job.name).update(interval=timedelta(hours=1))
    now = START + 2 * MINUTE
    assert store.claim(now).queued == []
    assert next_run_time(job) == START + timedelta(hours=1)
    assert accounts(job) == [(START + 2 * MINUTE, State.MISSED, 3)]
    assert "edited" in Run.objects.get().reason


def test_a_pause_by_update_is_followed(store: JobStore) -> None:
    job = make_minutely()
    Job.objects.filter(name=job.name).update(paused=True)
    assert store.claim(START).queued == []
    assert next_run_time(job) is None


def test_a_broken_definition_is_parked_and_the_others_fire(
    store: JobStore, caplog: pytest.LogCaptureFixture
) -> None:
    broken, other = make_job(name="broken"), make_minutely()
    due_at(broken, START)
    Job.objects.filter(name="broken").update(cron="not a cron expression")
    assert [run.job_id for run in store.claim(START + MINUTE).queued] == [other.name]

    schedule = Schedule.objects.get(id="broken")
    assert schedule.next_run_time is None
    assert "not a cron" in schedule.state.error or "fields" in schedule.state.error
    assert Job.objects.filter(name="broken").exists()
    assert accounts(broken) == [(START, State.MISSED, 1)]
    assert "can't be built" in Run.objects.of_job("broken").get().reason

    store.claim(START + 5 * MINUTE)
    store.reconcile(START + 5 * MINUTE)
    assert [record.getMessage().split()[0] for record in caplog.records].count("job.parked") == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"cron": "61 * * * *"},
        {"time_zone": "Mars/Olympus"},
        {"trigger": Kind.INTERVAL, "interval": timedelta(microseconds=1)},
        {"jitter": timedelta(days=2_000_000)},
        {"misfire_grace_time": timedelta(days=2_000_000)},
        {"starts_at": datetime(9999, 12, 31, tzinfo=UTC), "ends_at": datetime(9999, 12, 31, tzinfo=UTC)},
    ],
    ids=lambda fields: ",".join(fields),
)
def test_whatever_is_wrong_with_one_job_the_others_fire(store: JobStore, fields: dict[str, Any]) -> None:
    odd, other = make_job(), make_minutely()
    due_at(odd, START)
    Job.objects.filter(name=odd.name).update(**fields)
    store.claim(START)
    assert Run.objects.of_job(other.name).get().state == State.QUEUED
    store.reconcile(START)


def test_a_mended_definition_is_planned_again(store: JobStore) -> None:
    job = make_job()
    due_at(job, START)
    Job.objects.filter(name=job.name).update(cron="61 * * * *")
    store.claim(START)
    job.cron = "0 * * * *"
    job.save()
    schedule = Schedule.objects.get(id=job.name)
    assert schedule.next_run_time is not None
    assert schedule.state.error == ""


def test_a_schedule_that_holds_a_pickle_is_planned_anew_and_nothing_is_unpickled(
    store: JobStore, tmp_path: Path
) -> None:
    job = make_minutely()
    DjangoJob.objects.filter(id=job.name).update(job_state=pickle.dumps(Bomb(tmp_path / "exploded")))
    store.claim(START + MINUTE / 2)
    assert next_run_time(job) == START + MINUTE
    assert Schedule.objects.get(id=job.name).state.timetable == job.timetable()
    assert not (tmp_path / "exploded").exists()


class Bomb:
    """Whoever unpickles it makes a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._path,)


# Reconciling


def test_reconcile_finds_what_changed_behind_the_orms_back(store: JobStore) -> None:
    same, edited, broken, unplanned = (
        make_job(name=name) for name in ("same", "edited", "broken", "unplanned")
    )
    before = next_run_time(same)
    Job.objects.filter(name="edited").update(cron="0 0 1 1 *")
    Job.objects.filter(name="broken").update(cron="?")
    Schedule.objects.filter(id="unplanned").delete()
    assert store.reconcile(START) == 3
    assert next_run_time(same) == before
    assert next_run_time(edited) == datetime(2027, 1, 1, tzinfo=UTC)
    assert next_run_time(unplanned) == START + 5 * MINUTE
    assert next_run_time(broken) is None
    assert Schedule.objects.get(id="broken").state.error


def test_reconcile_leaves_alone_what_it_has_settled(
    store: JobStore, caplog: pytest.LogCaptureFixture
) -> None:
    job = make_job()
    Job.objects.filter(name=job.name).update(cron="?")
    assert store.reconcile(START) == 1
    caplog.clear()
    assert store.reconcile(START) == 0
    assert not caplog.records


def test_reconcile_plans_again_what_can_be_built_by_now(store: JobStore) -> None:
    """As after the release of code that knows more than the one before."""
    job = make_job()
    Schedule.objects.park(job, "This release doesn't know how.", START)
    assert next_run_time(job) is None
    assert store.reconcile(START) == 1
    assert next_run_time(job) == START + 5 * MINUTE


def test_a_due_time_is_on_record_although_its_timetable_cannot_be_built_any_more(store: JobStore) -> None:
    """As after the release of code that knows less than the one before."""
    job = make_minutely()
    Job.objects.filter(name=job.name).update(trigger=Kind.CRON, cron="?")
    job.refresh_from_db()
    state = ScheduleState(timetable=job.timetable()).encode()
    Schedule.objects.filter(id=job.name).update(job_state=state)
    store.claim(START + 5 * MINUTE)
    assert accounts(job) == [(START, State.MISSED, 1)]
    assert Schedule.objects.get(id=job.name).state.error


# Many


def test_three_thousand_due_jobs_take_two_claims_and_few_statements(store: JobStore) -> None:
    jobs = Job.objects.bulk_create(
        Job(
            name=f"many-{number}",
            task="refresh_due",
            trigger=Kind.INTERVAL,
            interval=MINUTE,
            starts_at=START,
        )
        for number in range(3000)
    )
    Schedule.objects.bulk_create(
        Schedule(
            id=job.name, next_run_time=START, job_state=ScheduleState(timetable=job.timetable()).encode()
        )
        for job in jobs
    )
    with CaptureQueriesContext(
        connection,
    ) as queries:
        first = store.claim(START)
        second = store.claim(START)
    assert (len(first.queued), first.more) == (2000, True)
    assert (len(second.queued), second.more) == (1000, False)
    assert len({run.id for run in [*first.queued, *second.queued]}) == 3000
    assert Run.objects.filter(state=State.QUEUED, scheduled_for=START).count() == 3000
    assert Schedule.objects.filter(next_run_time=START + MINUTE).count() == 3000
    # A handful for each claim; SQLite reads the jobs in pieces.
    assert len(queries) <= 30


# A crash between the claim and the hand-over


def test_runs_of_a_node_that_died_after_its_claim_are_handed_to_the_next_leader(store: JobStore) -> None:
    job = make_minutely()
    store.claim(START)  # and nobody submits what it gives
    Node.objects.create(name="next-leader", host="here", pid=1, version="0")
    assert settle(START, timedelta(seconds=10)).handed_back == 1
    [run] = Run.objects.take("next-leader", START + MINUTE, 10)
    assert (run.job_id, run.scheduled_for, run.attempt) == (job.name, START, 0)


# What APScheduler sees


@pytest.fixture
def attached(store: JobStore) -> JobStore:
    """The store, in a scheduler of APScheduler that is not started."""
    scheduler = BackgroundScheduler()
    scheduler.add_jobstore(store, "default")
    store.start(scheduler, "default")
    return store


def test_apscheduler_sees_the_jobs_as_their_definitions_say(attached: JobStore) -> None:
    job = make_minutely(title="Each minute", coalesce=False, max_instances=3)
    seen = attached.lookup_job(job.name)
    assert seen is not None
    assert (seen.id, seen.name, seen.next_run_time) == (job.name, "Each minute", START)
    assert (seen.coalesce, seen.max_instances, seen.misfire_grace_time) == (False, 3, None)
    assert seen.trigger == job.build_trigger()
    assert attached.lookup_job("there-is-none") is None


def test_apscheduler_sees_each_job_that_can_be_built(attached: JobStore) -> None:
    make_minutely(name="first")
    make_job(name="later", cron="0 0 1 1 *")
    make_job(name="paused", paused=True)
    make_job(name="broken")
    Job.objects.filter(name="broken").update(cron="?")
    assert [job.id for job in attached.get_all_jobs()] == ["first", "later", "paused"]
    assert [job.id for job in attached.get_due_jobs(START)] == ["first"]
    assert attached.get_next_run_time() == START


def test_without_jobs_nothing_is_due(attached: JobStore) -> None:
    assert attached.get_next_run_time() is None
    assert attached.get_all_jobs() == []


def test_a_job_that_apscheduler_calls_becomes_a_run_on_record(attached: JobStore) -> None:
    job = make_minutely(task="cleanup_logs", params={"days": 9})
    seen = attached.lookup_job(job.name)
    assert seen is not None
    seen.func(*seen.args, **seen.kwargs)
    run = Run.objects.get()
    assert (run.job_id, run.cause, run.params, run.state) == (
        job.name,
        Cause.MANUAL,
        {"days": 9},
        State.QUEUED,
    )


def test_a_store_can_not_be_written_past_the_definitions(attached: JobStore) -> None:
    job = make_minutely()
    seen = attached.lookup_job(job.name)
    assert isinstance(seen, APSchedulerJob)
    for write in (
        lambda: attached.add_job(seen),
        lambda: attached.update_job(seen),
        lambda: attached.remove_job(job.name),
        attached.remove_all_jobs,
    ):
        with pytest.raises(NotImplementedError, match="Jobs are defined by"):
            write()
    assert Job.objects.count() == Schedule.objects.count() == 1


def test_the_store_unpickles_nothing(attached: JobStore, tmp_path: Path) -> None:
    pickled = pickle.dumps(Bomb(tmp_path / "exploded"))
    job = make_minutely()
    DjangoJob.objects.create(id="without-a-job", next_run_time=START, job_state=pickled)
    DjangoJob.objects.filter(id=job.name).update(job_state=pickled)
    assert [seen.id for seen in attached.get_all_jobs()] == [job.name]
    assert attached.lookup_job("without-a-job") is None
    with pytest.raises(NotImplementedError):
        attached._reconstitute_job(pickled)
    assert not (tmp_path / "exploded").exists()


def test_the_stock_history_is_not_written(attached: JobStore) -> None:
    make_minutely()
    attached.claim(START)
    assert attached._scheduler._listeners == []
    assert not DjangoJobExecution.objects.exists()
