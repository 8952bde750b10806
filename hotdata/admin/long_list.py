"""Lists over tables with millions of rows: found along indexes, counted to a limit, gone through page by page.

Pages go as far as the count does. From the last of them, and from where a search has left off, a link leads on to what
is older. There is one order, newest first.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, datetime, time, timedelta
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin import ListFilter
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils import formats, timezone
from django.utils.dateparse import parse_date, parse_datetime
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from hotdata.admin.bounded_list import BoundedChangeList
from hotdata.admin.readonly import ReadOnlyAdmin
from hotdata.observing.finding import Found, bounded_count, estimated_count

MOST_COUNTED = 10_000
MOST_NAMES = 100
"""In a menu; the search, or a link, finds every other."""
PERIODS = {
    "hour": (gettext_lazy("Last hour"), timedelta(hours=1)),
    "day": (gettext_lazy("Last 24 hours"), timedelta(days=1)),
    "week": (gettext_lazy("Last 7 days"), timedelta(days=7)),
    "month": (gettext_lazy("Last 30 days"), timedelta(days=30)),
}
MICROSECOND = timedelta(microseconds=1)
BEFORE = "before"


class LongPaginator(Paginator):
    """Counts to `MOST_COUNTED`, and offers pages for as many."""

    @cached_property
    def count(self) -> int:
        counted = bounded_count(self.object_list, MOST_COUNTED)  # type: ignore[arg-type]
        self.goes_on = counted > MOST_COUNTED
        return min(counted, MOST_COUNTED)


class TimeFilter(ListFilter):
    """``time=day``, or ``since`` and ``until`` as a date or a time; and ``before``, where an earlier page left off."""

    title = gettext_lazy("time")
    parameters = ("time", "since", "until", BEFORE)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The parameters that it takes."""
        return cls.parameters

    def __init__(self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any) -> None:
        super().__init__(request, params, model, model_admin)
        self.used_parameters: dict[str, Any] = {
            name: params.pop(name)[-1] for name in self.parameters if name in params
        }
        if self.used_parameters.get("time", "hour") not in PERIODS:
            raise IncorrectLookupParameters
        self.since = _moment(self.used_parameters.get("since", ""))
        self.until = _moment(self.used_parameters.get("until", ""), end_of_day=True)
        if "time" in self.used_parameters:
            self.since = timezone.now() - PERIODS[self.used_parameters["time"]][1]
        self.before = _place(model, model_admin.place, self.used_parameters.get(BEFORE))

    def has_output(self) -> bool:
        return True

    def expected_parameters(self) -> list[str | None]:
        return list(self.parameters)

    @property
    def since_typed(self) -> str:
        """As a field for dates and times takes it."""
        return _typed(self.since)

    @property
    def until_typed(self) -> str:
        return _typed(self.until)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """The search does it."""

    def choices(self, changelist: ChangeList) -> Any:
        others = dict.fromkeys(self.parameters)
        yield {
            "selected": not self.used_parameters,
            "query_string": changelist.get_query_string(others),
            "display": _("All"),
        }
        for value, (label, _span) in PERIODS.items():
            yield {
                "selected": self.used_parameters.get("time") == value,
                "query_string": changelist.get_query_string({**others, "time": value}),
                "display": label,
            }
        given: dict[str, Any] = {
            name: self.used_parameters[name] for name in ("since", "until") if name in self.used_parameters
        }
        if given:
            yield {
                "selected": True,
                "query_string": changelist.get_query_string({**others, **given}),
                "display": f"{given.get('since', '')} – {given.get('until', '')}",
            }
        if BEFORE in self.used_parameters:
            yield {
                "selected": True,
                "query_string": changelist.get_query_string(),
                "display": _("Before %(place)s") % {"place": self.used_parameters[BEFORE]},
            }


class ChoiceFilter(admin.SimpleListFilter):
    """A menu whose choice the search takes into account."""

    strict = True
    """Whether a value that isn't offered is refused."""
    plain = ""
    """Django's own word for the parameter, which links from elsewhere may have."""

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The parameters that it takes."""
        return tuple(filter(None, [str(cls.parameter_name), cls.plain]))

    def __init__(self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any) -> None:
        if self.plain and self.plain in params:
            params[str(self.parameter_name)] = params.pop(self.plain)
        super().__init__(request, params, model, model_admin)
        known = {str(value) for value, _label in self.lookup_choices}
        if self.value() is not None and str(self.value()) not in known:
            if self.strict:
                raise IncorrectLookupParameters
            self.lookup_choices.append((str(self.value()), str(self.value())))

    def has_output(self) -> bool:
        """Also of a menu without choices: Django forgets what isn't shown."""
        return True

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """The search does it."""


class NameFilter(ChoiceFilter):
    """The first rows of `named` by their names; also any other by the URL, there or gone."""

    named: ClassVar[type[Model]]
    strict = False

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        names = self.named._default_manager.order_by("name").values_list("name", flat=True)[:MOST_NAMES]
        return [(name, name) for name in names]


class LongChangeList(BoundedChangeList):
    """The list of what a `LongListAdmin` finds."""

    found: Found
    model_admin: LongListAdmin

    def get_ordering_field(self, field_name: Any) -> None:
        """None: any other order than the way's own would read the whole table."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        super().get_queryset(request, exclude_parameters)  # reads the filters
        self.found = self.model_admin.find(self)
        return self.model_admin.shown(self.found.rows)

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.full_result_count = self.result_count  # or Django says beside the search that there are others
        self.result_list = self.model_admin.complete(request, list(self.result_list))

    def chosen(self, parameter: str) -> str:
        """What is chosen in the menu of `parameter`; nothing where that is all."""
        found = (spec.used_parameters.get(parameter) for spec in self.filter_specs)
        return str(next((value for value in found if value), ""))

    @property
    def other_than_times(self) -> list[tuple[str, str]]:
        """The parameters that a form for times has to repeat."""
        return [(name, value) for name, value in self.params.items() if name not in TimeFilter.parameters]

    @property
    def times(self) -> TimeFilter:
        return next(spec for spec in self.filter_specs if isinstance(spec, TimeFilter))

    @property
    def pages(self) -> Any:
        """The numbers of the pages to offer, with gaps."""
        return self.paginator.get_elided_page_range(self.page_num)

    @property
    def counted(self) -> str:
        """How many there are, as far as that is known."""
        if not getattr(self.paginator, "goes_on", False):
            return formats.number_format(self.result_count, use_l10n=True, force_grouping=True)
        estimate = None
        if not self.has_active_filters and not self.query:
            estimate = estimated_count(self.model, self.queryset.db)
        if estimate is None or estimate <= MOST_COUNTED:
            return _("more than %(n)s") % {"n": _grouped(MOST_COUNTED)}
        return _("about %(n)s") % {"n": _grouped(float(f"{estimate:.2g}"))}

    @property
    def leads_on(self) -> str:
        """A query string for what is older than the last page offered; nothing where there is none."""
        if self.result_list and self.page_num < self.paginator.num_pages:
            return ""
        if getattr(self.paginator, "goes_on", False):
            return self._before(getattr(self.result_list[-1], self.model_admin.place))
        if self.found.horizon is not None:
            step: Any = MICROSECOND if isinstance(self.found.horizon, datetime) else 1
            return self._before(self.found.horizon + step)
        return ""

    def _before(self, place: Any) -> str:
        value = place.isoformat() if isinstance(place, datetime) else place
        return str(self.get_query_string({BEFORE: value}))


class LongListAdmin(ReadOnlyAdmin):
    """A read-only admin of rows that are found by a search."""

    paginator = LongPaginator
    list_max_show_all = 0
    place: ClassVar[str] = "id"
    """The column in whose order rows are listed, falling."""

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return LongChangeList

    def parameters_of(self, asked: Any) -> Collection[str]:
        """Those by which Django's own links call it, too."""
        names: Collection[str] = asked.names()
        return names

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Any], search_term: str) -> Any:
        """The search does it."""
        return queryset, False

    def find(self, cl: LongChangeList) -> Found:
        """What the list's filters and text ask for."""
        raise NotImplementedError

    def shown(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        """`rows` with the columns that the list shows, and no others."""
        return rows

    def complete(self, request: HttpRequest, rows: list[Any]) -> list[Any]:
        """The rows of one page with what the list shows of other tables, to who asks."""
        return rows


def _moment(text: str, *, end_of_day: bool = False) -> datetime | None:
    """The time that `text` says; a date is its beginning in the present time zone, or its end."""
    if not text:
        return None
    try:
        day = parse_date(text)
        moment = parse_datetime(text) if day is None else _midnight(day + timedelta(days=end_of_day))
        if moment is None:
            raise ValueError(text)
        if not _is_sane(moment):
            raise ValueError(text)
        return timezone.make_aware(moment) if timezone.is_naive(moment) else moment
    except (ValueError, OverflowError) as error:
        raise IncorrectLookupParameters from error


def _typed(moment: datetime | None) -> str:
    return f"{timezone.localtime(moment):%Y-%m-%dT%H:%M}" if moment else ""


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time())


def _place(model: type[Model], field: str, text: str | None) -> Any:
    """Where the list is to begin, as the value that the column holds."""
    if text is None:
        return None
    try:
        column: Any = model._meta.get_field(field)
        place = column.to_python(text)
    except (ValidationError, ValueError, OverflowError) as error:
        raise IncorrectLookupParameters from error
    if isinstance(place, datetime) and not _is_sane(place):
        raise IncorrectLookupParameters
    return place


def _is_sane(moment: datetime) -> bool:
    """Others overflow in some zone or database."""
    return 1970 <= moment.year <= 9000


def _grouped(number: float) -> str:
    return formats.number_format(int(number), use_l10n=True, force_grouping=True)
