"""Which records are deleted, which are kept and why, and how a clean-up is cut off and called again."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection, models
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from hotdata.actions import Actor, run_now
from hotdata.conf import RETAINED
from hotdata.models import (
    Alert,
    ApiCall,
    Cleaning,
    ComponentChange,
    Delivery,
    FreshnessHour,
    Job,
    Notice,
    Report,
    Run,
    Silence,
    SourceUsage,
    Statement,
    TokenUsage,
)
from hotdata.models.runs import ACTIVE, FINISHED, Cause, State
from hotdata.retention import cleanup
from hotdata.retention.cleanup import NOTABLE, TTL, Account, CleaningAlready, CleanUp, shares, untouched
from hotdata.retention.kinds import ACTIONS, EDITS, ISSUED, KINDS, NOT_ENDED, OPEN, REPORTS, WAITING
from hotdata.retention.pace import Pace
from tests.builders import issue_statement, make_call, make_job, make_report, make_run

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)


def make_old_runs(job: Job, number: int, age: timedelta = 10 * DAY, **fields: Any) -> list[Run]:
    then = timezone.now() - age
    return [make_run(job, **{"state": State.SUCCEEDED, "created_at": then, **fields}) for _ in range(number)]


def make_old(kind: str, at: datetime) -> models.Model:
    """A record of the kind, as old as `at` says, that nothing keeps."""
    made: dict[str, models.Model] = {
        "calls": ApiCall(source="s", keys="K", url="u", outcome="ok", started_at=at, duration=MINUTE),
        "freshness": FreshnessHour(source="s", hour=at),
        "components": ComponentChange(component="redis", after="ok", at=at),
        "alerts": Alert(
            kind="failing", subject="j", summary="", opened_at=at - DAY, seen_at=at, closed_at=at
        ),
        "deliveries": Delivery(
            channel="mail", recipient="a@b", state="sent", subject="", text="", created_at=at
        ),
        "usage": SourceUsage(source="s", day=timezone.localtime(at).date()),
    }
    if kind == "runs":
        return make_run(make_job(), state=State.SUCCEEDED, created_at=at)
    made[kind].save()
    return made[kind]


def clean_up(*kinds: str, days: int | None = None, **options: Any) -> dict[str, Account]:
    pace = Pace(sleep=lambda seconds: None)
    accounts = CleanUp(shares(kinds, days), timezone.now(), **{"pace": pace, **options}).run()
    return {account.kind: account for account in accounts}


def counted(*kinds: str, days: int | None = None) -> dict[str, Account]:
    return {account.kind: account for account in CleanUp(shares(kinds, days), timezone.now()).count()}


# By age


def test_each_kind_of_the_setting_is_one_that_is_cleaned_up() -> None:
    assert tuple(kind.name for kind in KINDS) == RETAINED


@pytest.mark.parametrize("table", [table for kind in KINDS for table in kind.tables])
def test_the_age_of_each_table_leads_an_index(table: Any) -> None:
    leading = {index.fields[0] for index in table.model._meta.indexes if not index.condition}
    leading |= {
        constraint.fields[0] for constraint in table.model._meta.constraints if hasattr(constraint, "fields")
    }
    assert table.age in leading


@pytest.mark.parametrize("kind", RETAINED)
def test_what_is_older_than_the_age_of_its_kind_goes_and_what_is_younger_stays(
    kind: str, settings: Settings
) -> None:
    settings.HOTDATA_RETENTION = {kind: 70}
    old = make_old(kind, timezone.now() - 71 * DAY)
    young = make_old(kind, timezone.now() - 69 * DAY)
    assert counted()[kind].deleted == 1
    assert clean_up()[kind].deleted == 1
    assert list(type(old)._default_manager.all()) == [young]


@pytest.mark.parametrize("kind", RETAINED)
def test_what_is_kept_for_ever_is_never_old(kind: str, settings: Settings) -> None:
    settings.HOTDATA_RETENTION = {kind: "forever"}
    old = make_old(kind, timezone.now() - 10_000 * DAY)
    assert (clean_up()[kind].deleted, clean_up()[kind].days) == (0, None)
    assert clean_up(days=1)[kind].deleted == 0
    assert type(old)._default_manager.exists()


def test_usage_of_sources_and_of_tokens_goes_by_the_day_of_the_sites_zone(settings: Settings) -> None:
    settings.TIME_ZONE = "Asia/Shanghai"
    today = timezone.localtime().date()
    for days in (69, 70, 71):
        day = today - timedelta(days=days)
        SourceUsage.objects.create(source="s", day=day)
        TokenUsage.objects.create(source="s", token="t", day=day)
    assert clean_up("usage", days=70)["usage"].deleted == 2
    for model in (SourceUsage, TokenUsage):
        days_left: set[date] = set(model._default_manager.values_list("day", flat=True))
        assert days_left == {today - timedelta(days=69), today - timedelta(days=70)}


def test_days_without_kinds_leave_usage_alone() -> None:
    make_old("usage", timezone.now() - 100 * DAY)
    make_old("runs", timezone.now() - 100 * DAY)
    done = clean_up(days=2)
    assert (done["runs"].deleted, done["usage"].deleted, done["usage"].days) == (1, 0, 1096)
    assert clean_up("usage", days=62)["usage"].deleted == 1


def test_only_the_kinds_that_are_named_are_cleaned_up() -> None:
    make_old("runs", timezone.now() - 100 * DAY)
    make_old("calls", timezone.now() - 100 * DAY)
    assert list(clean_up("calls")) == ["calls"]
    assert (Run.objects.count(), ApiCall.objects.count()) == (1, 0)


def test_a_kind_that_does_not_exist_is_refused_and_the_others_are_listed() -> None:
    with pytest.raises(ValueError, match=r"There is no kind logs\. Kinds: runs, calls, "):
        shares(["logs"])


@pytest.mark.parametrize(("kind", "days"), [("runs", 0), ("runs", -1), ("runs", 36_501), ("usage", 61)])
def test_an_age_that_no_record_may_go_at_is_refused(kind: str, days: int) -> None:
    with pytest.raises(ValueError, match=f"days: between .* for {kind}, not {days:,}"):
        shares([kind], days)


def test_the_greatest_age_is_one_that_can_be_cleaned_up() -> None:
    assert all(account.deleted == 0 for account in clean_up(*RETAINED, days=36_500).values())


# What is kept, and why


@pytest.mark.parametrize("state", list(State))
def test_only_runs_that_have_come_to_an_end_go(state: State) -> None:
    make_run(make_job(), state=state, created_at=timezone.now() - 1000 * DAY)
    done = clean_up()["runs"]
    assert (done.deleted, done.kept) == ((1, {}) if state in FINISHED else (0, {NOT_ENDED: 1}))
    assert Run.objects.exists() == (state in ACTIVE)


def test_an_open_alert_is_kept_however_old_and_a_closed_one_goes_by_its_end() -> None:
    long_ago, lately = timezone.now() - 1000 * DAY, timezone.now() - DAY
    for subject, closed_at in (("open", None), ("lately", lately), ("long ago", long_ago)):
        Alert.objects.create(
            kind="failing",
            subject=subject,
            summary="",
            opened_at=long_ago,
            seen_at=lately,
            closed_at=closed_at,
        )
    done = clean_up()["alerts"]
    assert (done.deleted, done.kept) == (1, {OPEN: 1})
    assert set(Alert.objects.values_list("subject", flat=True)) == {"open", "lately"}


def test_a_message_that_waits_to_be_sent_is_kept_however_old() -> None:
    for state in Delivery.State:
        Delivery.objects.create(
            channel="mail",
            recipient="a",
            subject="",
            text="",
            state=state,
            created_at=timezone.now() - 1000 * DAY,
        )
    done = clean_up()["deliveries"]
    assert (done.deleted, done.kept) == (2, {WAITING: 2})
    left = set(Delivery.objects.values_list("state", flat=True))
    assert left == {Delivery.State.WAITING, Delivery.State.SENDING}


def test_what_nobody_was_told_yet_is_kept_and_silences_go_by_their_end() -> None:
    long_ago = timezone.now() - 1000 * DAY
    alert = Alert.objects.create(
        kind="failing", subject="j", summary="", opened_at=long_ago, seen_at=long_ago, closed_at=long_ago
    )
    delivery = Delivery.objects.create(
        channel="mail", recipient="a", subject="", text="", state="sent", created_at=long_ago
    )
    told = {"alert": alert, "event": "opened", "text": "", "channel": "mail", "recipient": "a"}
    for of in (None, delivery):
        Notice.objects.create(at=long_ago, delivery=of, **told)
    for until in (long_ago, timezone.now() + DAY):
        Silence.objects.create(of="job", name="j", until=until, by="ada", created_at=long_ago)
    done = clean_up()["alerts"]
    assert (done.deleted, done.kept) == (3, {WAITING: 1})
    assert (Notice.objects.get().delivery_id, Silence.objects.get().until > timezone.now()) == (None, True)


def test_statements_and_reports_are_kept_for_ever_and_told() -> None:
    issue_statement("2000-01")
    make_report(period="2000-01-01")
    clean_up(*RETAINED, days=62)
    kept = {account.kind: account.kept for account in untouched()}
    assert (kept["statements"], kept["reports"]) == ({ISSUED: 1}, {REPORTS: 1})
    assert Statement.objects.exists()
    assert Report.objects.exists()


def test_edits_are_kept_for_ever_and_told() -> None:
    job = make_job()
    Job.history.update(history_date=timezone.now() - 10_000 * DAY)
    job.delete()
    clean_up(*RETAINED, days=62)
    assert Account(kind="edits", days=None, kept={EDITS: 2}) in untouched()
    assert Job.history.count() == 2


def test_what_people_did_is_kept_for_ever_and_told(django_user_model: Any) -> None:
    ada = Actor(user_id=django_user_model.objects.create(username="ada").pk, name="ada")
    run_now(ada, make_job(), Cause.API)
    LogEntry.objects.update(action_time=timezone.now() - 10_000 * DAY)
    clean_up(*RETAINED, days=62)
    assert Account(kind="actions", days=None, kept={ACTIONS: 1}) in untouched()
    assert LogEntry.objects.exists()


def test_runs_of_jobs_that_are_gone_are_cleaned_up_by_age_like_all_others() -> None:
    job = make_job()
    make_old_runs(job, 2)
    job.delete()
    assert clean_up(days=1)["runs"].deleted == 2


def test_notable_runs_are_no_exception_to_the_age() -> None:
    make_old_runs(make_job(keep_runs=0), 1, notable=True)
    assert clean_up(days=1)["runs"].to_json() == {"days": 1, "deleted": 1, "kept": {}}


def test_jobs_are_left_alone_by_the_deletion_of_their_runs() -> None:
    job = make_job()
    make_old_runs(job, 1)
    clean_up(days=1)
    assert Job.objects.get() == job


def test_each_job_with_a_run_limit_is_thinned_out_whatever_the_age_of_its_runs() -> None:
    limited, free = make_job(keep_runs=2), make_job()
    runs = [make_run(limited, state=State.SUCCEEDED, notable=number == 1) for number in range(6)]
    make_run(free, state=State.SUCCEEDED)
    done = clean_up()["runs"]
    assert (done.deleted, done.kept) == (3, {NOTABLE: 1})
    assert set(Run.objects.of_job(limited.name)) == {runs[1], runs[4], runs[5]}
    assert Run.objects.of_job(free.name).count() == 1


def test_runs_that_are_both_beyond_a_limit_and_old_are_counted_once() -> None:
    job = make_job(keep_runs=2)
    make_old_runs(job, 3)
    make_old_runs(job, 2, notable=True)
    make_old_runs(job, 3, age=MINUTE)
    make_old_runs(job, 1, age=MINUTE, notable=True)
    make_old_runs(make_job(), 4)
    dry = counted(days=5)["runs"]
    assert (dry.deleted, dry.kept) == (11, {})
    assert clean_up(days=5)["runs"] == dry
    assert Run.objects.count() == 2


def test_a_dry_run_says_what_the_real_one_does_of_every_kind_and_deletes_nothing() -> None:
    for kind in RETAINED:
        for age in (1, 63, 64, 2000):
            make_old(kind, timezone.now() - age * DAY - MINUTE)
    make_run(make_job(), state=State.RUNNING, created_at=timezone.now() - 64 * DAY)
    before = Run.objects.count(), ApiCall.objects.count()
    dry = counted(*RETAINED, days=63)
    assert (Run.objects.count(), ApiCall.objects.count()) == before
    assert dry["runs"].deleted == 3
    assert clean_up(*RETAINED, days=63) == dry


# In batches


def small() -> Pace:
    """Batches of ten rows, without rests."""
    pace = Pace(sleep=lambda seconds: None, clock=lambda: 0.0)
    pace.size = 10
    pace.took = lambda seconds, rows: None  # type: ignore[method-assign]
    return pace


def test_much_is_deleted_in_batches_that_are_told_one_by_one() -> None:
    make_old_runs(make_job(), 25)
    for _ in range(12):
        make_call(started_at=timezone.now() - 10 * DAY)
    told: list[tuple[int, int]] = []
    clean_up(days=1, pace=small(), progress=lambda done, total: told.append((done, total)))
    assert told == [(10, 37), (20, 37), (25, 37), (35, 37), (37, 37)]
    assert not Run.objects.exists()


def test_what_is_about_as_much_as_the_numbers_tell_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    make_old_runs(make_job(), 25)
    Run.objects.filter(id__in=Run.objects.order_by("id").values_list("id", flat=True)[5:10]).delete()
    monkeypatch.setattr(cleanup, "EXACTLY", 3)
    told: list[tuple[int, int]] = []
    clean_up(days=1, pace=small(), progress=lambda done, total: told.append((done, total)))
    assert told == [(10, 25), (20, 25)]


@pytest.mark.django_db(transaction=True)
def test_each_batch_is_a_transaction_of_its_own_that_deletes_by_key() -> None:
    make_old_runs(make_job(), 25)
    inside: list[bool] = []
    with CaptureQueriesContext(connection) as queries:
        clean_up(
            "runs",
            days=1,
            pace=small(),
            progress=lambda done, total: inside.append(connection.in_atomic_block),
        )
    assert inside == [False, False, False]
    statements = [query["sql"] for query in queries]
    deletes = [sql for sql in statements if sql.startswith("DELETE")]
    assert len(deletes) == 3
    assert len([sql for sql in statements if sql == "COMMIT"]) >= 3
    assert not any("OFFSET" in sql for sql in statements)
    assert all('"id" IN (' in sql for sql in deletes)


def stop(done: int, total: int) -> None:
    raise KeyboardInterrupt


def test_a_clean_up_that_is_cut_off_tells_its_part_and_can_be_called_again() -> None:
    runs = make_old_runs(make_job(), 25)
    cut_off = CleanUp(shares(["runs", "calls"], 1), timezone.now(), pace=small(), progress=stop)
    with pytest.raises(KeyboardInterrupt):
        cut_off.run()
    assert cut_off.accounts["runs"].to_json() == {"days": 1, "deleted": 10, "kept": {}, "finished": False}
    assert list(Run.objects.order_by("id")) == runs[10:]  # the oldest go first
    assert clean_up(days=1)["runs"].deleted == 15


@pytest.mark.parametrize("rows", [10, 20])
def test_a_last_batch_that_is_full_is_not_the_last_but_one(rows: int) -> None:
    make_old_runs(make_job(), rows)
    assert clean_up(days=1, pace=small())["runs"].deleted == rows


def test_a_row_that_is_wanted_again_meanwhile_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    old = make_old("deliveries", timezone.now() - 1000 * DAY)

    def send_again(using: str) -> None:
        Delivery.objects.filter(pk=old.pk).update(state=Delivery.State.WAITING)

    monkeypatch.setattr("hotdata.retention.sweep._bound", send_again)
    assert clean_up("deliveries")["deliveries"].to_json()["deleted"] == 0
    assert Delivery.objects.exists()


# One at a time


@pytest.fixture
def other() -> Iterator[str]:
    assert Cleaning.begin("other:1:abc", TTL)
    return "other:1:abc"


def test_a_second_clean_up_says_who_is_at_work_and_deletes_nothing(other: str) -> None:
    make_old_runs(make_job(), 1)
    with pytest.raises(
        CleaningAlready, match=r"Another clean-up is at work: other:1, since .* deleted nothing"
    ):
        clean_up(days=1)
    assert Run.objects.exists()
    Cleaning.end(other)
    assert clean_up(days=1)["runs"].deleted == 1


@pytest.mark.usefixtures("other")
@pytest.mark.parametrize("moved", [-DAY, DAY])
def test_one_that_was_killed_is_waited_for_no_longer_than_it_had_said(moved: timedelta) -> None:
    Cleaning.objects.update(expires_at=timezone.now() + moved)  # a day ahead: before the clock was set back
    clean_up()
    assert Cleaning.current() is None


def test_one_that_another_has_taken_for_dead_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    make_old_runs(make_job(), 25)
    monkeypatch.setattr(cleanup, "RENEWAL", -1.0)

    def overtaken(done: int, total: int) -> None:
        Cleaning.objects.update(holder="other")

    with pytest.raises(CleaningAlready, match="since this one was not heard of"):
        clean_up(days=1, pace=small(), progress=overtaken)
    assert Run.objects.count() == 5  # the batch that was under way is done
    assert Cleaning.objects.get().holder == "other"


def test_whatever_ends_a_clean_up_the_next_may_begin() -> None:
    make_old_runs(make_job(), 1)
    with pytest.raises(KeyboardInterrupt):
        clean_up(days=1, progress=stop)
    assert Cleaning.current() is None
