"""The price lists in the admin: a list, a form that says what is wrong with a price, and who changed what."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Field
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _

from hotdata.admin.bounded_list import BoundedListAdmin
from hotdata.admin.edit_history import shown
from hotdata.admin.overtaken import OvertakenForm
from hotdata.models import PriceList, Source
from hotdata.observing.edits import edits_of_prices

MOST_EDITS = 100


@admin.register(PriceList)
class PriceListAdmin(BoundedListAdmin):
    form = OvertakenForm
    change_list_template = "hotdata/change_list.html"
    list_display = ["source", "kind", "valid_from", "tiers", "currency", "failed_charged"]
    list_filter = ["kind"]
    list_per_page = 50
    search_fields = ["source"]
    show_full_result_count = False

    def formfield_for_dbfield(
        self, db_field: Field[Any, Any], request: HttpRequest, **kwargs: Any
    ) -> forms.Field | None:
        widgets = {"source": SourceInput(), "tiers": forms.Textarea(attrs={"rows": 3, "cols": 60})}
        if db_field.name in widgets:
            kwargs["widget"] = widgets[db_field.name]
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The edits of a price list."""
        prices = self.get_object(request, object_id)
        if prices is None:
            return super().history_view(request, object_id)  # which says so
        if not self.has_view_permission(request, prices):
            raise PermissionDenied
        context = self.admin_site.each_context(request) | {
            "title": _("Change log of %(row)s") % {"row": prices},
            "opts": self.opts,
            "object": prices,
            "edits": [shown(edit) for edit in edits_of_prices(prices.pk, MOST_EDITS)],
        }
        return TemplateResponse(request, "hotdata/history/log.html", context)


class SourceInput(forms.TextInput):
    """The name of a source, with all there are on offer while typing: it may also be one that is gone."""

    template_name = "hotdata/widgets/source.html"

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        context = super().get_context(name, value, attrs)
        list_id = f"{context['widget']['attrs'].get('id', name)}_sources"
        context["widget"]["attrs"]["list"] = list_id
        return context | {"sources": Source.objects.values_list("name", flat=True), "list_id": list_id}
