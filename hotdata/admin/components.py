"""The health pages: how each component is, the worst first, since when, and what changed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from hotdata.admin.long_list import ChoiceFilter, LongChangeList, LongListAdmin, NameFilter, TimeFilter
from hotdata.admin.readonly import ReadOnlyAdmin
from hotdata.admin.run_list import moment
from hotdata.models import Component, ComponentChange, Source
from hotdata.models.components import Health
from hotdata.observing.changes import ChangeSearch
from hotdata.observing.components import Standing, worst_first
from hotdata.observing.finding import Found
from hotdata.observing.health import SOURCE
from hotdata.pages import places, words
from hotdata.pages.access import may_see
from hotdata.pages.texts import first_line, visible

LATEST = 20  # changes on a component's page
GONE = "gone"


@dataclass(frozen=True, kw_only=True)
class ChangeRow:
    """A change, as a component's page shows it."""

    at: datetime
    step: SafeString
    detail: str


class StandingFilter(admin.SimpleListFilter):
    title = gettext_lazy("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(standing.value, standing.label) for standing in Standing]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(standing=self.value()) if self.value() else queryset


@admin.register(Component)
class ComponentAdmin(ReadOnlyAdmin):
    change_list_template = "admin/hotdata/component/change_list.html"
    list_display = ["name", "stands", "seen", "for_long", "checked"]
    list_filter = [StandingFilter]
    search_fields = ["name", "detail"]
    readonly_fields = ["stands", "seen_whole", "for_long", "checked"]
    fields = ["stands", "seen_whole", "for_long", "checked"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Component]:
        # Not Django's own: that is ordered before there is anything to order by.
        return worst_first(Component.objects.all(), timezone.now())

    def get_ordering(self, request: HttpRequest) -> Any:
        return ["place", "name"]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """With a word for who looks at what was checked long ago."""
        extra = {"title": _("Health")} | (extra_context or {})
        answer: HttpResponse = super().changelist_view(request, extra)
        context = getattr(answer, "context_data", None)
        if context and "cl" in context:
            unknown = [row for row in context["cl"].result_list if row.standing == Standing.UNKNOWN]
            context["unknown_since"] = max((row.checked_at for row in unknown), default=None)
            context["sees_changes"] = may_see(request.user, "componentchange")
        return answer

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        """With what changed of it last."""
        component = kwargs.get("obj")
        if component is not None and may_see(request.user, "componentchange"):
            latest = ChangeSearch(component=component.name).find().rows[:LATEST]
            context["changes"] = [
                ChangeRow(at=change.at, step=step(change), detail=visible(change.detail)) for change in latest
            ]
            context["changes_url"] = _changes_of(component.name)
        if component is not None and may_see(request.user, "source"):
            context["source_url"] = _source_of(component.name)
        return super().render_change_form(request, context, *args, **kwargs)

    # What a row shows

    @admin.display(description=gettext_lazy("state"), ordering="place")
    def stands(self, component: Any) -> SafeString:
        """As it was seen, unless that is long ago: then no colour says that all is well."""
        standing = Standing(component.standing)
        shown = words.pill(standing, standing.label)
        if standing != Standing.UNKNOWN:
            return shown
        before = _("last seen: %(state)s") % {"state": Health(component.state).label}
        return format_html('{}<div class="hd-quiet hd-keep">{}</div>', shown, before)

    @admin.display(description=gettext_lazy("what was seen"), ordering="detail")
    def seen(self, component: Component) -> SafeString:
        return _brief(component.detail)

    @admin.display(description=gettext_lazy("what was seen"))
    def seen_whole(self, component: Component) -> SafeString:
        return _whole(component.detail)

    @admin.display(description=gettext_lazy("since"), ordering="since")
    def for_long(self, component: Component) -> SafeString:
        return moment(component.since)

    @admin.display(description=gettext_lazy("last checked"), ordering="checked_at")
    def checked(self, component: Component) -> SafeString:
        return words.ago(component.checked_at, timezone.now())


class ComponentFilter(NameFilter):
    title = gettext_lazy("component")
    parameter_name = "component"
    named = Component


class AfterFilter(ChoiceFilter):
    title = gettext_lazy("came to")
    parameter_name = "after"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [*((health.value, health.label) for health in Health), (GONE, _("Gone"))]


@admin.register(ComponentChange)
class ComponentChangeAdmin(LongListAdmin):
    change_list_template = "hotdata/long_list.html"
    list_display = ["when", "of_component", "became", "said"]
    list_filter = [ComponentFilter, AfterFilter, TimeFilter]
    search_fields = ["detail"]  # what is asked is in `ChangeSearch`
    search_help_text = gettext_lazy(
        "A part of a component's name or of what was seen, of the latest 20,000 changes."
    )
    readonly_fields = ["when", "became", "said_whole"]
    fields = ["when", "component", "became", "said_whole"]

    def find(self, cl: LongChangeList) -> Found:
        after = cl.chosen("after")
        return ChangeSearch(
            component=cl.chosen("component"),
            after="" if after == GONE else after or None,
            since=cl.times.since,
            until=cl.times.until,
            before=cl.times.before,
            text=cl.query,
        ).find()

    @admin.display(description=gettext_lazy("time"))
    def when(self, change: ComponentChange) -> SafeString:
        return moment(change.at)

    @admin.display(description=gettext_lazy("component"))
    def of_component(self, change: ComponentChange) -> SafeString:
        return format_html('<a href="{}">{}</a>', _changes_of(change.component), change.component)

    @admin.display(description=gettext_lazy("change"))
    def became(self, change: ComponentChange) -> SafeString:
        return step(change)

    @admin.display(description=gettext_lazy("what was seen"))
    def said(self, change: ComponentChange) -> SafeString:
        return _brief(change.detail)

    @admin.display(description=gettext_lazy("what was seen"))
    def said_whole(self, change: ComponentChange) -> SafeString:
        return _whole(change.detail)


def step(change: ComponentChange) -> SafeString:
    """What it was, and what it came to."""
    before = words.pill(change.before, Health(change.before).label) if change.before else _("new")
    after = words.pill(change.after, Health(change.after).label) if change.after else _("gone")
    return format_html('<span class="hd-keep">{} → {}</span>', before, after)


def _brief(text: str) -> SafeString:
    return format_html('<span class="hd-clip hd-wide" title="{}">{}</span>', visible(text), first_line(text))


def _whole(text: str) -> SafeString:
    return format_html('<span class="hd-wrap">{}</span>', visible(text))


def _source_of(component: str) -> str:
    """The page of the source that `component` is about; nothing where it is about none."""
    if not component.startswith(SOURCE):
        return ""
    known = Source.objects.filter(name=component.removeprefix(SOURCE)).values_list("pk", flat=True).first()
    return places.source(known) if known else ""


def _changes_of(component: str) -> str:
    """Where all changes of a component are."""
    return f"{reverse('admin:hotdata_componentchange_changelist')}?{urlencode({'component': component})}"
