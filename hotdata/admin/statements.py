"""The statements in the admin: a list, a page for each, its CSV; and to correct one, or to send it again."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Exists, OuterRef, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_POST, require_safe

from hotdata.admin.readonly import ReadOnlyAdmin
from hotdata.admin.record_page import RecordPage
from hotdata.admin.statement_export import export
from hotdata.models import Statement
from hotdata.pages import words
from hotdata.pages.access import may_see
from hotdata.reporting.billing import differs, issue, post
from hotdata.reporting.periods import Length, parse
from hotdata.reporting.statement_letter import difference, total_figures

MOST_LINES = 500
"""Of a page; all are in the CSV."""
BESIDE = (
    ("sourceusage", gettext_lazy("Usage of sources")),
    ("tokenusage", gettext_lazy("Usage of tokens")),
    ("pricelist", gettext_lazy("Price lists")),
)
"""Where what statements are made of is."""


@admin.register(Statement)
class StatementAdmin(RecordPage, ReadOnlyAdmin):
    change_list_template = "admin/hotdata/statement/change_list.html"
    list_display = ["number", "sums", "holds", "issued", "issued_by"]
    search_fields = ["month"]
    search_help_text = gettext_lazy("A month, such as 2026-10, or a year.")
    list_max_show_all = 0

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        corrections = Statement.objects.filter(month=OuterRef("month"), revision__gt=OuterRef("revision"))
        found: QuerySet[Any] = super().get_queryset(request).annotate(is_corrected=Exists(corrections))
        return found

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        beside = [
            {"label": label, "url": reverse(f"admin:hotdata_{model}_changelist")}
            for model, label in BESIDE
            if may_see(request.user, model)
        ]
        return super().changelist_view(request, {"beside": beside} | (extra_context or {}))

    # What a row shows

    @admin.display(description=gettext_lazy("totals"))
    def sums(self, statement: Statement) -> SafeString:
        totals = total_figures(statement.totals)
        if not totals:
            return format_html("{}", words.NONE)
        return format_html_join(
            "", '<div class="hd-keep">{}: {}</div>', ((total.label, total.said) for total in totals)
        )

    @admin.display(description=gettext_lazy("state"))
    def holds(self, statement: Any) -> SafeString:
        if statement.is_corrected:
            return words.pill("corrected", _("Corrected"))
        return words.pill("ok", _("Holds"))

    @admin.display(description=gettext_lazy("issued"), ordering="issued_at")
    def issued(self, statement: Statement) -> SafeString:
        return words.ago(statement.issued_at, timezone.now())

    # The page

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("<path:object_id>/csv/", view(self.csv_view), name="hotdata_statement_csv"),
            path("<path:object_id>/correct/", view(self.correct_view), name="hotdata_statement_correct"),
            path("<path:object_id>/send/", view(self.send_view), name="hotdata_statement_send"),
            *super().get_urls(),
        ]

    def has_issue_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("hotdata.issue_statement") and self.has_view_permission(request)

    def page_of(self, request: HttpRequest, row: Statement) -> dict[str, Any]:
        corrected, correction = row.corrected(), row.correction()
        lines = list(row.lines.all()[: MOST_LINES + 1])
        return {
            "title": _("Statement %(number)s") % {"number": row},
            "corrected": corrected,
            "correction": correction,
            "more": [] if corrected is None else difference(row, corrected),
            "totals": total_figures(row.totals),
            "lines": lines[:MOST_LINES],
            "most_lines": MOST_LINES if len(lines) > MOST_LINES else 0,
            "differs": correction is None and differs(row),
            "may_issue": self.has_issue_permission(request),
        }

    @method_decorator(require_safe)
    def csv_view(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        """All lines as a file. Changes nothing, so it may be a GET."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        statement = self._statement(request, object_id)
        answer = StreamingHttpResponse(export(statement), content_type="text/csv; charset=utf-8")
        name = f"statement-{statement.month}-{statement.revision}.csv"
        answer["Content-Disposition"] = f'attachment; filename="{name}"'
        return answer

    @method_decorator(require_POST)
    def correct_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The button "Issue a correction"; leads to the page of the new statement."""
        if not self.has_issue_permission(request):
            raise PermissionDenied
        statement = self._statement(request, object_id)
        now = timezone.now()
        issued, is_new = issue(
            parse(statement.month, Length.MONTH), now=now, by=request.user.get_username(), correct=True
        )
        if is_new:
            self.log_addition(request, issued, f"Issued as a correction of {issued.corrected()}.")
            text = _("%(number)s is issued: it takes the place of the one before it.") % {"number": issued}
            self.message_user(request, text, messages.SUCCESS)
        else:
            text = _("%(number)s says what is on record: there is nothing to correct.") % {"number": issued}
            self.message_user(request, text, messages.INFO)
        return HttpResponseRedirect(_page_of(issued))

    @method_decorator(require_POST)
    def send_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The button "Send again"."""
        if not self.has_issue_permission(request):
            raise PermissionDenied
        statement = self._statement(request, object_id)
        recipients = post(statement, timezone.now())
        if recipients:
            self.log_change(request, statement, "Sent again.")
            text = ngettext(
                "It is on its way to %(n)d recipient.", "It is on its way to %(n)d recipients.", recipients
            )
            self.message_user(request, text % {"n": recipients}, messages.SUCCESS)
        else:
            text = _("The settings name nobody who is to have it: see %(setting)s.")
            self.message_user(request, text % {"setting": "HOTDATA_REPORT_MAIL"}, messages.WARNING)
        return HttpResponseRedirect(_page_of(statement))

    def _statement(self, request: HttpRequest, object_id: str) -> Statement:
        statement: Statement | None = self.get_object(request, unquote(object_id))
        if statement is None:
            raise Http404
        return statement


def _page_of(statement: Statement) -> str:
    return reverse("admin:hotdata_statement_change", args=[statement.pk])
