"""What of a model is written to a file, and how its values stand there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import models
from django.utils import translation

from hotdata.definitions.shapes import JOB, KEY, SOURCE, Shape, read, same, written
from hotdata.models import Job, Source

SHAPES = [JOB, SOURCE, KEY]


@pytest.mark.parametrize("shape", SHAPES)
def test_each_field_of_a_model_is_in_the_file_or_left_out_for_a_reason(shape: Shape) -> None:
    names = {field.name for field in shape.model._meta.concrete_fields}
    assert set(shape.fields) == names - set(shape.left_out)
    assert set(shape.left_out) <= names
    assert all(shape.left_out.values())


@pytest.mark.parametrize("shape", SHAPES)
def test_each_field_has_a_form_that_gives_its_default_back(shape: Shape) -> None:
    for name, field in shape.fields.items():
        value = field.get_default()
        if value is None and not field.null:
            continue
        assert read(field, written(field, value)) == value, name


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (timedelta(minutes=5), "5 min"),
        (timedelta(hours=1, minutes=30), "1 h 30 min"),
        (timedelta(0), "0 s"),
        (timedelta(days=36_500), "36500 d"),
        (timedelta(milliseconds=1), "1 ms"),
        (timedelta(microseconds=1), "00:00:00.000001"),
    ],
)
def test_durations_are_written_in_units_and_read_back(value: timedelta, text: str) -> None:
    field = Job._meta.get_field("timeout")
    with translation.override("zh-hans"):
        assert written(field, value) == text
    assert read(field, text) == value


@pytest.mark.parametrize(
    ("spelt", "seconds"), [(90, 90), (1.5, 1.5), ("1:30", 90), ("90s", 90), ("PT5M", 300)]
)
def test_durations_are_read_as_people_spell_them(spelt: Any, seconds: float) -> None:
    assert read(Job._meta.get_field("timeout"), spelt) == timedelta(seconds=seconds)


def test_moments_are_written_in_utc() -> None:
    field = Job._meta.get_field("run_at")
    assert written(field, datetime(2026, 11, 25, 9, 30, tzinfo=UTC)) == "2026-11-25T09:30:00+00:00"
    assert read(field, "2026-11-25T17:30:00+08:00") == datetime(2026, 11, 25, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("model", "name", "value", "said"),
    [
        (Job, "timeout", "soon", "must be a duration such as"),
        (Job, "timeout", True, "must be a duration such as"),
        (Job, "timeout", 1e300, "must be a duration such as"),
        (Job, "run_at", "2026-11-25T09:30:00", "must be a time with its offset"),
        (Job, "run_at", "2026-13-25T09:30:00Z", "must be a time with its offset"),
        (Job, "run_at", "9999-12-31T23:59:59-14:00", "must be a time with its offset"),
        (Job, "run_at", 5, "must be a time with its offset"),
        (Job, "title", 2026, "must be a text; put it in quotes"),
        (Job, "coalesce", "yes", "must be true or false"),
        (Job, "coalesce", 1, "must be true or false"),
        (Job, "max_retries", 1.0, "must be a whole number"),
        (Job, "max_retries", True, "must be a whole number"),
        (Job, "max_retries", 10**30, "must be a whole number"),
        (Job, "max_retries", None, "must not be null"),
        (Job, "params", None, "must not be null"),
        (Source, "max_failed_share", "0.5", "must be a number"),
        (Source, "max_failed_share", False, "must be a number"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(model: Any, name: str, value: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read(model._meta.get_field(name), value)


def test_a_kind_of_field_without_a_form_is_noticed() -> None:
    with pytest.raises(TypeError, match="BinaryField has no form in a file"):
        written(models.BinaryField(name="blob"), b"")


def test_what_is_the_default_of_the_site_is_always_written() -> None:
    job = Job(name="j", task="t", cron="* * * * *")
    assert JOB.essential(JOB.written(job)) == {"task": "t", "cron": "* * * * *", "time_zone": "UTC"}


@pytest.mark.parametrize(("one", "other"), [(1, True), (1, 1.0), (0, False), ([1], [True])])
def test_what_python_takes_for_equal_may_be_different_in_a_file(one: Any, other: Any) -> None:
    assert one == other
    assert not same(one, other)


def test_the_names_of_json_stand_in_one_order() -> None:
    field = Source._meta.get_field("query")
    assert list(written(field, {"b": [{"d": 1, "c": 2}], "a": 1})) == ["a", "b"]
    assert list(written(field, {"b": [{"d": 1, "c": 2}]})["b"][0]) == ["c", "d"]
