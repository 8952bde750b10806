"""The alerts in the admin: what is wrong now, and what was; of each, what was told to whom and how that went."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.db.models import BigIntegerField, CharField, Count, F, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Concat
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from hotdata.admin.long_list import ChoiceFilter
from hotdata.admin.readonly import ReadOnlyAdmin
from hotdata.alerting.components import OF_A_SOURCE
from hotdata.alerting.findings import ABOUT_JOBS
from hotdata.models import Alert, Component, Delivery, Job, Notice, Source
from hotdata.outbox.posting import alert_recipients
from hotdata.pages import places, words
from hotdata.pages.access import may_see
from hotdata.pages.texts import first_line, visible

MOST_NOTICES = 100
"""On the page of an alert, the latest."""


class OpenFilter(ChoiceFilter):
    title = gettext_lazy("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("open", gettext_lazy("Open")), ("over", gettext_lazy("Over"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        return {
            "open": queryset.filter(closed_at=None),
            "over": queryset.exclude(closed_at=None),
        }.get(self.value() or "")


class KindFilter(ChoiceFilter):
    title = gettext_lazy("kind")
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return list(Alert.Kind.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        return queryset.filter(kind=self.value()) if self.value() else None


@admin.register(Alert)
class AlertAdmin(ReadOnlyAdmin):
    change_list_template = "admin/hotdata/alert/change_list.html"
    change_form_template = "admin/hotdata/alert/change_form.html"
    list_display = ["state", "what_kind", "about", "what", "since", "lasted", "how_often", "was_told"]
    list_filter = [OpenFilter, KindFilter]
    search_fields = ["subject", "summary"]
    search_help_text = gettext_lazy("A part of the subject or of what it says.")
    sortable_by = ()
    list_display_links = None
    readonly_fields = ["state", "what_kind", "about", "whole_summary", "since", "lasted", "why_over"]
    fields = [
        "state", "what_kind", "severity", "about", "whole_summary", "opened_at", "closed_at", "lasted", "why_over",
        "count", "told_at", "silenced",
    ]  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Alert]:
        alerts: Any = super().get_queryset(request)
        nowhere = Value(None, output_field=BigIntegerField())
        page_of = {
            "job_id": _job() if may_see(request.user, "job") else nowhere,
            "source_id": _source() if may_see(request.user, "source") else nowhere,
            "component_id": _component() if may_see(request.user, "component") else nowhere,
        }
        notices = Notice.objects.filter(alert=OuterRef("pk")).order_by().values("alert")
        failed = Count("id", filter=Q(delivery__state=Delivery.State.FAILED))
        shown: QuerySet[Alert] = alerts.annotate(
            told=Subquery(notices.annotate(n=Count("id")).values("n")),
            undelivered=Subquery(notices.annotate(n=failed).values("n")),
            **page_of,
        )
        return shown

    def get_ordering(self, request: HttpRequest) -> list[Any]:
        """The open ones come first, and of these the worst that are not silenced."""
        return [F("closed_at").desc(nulls_first=True), "silenced", "-severity", "-id"]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """With the ways to what belongs to alerts, and whether anybody is told of them."""
        context = {
            "beside": {name: may_see(request.user, name) for name in ("delivery", "silence")},
            "tells_nobody": not alert_recipients(),
        }
        return super().changelist_view(request, context | (extra_context or {}))

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Any = None,
    ) -> HttpResponse:
        if obj is not None:
            notices = list(Notice.objects.filter(alert=obj).order_by("-id")[:MOST_NOTICES])
            # Not joined: clean-up may have taken a delivery away.
            deliveries = Delivery.objects.in_bulk({notice.delivery_id for notice in notices} - {None})
            context |= {
                "now": timezone.now(),
                "notices": [_shown(notice, deliveries.get(notice.delivery_id)) for notice in notices],
                "links_deliveries": may_see(request.user, "delivery"),
            }
        return super().render_change_form(request, context, add, change, form_url, obj)

    # What a row shows

    @admin.display(description=gettext_lazy("state"))
    def state(self, alert: Alert) -> SafeString:
        if alert.closed_at is not None:
            return words.pill("closed", _("Over"))
        if alert.silenced:
            return words.pill("paused", _("Silenced"))
        is_critical = alert.severity >= Alert.Severity.CRITICAL
        return words.pill("failed" if is_critical else "missed", Alert.Severity(alert.severity).label)

    @admin.display(description=gettext_lazy("kind"))
    def what_kind(self, alert: Alert) -> str:
        return str(Alert.Kind(alert.kind).label)

    @admin.display(description=gettext_lazy("subject"))
    def about(self, alert: Any) -> SafeString:
        """With a link to the job, the source or the component, where there is one that may be seen."""
        if alert.kind in ABOUT_JOBS:
            page = places.job(alert.job_id) if alert.job_id else ""
        elif alert.kind == Alert.Kind.COMPONENT and not alert.subject.startswith(OF_A_SOURCE):
            page = places.component(alert.component_id) if alert.component_id else ""
        else:
            page = places.source(alert.source_id) if alert.source_id else ""
        if not page:
            return format_html("{}", visible(alert.subject))
        return format_html('<a href="{}">{}</a>', page, visible(alert.subject))

    @admin.display(description=gettext_lazy("summary"))
    def what(self, alert: Alert) -> SafeString:
        return format_html(
            '<a class="hd-clip" href="{}" title="{}">{}</a>',
            places.alert(alert.pk),
            visible(alert.summary),
            first_line(alert.summary),
        )

    @admin.display(description=gettext_lazy("summary"))
    def whole_summary(self, alert: Alert) -> str:
        return visible(alert.summary)

    @admin.display(description=gettext_lazy("why it is over"))
    def why_over(self, alert: Alert) -> str:
        return visible(alert.ending) or words.NONE

    @admin.display(description=gettext_lazy("since"))
    def since(self, alert: Alert) -> SafeString:
        return words.ago(alert.opened_at, timezone.now())

    @admin.display(description=gettext_lazy("lasted"))
    def lasted(self, alert: Alert) -> SafeString:
        until = alert.closed_at or timezone.now()
        return format_html('<span class="hd-keep">{}</span>', words.took(until - alert.opened_at))

    @admin.display(description=gettext_lazy("count"))
    def how_often(self, alert: Alert) -> int:
        return alert.count

    @admin.display(description=gettext_lazy("told"))
    def was_told(self, alert: Any) -> SafeString:
        """To how many, in all; each event and recipient counts."""
        if alert.undelivered:
            return words.pill("failed", _("%(n)d not delivered") % {"n": alert.undelivered})
        return format_html("{}", alert.told or words.NONE)


def _job() -> Subquery:
    return Subquery(Job.objects.filter(name=OuterRef("subject")).values("pk")[:1])


def _component() -> Subquery:
    return Subquery(Component.objects.filter(name=OuterRef("subject")).values("pk")[:1])


def _source() -> Subquery:
    """Of a source, or of its component."""
    named = Source.objects.alias(component=Concat(Value(OF_A_SOURCE), "name", output_field=CharField()))
    found = named.filter(Q(name=OuterRef("subject")) | Q(component=OuterRef("subject")))
    return Subquery(found.values("pk")[:1])


@dataclass(frozen=True, kw_only=True)
class ShownNotice:
    """What somebody was told, and how it got there."""

    notice: Notice
    delivery: Delivery | None
    """None while it waits for one, and when clean-up has taken it away."""
    event: str
    text: str
    channel: str
    state: str
    label: str
    error: str


def _shown(notice: Notice, delivery: Delivery | None) -> ShownNotice:
    if delivery is None:
        is_gone = notice.delivery_id is not None
        state, label = ("new", _("Deleted")) if is_gone else ("queued", _("Waits for the next message"))
    else:
        state, label = delivery.state, str(Delivery.State(delivery.state).label)
    return ShownNotice(
        notice=notice,
        delivery=delivery,
        event=str(Notice.Event(notice.event).label),
        text=visible(notice.text),
        channel=str(Delivery.Channel(notice.channel).label),
        state=state,
        label=label,
        error="" if delivery is None else visible(delivery.error),
    )
