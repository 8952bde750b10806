"""Forms that don't undo in passing what somebody else has saved since they were opened.

A form saves all of its fields, those, too, that nobody has touched: one that was opened before a colleague paused the
job would resume it. The form carries the number of the latest edit that it shows, and is shown again once when there
is a later one.
"""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.functional import cached_property
from django.utils.translation import gettext as _

from hotdata.pages.words import absolute

SEEN = "edit_seen"
"""The field for the number. What sends none, such as a script, is not asked."""


class OvertakenForm(forms.ModelForm):
    """The form of a model that has its edits on record. Its template sends `edit_seen` back."""

    told = False
    """Whether the user knows of what came in between, once this form is shown."""

    @property
    def edit_seen(self) -> str:
        """The latest edit that the user has seen, or has been told of, when the form is shown."""
        if self.is_bound and not self.told:
            return str(self.data.get(SEEN, ""))
        return self._number

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        if self.data.get(SEEN, self._number) != self._number:
            self.told = True
            text = _(
                "This was changed by %(who)s on %(when)s, after you opened it, and nothing of yours is saved yet. "
                "To put what is below in its place, save again."
            )
            last = self._last
            facts = {"who": last.history_user_id or "–", "when": absolute(last.history_date)}
            self.add_error(None, text % facts)
        return cleaned

    @property
    def _number(self) -> str:
        return "" if self._last is None else str(self._last.history_id)

    @cached_property
    def _last(self) -> Any:
        """The latest edit of the row; None for one that isn't there yet."""
        if self.instance.pk is None:
            return None
        edits: Any = type(self.instance).history.filter(id=self.instance.pk)
        return edits.only("history_id", "history_user_id", "history_date").order_by("-history_id").first()
