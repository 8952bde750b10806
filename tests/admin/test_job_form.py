"""The form of a job: fields by the task's signature, durations as people write them, and a preview of the schedule."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Any, Literal

import msgspec
import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone

from hotdata import registry
from hotdata.admin.fields import SpanField
from hotdata.admin.param_forms import ParamsForm
from hotdata.admin.task_params import param_fields
from hotdata.models import ChangeCounter, Job, Schedule
from hotdata.models.runs import State
from tests.admin.test_jobs import ADD, LIST, errors, form, page_of
from tests.builders import Staff, make_job, make_run, registered

pytestmark = pytest.mark.django_db

PREVIEW = f"{LIST}preview/"
PARAMS = f"{LIST}params/"
HOSTILE = '"><script>alert(1)</script>'


class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"


def everything(
    count: Annotated[int, msgspec.Meta(ge=1, le=9)],
    name: str = "x",
    careful: bool = True,
    perhaps: bool | None = None,
    share: float = 0.5,
    keys: list[str] | None = None,
    numbers: list[int] = [1],  # noqa: B006 - is never changed
    mode: Literal["fast", "slow"] = "fast",
    size: Size = Size.SMALL,
    weights: dict[str, int] | None = None,
) -> None:
    """Take one parameter of each kind.

    Args:
        count: How many there are,
            at most nine.
        name (str): What it is called.
    """


@pytest.fixture
def task() -> Iterator[str]:
    with registered(everything) as name:
        yield name


def filled(**params: Any) -> dict[str, Any]:
    """What a browser sends of a form with fields for `everything`, and not with one for JSON."""
    sent = form(**params)
    del sent["params"]
    return sent


# Fields by the signature


def fields_of(task: str, params: dict[str, Any]) -> dict[str, Any]:
    made = param_fields(registry.tasks.get(task), params, None)
    return {field.name: field.initial for field in made}


def test_each_parameter_has_a_field_of_its_kind(task: str) -> None:
    made = {
        field.name: type(field.field).__name__ for field in param_fields(registry.tasks.get(task), {}, None)
    }
    assert made == {
        "param-count": "IntegerField",
        "param-name": "CharField",
        "param-careful": "BooleanField",
        "param-perhaps": "ChoiceOfValues",
        "param-share": "FloatField",
        "param-keys": "LinesField",
        "param-numbers": "LinesField",
        "param-mode": "ChoiceOfValues",
        "param-size": "ChoiceOfValues",
        "json-weights": "TypedJSONField",
    }


def test_what_the_docstring_says_of_a_parameter_stands_at_its_field(admin_client: Client, task: str) -> None:
    page = admin_client.get(PARAMS, {"task": task}).content.decode()
    assert "How many there are, at most nine." in page
    assert "What it is called." in page
    assert 'max="9"' in page


VALUES = {
    "count": 3,
    "name": "北京",
    "careful": False,
    "perhaps": True,
    "share": 1,
    "keys": ["AAPL", "北京 & co"],
    "numbers": [3, 2],
    "mode": "slow",
    "size": "large",
    "weights": {"a": 1},
}
ODD_VALUES = [
    {"count": 3, "keys": []},
    {"count": 3, "keys": ["", "a\nb", " a"]},
    {"count": 3, "name": "two\nlines"},
    {"count": 3, "name": "", "keys": None},
    {"count": 3, "numbers": [], "weights": {}},
    {"count": 3, "careful": True, "name": "x", "numbers": [1]},
    {"count": 3, "name": HOSTILE, "keys": [HOSTILE]},
    {"count": 3, "weights": None, "perhaps": None},
]


@pytest.mark.parametrize("params", [{"count": 3}, VALUES, *ODD_VALUES], ids=repr)
def test_what_is_saved_as_it_was_shown_is_what_was_stored(task: str, params: dict[str, Any]) -> None:
    shown = ParamsForm()
    shown.add_params(registry.tasks.get(task), params)
    sent = {
        bound.html_name: "on" if bound.value() is True else bound.value()
        for bound in shown.bound_params()
        if bound.value() not in (None, False)
    }
    posted = ParamsForm(data=sent)
    posted.add_params(registry.tasks.get(task), params)
    assert posted.is_valid()
    assert posted.read_params() == params
    assert not posted.errors


def test_parameters_are_saved_from_their_fields(admin_client: Client, task: str) -> None:
    sent = filled(task=task) | {
        "param-count": "3",
        "param-keys": "AAPL\r\n\r\n 北京 \r\n",
        "param-mode": '"slow"',
        "param-careful": "",
        "json-weights": '{"a": 1}',
    }
    del sent["param-careful"]
    assert admin_client.post(ADD, sent).status_code == 302
    assert Job.objects.get().params == {
        "count": 3,
        "keys": ["AAPL", "北京"],
        "mode": "slow",
        "careful": False,
        "weights": {"a": 1},
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("param-count", ""),
        ("param-count", "10"),
        ("param-count", "many"),
        ("param-share", "nan"),
        ("param-numbers", "1\ntwo"),
        ("param-mode", '"medium"'),
        ("param-mode", "not json"),
        ("param-size", '"huge"'),
        ("param-name", "\x00"),
        ("json-weights", "{"),
        ("json-weights", '{"a": "b"}'),
        ("json-weights", "[" * 100_000),
    ],
)
def test_a_bad_parameter_is_shown_at_its_field_and_nothing_is_saved(
    admin_client: Client, task: str, field: str, value: str
) -> None:
    sent = filled(task=task) | {"param-count": "3"} | {field: value}
    assert field in errors(admin_client.post(ADD, sent))
    assert not Job.objects.exists()


def test_an_edit_of_something_else_leaves_the_parameters_as_they_are(admin_client: Client, task: str) -> None:
    job = make_job(name="update", task=task, params=VALUES)
    page = admin_client.get(page_of(job))
    sent = filled(task=task, title="New") | {
        bound.html_name: bound.value()
        for bound in page.context["adminform"].form.bound_params()
        if bound.value() not in (None, False)
    }
    assert admin_client.post(page_of(job), sent).status_code == 302
    job.refresh_from_db()
    assert (job.title, job.params) == ("New", VALUES)


@pytest.mark.parametrize(
    ("task", "params", "told"),
    [
        ("gone", {"a": 1}, "gone"),
        ("cleanup_logs", {"nothing": 1}, "has no parameter"),
        ("cleanup_logs", ["a", "list"], "must be a JSON object"),
    ],
)
def test_parameters_that_no_field_can_show_are_shown_as_json(
    admin_client: Client, task: str, params: Any, told: str
) -> None:
    job = make_job(name="update")
    Job.objects.filter(pk=job.pk).update(task=task, params=params)
    page = admin_client.get(page_of(job))
    assert page.status_code == 200
    assert [bound.html_name for bound in page.context["adminform"].form.bound_params()] == ["params"]
    assert told in page.content.decode()
    assert admin_client.post(page_of(job), form()).status_code == 302
    job.refresh_from_db()
    assert (job.task, job.params) == ("cleanup_logs", {"days": 30})


def test_a_value_of_the_wrong_type_is_shown_as_it_is(admin_client: Client) -> None:
    job = make_job(name="update", task="cleanup_logs")
    Job.objects.filter(pk=job.pk).update(params={"days": "seven"})
    page = admin_client.get(page_of(job)).content.decode()
    assert 'name="json-days"' in page
    assert "&quot;seven&quot;" in page


def test_hostile_texts_are_texts(admin_client: Client, task: str) -> None:
    job = make_job(
        name="update", task=task, title=HOSTILE, params={"count": 1, "name": HOSTILE, "keys": [HOSTILE]}
    )
    make_run(job, state=State.FAILED, error=HOSTILE)
    job.set_paused(True, note=HOSTILE)
    Job.objects.filter(pk=job.pk).update(task=HOSTILE, time_zone=HOSTILE[:60])
    for path in (page_of(job), f"{LIST}{job.pk}/history/", f"{LIST}{job.pk}/run-with/"):
        page = admin_client.get(path)
        assert page.status_code == 200
        assert HOSTILE not in page.content.decode()


# Another task


def test_the_fields_of_another_task_are_shown_and_nothing_is_saved(admin_client: Client, task: str) -> None:
    job = make_job(name="update", task="cleanup_logs", title="before")
    before = ChangeCounter.current()
    answer = admin_client.post(
        page_of(job), filled(task=task, title="after", _load="1", fields_of="cleanup_logs")
    )
    assert answer.status_code == 200
    page = answer.content.decode()
    assert 'name="param-count"' in page
    assert 'value="after"' in page
    assert not answer.context["errors"]
    assert 'name="param-careful" id="id_param-careful" checked' in page, "as the task has it"
    job.refresh_from_db()
    assert (job.task, job.title, ChangeCounter.current()) == ("cleanup_logs", "before", before)


def test_a_task_that_was_chosen_without_seeing_its_fields_is_not_saved_yet(
    admin_client: Client, task: str
) -> None:
    answer = admin_client.post(ADD, filled(task=task, fields_of=""))
    assert answer.status_code == 200
    assert "Nothing has been saved yet" in answer.content.decode()
    assert not Job.objects.exists()


def test_the_fields_of_a_task_can_be_fetched_by_who_may_edit(staff: Staff, task: str) -> None:
    job = make_job(task=task, params={"count": 7})
    asked = {"task": task, "of": str(job.pk)}
    assert 'value="7"' in staff("change_job").get(PARAMS, asked).content.decode()
    assert staff("add_job").get(PARAMS, {"task": task}).status_code == 200
    assert staff("view_job").get(PARAMS, asked).status_code == 403
    assert staff("change_job").post(PARAMS, asked).status_code == 405


def test_the_parameters_of_a_job_are_not_told_to_who_may_only_make_others(staff: Staff, task: str) -> None:
    job = make_job(task=task, params={"count": 7321})
    asked = {"task": task, "of": str(job.pk)}
    assert "7321" in staff("add_job", "view_job").get(PARAMS, asked).content.decode()
    assert "7321" not in staff("add_job").get(PARAMS, asked).content.decode()


@pytest.mark.parametrize("asked", [{}, {"task": "gone"}, {"task": HOSTILE}, {"of": "9" * 30}, {"of": "x"}])
def test_fields_of_nothing_are_none(admin_client: Client, asked: dict[str, str]) -> None:
    answer = admin_client.get(PARAMS, asked)
    assert answer.status_code == 200
    assert HOSTILE not in answer.content.decode()


# Durations


@pytest.mark.parametrize(
    ("typed", "seconds"),
    [
        ("90", 90), ("1:30", 90), ("90s", 90), ("90 s", 90), ("5 min", 300), ("1 h 30 min", 5400), ("1h30m", 5400),
        ("1.5 h", 5400), ("2 days", 172_800), ("250 ms", 0.25), ("1 小时 30 分钟", 5400), ("01:00:00", 3600),
    ],
)  # fmt: skip
def test_durations_are_read_as_people_write_them(typed: str, seconds: float) -> None:
    field = SpanField()
    read = field.clean(typed)
    assert read == timedelta(seconds=seconds)
    assert field.clean(field.prepare_value(read)) == read


@pytest.mark.parametrize(
    "typed", ["often", "5 parsecs", "min", "9" * 39 + "d", "1 h and 5", "5 min" * 50, "\x00"]
)
def test_what_is_no_duration_is_refused(typed: str) -> None:
    with pytest.raises(ValidationError):
        SpanField().clean(typed)


def test_a_duration_is_shown_in_units(admin_client: Client) -> None:
    job = make_job(timeout=timedelta(hours=1, minutes=30), retry_delay=timedelta(seconds=10))
    page = admin_client.get(page_of(job)).content.decode()
    assert 'value="1 h 30 min"' in page
    assert 'value="10 s"' in page


# The preview


def asked(**fields: str) -> dict[str, str]:
    return {"trigger": "cron", "cron": "30 2 * * *", "time_zone": "Europe/Berlin", "jitter": "0"} | fields


def test_the_preview_shows_the_next_ten_due_times_in_words_and_saves_nothing(admin_client: Client) -> None:
    before = ChangeCounter.current()
    page = admin_client.get(PREVIEW, asked(time_zone="Asia/Shanghai")).content.decode()
    assert page.count("<time") == 10
    assert "At 02:30" in page
    assert (Job.objects.count(), Schedule.objects.count(), ChangeCounter.current()) == (0, 0, before)


def test_a_change_of_clocks_is_marked(admin_client: Client) -> None:
    page = admin_client.get(PREVIEW, asked(cron="30 2 28-31 3 sun")).content.decode()
    spring = admin_client.get(PREVIEW, asked(cron="30 2 * 3 sun")).content.decode()
    assert page.count("<time") == 10
    assert "moved: the clocks skip its time" in spring
    autumn = admin_client.get(PREVIEW, asked(cron="30 2 * 10 sun")).content.decode()
    assert "first of two: the clocks show this time twice" in autumn


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("cron", {"cron": "61 * * * *"}),
        ("cron", {"cron": ""}),
        ("cron", {"cron": HOSTILE}),
        ("cron", {"cron": "* " * 100}),
        ("cron", {"cron": "\x00"}),
        ("time_zone", {"time_zone": "Mars/Olympus"}),
        ("time_zone", {"time_zone": "../../etc/passwd"}),
        ("interval", {"trigger": "interval", "interval": "often"}),
        ("interval", {"trigger": "interval", "interval": "0"}),
        ("run_at", {"trigger": "date", "run_at_0": "2001-01-01", "run_at_1": "0:00"}),
        ("trigger", {"trigger": "sometimes"}),
        ("jitter", {"jitter": "999999999 00:00:00"}),
    ],
)
def test_what_is_wrong_is_in_the_preview_by_its_field(
    admin_client: Client, field: str, fields: dict[str, str]
) -> None:
    answer = admin_client.get(PREVIEW, asked(**fields))
    assert answer.status_code == 200
    page = answer.content.decode()
    assert f'data-error-for="{field}"' in page
    assert HOSTILE not in page


def test_the_preview_takes_no_endless_input(admin_client: Client) -> None:
    assert admin_client.get(PREVIEW, asked(cron="*" * 301)).status_code == 400
    assert admin_client.get(PREVIEW, {}).status_code == 200


def test_the_preview_of_an_interval_keeps_the_phase_of_the_job(admin_client: Client) -> None:
    job = make_job(
        trigger="interval",
        interval=timedelta(hours=1),
        cron="",
        created_at=timezone.now() - timedelta(minutes=50),
    )
    page = admin_client.get(
        PREVIEW, asked(trigger="interval", interval="1 h", of=str(job.pk))
    ).content.decode()
    first = page.partition("<time")[2]
    assert "in 9 min" in first[:200] or "in 10 min" in first[:200]


def test_the_preview_is_for_who_may_see_or_make_jobs(staff: Staff, client: Client) -> None:
    assert staff("view_job").get(PREVIEW, asked()).status_code == 200
    assert staff("add_job").get(PREVIEW, asked()).status_code == 200
    assert staff("view_run").get(PREVIEW, asked()).status_code == 403
    assert staff("change_job").post(PREVIEW, asked()).status_code == 405
    client.logout()
    assert client.get(PREVIEW, asked()).status_code == 302


# What may be edited


def test_a_one_off_that_is_done_can_be_given_a_new_date(admin_client: Client) -> None:
    job = make_job(
        name="update",
        task="cleanup_logs",
        trigger="date",
        cron="",
        run_at=timezone.now() + timedelta(hours=1),
    )
    past = timezone.now() - timedelta(days=1)
    Job.objects.filter(pk=job.pk).update(run_at=past)
    done = Job.objects.get()
    Schedule.objects.plan(done, timezone.now())
    assert Schedule.objects.get().next_run_time is None
    old = {"run_at_0": f"{past:%Y-%m-%d}", "run_at_1": f"{past:%H:%M:%S}"}
    assert "run_at" in errors(admin_client.post(page_of(job), form(trigger="date", **old)))
    new = {"run_at_0": "2099-01-01", "run_at_1": "12:00"}
    assert admin_client.post(page_of(job), form(trigger="date", **new)).status_code == 302
    due = Schedule.objects.get().next_run_time
    assert (due.year, due.hour) == (2099, 12)


def test_an_old_pause_that_the_user_may_not_edit_is_an_error_and_no_crash(staff: Staff) -> None:
    job = make_job(name="update", task="cleanup_logs", paused=True)
    Job.objects.filter(pk=job.pk).update(paused_until=timezone.now() - timedelta(days=1))
    answer = staff("view_job", "change_job").post(page_of(job), form(title="New"))
    assert (
        "The pause would have ended" in answer.content.decode()
        or "pause would have ended" in answer.content.decode()
    )
