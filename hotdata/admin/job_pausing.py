"""Pausing several jobs at once: a page asks why and until when, and then they are."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from django import forms
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from hotdata.models.pauses import NOTE_LIMIT
from hotdata.text import is_number
from hotdata.triggers.zones import is_in_range

NAMED = 50
"""Jobs that the page names; the others are counted."""


class KeysField(forms.CharField):
    """Keys of rows in one hidden field. A field for each would be more than Django reads, where all jobs are chosen."""

    widget = forms.HiddenInput

    def prepare_value(self, value: Any) -> Any:
        return value if isinstance(value, str) or value is None else ",".join(map(str, value))

    def clean(self, value: Any) -> list[int]:
        words = super().clean(value).split(",")
        if not all(map(is_number, words)):
            raise forms.ValidationError(_("These are no jobs."))
        return [int(word) for word in words]


class PauseForm(forms.Form):
    """The jobs by their keys, and what the pause shall say."""

    jobs = KeysField()
    note = forms.CharField(
        label=gettext_lazy("Why? (a note for the others)"),
        max_length=NOTE_LIMIT,
        required=False,
        widget=forms.TextInput(attrs={"autocomplete": "off", "size": "60"}),
    )
    until = forms.DateTimeField(
        label=gettext_lazy("Until"),
        required=False,
        help_text=gettext_lazy("The pause ends then by itself. Empty: when somebody resumes the jobs."),
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
    )

    def clean_until(self) -> datetime | None:
        until: datetime | None = self.cleaned_data["until"]
        if until is None:
            return None
        if not is_in_range(until):
            raise forms.ValidationError(_("The time is out of range."))
        if until <= timezone.now():
            raise forms.ValidationError(_("This lies in the past: the pause would have ended."))
        return until.astimezone(UTC)


def named(jobs: Sequence[Any]) -> dict[str, Any]:
    """What the page says of `jobs`: the first of them, and how many more there are."""
    return {"named": jobs[:NAMED], "others": max(len(jobs) - NAMED, 0), "count": len(jobs)}
