"""Edit history as people read it: names and values of fields in words. And how an earlier version is brought back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import models
from django.utils.translation import gettext as _

from hotdata.models.history import reverted_to
from hotdata.observing.edits import ABSENT, CREATED, DELETED, NOT_OF_INTEREST, Change, Edit, changes
from hotdata.pages.words import NONE, absolute
from hotdata.spans import span

LONGEST_SHOWN = 2000  # characters of a value


@dataclass(frozen=True, kw_only=True)
class ShownChange:
    """One change in words."""

    label: str
    old: str
    new: str


@dataclass(frozen=True, kw_only=True)
class ShownEdit:
    """One row of the history."""

    id: int
    at: datetime
    by: str
    what: str
    changes: tuple[ShownChange, ...] = ()
    reason: str = ""
    revert: str = ""
    """Where a POST goes back to it; empty where there is no way."""


def shown(edit: Edit, *, revert: str = "") -> ShownEdit:
    return ShownEdit(
        id=edit.id,
        at=edit.at,
        by=edit.by,
        what=_what(edit),
        changes=tuple(_shown_change(change) for change in edit.changes),
        reason=edit.reason,
        revert=revert,
    )


def differing_fields(old: models.Model, new: models.Model) -> set[str]:
    """The names of the fields whose values are not the same."""
    return {change.field.name for change in changes(old, new)}


def bring_back(edit: Edit, current: Any) -> Any:
    """Make `current` what it was after `edit`, or make it again where it is None; save it and return it.

    It goes through all checks of today, and then the way of every edit. Raises ValidationError.
    """
    row = edit.version
    if current is None:
        row.pk, row._state.adding = None, True
    else:
        for field in current._meta.concrete_fields:
            if field.name not in NOT_OF_INTEREST:
                setattr(current, field.attname, getattr(row, field.attname))
        row = current
    row.full_clean()
    row._change_reason = reverted_to(edit.at)
    try:
        row.save()
    finally:
        del row._change_reason
    return row


def value_in_words(field: Any, value: Any) -> str:
    """A value of a field, for people."""
    if value is None or value is ABSENT or value == "":
        return NONE
    if isinstance(value, bool):
        return _("Yes") if value else _("No")
    if field.choices:
        return str(dict(field.flatchoices).get(value, value))
    if isinstance(value, timedelta):
        return span(value)
    if isinstance(value, datetime):
        return absolute(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]} …"


def _shown_change(change: Change) -> ShownChange:
    label = str(change.field.verbose_name)
    if change.member:
        # A member's name is part of the data, and none of a language.
        label = f"{label}: {change.member}"
        return ShownChange(label=label, old=_member(change.old), new=_member(change.new))
    return ShownChange(
        label=label,
        old=value_in_words(change.field, change.old),
        new=value_in_words(change.field, change.new),
    )


def _member(value: Any) -> str:
    return NONE if value is ABSENT else json.dumps(value, ensure_ascii=False, default=str)[:LONGEST_SHOWN]


def _what(edit: Edit) -> str:
    """What kind of an edit it was, as a sentence."""
    key = edit.key
    if edit.begun:
        return _("The history begins with this version.")
    if edit.reverted_to is not None:
        return _("Reverted to the version of %(when)s.") % {"when": absolute(edit.reverted_to)}
    if edit.kind == CREATED:
        return _("Pinned the key %(key)s.") % {"key": key} if key else _("Created.")
    if edit.kind == DELETED:
        return _("Unpinned the key %(key)s.") % {"key": key} if key else _("Deleted.")
    if not edit.changes:
        return _("Saved without a change.")
    return _("Changed the pinned key %(key)s.") % {"key": key} if key else _("Changed.")
