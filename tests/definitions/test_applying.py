"""Definitions become what a file says: all or nothing, and what is so already is not touched."""

from __future__ import annotations

import threading
from datetime import UTC, timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hotdata.definitions import applying
from hotdata.definitions.applying import PlanHasChanged, apply
from hotdata.definitions.documents import Document
from hotdata.definitions.export import definition_of, document, text_of
from hotdata.definitions.plans import Plan
from hotdata.definitions.reading import BadDocument, parse
from hotdata.models import ChangeCounter, Job, Key, Run, Schedule, Source
from hotdata.models.runs import Cause, State
from tests.builders import make_job, make_run, make_source

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)


def applied(text: str, **options: Any) -> Plan:
    return apply(parse(text.encode()), timezone.now(), **options)


def exported() -> str:
    return text_of(document(now=timezone.now())[0])


def problems(text: str) -> list[str]:
    with pytest.raises(BadDocument) as refused:
        applied(text)
    return refused.value.problems


def state() -> dict[str, Any]:
    """All that an apply may touch."""
    rows = {
        model.__name__: list(model._default_manager.order_by("pk").values()) for model in (Job, Source, Key)
    }
    edits = {model.__name__: model.history.count() for model in (Job, Source, Key)}
    schedules = list(Schedule.objects.order_by("id").values_list("id", "next_run_time"))
    return {"rows": rows, "edits": edits, "schedules": schedules, "counter": ChangeCounter.current()}


def make_some() -> None:
    source = make_source(
        name="quotes", path="/quote/{key}", pinned=("AAPL", "MSFT"), windows="09:30-16:00 UTC"
    )
    source.pin("600519", {"market": "上海"})
    make_source(name="empty", query={"b": "{key}", "a": "1"}, required=["price"], bounds={"price": [0, None]})
    make_job(name="quotes", task="refresh_source", params={"source": "quotes"}, keep_runs=10)
    make_job(name="each", trigger="interval", interval=timedelta(seconds=90), cron="", jitter=MINUTE)
    make_job(name="once", trigger="date", run_at=timezone.now() + timedelta(days=1), cron="", timeout=None)


def clear() -> None:
    Job.objects.all().delete()
    Source.objects.all().delete()


SOURCE = "sources:\n  s:\n    base_url: https://a.example\n    path: /{key}\n    keys:\n      A: {}\n"
JOB = "jobs:\n  j:\n    task: refresh_source\n    params: {source: s}\n    cron: '*/5 * * * *'\n"
BOTH = f"version: 1\n{SOURCE}{JOB}"


# There and back


def test_what_was_exported_makes_the_same_on_an_empty_site() -> None:
    make_some()
    text = exported()
    clear()
    applied(text)
    assert exported() == text
    assert Source.objects.get(name="quotes").placeholders_by_key()["600519"] == {"market": "上海"}


def test_what_is_already_so_is_not_touched() -> None:
    make_some()
    text, before = exported(), state()
    plan = applied(text)
    assert (plan.steps, plan.unchanged, plan.left_alone) == ((), 5, ())
    assert state() == before


TEXTS = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\x00"), max_size=30)
PLAIN = (
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.floats(-1e6, 1e6).map(lambda n: n or 0.5)
    | TEXTS
)
DEEP = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=8
)


@given(
    title=TEXTS,
    params=st.dictionaries(TEXTS, DEEP, max_size=3),
    timeout=st.none() | st.timedeltas(min_value=timedelta(milliseconds=1), max_value=timedelta(days=36_500)),
    retries=st.integers(0, 100),
    starts_at=st.none() | st.datetimes(timezones=st.just(UTC)),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_a_definition_of_any_kind_survives_the_way_to_a_file_and_back(
    title: str, params: Any, timeout: Any, retries: int, starts_at: Any
) -> None:
    job = Job(name="j", task="t", cron="* * * * *", title=title, params=params, timeout=timeout)
    job.max_retries, job.starts_at = retries, starts_at
    written = Document(jobs={"j": definition_of(job)})
    text = text_of(written)
    back = parse(text.encode())
    assert back.jobs == written.jobs
    assert text_of(back) == text


# What changes


def test_a_new_site_gets_all_of_it_in_one_edit_each_and_the_schedulers_hear_of_it_once() -> None:
    before = ChangeCounter.current()
    plan = applied(BOTH, by="ada", reason="applied from a.yaml")
    assert plan.summary == "2 created, 0 changed, 0 deleted, 0 unchanged"
    assert Schedule.objects.get(id="j").next_run_time is not None
    assert ChangeCounter.current() == before + 1
    for model in (Job, Source, Key):
        [edit] = model.history.all()
        assert (edit.history_type, edit.history_user_id) == ("+", "ada")
        assert edit.history_change_reason == "applied from a.yaml"


def test_only_what_is_different_is_saved_and_each_difference_is_told() -> None:
    applied(BOTH)
    before = state()
    changed = (
        BOTH.replace("*/5", "*/7")
        .replace("{source: s}", "{source: s, keys: [A]}")
        .replace("A: {}", "A: {weight: 2}\n      B: {}")
    )
    plan = applied(changed)
    assert list(plan.lines()) == [
        "~ source s",
        "~     keys.A.weight: 1.0 -> 2.0",
        "+     keys.B: {}",
        "~ job j",
        '+     params.keys: ["A"]',
        '~     cron: "*/5 * * * *" -> "*/7 * * * *"',
    ]
    assert state()["edits"] == {"Job": 2, "Source": 2, "Key": 3}
    assert state()["counter"] == before["counter"] + 1
    assert Source.objects.get().pinned_keys() == ["A", "B"]


def test_a_secret_that_was_there_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    applied(BOTH)
    Source.objects.update(headers={"X-API-Key": "S3cretPass-of-the-vendor"})
    monkeypatch.setenv("HOTDATA_SECRET_VENDOR", "S3cretPass-of-the-vendor")
    assert list(applied(BOTH).lines()) == ["~ source s", '-     headers.X-API-Key: "[secret]"']


def test_a_field_that_the_file_leaves_out_becomes_its_default() -> None:
    applied(BOTH + "    title: Stocks\n    timeout: null\n")
    plan = applied(BOTH)
    assert list(plan.lines()) == ["~ job j", '~     title: "Stocks" -> ""', '~     timeout: null -> "15 min"']
    assert Job.objects.get().timeout == timedelta(minutes=15)


def test_a_schedule_keeps_its_phase_through_a_change_of_something_else() -> None:
    interval = BOTH.replace("cron: '*/5 * * * *'", "trigger: interval\n    interval: 1 h")
    applied(interval)
    job, due = Job.objects.get(), Schedule.objects.get().next_run_time
    applied(interval + "    title: another\n")
    assert (Job.objects.get().created_at, Schedule.objects.get().next_run_time) == (job.created_at, due)


def test_a_pause_stays_as_it_is() -> None:
    applied(BOTH)
    Job.objects.get().set_paused(True, note="Moving.", by="grace")
    assert applied(BOTH).steps == ()
    applied(BOTH + "    title: another\n")
    job = Job.objects.get()
    assert (job.paused, job.pause_note, job.paused_by, job.title) == (True, "Moving.", "grace", "another")


def test_a_source_with_many_keys_takes_no_query_for_each(django_assert_max_num_queries: Any) -> None:
    keys = "".join(f"      K{number}: {{weight: 2}}\n" for number in range(500))
    with django_assert_max_num_queries(60):
        applied(f"version: 1\n{SOURCE}{keys}")
    assert Key.objects.count() == Key.history.count() == 501


# What isn't in the file


def test_what_is_not_in_the_file_is_left_alone_and_told() -> None:
    applied(BOTH)
    make_job(name="other")
    make_source(name="other")
    Source.objects.get(name="s").pin("B")
    before = state()
    plan = applied(BOTH)
    assert set(plan.left_alone) == {"jobs.other", "sources.other", "sources.s.keys.B"}
    assert "  jobs.other is not in the file, and left alone" in list(plan.lines())
    assert state() == before


def test_pruning_deletes_it_but_for_jobs_that_have_run_their_course() -> None:
    applied(BOTH)
    other = make_job(name="other")
    waiting = other.request_run(Cause.MANUAL)
    running = make_run(other, state=State.RUNNING)
    make_source(name="other", pinned=("X",))
    Source.objects.get(name="s").pin("B")
    over = make_job(name="over", trigger="date", run_at=timezone.now() + timedelta(hours=1), cron="")
    Job.objects.filter(pk=over.pk).update(run_at=timezone.now() - timedelta(hours=1))
    plan = applied(BOTH, prune=True, by="ada")
    assert list(plan.lines()) == ["~ source s", "-     keys.B", "- source other", "- job other"]
    assert set(Job.objects.values_list("name", flat=True)) == {"j", "over"}
    assert set(Source.objects.values_list("name", flat=True)) == {"s"}
    assert list(Key.objects.values_list("key", flat=True)) == ["A"]
    assert not Schedule.objects.filter(id="other").exists()
    assert Run.objects.get(pk=waiting.pk).state == State.CANCELLED
    assert Run.objects.get(pk=running.pk).state == State.RUNNING
    assert Job.history.filter(name="other", history_type="-").get().history_user_id == "ada"
    assert applied(BOTH, prune=True).steps == ()


def test_a_job_and_its_source_go_and_come_together() -> None:
    applied(BOTH)
    applied("version: 1", prune=True)
    assert not Job.objects.exists()
    assert not Source.objects.exists()
    applied(BOTH)
    assert Job.objects.get().params == {"source": "s"}


# All or nothing


def test_all_that_is_wrong_is_told_at_once_and_nothing_is_written() -> None:
    make_some()
    before = state()
    told = problems(
        "version: 1\n"
        "sources:\n"
        "  good:\n"
        "    base_url: https://a.example\n"
        "    path: /{key}\n"
        "    keys:\n"
        "      A: {weight: 5000}\n"
        "  bad:\n"
        "    base_url: http://127.0.0.1\n"
        "    path: /{key}\n"
        "    soft_ttl: 2 h\n"
        "    hard_ttl: 1 h\n"
        "jobs:\n"
        "  bad:\n"
        "    task: no-such-task\n"
        "    cron: '61 * * * *'\n"
        "  'not a name':\n"
        "    task: health_check\n"
        "    cron: '* * * * *'\n"
        "  nameless:\n"
        "    task: refresh_source\n"
        "    params: {source: nowhere}\n"
        "    cron: '* * * * *'\n"
    )
    told = "\n".join(problems("version: 1\njobs:\n  j:\n    task: health_check\n    cron: '61 * * * *'\n"))
    assert told.startswith("line 5: jobs.j.cron: ")
    assert state() == before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOTH.replace("cron: '*/5 * * * *'", "cron: x"), "line 12: jobs.j.cron: "),
        (BOTH.replace("{source: s}", "{source: t}"), "line 11: jobs.j.params: "),
        (BOTH.replace("  j:", "  'a job':"), "line 9: jobs.a job.name: "),
        (BOTH.replace("A: {}", "A: {weight: 0}"), "line 7: sources.s.keys.A.weight: "),
        (BOTH.replace("https", "http"), "line 4: sources.s.base_url: "),
        (BOTH.replace("/{key}", "/"), "line 5: sources.s.path: "),
        (BOTH + "    time_zone: Mars/Olympus\n", "line 13: jobs.j.time_zone: "),
        (BOTH + "    timeout: -5\n", "line 13: jobs.j.timeout: "),
        (
            BOTH + "    ends_at: 9999-12-31T23:59:59+00:00\n",
            "line 13: jobs.j.ends_at: The time is out of range.",
        ),
        (BOTH + "    overlap: maybe\n", "line 13: jobs.j.overlap: "),
        (BOTH + "    task: nothing\n", "line 13: jobs.j.task: this is there twice"),
    ],
)
def test_what_a_model_refuses_is_told_with_its_line(text: str, said: str) -> None:
    before = state()
    assert any(problem.startswith(said) for problem in problems(text)), problems(text)
    assert state() == before


def test_an_error_half_way_leaves_everything_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    before = state()

    def fail(*args: object) -> None:
        raise RuntimeError("the power went")

    monkeypatch.setattr(applying._Work, "_save_job", fail)
    with pytest.raises(RuntimeError, match="the power went"):
        applied(BOTH)
    assert state() == before


def test_a_dry_run_finds_the_same_and_changes_nothing() -> None:
    before = state()
    dry = applied(BOTH, dry_run=True)
    assert state() == before
    assert list(applied(BOTH).lines()) == list(dry.lines())
    before = state()
    with pytest.raises(BadDocument):
        applied(BOTH.replace("*/5", "61"), dry_run=True)
    assert state() == before


# Others who edit


def test_a_plan_that_was_looked_at_is_applied_only_if_it_is_still_the_same() -> None:
    applied(BOTH)
    changed = BOTH + "    title: new\n"
    digest = applied(changed, dry_run=True).digest
    job = Job.objects.get()
    job.title = "edited meanwhile"
    job.save()
    with pytest.raises(PlanHasChanged, match=f"and not '{digest}'"):
        applied(changed, expect=digest)
    assert Job.objects.get().title == "edited meanwhile"
    applied(changed, expect=applied(changed, dry_run=True).digest)
    assert Job.objects.get().title == "new"
    with pytest.raises(PlanHasChanged):
        applied(changed, expect=digest)  # nothing is left to do, which was not expected either


def test_an_edit_between_the_look_and_the_lock_is_not_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    applied(BOTH)
    lock = applying._lock

    def edit_and_lock(plan: Plan) -> None:
        Job.objects.filter(name="j").update(title="edited meanwhile")
        lock(plan)

    monkeypatch.setattr(applying, "_lock", edit_and_lock)
    with pytest.raises(PlanHasChanged, match="Something was edited meanwhile"):
        applied(BOTH + "    title: new\n")


@pytest.mark.django_db(transaction=True)
def test_edits_and_applies_at_the_same_time_come_one_after_the_other_without_a_deadlock() -> None:
    applied(BOTH + "  k:\n    task: health_check\n    cron: '* * * * *'\n")
    errors: list[BaseException] = []
    start = threading.Barrier(3)

    def edit() -> None:
        for number in range(15):
            for name in ("k", "j"):
                job = Job.objects.get(name=name)
                job.max_retries = number
                job.save()
            source = Source.objects.get()
            source.hot_keys = number
            source.save()

    def apply_them() -> None:
        for number in range(15):
            text = BOTH.replace("path:", f"hot_keys: {number + 50}\n    path:")
            try:
                applied(f"{text}    max_retries: {number + 50}\n")
            except PlanHasChanged:
                continue

    def work(what: Any) -> None:
        try:
            start.wait(30)
            what()
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=[what]) for what in (edit, apply_them)]
    for thread in threads:
        thread.start()
    start.wait(30)
    for thread in threads:
        thread.join(60)
    assert errors == []
