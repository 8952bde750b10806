"""Lists that may be asked anything: what is too long for a database, or no key of a row, is refused in words."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import SEARCH_VAR, ChangeList, ChangeListSearchForm
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext as _

from hotdata.text import is_number

LONGEST_SEARCH = 500
"""Characters. SQLite refuses patterns of 50,000 bytes, and conditions on a thousand words."""


class BoundedSearchForm(ChangeListSearchForm):
    """The change list tells its errors as messages, and then shows all rows."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields[SEARCH_VAR] = forms.CharField(
            required=False,
            strip=False,
            max_length=LONGEST_SEARCH,
            error_messages={
                "max_length": _("A search may have at most %(n)d characters. All are shown.")
                % {"n": LONGEST_SEARCH}
            },
        )


class BoundedChangeList(ChangeList):
    search_form_class = BoundedSearchForm

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        asked = (value for name, values in request.GET.lists() if name != SEARCH_VAR for value in values)
        if any("\x00" in value for value in asked):
            raise IncorrectLookupParameters  # PostgreSQL takes no such text, also not to compare
        super().__init__(request, *args, **kwargs)


class BoundedListAdmin(admin.ModelAdmin):
    """An admin of rows whose keys are numbers. A change list of its own is to be a `BoundedChangeList`."""

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return BoundedChangeList

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Only what the filters ask for: Django hands everything else in the address to the database as it is."""
        filters: Sequence[Any] = self.get_list_filter(request)
        return any(lookup in self.parameters_of(asked) for asked in filters)

    def parameters_of(self, asked: Any) -> Collection[str]:
        """The parameters of one of the filters of the list, which is a field's name or a class of its own."""
        return (
            (asked, f"{asked}__exact", f"{asked}__isnull")
            if isinstance(asked, str)
            else (asked.parameter_name,)
        )

    def response_action(
        self, request: HttpRequest, queryset: Any, *args: Any, **kwargs: Any
    ) -> HttpResponse | None:
        """What comes of an action on the selected rows; Django asks the database for whatever they are called."""
        keys = request.POST.getlist(ACTION_CHECKBOX_NAME)
        if all(map(is_number, keys)):
            answer: HttpResponse | None = super().response_action(request, queryset, *args, **kwargs)
            return answer
        self.message_user(request, _("What was selected is not in this list."), messages.WARNING)
        return HttpResponseRedirect(request.get_full_path())
