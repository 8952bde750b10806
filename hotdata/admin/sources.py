"""The sources page, with each source's pinned keys."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from hotdata.admin.fields import TypedJSONField
from hotdata.keys import check_key
from hotdata.models import Key, Source


class KeyForm(forms.ModelForm):
    """Brings the key into its one form before the keys of a source are compared with each other."""

    def clean_key(self) -> str:
        try:
            return check_key(self.cleaned_data["key"])
        except ValueError as error:
            raise ValidationError(str(error)) from error


class KeyInline(admin.TabularInline):
    model = Key
    form = KeyForm
    fields = ["key", "weight", "placeholders"]
    formfield_overrides = {models.JSONField: {"form_class": TypedJSONField, "widget": forms.TextInput}}
    extra = 1


@admin.register(Source)
class SourceAdmin(admin.ModelAdmin):
    formfield_overrides = {models.JSONField: {"form_class": TypedJSONField}}
    list_display = ["name", "title", "enabled", "keys", "soft_ttl", "hard_ttl", "base_url"]
    list_filter = ["enabled"]
    search_fields = ["name", "title"]
    inlines = [KeyInline]
    fieldsets = [
        (None, {"fields": ["name", "title", "enabled"]}),
        (_("How it is asked"), {"fields": ["base_url", "path", "query", "headers", "value"]}),
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
            },
        ),
        (
            _("What it accepts"),
            {"fields": ["key_policy", "key_pattern", "value_kind", "required", "bounds", "max_bytes"]},
        ),
        (_("Freshness"), {"fields": ["soft_ttl", "hard_ttl", "absent_ttl"]}),
        (_("Upkeep"), {"fields": ["hot_keys", "refresh_after", "max_age", "windows"]}),
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
                ]
            },
        ),
        (_("Objective"), {"fields": ["objective_age", "objective_share"]}),
        (_("Another way than HTTP JSON"), {"fields": ["fetcher"], "classes": ["collapse"]}),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Source]:
        sources: QuerySet[Source] = super().get_queryset(request)
        return sources.annotate(key_count=Count("pinned"))

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        # Entries, calls and jobs refer to a source by its name.
        return ["name"] if obj else []

    @admin.display(description=_("pinned keys"), ordering="key_count")
    def keys(self, source: Any) -> int:
        return int(source.key_count)
