"""Form fields for what operators type: JSON, durations, time zones. They survive whatever that is."""

from __future__ import annotations

import functools
import json
import zoneinfo
from datetime import timedelta
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.forms.fields import InvalidJSONInput
from django.utils.translation import gettext as _

from hotdata.spans import read_span, span

MOST_OF_SPAN = 40  # characters


class TypedJSONField(forms.JSONField):
    """As Django's, but what Python's JSON can't read is an error at the field, and is shown again as it was typed.

    Django reads it once more to show it: half characters, a hundred thousand brackets or a number of five
    thousand digits end that with an error page.
    """

    widget = forms.Textarea(attrs={"rows": 3, "cols": 80, "class": "vLargeTextField"})

    def to_python(self, value: Any) -> Any:
        try:
            read = super().to_python(value)
            json.dumps(read, ensure_ascii=False).encode()  # half characters can be read, but not stored
            return read
        except (ValueError, RecursionError) as error:
            raise ValidationError(_("This can't be read as JSON.")) from error

    def bound_data(self, data: Any, initial: Any) -> Any:
        return initial if self.disabled else InvalidJSONInput(data if data is not None else "")

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return super().has_changed(initial, data)
        except (ValueError, RecursionError):
            return True


class SpanField(forms.DurationField):
    """A duration as people write it: 90, 1:30, 90 s, 5 min, 1 h 30 min. Shown again in units."""

    widget = forms.TextInput(attrs={"size": 14, "maxlength": MOST_OF_SPAN})

    def to_python(self, value: Any) -> Any:
        if isinstance(value, str):
            value = value.strip()
            if len(value) > MOST_OF_SPAN:
                raise ValidationError(self.error_messages["invalid"], code="invalid")
            read = read_span(value)
            if read is not None:
                return read
        return super().to_python(value)

    def prepare_value(self, value: Any) -> Any:
        return span(value) if isinstance(value, timedelta) else value


class ZoneField(forms.CharField):
    """The name of a time zone, with all there are on offer while typing."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs | {"widget": ZoneInput(attrs={"size": 30, "autocomplete": "off"})})


class ZoneInput(forms.TextInput):
    template_name = "hotdata/widgets/zone.html"

    def get_context(self, name: str, value: Any, attrs: Any) -> dict[str, Any]:
        context = super().get_context(name, value, attrs)
        list_id = f"{context['widget']['attrs'].get('id', name)}_zones"
        context["widget"]["attrs"]["list"] = list_id
        return context | {"zones": zone_names(), "list_id": list_id}


@functools.cache
def zone_names() -> list[str]:
    """Every zone by its name; not the copies that the database keeps under other roots."""
    return sorted(
        name
        for name in zoneinfo.available_timezones()
        if not name.startswith(("posix/", "right/", "SystemV/"))
    )
