"""The API calls' admin: a list that filters fast, and a page for each call."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import QuerySet
from django.db.models.functions import Left
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from hotdata.admin.long_list import ChoiceFilter, LongChangeList, LongListAdmin, NameFilter, TimeFilter
from hotdata.admin.run_list import moment
from hotdata.models import ApiCall, Source
from hotdata.observing.calls import CallSearch
from hotdata.observing.finding import Found
from hotdata.pages import places, words
from hotdata.pages.access import may_see
from hotdata.pages.texts import first_line, visible
from hotdata.text import is_number

BRIEF = 300  # characters of keys and errors that the list reads
COLUMNS = ("id", "source", "run_id", "outcome", "status", "started_at", "duration", "size")


class SourceFilter(NameFilter):
    title = gettext_lazy("source")
    parameter_name = "source"
    named = Source


class CallOutcomeFilter(ChoiceFilter):
    title = gettext_lazy("outcome")
    parameter_name = "outcome"
    plain = "outcome__exact"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(outcome.value, outcome.label) for outcome in ApiCall.Outcome]


class RunFilter(ChoiceFilter):
    """The calls of one run, to which the page of that run leads."""

    title = gettext_lazy("run")
    parameter_name = "run"
    strict = False

    def __init__(self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any) -> None:
        super().__init__(request, params, model, model_admin)
        if not is_number(self.value() or "0"):
            raise IncorrectLookupParameters

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return []


@admin.register(ApiCall)
class ApiCallAdmin(LongListAdmin):
    change_list_template = "hotdata/long_list.html"
    place = "started_at"
    list_display = [
        "call",
        "of_source",
        "asked",
        "came_to",
        "status_code",
        "lasted",
        "amount",
        "of_run",
        "said",
    ]
    list_filter = [SourceFilter, CallOutcomeFilter, RunFilter, TimeFilter]
    search_fields = ["keys"]  # what is asked is in `CallSearch`
    search_help_text = gettext_lazy("A part of the keys or of the error, of the latest 20,000 calls.")
    readonly_fields = ["of_source", "lasted", "amount", "rested", "of_run"]
    fields = [
        "started_at", "of_source", "outcome", "status", "lasted", "amount", "rested", "keys", "url", "of_run", "error",
    ]  # fmt: skip

    def find(self, cl: LongChangeList) -> Found:
        outcome, run = cl.chosen("outcome"), cl.chosen("run")
        return CallSearch(
            source=cl.chosen("source"),
            outcome=ApiCall.Outcome(outcome) if outcome else None,
            run=int(run) if run else None,
            since=cl.times.since,
            until=cl.times.until,
            before=cl.times.before,
            text=cl.query,
        ).find()

    def shown(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        brief = {"brief_keys": Left("keys", BRIEF), "brief_error": Left("error", BRIEF)}
        shown: QuerySet[Any] = rows.only(*COLUMNS).annotate(**brief)
        return shown

    def complete(self, request: HttpRequest, rows: list[Any]) -> list[Any]:
        names = {call.source for call in rows}
        sees = may_see(request.user, "source")
        sources = dict(Source.objects.filter(name__in=names).values_list("name", "pk")) if sees else {}
        sees_runs = request.user.has_perm("hotdata.view_run")
        for call in rows:
            call.source_id = sources.get(call.source)
            call.links_run = sees_runs
        return rows

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        call = super().get_object(request, object_id, from_field)
        return call and self.complete(request, [call])[0]

    # What a row shows

    @admin.display(description=gettext_lazy("started"))
    def call(self, call: ApiCall) -> SafeString:
        return moment(call.started_at)

    @admin.display(description=gettext_lazy("source"))
    def of_source(self, call: Any) -> SafeString:
        if call.source_id is None:
            return format_html("{}", call.source)
        return format_html('<a href="{}">{}</a>', places.source(call.source_id), call.source)

    @admin.display(description=gettext_lazy("keys"))
    def asked(self, call: Any) -> SafeString:
        keys = visible(call.brief_keys)
        return format_html('<span class="hd-clip hd-code" title="{}">{}</span>', keys, keys)

    @admin.display(description=gettext_lazy("outcome"))
    def came_to(self, call: ApiCall) -> SafeString:
        return words.pill(call.outcome, ApiCall.Outcome(call.outcome).label)

    @admin.display(description=gettext_lazy("status"))
    def status_code(self, call: ApiCall) -> str:
        return str(call.status or words.NONE)

    @admin.display(description=gettext_lazy("duration"))
    def lasted(self, call: ApiCall) -> SafeString:
        return format_html('<span class="hd-keep">{}</span>', words.took(call.duration))

    @admin.display(description=gettext_lazy("cooldown"))
    def rested(self, call: ApiCall) -> str:
        """How long the upstream wanted to be left alone."""
        return words.took(call.cooldown)

    @admin.display(description=gettext_lazy("size"))
    def amount(self, call: ApiCall) -> SafeString:
        """Of the decoded answer. A failure and a 304 have none."""
        return format_html(
            '<span class="hd-keep">{}</span>', filesizeformat(call.size) if call.size else words.NONE
        )

    @admin.display(description=gettext_lazy("run"))
    def of_run(self, call: Any) -> SafeString:
        if call.run_id is None:
            return format_html("{}", _("a reader’s"))
        if not call.links_run:
            return format_html("#{}", call.run_id)
        return format_html('<a href="{}">#{}</a>', places.run(call.run_id), call.run_id)

    @admin.display(description=gettext_lazy("error"))
    def said(self, call: Any) -> SafeString:
        text = call.brief_error
        return (
            format_html(
                '<span class="hd-clip hd-error" title="{}">{}</span>', visible(text), first_line(text)
            )
            if text
            else format_html("{}", words.NONE)
        )
