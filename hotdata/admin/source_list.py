"""The list of sources: how each stands."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from hotdata.admin import source_words
from hotdata.admin.bounded_list import BoundedChangeList, BoundedListAdmin
from hotdata.admin.source_actions import SourceActions
from hotdata.freshness.meters import Served
from hotdata.models import ApiCall, Source
from hotdata.observing.sources import Standings, standings
from hotdata.pages import words


class SourceChangeList(BoundedChangeList):
    """A page of the list, on which each source knows how it stands."""

    standings: Standings

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        shown: list[Any] = list(self.result_list)
        self.standings = standings(shown, timezone.now())
        for source in shown:
            source.standing = self.standings.by_source[source.name]
        self.result_list: Any = shown


class SourceList(BoundedListAdmin, SourceActions):
    """The part of the sources' admin that lists them."""

    change_list_template = "admin/hotdata/source/change_list.html"
    list_display = [
        "called",
        "state",
        "budget",
        "latency",
        "errors",
        "freshness",
        "oldest",
        "hot",
        "last_success",
    ]
    list_filter = ["enabled"]
    search_fields = ["name", "title"]
    list_per_page = 50
    actions = ["refresh_now"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Source]:
        sources: QuerySet[Source] = super().get_queryset(request)
        successes = ApiCall.objects.filter(source=OuterRef("name")).exclude(outcome=ApiCall.Outcome.FAILED)
        return sources.annotate(
            key_count=Count("pinned"),
            succeeded_at=Subquery(successes.order_by("-started_at").values("started_at")[:1]),
        )

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return SourceChangeList

    @admin.display(description=_("source"), ordering="name")
    def called(self, source: Source) -> str:
        if not source.title:
            return source.name
        return format_html('{}<br><span class="hd-quiet">{}</span>', source.title, source.name)

    @admin.display(description=_("state"), ordering="enabled")
    def state(self, source: Any) -> SafeString:
        return source_words.pills(source, source.standing)

    @admin.display(description=_("calls, 1 min"))
    def budget(self, source: Any) -> SafeString | str:
        gate = source.standing.gate
        return words.NONE if gate is None else source_words.budget(gate)

    @admin.display(description=_("p95, 24 h"))
    def latency(self, source: Any) -> str:
        return words.took(source.standing.traffic.p95)

    @admin.display(description=_("errors, 24 h"))
    def errors(self, source: Any) -> SafeString | str:
        return source_words.errors(source.standing.traffic)

    @admin.display(description=_("reads, 1 h"))
    def freshness(self, source: Any) -> SafeString | str:
        reads, objective = source.standing.reads, source.standing.objective
        if reads is None or not reads.reads:
            return words.NONE
        if objective is None:
            text = _("%(share)s fresh") % {"share": words.share(reads.share(Served.FRESH))}
            return format_html('<span class="hd-keep">{}</span>', text)
        met = objective.met_share is not None and objective.met_share >= objective.share
        within = _("within %(age)s") % {"age": words.took(objective.age)}
        return format_html(
            '<span class="{}">{}</span><br><span class="hd-quiet hd-keep">{}</span>',
            "hd-text-ok" if met else "hd-text-failed",
            words.share(objective.met_share),
            within,
        )

    @admin.display(description=_("oldest hot key"))
    def oldest(self, source: Any) -> SafeString | str:
        hot = source.standing.hot
        if hot is None or hot.oldest is None:
            return words.NONE
        late = format_html(' <span class="hd-text-failed">{}</span>', _("overdue")) if hot.overdue else ""
        return format_html(
            '<span class="hd-keep">{}{}</span><br><span class="hd-quiet hd-key-name">{}</span>',
            words.took(hot.oldest.age),
            late,
            hot.oldest.key,
        )

    @admin.display(description=_("hot keys"))
    def hot(self, source: Any) -> SafeString | str:
        hot = source.standing.hot
        pinned = _("%(n)d pinned") % {"n": source.key_count}
        missing = ""
        if hot is not None and hot.missing:
            text = ngettext("%(n)d missing", "%(n)d missing", hot.missing) % {"n": hot.missing}
            missing = format_html('<br><span class="hd-text-failed hd-keep">{}</span>', text)
        return format_html(
            '{}<br><span class="hd-quiet hd-keep">{}</span>{}',
            words.NONE if hot is None else hot.count,
            pinned,
            missing,
        )

    @admin.display(description=_("last success"))
    def last_success(self, source: Any) -> SafeString:
        return words.ago(source.succeeded_at, timezone.now())

    @admin.action(description=_("Refresh the hot keys of selected sources now"), permissions=["refresh"])
    def refresh_now(self, request: HttpRequest, sources: QuerySet[Source]) -> None:
        for source in sources.prefetch_related("pinned"):
            self.refresh_hot(request, source)
