"""A look: what is wrong now, what is told of it, and that nothing is told twice or lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.utils import timezone
from pytest_django import Settings
from redis import Redis

from hotdata.alerting import looking, telling
from hotdata.alerting.looking import Looked
from hotdata.freshness.upstream import gate_of
from hotdata.models import Alert, Component, Delivery, Look, Notice, Run, Schedule, Silence, Source
from hotdata.models.runs import State
from tests.alerting.looks import HOUR, MINUTE, SECOND, Watch, alerts, job_called, subjects, texts
from tests.builders import make_run, make_source, store

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("ada", "clear_cache")]


@pytest.fixture
def watch() -> Watch:
    watch = Watch()
    watch.look()
    return watch


def silence(of: str, name: str, until: Any) -> Silence:
    return Silence.objects.create(of=of, name=name, until=until, by="bob", created_at=timezone.now())


# Missed


def test_missed_due_times_are_told_with_those_that_share_a_record(watch: Watch) -> None:
    job = job_called("update")
    watch.ran(job, State.MISSED, coalesced=4, started_at=None, attempt=0, reason="Late.")
    assert watch.look() == Looked(opened=1, told=1, posted=1)
    assert subjects() == ["hotdata: update missed 5 due times: Late."]


def test_a_record_that_grows_is_told_again_at_each_tenth_due_time(watch: Watch) -> None:
    job = job_called("update")
    run = watch.ran(job, State.MISSED, started_at=None, attempt=0)
    watch.look()
    told = []
    for more in range(1, 22):
        Run.objects.filter(pk=run.pk).update(coalesced=more)
        if watch.look().told:
            told.append(more + 1)
    assert told == [10, 20]
    assert Alert.objects.get().count == 22


def test_missed_due_times_are_over_when_the_job_runs_again(watch: Watch) -> None:
    job = job_called("update")
    watch.ran(job, State.MISSED, started_at=None, attempt=0)
    watch.look()
    run = watch.ran(job, State.RUNNING)
    assert watch.look() == Looked(closed=1, told=1, posted=1)
    assert Alert.objects.get().ending == f"Run {run.id} has started."
    watch.ran(job, State.MISSED, started_at=None, attempt=0)
    assert watch.look().opened == 1
    assert Alert.objects.open().get().count == 1


def test_what_is_skipped_is_meant(watch: Watch) -> None:
    watch.ran(job_called(), State.SKIPPED, started_at=None, attempt=0)
    assert watch.look() == Looked()


# Overdue, and too long


def test_a_due_time_that_nobody_fires_is_told_and_is_over_when_it_is_fired(watch: Watch) -> None:
    job_called("update")
    due = watch.now - 2 * MINUTE
    Schedule.objects.update(next_run_time=due)
    watch.look()
    assert subjects() == ["hotdata: update is due, and no scheduler has fired it."]
    assert Alert.objects.get().opened_at == due
    Schedule.objects.update(next_run_time=watch.now + HOUR)
    assert watch.look().closed == 1
    assert Alert.objects.get().ending == "It is not behind any more."


def test_a_run_that_nobody_starts_is_told(watch: Watch) -> None:
    make_run(job_called("update"), ready_at=watch.now - 2 * MINUTE)
    watch.look()
    assert subjects() == ["hotdata: update has a run that waits for a free worker."]


@pytest.mark.parametrize("held", [True, False])
def test_a_run_that_is_held_or_due_later_is_where_it_should_be(watch: Watch, held: bool) -> None:
    at = watch.now - 2 * MINUTE if held else watch.now + HOUR
    make_run(job_called(), node="", held=held, ready_at=at)
    assert watch.look() == Looked()


def test_a_job_that_cannot_be_scheduled_is_told(watch: Watch) -> None:
    job_called("update")
    state = Schedule.objects.get().state
    Schedule.objects.update(
        next_run_time=None, job_state=type(state)(timetable=state.timetable, error="No such zone.").encode()
    )
    watch.look()
    assert subjects() == ["hotdata: update can't be scheduled: No such zone."]


def test_a_run_past_its_limit_is_told_and_is_over_when_it_ends(watch: Watch) -> None:
    job = job_called("update", timeout=5 * MINUTE)
    run = watch.ran(job, State.RUNNING)
    watch.look(5 * MINUTE + 20 * SECOND)
    assert not Alert.objects.exists()
    watch.look(15 * SECOND)
    assert subjects() == [f"hotdata: Run {run.id} of update takes longer than the 5 min that it may."]
    job.set_paused(True, by="bob")
    assert watch.look() == Looked()  # it goes on in the pause
    Run.objects.update(state=State.CANCELLED, finished_at=watch.now)
    assert watch.look().closed == 1


def test_a_run_without_a_limit_takes_the_time_it_needs(watch: Watch) -> None:
    watch.ran(job_called(timeout=None), State.RUNNING)
    assert watch.look(48 * HOUR) == Looked()


# Sources


def test_hot_keys_past_the_objective_are_told_with_the_oldest_first(watch: Watch) -> None:
    make_source(name="stock", pinned=("AAPL", "MSFT", "TSLA"), objective_age=10 * MINUTE)
    store("stock", "AAPL", age=700, soft_ttl=7200, hard_ttl=9000)
    store("stock", "MSFT", age=1300, soft_ttl=7200, hard_ttl=9000)
    store("stock", "TSLA", age=5, soft_ttl=7200, hard_ttl=9000)
    assert watch.look() == Looked(opened=1)  # after a restart all is old for a moment
    watch.look(MINUTE)
    assert len(subjects()) == 1
    assert subjects()[0].startswith(
        "hotdata: 2 of 3 hot keys of stock are older than the objective of 10 min: MSFT (23 min), AAPL (13 min)"
    )
    for key in ("AAPL", "MSFT"):
        store("stock", key, soft_ttl=7200, hard_ttl=9000)
    assert watch.look(SECOND).closed == 1


def test_keys_that_were_old_for_a_moment_are_on_record_and_told_to_nobody(watch: Watch) -> None:
    make_source(name="stock", pinned=("AAPL",), objective_age=10 * MINUTE)
    store("stock", "AAPL", age=700)
    watch.look()
    store("stock", "AAPL")
    assert watch.look() == Looked(closed=1)
    assert subjects() == []


@pytest.mark.parametrize(
    "fields",
    [{"objective_age": None}, {"enabled": False}, {"windows": "00:00-00:01 UTC"}],
)
def test_a_source_without_an_objective_or_that_rests_grows_old_as_it_should(
    watch: Watch, fields: dict[str, Any]
) -> None:
    watch.now = watch.now.replace(hour=12)
    make_source(name="stock", pinned=("AAPL",), **({"objective_age": 10 * MINUTE} | fields))
    store("stock", "AAPL", age=1300)
    assert watch.look() == Looked()


def test_a_window_that_has_just_opened_gives_time_to_catch_up(watch: Watch) -> None:
    start = watch.now + HOUR
    window = f"{start:%H:%M}-{start + 2 * HOUR:%H:%M} UTC"
    make_source(name="stock", pinned=("AAPL",), objective_age=10 * MINUTE, windows=window)
    store("stock", "AAPL", age=1300, hard_ttl=100_000)
    watch.now = start.replace(second=0, microsecond=0)
    assert watch.look(30 * SECOND) == Looked()
    assert watch.look(3 * MINUTE).opened == 1


def test_a_breaker_that_opens_is_told_and_so_is_that_it_closed(watch: Watch, redis: Redis) -> None:
    source = make_source(name="stock", breaker_failures=2)
    for _ in range(2):
        gate_of(source).enter(hold=SECOND).leave(failed=True)
    watch.look()
    assert subjects() == ["hotdata: The breaker of stock is open: its upstream failed 2 times in a row."]
    redis.flushdb()
    assert watch.look().closed == 1
    assert Alert.objects.get().ending == "The breaker is closed."


def test_a_source_that_is_switched_off_is_over(watch: Watch) -> None:
    source = make_source(name="stock", breaker_failures=1)
    gate_of(source).enter(hold=SECOND).leave(failed=True)
    watch.look()
    Source.objects.update(enabled=False)
    watch.look()
    assert Alert.objects.get().ending == "The source was switched off."


def test_while_redis_is_away_alerts_of_sources_stay_as_they_are(watch: Watch, redis_down: None) -> None:
    make_source(name="stock", pinned=("AAPL",), objective_age=10 * MINUTE)
    Alert.objects.create(kind="stale", subject="stock", summary="old", opened_at=watch.now, seen_at=watch.now)
    assert watch.look() == Looked()
    assert Alert.objects.open().exists()


# Components


def component(name: str, state: str, since: Any, detail: str = "Nobody answers.") -> None:
    values = {"state": state, "since": since, "checked_at": since, "detail": detail}
    Component.objects.update_or_create(name=name, defaults=values)


def test_a_component_that_is_down_is_told_at_once(watch: Watch) -> None:
    component("redis", "down", watch.now)
    watch.look()
    assert subjects() == ["hotdata: redis is down: Nobody answers."]
    component("redis", "ok", watch.now)
    watch.look()
    assert subjects()[1].startswith("hotdata: redis is not in trouble any more, after 30 s. It is well.")


def test_a_component_that_is_degraded_is_told_when_that_lasts(watch: Watch) -> None:
    component("scheduler", "degraded", watch.now)
    assert watch.look(45 * SECOND) == Looked()
    assert watch.look(15 * SECOND).told == 1
    component("scheduler", "down", watch.now)
    assert watch.look().told == 1  # it got worse
    component("scheduler", "degraded", watch.now)
    assert watch.look() == Looked()
    assert len(subjects()) == 2


def test_a_sources_component_is_silent_where_another_alert_says_more(watch: Watch, redis: Redis) -> None:
    source = make_source(name="stock", breaker_failures=1)
    component("source:stock", "degraded", watch.now - HOUR)
    gate_of(source).enter(hold=SECOND).leave(failed=True)
    watch.look()
    assert alerts() == [("breaker", "stock", True)]
    redis.flushdb()
    watch.look()  # the alert was open when the components were looked at
    watch.look()
    assert alerts() == [("breaker", "stock", False), ("component", "source:stock", True)]


def test_the_component_of_all_jobs_is_silent_since_each_job_has_an_alert(watch: Watch) -> None:
    component("jobs", "degraded", watch.now - HOUR)
    assert watch.look() == Looked()


def test_a_component_that_is_gone_is_over(watch: Watch) -> None:
    component("source:stock", "down", watch.now)
    make_source(name="stock")
    watch.look()
    Component.objects.all().delete()
    assert watch.look().closed == 1
    assert Alert.objects.get().ending == "It is not checked any more."


# Silences


def test_what_is_silenced_is_on_record_and_told_when_the_silence_ends(watch: Watch) -> None:
    job = job_called("update")
    silence("job", "update", watch.now + HOUR)
    watch.ran(job, State.FAILED)
    assert watch.look() == Looked(opened=1)
    assert Alert.objects.get().silenced
    assert watch.look(30 * MINUTE) == Looked()
    watch.look(31 * MINUTE)
    assert len(subjects()) == 1
    assert not Alert.objects.get().silenced


def test_what_is_over_within_its_silence_is_told_to_nobody(watch: Watch) -> None:
    job = job_called("update")
    silence("job", "update", watch.now + HOUR)
    watch.ran(job, State.FAILED)
    watch.look()
    watch.ran(job, State.SUCCEEDED)
    assert watch.look() == Looked(closed=1)
    assert watch.look(2 * HOUR) == Looked()
    assert subjects() == []


def test_what_was_told_before_a_silence_is_told_again_after_it(watch: Watch) -> None:
    job = job_called("update")
    watch.ran(job, State.FAILED)
    watch.look()
    found = silence("job", "update", watch.now + HOUR)
    watch.look()
    Silence.objects.over("job", "update").end("bob", watch.now)
    watch.look()
    assert len(subjects()) == 2
    found.refresh_from_db()
    assert found.ended_by == "bob"


def test_a_silence_is_for_one_job_or_source(watch: Watch) -> None:
    silence("job", "update", watch.now + HOUR)
    silence("source", "other", watch.now + HOUR)
    watch.ran(job_called("other"), State.FAILED)
    watch.look()
    assert len(subjects()) == 1


# Grouping, and the limit


def test_all_that_one_look_finds_is_one_message_whose_subject_tells_the_worst(watch: Watch) -> None:
    for name in ("a", "b", "c"):
        watch.ran(job_called(name), State.MISSED, started_at=None, attempt=0)
    watch.ran(job_called("d"), State.FAILED)
    recovered = job_called("e")
    watch.ran(recovered, State.FAILED, State.SUCCEEDED)
    assert watch.look() == Looked(opened=5, closed=1, told=6, posted=1)
    (subject,), (text,) = subjects(), texts()
    assert subject.startswith("hotdata: 5 alerts, 1 over: d failed, run ")
    assert text.count("ALERT  ") == 5
    assert text.count("OVER  ") == 1


def test_each_recipient_has_a_message_of_its_own(watch: Watch, settings: Settings) -> None:
    settings.HOTDATA_ALERT_MAIL = ["ada@example.com", "bob@example.com"]
    settings.HOTDATA_ALERT_URLS = ["json://127.0.0.1/s3cret"]
    watch.ran(job_called(), State.FAILED)
    assert watch.look().posted == 3
    to = Delivery.objects.order_by("id").values_list("channel", "recipient")
    assert list(to) == [("mail", "ada@example.com"), ("mail", "bob@example.com"), ("apprise", "0")]


def test_a_recipient_gets_so_many_messages_in_an_hour_and_then_all_that_has_gathered(
    watch: Watch, settings: Settings
) -> None:
    settings.HOTDATA_ALERTS_PER_HOUR = 3
    settings.HOTDATA_ALERT_REPEAT = 1
    job = job_called("update")
    for _ in range(40):
        watch.ran(job, State.FAILED)
        watch.look()
        watch.ran(job, State.SUCCEEDED)
        watch.look()
        Delivery.objects.unsent().update(state="sent")
    assert len(subjects()) == 3
    assert Notice.objects.waiting().count() == 77
    watch.look(HOUR)
    assert len(subjects()) == 4
    assert not Notice.objects.waiting().exists()
    assert texts()[-1].count("  update ") == 77
    assert Notice.objects.count() == 80


def test_what_a_mail_server_has_not_taken_yet_counts_however_old_it_is(
    watch: Watch, settings: Settings
) -> None:
    settings.HOTDATA_ALERTS_PER_HOUR = 2
    job = job_called("update")
    for _ in range(5):
        watch.ran(job, State.FAILED)
        watch.look(HOUR)
        watch.ran(job, State.SUCCEEDED)
        watch.look(HOUR)
    assert len(subjects()) == 2
    Delivery.objects.update(state="sent")
    watch.look()
    assert len(subjects()) == 3


def test_the_limit_of_one_recipient_is_not_that_of_another(watch: Watch, settings: Settings) -> None:
    settings.HOTDATA_ALERTS_PER_HOUR = 1
    watch.ran(job_called("a"), State.FAILED)
    watch.look()
    settings.HOTDATA_ALERT_MAIL = ["ada@example.com", "bob@example.com"]
    watch.ran(job_called("b"), State.FAILED)
    watch.look()
    assert list(Delivery.objects.order_by("id").values_list("recipient", flat=True)) == [
        "ada@example.com",
        "bob@example.com",
    ]


def test_a_very_long_message_says_how_many_it_leaves_out(watch: Watch) -> None:
    for number in range(130):
        watch.ran(job_called(f"job{number}"), State.FAILED)
    watch.look()
    assert texts()[0].startswith("30 earlier ones are left out here; the alerts have them.")
    assert subjects()[0].startswith("hotdata: 130 alerts: ")


def test_messages_lead_to_the_alerts_where_the_site_knows_its_address(
    watch: Watch, settings: Settings
) -> None:
    settings.HOTDATA_SITE_URL = "https://hot.example.com/"
    watch.ran(job_called(), State.FAILED)
    watch.look()
    assert f"https://hot.example.com/admin/hotdata/alert/{Alert.objects.get().pk}/change/" in texts()[0]


# Cut off, and at the same time


@pytest.mark.parametrize("step", ["put_down", "post"])
def test_a_look_that_is_cut_off_has_done_nothing_and_the_next_one_does_it(
    watch: Watch, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch.ran(job_called("update"), State.FAILED)
    real = getattr(telling, step)

    def cut_off(*args: Any) -> Any:
        real(*args)
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(telling, step, cut_off)
        with pytest.raises(KeyboardInterrupt), transaction.atomic():
            watch.look()
    assert (Alert.objects.count(), Notice.objects.count(), Delivery.objects.count()) == (0, 0, 0)
    assert watch.look() == Looked(opened=1, told=1, posted=1)


def test_a_look_that_comes_late_does_nothing(watch: Watch) -> None:
    watch.ran(job_called(), State.FAILED)
    assert looking.look(watch.now - MINUTE) == Looked()


def test_a_clock_that_was_far_ahead_keeps_nobody_from_being_told(watch: Watch, settings: Settings) -> None:
    settings.HOTDATA_ALERTS_PER_HOUR = 1
    before = watch.now
    watch.ran(job_called("a"), State.FAILED)
    watch.look(20_000 * HOUR)
    Delivery.objects.update(state="sent")
    watch.now = before
    watch.ran(job_called("b"), State.FAILED)
    watch.look()
    assert len(subjects()) == 2
    assert "b failed" in subjects()[1]


@pytest.mark.parametrize("rule", ["failing", "missing"])
def test_a_rule_that_breaks_stops_no_other_and_what_it_has_not_seen_is_not_lost(
    watch: Watch, rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(runs_from: int) -> Any:
        with connection.cursor() as cursor:
            cursor.execute("SELECT * FROM no_such_table")

    watch.ran(job_called("a"), State.MISSED, started_at=None, attempt=0)
    watch.ran(job_called("b"), State.FAILED)
    with monkeypatch.context() as patched:
        patched.setattr(f"hotdata.alerting.{rule}.find", broken)
        for _ in range(3):
            with pytest.raises(DatabaseError):
                watch.look(10 * MINUTE)
    assert len(subjects()) == 1
    watch.look()
    assert sorted(kind for kind, _, _ in alerts()) == ["failing", "missed"]


@pytest.fixture
def full_disk(transactional_db: None) -> Iterator[None]:
    """A database that takes no delivery."""
    table = Delivery._meta.db_table
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute(
                f"CREATE TRIGGER disk_full BEFORE INSERT ON {table} "
                "BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END"
            )
        else:
            cursor.execute(
                "CREATE FUNCTION disk_full() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN RAISE EXCEPTION 'could not extend file: No space left on device'; END $$"
            )
            cursor.execute(f"CREATE TRIGGER disk_full BEFORE INSERT ON {table} EXECUTE FUNCTION disk_full()")
    yield
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("DROP TRIGGER IF EXISTS disk_full")
        else:
            cursor.execute("DROP FUNCTION disk_full CASCADE")


@pytest.mark.django_db(transaction=True)
def test_while_the_disk_is_full_a_look_fails_and_what_it_saw_is_told_afterwards(
    full_disk: None, settings: Settings
) -> None:
    watch = Watch()
    watch.look()
    watch.ran(job_called("update"), State.FAILED)
    for _ in range(2):
        with pytest.raises(DatabaseError):
            watch.look()
    assert not Alert.objects.exists()
    with connection.cursor() as cursor:
        cursor.execute(
            "DROP TRIGGER disk_full"
            + (f" ON {Delivery._meta.db_table}" if connection.vendor != "sqlite" else "")
        )
    assert watch.look() == Looked(opened=1, told=1, posted=1)


@pytest.mark.django_db(transaction=True)
def test_several_who_look_at_once_tell_everything_once() -> None:
    watch = Watch()
    watch.look()
    for number in range(5):
        watch.ran(job_called(f"job{number}"), State.FAILED)
    barrier = threading.Barrier(4)
    errors: list[Exception] = []

    def someone() -> None:
        try:
            barrier.wait(10)
            looking.look(watch.now + 15 * SECOND)
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=someone) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert Alert.objects.count() == Notice.objects.count() == 5
    assert Delivery.objects.count() == 1
    assert Look.objects.count() == 1
