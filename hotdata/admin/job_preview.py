"""What a schedule comes to, before it is saved: in words, and the next due times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from hotdata.admin.job_form import WhenForm
from hotdata.exceptions import BadTrigger
from hotdata.models import Job
from hotdata.models.schedules import Kind
from hotdata.triggers.jitter import stable_offset
from hotdata.triggers.preview import Fire, preview

PREVIEWED = 10  # due times
LONGEST_VALUE = 300  # characters of one field


@dataclass(frozen=True, kw_only=True)
class FieldError:
    """What is wrong with one field of the form."""

    field: str
    label: Any
    message: str


@dataclass(frozen=True, kw_only=True)
class Preview:
    """A schedule in words with its next due times; or what is wrong with it."""

    words: str = ""
    expression: str = ""
    zone: str = ""
    fires: Sequence[Fire] = ()
    offset: timedelta = timedelta(0)
    """By how much the job fires later than it is due."""
    rests: bool = False
    """The job is paused: nothing of this happens until it is resumed."""
    errors: Sequence[FieldError] = ()


def preview_of(job: Job, now: datetime) -> Preview:
    """Of the definition as it stands in `job`."""
    try:
        trigger = job.build_trigger()
        fires = preview(trigger, PREVIEWED, now)
        offset = stable_offset(job.name, job.jitter)
    except BadTrigger as error:
        label = WhenForm.base_fields[error.field].label
        return Preview(errors=[FieldError(field=error.field, label=label, message=str(error))])
    return Preview(
        words=trigger.describe(),
        expression=job.cron if job.trigger == Kind.CRON else "",
        zone=job.time_zone,
        fires=fires,
        offset=offset if job.name else timedelta(0),
        rests=job.is_paused(now),
    )


def preview_of_form(data: Any, job: Job, now: datetime) -> Preview:
    """Of what is in a form's `data`, for `job`, which is changed by this and not to be saved."""
    form = WhenForm(data, instance=job)
    if form.is_valid():
        return preview_of(job, now)
    return Preview(
        errors=[
            FieldError(field=name, label=form.fields[name].label, message=told[0]["message"])
            for name, told in form.errors.get_json_data().items()
        ]
    )


def is_bounded(data: Any) -> bool:
    """Whether no value of `data` is longer than any that makes sense."""
    return all(len(value) <= LONGEST_VALUE for values in data.lists() for value in values[1])
