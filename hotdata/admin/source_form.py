"""The form of a source, with its pinned keys."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db import models
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from hotdata.admin.fields import SpanField, TypedJSONField
from hotdata.admin.overtaken import OvertakenForm
from hotdata.keys import check_key
from hotdata.models import Key


class SourceForm(OvertakenForm):
    """As the admin makes it."""


class KeyForm(forms.ModelForm):
    """Brings the key into its one form before the keys of a source are compared with each other."""

    def clean_key(self) -> str:
        try:
            return check_key(self.cleaned_data["key"])
        except ValueError as error:
            raise ValidationError(str(error)) from error


MOST_KEYS = 200
"""Pinned keys that the form has rows for."""


def has_too_many_keys(source: Any) -> bool:
    """Whether a source, as the admin's lists have it with its `key_count`, has more than the form has rows for."""
    return bool(getattr(source, "key_count", 0) > MOST_KEYS)


class KeyFormSet(forms.BaseInlineFormSet):
    def add_fields(self, form: forms.ModelForm, index: int | None) -> None:
        super().add_fields(form, index)
        _name_inputs(form)


def _name_inputs(form: forms.BaseForm) -> None:
    """In a table the head of a column is no label of the inputs below it, but for the eye."""
    for field in form.fields.values():
        if not field.widget.is_hidden:
            field.widget.attrs.setdefault("aria-label", field.label)


class KeyInline(admin.TabularInline):
    model = Key
    form = KeyForm
    formset = KeyFormSet
    template = "hotdata/source/pinned.html"
    fields = ["key", "weight", "placeholders"]
    formfield_overrides = {models.JSONField: {"form_class": TypedJSONField, "widget": forms.TextInput}}
    extra = 1


class SourceFormAdmin(admin.ModelAdmin):
    """The part of the sources' admin that edits one."""

    form = SourceForm
    formfield_overrides = {
        models.JSONField: {"form_class": TypedJSONField},
        models.DurationField: {"form_class": SpanField},
    }
    inlines = [KeyInline]
    fieldsets = [
        (None, {"fields": ["name", "title", "enabled"]}),
        (
            _("How it is asked"),
            {
                "fields": ["base_url", "path", "query", "headers", "value"],
                "description": _(
                    "One GET for each key: the base URL, the path and the query make the address. What is kept of the "
                    "answer is what the value leads to. “Test fetch” tries out what is saved."
                ),
            },
        ),
        (
            _("Secrets"),
            {
                "fields": ["secret_query", "secret_headers"],
                "description": _(
                    "Only the names of environment variables are stored here, never the secrets."
                ),
            },
        ),
        (
            _("Batches"),
            {
                "fields": ["batch_size", "batch_path", "batch_query", "batch_items", "batch_key"],
                "classes": ["collapse"],
                "description": _(
                    "For an upstream that answers for many keys at once. A batch counts as one call of the budget."
                ),
            },
        ),
        (
            _("What it accepts"),
            {
                "fields": ["key_policy", "key_pattern", "value_kind", "required", "bounds", "max_bytes"],
                "description": _(
                    "Which keys are fetched because somebody asks for them, and what a value must be. One that breaks "
                    "a rule counts as a failure, and the value that was there is served on."
                ),
            },
        ),
        (
            _("Freshness"),
            {
                "fields": ["soft_ttl", "hard_ttl", "absent_ttl"],
                "description": _(
                    "How long a value is fresh, how long it may be served at all, and how long a key counts as absent."
                ),
            },
        ),
        (
            _("Upkeep"),
            {
                "fields": ["hot_keys", "refresh_after", "max_age", "windows"],
                "description": _(
                    "Pinned keys and those that are read most are refreshed before they are stale: the more a key is "
                    "read the more often, within these bounds and four fifths of the budget."
                ),
            },
        ),
        (
            _("Budget"),
            {
                "fields": [
                    "calls_per_minute",
                    "burst",
                    "concurrency",
                    "timeout",
                    "breaker_failures",
                    "breaker_pause",
                    "max_failed_share",
                ],
                "description": _(
                    "What the upstream may be asked, by all processes together. It is never exceeded."
                ),
            },
        ),
        (
            _("Objective"),
            {
                "fields": ["objective_age", "objective_share"],
                "description": _(
                    "What readers should get. It changes nothing about refreshes: it says how to judge them."
                ),
            },
        ),
        (_("Another way than HTTP JSON"), {"fields": ["fetcher"], "classes": ["collapse"]}),
    ]

    def get_inlines(self, request: HttpRequest, obj: Any = None) -> Any:
        """Of a source with many keys the form would take seconds, and more fields than Django accepts of a browser."""
        return [] if obj is not None and has_too_many_keys(obj) else super().get_inlines(request, obj)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        # Entries, calls and jobs refer to a source by its name.
        return ["name"] if obj else []
