"""A form field for JSON that survives whatever is typed into it."""

from __future__ import annotations

import json
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.forms.fields import InvalidJSONInput
from django.utils.translation import gettext as _


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
