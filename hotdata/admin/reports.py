"""The reports' admin: a list, and a page for each. Nothing is edited here; a report can be made again."""

from __future__ import annotations

from typing import Any

import msgspec
from django.contrib import admin
from django.db.models import F, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy

from hotdata.admin.long_list import ChoiceFilter
from hotdata.admin.readonly import ReadOnlyAdmin
from hotdata.admin.report_page import ReportPage, title_of
from hotdata.models import Report
from hotdata.pages import words
from hotdata.reporting.kinds import REPORTS
from hotdata.reporting.letters import Unit, said
from hotdata.reporting.runs import JobRuns


class KindFilter(ChoiceFilter):
    title = gettext_lazy("kind")
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(kind.name, kind.title) for kind in REPORTS.values()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Report]) -> QuerySet[Report]:  # type: ignore[override]
        return queryset.filter(kind=self.value()) if self.value() else queryset


@admin.register(Report)
class ReportAdmin(ReportPage, ReadOnlyAdmin):
    list_display = [
        "named",
        "period",
        "ran",
        "success",
        "failed",
        "came_to_nothing",
        "reads",
        "calls",
        "made",
    ]
    list_filter = [KindFilter]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """With the few figures that the list shows in the place of all data."""
        reports: QuerySet[Any] = super().get_queryset(request)
        shown: QuerySet[Any] = reports.defer("data").annotate(
            total=F("data__runs__total"), all_reads=F("data__reads__reads"), all_calls=F("data__calls__calls")
        )
        return shown

    # What a row shows

    @admin.display(description=gettext_lazy("report"), ordering="kind")
    def named(self, report: Report) -> str:
        return title_of(report)

    @admin.display(description=gettext_lazy("runs"))
    def ran(self, report: Any) -> str:
        return said(_total(report).attempted, Unit.COUNT)

    @admin.display(description=gettext_lazy("success"))
    def success(self, report: Any) -> str:
        return said(_total(report).success, Unit.SHARE)

    @admin.display(description=gettext_lazy("failures"))
    def failed(self, report: Any) -> str:
        return said(_total(report).failures, Unit.COUNT)

    @admin.display(description=gettext_lazy("missed or skipped"))
    def came_to_nothing(self, report: Any) -> str:
        return said(_total(report).passed_over, Unit.COUNT)

    @admin.display(description=gettext_lazy("reads"))
    def reads(self, report: Any) -> str:
        return said(report.all_reads, Unit.COUNT)

    @admin.display(description=gettext_lazy("upstream calls"))
    def calls(self, report: Any) -> str:
        return said(report.all_calls, Unit.COUNT)

    @admin.display(description=gettext_lazy("made"), ordering="made_at")
    def made(self, report: Report) -> SafeString:
        return words.ago(report.remade_at or report.made_at, timezone.now())


def _total(report: Any) -> JobRuns:
    """What all runs of the report came to; nothing, where it is of a version that has no such figures."""
    try:
        return msgspec.convert(report.total, JobRuns)
    except msgspec.ValidationError:
        return JobRuns()
