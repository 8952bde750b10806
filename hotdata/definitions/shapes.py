"""Shapes: which fields of a model are its definition, and how their values stand in a file.

They are taken from the models, so that a field that is added later is written and read without a word here; whoever
adds one that is no part of a definition has to say so, with the reason.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import models
from django.utils import translation
from django.utils.dateparse import parse_datetime, parse_duration

from hotdata.models import Job, Key, Source
from hotdata.models.jobs import default_time_zone
from hotdata.spans import read_span, span

LONGEST_NUMBER = 1e15

IDENTITY = "it is what the definition is called by"
ROW = "it is about the row, not the definition"
PAUSE = "a pause is of the moment and of one stage: a definition that is applied neither makes nor ends one"


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What of a model's rows is definition."""

    model: type[models.Model]
    left_out: Mapping[str, str]
    """Fields that are not, and why."""

    @property
    def fields(self) -> dict[str, models.Field[Any, Any]]:
        """Those that are, by name: the model's own first, then those that it shares."""
        shared = {
            field.name
            for base in self.model.__mro__
            if getattr(getattr(base, "_meta", None), "abstract", False)
            for field in base._meta.local_fields  # type: ignore[attr-defined]
        }
        found = [field for field in self.model._meta.concrete_fields if field.name not in self.left_out]
        return {field.name: field for field in sorted(found, key=lambda field: field.name in shared)}

    def written(self, row: models.Model) -> dict[str, Any]:
        """All fields of `row`, as they stand in a file."""
        return {name: written(field, getattr(row, name)) for name, field in self.fields.items()}

    def essential(self, all_written: Mapping[str, Any]) -> dict[str, Any]:
        """Those of them that a file must have: what isn't there is as by default.

        What is the default of the site is always there, since that of another may be different.
        """
        return {
            name: all_written[name]
            for name, field in self.fields.items()
            if field.default is default_time_zone or not same(all_written[name], default(field))
        }

    def defaults(self) -> dict[str, Any]:
        """What each field is that a file leaves out, as it stands in one."""
        return {name: default(field) for name, field in self.fields.items()}

    def put(self, row: models.Model, all_written: Mapping[str, Any]) -> None:
        """Set all fields of `row`; nothing is checked or saved."""
        for name, field in self.fields.items():
            setattr(row, name, read(field, all_written[name]))


JOB = Shape(
    model=Job,
    left_out={
        "id": ROW,
        "name": IDENTITY,
        "created_at": ROW,
        "updated_at": ROW,
        "paused": PAUSE,
        "pause_note": PAUSE,
        "paused_by": PAUSE,
        "paused_until": PAUSE,
    },
)
SOURCE = Shape(model=Source, left_out={"id": ROW, "name": IDENTITY})
KEY = Shape(model=Key, left_out={"id": ROW, "source": ROW, "key": IDENTITY})


def default(field: models.Field[Any, Any]) -> Any:
    return written(field, field.get_default())


def same(one: Any, other: Any) -> bool:
    """Whether two values of a file are the same: 1, 1.0 and true are not, although Python equals them."""
    return one is other or json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


# Values


def written(field: models.Field[Any, Any], value: Any) -> Any:
    """The `value` of a field as it stands in a file: texts, numbers, true and false, null, lists and mappings."""
    if value is None:
        return None
    return _form_of(field).write(value)


def read(field: models.Field[Any, Any], value: Any) -> Any:
    """The value of a field that stands in a file as `value`. Raises ValueError, whose text says what is expected."""
    if value is None:
        if not field.null:
            raise ValueError("must not be null")
        return None
    return _form_of(field).read(value)


@dataclass(frozen=True, kw_only=True)
class _Form:
    write: Callable[[Any], Any]
    read: Callable[[Any], Any]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _read_text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a text; put it in quotes")
    return value


def _read_whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > LONGEST_NUMBER:
        raise ValueError("must be a whole number")
    return value


def _read_float(value: Any) -> float:
    if not _is_number(value) or abs(value) > LONGEST_NUMBER:
        raise ValueError("must be a number")
    return float(value)


def _read_bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _write_duration(value: timedelta) -> str:
    with translation.override("en"):  # whoever writes the file, it is the same
        return span(value)


def _read_duration(value: Any) -> timedelta:
    try:
        if _is_number(value):
            return timedelta(seconds=value)
        read = read_span(value) if isinstance(value, str) else None
        if read is None and isinstance(value, str):
            read = parse_duration(value)
    except (ValueError, OverflowError):
        read = None
    if read is None:
        raise ValueError("must be a duration such as 90 s, 5 min or 1 h 30 min")
    return read


def _write_moment(value: datetime) -> str:
    return value.astimezone(UTC).isoformat()


def _read_moment(value: Any) -> datetime:
    try:
        read = parse_datetime(value) if isinstance(value, str) else None
        if read is not None and read.tzinfo is not None:
            return read.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise ValueError("must be a time with its offset such as 2026-11-25T09:30:00+00:00")


def _sorted(value: Any) -> Any:
    """JSON with its names in order: PostgreSQL has an order of its own, and the file is to be the same everywhere."""
    if isinstance(value, dict):
        return {name: _sorted(value[name]) for name in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


_FORMS: dict[type[models.Field], _Form] = {
    models.BooleanField: _Form(write=bool, read=_read_bool),
    models.IntegerField: _Form(write=int, read=_read_whole),
    models.FloatField: _Form(write=float, read=_read_float),
    models.CharField: _Form(write=str, read=_read_text),
    models.TextField: _Form(write=str, read=_read_text),
    models.DurationField: _Form(write=_write_duration, read=_read_duration),
    models.DateTimeField: _Form(write=_write_moment, read=_read_moment),
    models.JSONField: _Form(write=_sorted, read=copy.deepcopy),
}


def _form_of(field: models.Field[Any, Any]) -> _Form:
    for kind in type(field).__mro__:
        if kind in _FORMS:
            return _FORMS[kind]
    raise TypeError(f"A field of the kind {type(field).__name__} has no form in a file: {field}.")
