"""Usage in the admin: what was asked of each upstream, and read with each token, day by day, and in the month."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.db.models import Model, QuerySet, Sum
from django.http import HttpRequest, HttpResponse
from django.template.defaultfilters import filesizeformat
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy

from hotdata.admin.long_list import NameFilter
from hotdata.admin.readonly import ReadOnlyAdmin
from hotdata.figures import grouped
from hotdata.models import Source, SourceUsage, TokenUsage
from hotdata.models.usage import DayOfUsage
from hotdata.reporting.periods import Length, Period, containing, parse

MONTHS = 13
"""In the menu; any other by the URL."""
MOST_SUMS = 50


class MonthFilter(admin.SimpleListFilter):
    """One month, at first the present one: a list of all days may be long, and says little."""

    title = gettext_lazy("month")
    parameter_name = "month"

    def __init__(
        self, request: HttpRequest, params: dict[str, Any], model: type[Model], model_admin: Any
    ) -> None:
        self.present = containing(timezone.localdate(timezone=timezone.get_default_timezone()), Length.MONTH)
        super().__init__(request, params, model, model_admin)
        try:
            self.period = parse(self.value() or self.present.name, Length.MONTH)
        except ValueError as error:
            raise IncorrectLookupParameters from error

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, str]]:
        months: list[Period] = [self.present]
        while len(months) < MONTHS:
            months.append(months[-1].before)
        return [(month.name, month.name) for month in months]

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        """Without "All", and with the month that is chosen, be it among them or not."""
        names = [str(name) for name, _label in self.lookup_choices]
        if self.period.name not in names:
            names.append(self.period.name)
        for name in names:
            yield {
                "selected": name == self.period.name,
                "query_string": changelist.get_query_string({self.parameter_name: name}),
                "display": name,
            }

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(day__gte=self.period.first, day__lt=self.period.after)


class UsedSourceFilter(NameFilter):
    title = gettext_lazy("source")
    parameter_name = "source"
    named = Source

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any] | None:  # type: ignore[override]
        return queryset.filter(source=self.value()) if self.value() else None


def number(field: str, label: Any) -> Callable[[Any], str]:
    """A column with the numbers of `field` in groups of three."""

    @admin.display(description=label, ordering=field)
    def column(usage: Any) -> str:
        return grouped(getattr(usage, field))

    column.__name__ = field  # by which the column has its class
    return column


class UsageAdmin(ReadOnlyAdmin):
    """Days of usage, and above them what those found come to."""

    change_list_template = "hotdata/usage.html"
    list_filter = [MonthFilter, UsedSourceFilter]
    list_max_show_all = 0
    model: type[DayOfUsage]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        answer = super().changelist_view(request, extra_context)
        cl = getattr(answer, "context_data", {}).get("cl")
        if cl is not None:
            answer.context_data |= self._summed(cl)  # type: ignore[attr-defined]
        return answer

    def _summed(self, cl: ChangeList) -> dict[str, Any]:
        """What the days that are found come to: by subject, those with most first, and in all."""
        of, counted = [name for name in self.model.OF if name != "day"], self.model.COUNTED
        sums = {f"{name}_sum": Sum(name, default=0) for name in counted}
        days = cl.queryset.order_by()
        by_subject = days.values(*of).annotate(**sums).order_by(f"-{counted[0]}_sum", *of)
        rows = [
            {"of": [row[name] for name in of], "counts": _shown(row[name] for name in sums)}
            for row in by_subject[: MOST_SUMS + 1]
        ]
        labels = {field.name: field.verbose_name for field in self.model._meta.concrete_fields}
        month = next(spec.period for spec in cl.filter_specs if isinstance(spec, MonthFilter))
        return {
            "month": month.name,
            "heads_of": [labels[name] for name in of],
            "heads_counted": [labels[name] for name in counted],
            "sums": rows[:MOST_SUMS],
            "most_sums": MOST_SUMS if len(rows) > MOST_SUMS else 0,
            "in_all": _shown(days.aggregate(**sums).values()),
        }

    @admin.display(description=gettext_lazy("day"), ordering="day")
    def on(self, usage: Any) -> SafeString:
        return format_html('<span class="hd-keep">{}</span>', usage.day.isoformat())

    @admin.display(description=gettext_lazy("size"), ordering="size")
    def amount(self, usage: Any) -> str:
        return filesizeformat(usage.size)


@admin.register(SourceUsage)
class SourceUsageAdmin(UsageAdmin):
    list_display = [
        "on",
        "source",
        number("calls", gettext_lazy("calls")),
        number("failed_calls", gettext_lazy("failed calls")),
        "amount",
    ]
    search_fields = ["source"]


@admin.register(TokenUsage)
class TokenUsageAdmin(UsageAdmin):
    list_display = [
        "on",
        "token",
        "source",
        number("reads", gettext_lazy("reads")),
        number("failed_reads", gettext_lazy("failed reads")),
        "amount",
    ]
    search_fields = ["token", "source"]


def _shown(counts: Any) -> list[str]:
    """Counts in words; the last one is of bytes."""
    *numbers, size = counts
    return [*map(grouped, numbers), filesizeformat(size)]
