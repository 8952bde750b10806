"""The sources page, with each source's pinned keys."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext_lazy as _

from hotdata.admin.fields import TypedJSONField
from hotdata.exceptions import BadSource, CacheUnavailable
from hotdata.freshness import planner
from hotdata.freshness.upstream import gate_of
from hotdata.keys import check_key
from hotdata.models import Key, Source

PLANNED_KEYS_SHOWN = 100


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
    change_list_template = "hotdata/change_list.html"
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
        return ["name", "gate", "plan"] if obj else []

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)
        return [*fieldsets, (_("As it stands now"), {"fields": ["gate", "plan"]})] if obj else fieldsets

    @admin.display(description=_("gate"))
    def gate(self, source: Source) -> str:
        """How the upstream's gate stands."""
        try:
            state = gate_of(_saved(source)).look()
        except CacheUnavailable as error:
            return str(error)
        return _(
            "%(calls)s of %(budget)s calls in the last minute, %(under_way)s under way; breaker %(breaker)s; "
            "left alone for %(cooldown)s s."
        ) % {
            "calls": state.calls,
            "budget": state.budget,
            "under_way": state.under_way,
            "breaker": state.breaker,
            "cooldown": round(state.cooldown.total_seconds()),
        }

    @admin.display(description=_("plan"))
    def plan(self, source: Source) -> str:
        """When each hot key is refreshed, and why then."""
        try:
            plan = planner.plan(_saved(source), timezone.now())
        except (BadSource, CacheUnavailable) as error:
            return str(error)
        shown = plan.keys[:PLANNED_KEYS_SHOWN]
        rows = format_html_join(
            "",
            "<tr><th scope=row>{}</th><td>{}</td><td>{}</td></tr>",
            (
                (planned.key, f"{timezone.localtime(planned.due_at):%Y-%m-%d %H:%M:%S}", planned.why)
                for planned in shown
            ),
        )
        head = format_html("<tr><th>{}</th><th>{}</th><th>{}</th></tr>", _("Key"), _("Due"), _("Why"))
        takes = _("It takes %(calls).1f calls a minute of the %(budget).0f that a plan may take.") % {
            "calls": plan.calls_per_minute,
            "budget": plan.budget,
        }
        return format_html("<p>{}</p><table><thead>{}</thead><tbody>{}</tbody></table>", takes, head, rows)

    @admin.display(description=_("pinned keys"), ordering="key_count")
    def keys(self, source: Any) -> int:
        return int(source.key_count)


def _saved(source: Source) -> Source:
    """`source` as it is on record: a form that is refused shows its page again with what was typed into it."""
    return Source.objects.prefetch_related("pinned").get(pk=source.pk)
