"""The page of a report: what its mail says, with links, its tables as files, and a button to make it again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import path, reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from hotdata.admin.record_page import RecordPage
from hotdata.exceptions import NotOver, ReportRefused
from hotdata.models import Job, Report, Source
from hotdata.pages import charts, places, sheets, words
from hotdata.pages.access import may_see
from hotdata.pages.charts import Column as Bars
from hotdata.pages.charts import Tick, round_ticks
from hotdata.pages.texts import pretty, visible
from hotdata.reporting.kinds import REPORTS
from hotdata.reporting.letters import Chart, Column, Figure, Letter, Section, Tone, Unit, said
from hotdata.reporting.orders import Order
from hotdata.reporting.periods import containing

JSON_SHOWN = 20_000  # characters
LOOKS = {Tone.GOOD: words.OK, Tone.BAD: words.FAILED, Tone.OTHER: words.MUTED, Tone.PLAIN: words.RUNNING}
LABELS = 8  # below the bars of a chart
CHART_WIDTH = 1100  # it is as wide as the page
MODELS: Mapping[Unit, Any] = {Unit.JOB: Job, Unit.SOURCE: Source}
"""What the rows that names in the tables lead to are of."""
IN_FILES = {Unit.SECONDS: "s", Unit.BYTES: "bytes"}
"""What numbers are in, where a file has them as they are."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell of a table."""

    text: str
    href: str
    is_number: bool


@dataclass(frozen=True, kw_only=True)
class Table:
    """A section as the page shows it."""

    section: Section
    rows: Sequence[Sequence[Cell]]


class ReportPage(RecordPage):
    """The part of the reports' admin that shows one, and makes it again."""

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view
        return [
            path("<path:object_id>/again/", view(self.again_view), name="hotdata_report_again"),
            path("<path:object_id>/csv/<slug:name>/", view(self.csv_view), name="hotdata_report_csv"),
            *super().get_urls(),
        ]

    def has_remake_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("hotdata.remake_report")

    def page_of(self, request: HttpRequest, row: Report) -> dict[str, Any]:
        letter = _letter(row)
        return {
            "title": letter.title if letter else title_of(row),
            "report": row,
            "letter": letter,
            "may_remake": self.has_remake_permission(request) and row.kind in REPORTS,
            "by": visible(row.remade_by or row.made_by),
            "records": f"{row.records:,}",
            **(_shown(request, letter) if letter else {"raw": pretty(row.data, JSON_SHOWN)}),
        }

    @method_decorator(require_POST)
    def again_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The button "Make again". It mails nothing, and replaces no report by one that counts fewer records."""
        if not (self.has_remake_permission(request) and self.has_view_permission(request)):
            raise PermissionDenied
        report = self._report(request, object_id)
        kind = REPORTS.get(report.kind)
        if kind is None:
            raise Http404
        order = Order(by=request.user.get_username(), now=timezone.now(), remake=True)
        try:
            kind.make(containing(report.first, kind.length), order)
        except (NotOver, ReportRefused) as error:
            self.message_user(request, str(error), messages.WARNING)
        else:
            self.log_change(request, report, "Made again.")
            self.message_user(request, _("%(report)s was made again.") % {"report": report}, messages.SUCCESS)
        return HttpResponseRedirect(reverse("admin:hotdata_report_change", args=[report.pk]))

    @method_decorator(require_safe)
    def csv_view(self, request: HttpRequest, object_id: str, name: str) -> HttpResponse:
        """One table of a report as a file. Changes nothing, so it may be a GET."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        report = self._report(request, object_id)
        letter = _letter(report)
        for section in letter.sections if letter else ():
            if section.name == name:
                answer = HttpResponse(as_csv(section), content_type="text/csv; charset=utf-8")
                file = f"{report.kind}-{report.period}-{name}.csv"
                answer["Content-Disposition"] = f'attachment; filename="{file}"'
                return answer
        raise Http404

    def _report(self, request: HttpRequest, object_id: str) -> Report:
        report: Report | None = self.get_object(request, unquote(object_id))
        if report is None:
            raise Http404
        return report


def title_of(report: Report) -> str:
    """What reports of its kind are called."""
    return str(REPORTS[report.kind].title) if report.kind in REPORTS else report.kind


def _letter(report: Report) -> Letter | None:
    """What the report says; None for one that another version has made, whose shape is not known here."""
    try:
        return REPORTS[report.kind].read(report)
    except (KeyError, msgspec.ValidationError):
        return None


def _shown(request: HttpRequest, letter: Letter) -> dict[str, Any]:
    links = _Links(request, letter)
    chart = letter.chart if letter.chart and letter.chart.highest else None
    return {
        "chart": _drawn(chart) if chart else "",
        "parts": [(LOOKS[part.tone].css, part.label) for part in chart.parts] if chart else [],
        "tables": [
            Table(section=section, rows=[list(_cells(section, row, links)) for row in section.rows])
            for section in letter.shown
        ],
    }


def _cells(section: Section, row: Sequence[Any], links: _Links) -> Iterator[Cell]:
    for value, column in zip(row, section.columns, strict=True):
        unit, bare = (value.unit, value.value) if isinstance(value, Figure) else (column.unit, value)
        yield Cell(text=said(bare, unit), href=links.to(bare, unit), is_number=column.unit.is_number)


class _Links:
    """Where names and numbers in the tables lead to, for who may go there. Two queries."""

    def __init__(self, request: HttpRequest, letter: Letter) -> None:
        self._sees_runs = request.user.has_perm("hotdata.view_run")
        self._ids = {
            unit: dict(model.objects.filter(name__in=_named(letter, unit)).values_list("name", "pk"))
            for unit, model in MODELS.items()
            if may_see(request.user, model._meta.model_name)
        }

    def to(self, value: Any, unit: Unit) -> str:
        if unit == Unit.RUN:
            return places.run(value) if self._sees_runs else ""
        id = self._ids.get(unit, {}).get(value)
        if id is None:
            return ""
        return places.job(id) if unit == Unit.JOB else places.source(id)


def _named(letter: Letter, unit: Unit) -> set[str]:
    """All names of jobs, or of sources, in the tables."""
    figures = (
        value if isinstance(value, Figure) else Figure(label="", value=value, unit=column.unit)
        for section in letter.sections
        for row in section.rows
        for value, column in zip(row, section.columns, strict=True)
    )
    return {figure.value for figure in figures if figure.unit == unit}


def _drawn(chart: Chart) -> SafeString:
    columns = [
        Bars(
            parts=[
                (LOOKS[part.tone], value)
                for part, value in zip(chart.parts, map(float, bar.values), strict=True)
            ],
            label=f"{bar.label}: "
            + " · ".join(
                f"{value:,} {part.label}"
                for part, value in zip(chart.parts, bar.values, strict=True)
                if value
            ),
        )
        for bar in chart.bars
    ]
    step = max(len(chart.bars) // LABELS, 1)
    return charts.bars(
        columns,
        label=chart.title,
        width=CHART_WIDTH,
        y_ticks=[
            Tick(at=at, label=f"{at:,.0f}") for at in round_ticks(float(chart.highest)) if at == round(at)
        ],
        x_ticks=[Tick(at=at, label=bar.label) for at, bar in enumerate(chart.bars) if at % step == 0],
    )


def as_csv(section: Section) -> str:
    """A table as a file that a spreadsheet opens: numbers as they are."""
    heads = [_head(column) for column in section.columns]
    rows = [[value.value if isinstance(value, Figure) else value for value in row] for row in section.rows]
    return sheets.MARK + sheets.lines([heads, *rows])


def _head(column: Column) -> str:
    return f"{column.label} ({IN_FILES[column.unit]})" if column.unit in IN_FILES else column.label
