"""The form of a job: which fields it has, who may fill in which, and what they mean."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AdminSplitDateTime
from django.core.exceptions import ValidationError
from django.db import models
from django.forms.utils import ErrorDict
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from hotdata import registry
from hotdata.admin.fields import SpanField, TypedJSONField, ZoneField
from hotdata.admin.job_actions import JobActions
from hotdata.admin.overtaken import OvertakenForm
from hotdata.admin.param_forms import WHOLE, ParamsForm, task_called
from hotdata.models import Job

PAUSE_FIELDS = {"paused", "pause_note", "paused_until"}
LOAD = "_load"
"""The button that shows the chosen task's fields. It is for browsers without JavaScript, and saves nothing."""
FIELDS_OF = "fields_of"
"""Says whose fields are on the form that comes back: when another task was chosen since, nothing is saved either."""


class JobForm(ParamsForm, OvertakenForm):
    """A job's own fields, and those of the parameters of its task."""

    class Meta:
        model = Job
        fields: list[str] = []  # the admin's fieldsets name them
        help_texts = {
            "task": _("What it does. The fields below are those of the task's own parameters."),
            "time_zone": _(
                "On whose clock it is due; type to search. Intervals go on whatever the clocks do."
            ),
            "interval": _("As 90, 90 s, 5 min, 1:30 or 1 h 30 min. Whole seconds."),
            "run_at": _("A one-off that has run may be given a new time: it runs again then."),
            "misfire_grace_time": _(
                "A due time that is late by more than this is recorded as missed and not run. "
                "Empty: however late, it runs."
            ),
            "overlap": _("What becomes of a due time while an earlier run of the job hasn't ended."),
            "isolation": _("Where the task is called, and so whether it can be made to stop."),
            "retry_delay_max": _("However often it doubles, the delay is never longer than this."),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        before = self.initial.get("task", self.instance.task)
        chosen = str(self.data.get("task", "")) if self.is_bound and "task" in self.fields else before
        stored = self.initial.get(WHOLE, self.instance.params)
        self.task_name = chosen
        self.add_params(task_called(chosen), stored if chosen == before else {})
        unseen = self.data.get(FIELDS_OF, chosen) != chosen and self.task_of_params is not None
        self.loading = self.is_bound and (LOAD in self.data or unseen)
        if self.loading:
            self.fill_in_missing()
        if "task" in self.fields:
            self.fields["task"].widget.choices = task_choices(before)

    def is_valid(self) -> bool:
        return not self.loading and super().is_valid()

    def full_clean(self) -> None:
        super().full_clean()
        if self.loading:  # nobody asked what is wrong with it yet
            self._errors, self.told = ErrorDict(), False

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        if "task" in self.fields:
            self.instance.params = self.read_params()
        return cleaned

    def add_error(self, field: str | None, error: Any) -> None:
        """As Django's; what the job's own check says of fields that aren't on this form is told above it."""
        if field is None and isinstance(error, ValidationError) and hasattr(error, "error_dict"):
            by_field = error.error_dict
            for name in [name for name in by_field if name not in self.fields and name != "__all__"]:
                told = by_field.pop(name)
                # Those of parameters are at their own fields already.
                if name != WHOLE or not self.has_param_errors():
                    super().add_error(None, told)
            if not by_field:
                return
        super().add_error(field, error)


def task_choices(current: str) -> list[tuple[str, Any]]:
    """The registered tasks by the module that has them, and `current` if it isn't among them."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for task in registry.tasks:
        words = f"{task.name} – {task.description}" if task.description else task.name
        groups.setdefault(task.function.__module__, []).append((task.name, words))
    choices: list[tuple[str, Any]] = [("", "---------"), *sorted(groups.items())]
    if current and current not in registry.tasks:
        choices.append((current, _("%(task)s – not registered") % {"task": current}))
    return choices


class WhenForm(forms.ModelForm):
    """The fields that say when, checked as on saving; everything else is as it is stored, and not judged."""

    class Meta:
        model = Job
        fields = ["trigger", "cron", "interval", "run_at", "time_zone", "starts_at", "ends_at", "jitter"]
        field_classes = {
            "interval": SpanField,
            "jitter": SpanField,
            "run_at": forms.SplitDateTimeField,
            "starts_at": forms.SplitDateTimeField,
            "ends_at": forms.SplitDateTimeField,
        }
        widgets = {
            "run_at": AdminSplitDateTime,
            "starts_at": AdminSplitDateTime,
            "ends_at": AdminSplitDateTime,
        }

    def add_error(self, field: str | None, error: Any) -> None:
        if field is None and isinstance(error, ValidationError) and hasattr(error, "error_dict"):
            for name in error.error_dict.keys() - self.fields.keys():
                del error.error_dict[name]
        super().add_error(field, error)


class JobFormAdmin(JobActions):
    """The part of the jobs' admin that edits one."""

    form = JobForm
    radio_fields = {"trigger": admin.HORIZONTAL}
    formfield_overrides = {
        models.JSONField: {"form_class": TypedJSONField},
        models.DurationField: {"form_class": SpanField},
    }
    fieldsets = [
        (None, {"fields": ["name", "title", "task"]}),
        (
            pgettext_lazy("of a job", "When"),
            {
                "fields": ["trigger", "cron", "interval", "run_at", "time_zone"],
                "description": _(
                    "Only the field of the chosen trigger counts: cron, interval or “run at”. "
                    "Dates and times are entered on the site's clock."
                ),
            },
        ),
        (_("Bounds and jitter"), {"fields": ["starts_at", "ends_at", "jitter"], "classes": ["collapse"]}),
        (
            _("When it is late, or still runs"),
            {"fields": ["misfire_grace_time", "coalesce", "overlap", "max_instances"]},
        ),
        (
            _("Attempts"),
            {"fields": ["timeout", "max_retries", "retry_delay", "retry_delay_max", "isolation", "recover"]},
        ),
        (
            _("Pause"),
            {"fields": ["paused", "pause_note", "paused_until", "paused_by", "pause_after_failures"]},
        ),
        (_("Records"), {"fields": ["keep_runs"], "classes": ["collapse"]}),
    ]

    def get_readonly_fields(self, request: HttpRequest, obj: Job | None = None) -> list[str]:
        fixed = ["name", "paused_by"] if obj else ["paused_by"]
        return fixed if self.has_pause_permission(request) else [*fixed, *PAUSE_FIELDS]

    def save_model(self, request: HttpRequest, obj: Job, form: Any, change: bool) -> None:
        """Save the job; a pause that this makes or changes is in the name of whoever does."""
        if obj.paused and not PAUSE_FIELDS.isdisjoint(form.changed_data):
            obj.paused_by = request.user.get_username()
        super().save_model(request, obj, form, change)

    def formfield_for_dbfield(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        if db_field.name == "task":
            kwargs["widget"] = forms.Select
        if db_field.name == "time_zone":
            kwargs["form_class"] = ZoneField
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if isinstance(db_field, models.DateTimeField) and field is not None:
            # Django's two inputs for one field have a label between them.
            day, time = field.widget.widgets
            day.attrs["aria-label"] = _("%(field)s: date") % {"field": field.label}
            time.attrs["aria-label"] = _("%(field)s: time") % {"field": field.label}
        return field
