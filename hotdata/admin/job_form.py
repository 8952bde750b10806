"""The form of a job: which fields it has, who may fill in which, and what of the result it shows."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db import models
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html_join
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy

from hotdata import registry
from hotdata.admin.fields import TypedJSONField
from hotdata.admin.job_actions import JobActions
from hotdata.exceptions import BadTrigger
from hotdata.models import Job

PREVIEWED = 5  # due times shown on a job's page
PAUSE_FIELDS = {"paused", "pause_note", "paused_until"}


class JobFormAdmin(JobActions):
    """The part of the jobs' admin that edits one."""

    formfield_overrides = {models.JSONField: {"form_class": TypedJSONField}}
    fieldsets = [
        (None, {"fields": ["name", "title", "task", "params"]}),
        (
            gettext_lazy("When"),
            {
                "fields": [
                    "trigger",
                    "cron",
                    "interval",
                    "run_at",
                    "time_zone",
                    "starts_at",
                    "ends_at",
                    "jitter",
                    "next_fires",
                ],
                "description": gettext_lazy(
                    "Fill in the field of the chosen trigger; the other two are ignored."
                ),
            },
        ),
        (
            gettext_lazy("Pause"),
            {"fields": ["paused", "pause_note", "paused_until", "paused_by", "pause_after_failures"]},
        ),
        (
            gettext_lazy("Policies"),
            {
                "fields": [
                    "misfire_grace_time",
                    "coalesce",
                    "overlap",
                    "max_instances",
                    "isolation",
                    "recover",
                    "keep_runs",
                ]
            },
        ),
        (gettext_lazy("Attempts"), {"fields": ["timeout", "max_retries", "retry_delay", "retry_delay_max"]}),
    ]

    def get_readonly_fields(self, request: HttpRequest, obj: Job | None = None) -> list[str]:
        fixed = ["name", "next_fires", "paused_by"] if obj else ["next_fires", "paused_by"]
        return fixed if self.has_pause_permission(request) else [*fixed, *PAUSE_FIELDS]

    def save_model(self, request: HttpRequest, obj: Job, form: Any, change: bool) -> None:
        """Save the job; a pause that this makes or changes is in the name of whoever does."""
        if obj.paused and not PAUSE_FIELDS.isdisjoint(form.changed_data):
            obj.paused_by = request.user.get_username()
        super().save_model(request, obj, form, change)

    def formfield_for_dbfield(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        """Offer the registered tasks; whether one exists is still the job's own to check."""
        if db_field.name == "task":
            offered = [(task.name, f"{task.name} – {task.description}") for task in registry.tasks]
            kwargs["widget"] = forms.Select(choices=[("", "---------"), *offered])
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    @admin.display(description=gettext_lazy("next due times"))
    def next_fires(self, job: Job) -> str:
        """What the stored definition comes to; an edit shows after it is saved."""
        try:
            fires = (
                job.next_fires(PREVIEWED, timezone.now())
                if job.pk and not job.is_paused(timezone.now())
                else []
            )
        except BadTrigger:
            fires = []
        return (
            format_html_join(mark_safe("<br>"), "{}", ((f"{at:%Y-%m-%d %H:%M:%S %Z}",) for at in fires))
            or "–"
        )
