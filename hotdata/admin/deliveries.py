"""The deliveries in the admin: what is on its way, how the others went, and another try for what was given up."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext, pgettext_lazy
from django.views.decorators.http import require_POST

from hotdata.admin.long_list import ChoiceFilter
from hotdata.admin.readonly import ReadOnlyAdmin
from hotdata.models import Delivery
from hotdata.pages import places, words
from hotdata.pages.texts import first_line, visible

ABOUT = {
    "alert": gettext_lazy("alert"),
    "report": gettext_lazy("report"),
    "statement": gettext_lazy("statement"),
    "test": pgettext_lazy("delivery", "test"),
}


class AboutFilter(ChoiceFilter):
    title = gettext_lazy("about")
    parameter_name = "about"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return list(ABOUT.items())

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any] | None:  # type: ignore[override]
        return queryset.filter(about=self.value()) if self.value() else None


@admin.register(Delivery)
class DeliveryAdmin(ReadOnlyAdmin):
    change_form_template = "admin/hotdata/delivery/change_form.html"
    list_display = ["when", "what", "of_channel", "recipient", "how", "tries", "next_try", "said"]
    list_display_links = None
    list_filter = ["state", "channel", AboutFilter]
    search_fields = ["recipient", "subject"]
    search_help_text = gettext_lazy("A part of the recipient or of the subject.")
    sortable_by = ()
    actions = ["try_again"]
    readonly_fields = ["how", "of_channel", "of_what", "whole_subject", "whole_text", "next_try", "why"]
    fields = [
        "how", "why", "tries", "next_try", "of_channel", "recipient", "of_what", "created_at", "sent_at",
        "whole_subject", "whole_text",
    ]  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Delivery]:
        # What a report is made of may be long, and no page here shows it as HTML.
        return super().get_queryset(request).defer("html")

    def has_retry_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("hotdata.retry_delivery")

    # Another try

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.retry_view)
        return [path("<path:object_id>/retry/", view, name="hotdata_delivery_retry"), *super().get_urls()]

    @method_decorator(require_POST)
    def retry_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The button "Try again" of a delivery's page."""
        if not (self.has_retry_permission(request) and self.has_view_permission(request)):
            raise PermissionDenied
        delivery = self.get_object(request, object_id)
        if delivery is None:
            raise Http404
        self.try_again(request, Delivery.objects.filter(pk=delivery.pk))
        return HttpResponseRedirect(places.delivery(delivery.pk))

    @admin.action(description=gettext_lazy("Try selected again"), permissions=["retry"])
    def try_again(self, request: HttpRequest, deliveries: QuerySet[Delivery]) -> None:
        begun = [delivery for delivery in deliveries if delivery.retry(timezone.now())]
        for delivery in begun:
            self.log_change(request, delivery, "Try again.")
        if begun:
            text = ngettext("%(n)d is sent within seconds.", "%(n)d are sent within seconds.", len(begun))
            self.message_user(request, text % {"n": len(begun)}, messages.SUCCESS)
        else:
            self.message_user(request, _("Only what was given up is tried again."), messages.WARNING)

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
            context["may_retry"] = self.has_retry_permission(request) and obj.state == Delivery.State.FAILED
        return super().render_change_form(request, context, add, change, form_url, obj)

    # What a row shows

    @admin.display(description=gettext_lazy("posted"))
    def when(self, delivery: Delivery) -> SafeString:
        return words.ago(delivery.created_at, timezone.now())

    @admin.display(description=pgettext_lazy("delivery", "subject"))
    def what(self, delivery: Delivery) -> SafeString:
        return format_html(
            '<a class="hd-clip" href="{}" title="{}">{}</a>',
            places.delivery(delivery.pk),
            visible(delivery.subject),
            visible(delivery.subject) or words.NONE,
        )

    @admin.display(description=gettext_lazy("channel"))
    def of_channel(self, delivery: Delivery) -> str:
        return str(Delivery.Channel(delivery.channel).label)

    @admin.display(description=gettext_lazy("about"))
    def of_what(self, delivery: Delivery) -> str:
        return str(ABOUT.get(delivery.about, delivery.about))

    @admin.display(description=gettext_lazy("state"))
    def how(self, delivery: Delivery) -> SafeString:
        return words.pill(delivery.state, Delivery.State(delivery.state).label)

    @admin.display(description=gettext_lazy("next try"))
    def next_try(self, delivery: Delivery) -> SafeString:
        if delivery.state != Delivery.State.WAITING:
            return format_html("{}", words.NONE)
        return words.ago(delivery.next_try_at, timezone.now())

    @admin.display(description=gettext_lazy("error"))
    def said(self, delivery: Delivery) -> SafeString:
        text = visible(delivery.error)
        if not text:
            return format_html("{}", words.NONE)
        return format_html('<span class="hd-clip hd-error" title="{}">{}</span>', text, first_line(text))

    @admin.display(description=gettext_lazy("error"))
    def why(self, delivery: Delivery) -> str:
        return visible(delivery.error) or words.NONE

    @admin.display(description=pgettext_lazy("delivery", "subject"))
    def whole_subject(self, delivery: Delivery) -> str:
        return visible(delivery.subject)

    @admin.display(description=gettext_lazy("text"))
    def whole_text(self, delivery: Delivery) -> SafeString:
        return format_html('<pre class="hd-log">{}</pre>', visible(delivery.text))
