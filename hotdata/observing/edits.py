"""Edits: who changed which definition when, and what was changed from what to what."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import models
from django.db.models import OuterRef, QuerySet, Subquery

from hotdata.models import Job, Key, PriceList, Source
from hotdata.models.history import BEGUN, REVERTED

NOT_OF_INTEREST = frozenset({"id", "source", "created_at", "updated_at"})
"""What changes with every edit, or never."""

CREATED, CHANGED, DELETED = "+", "~", "-"
ABSENT = object()
"""Stands for a member of a JSON object that isn't there."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """One field, or one member of a field that holds a JSON object, before and after."""

    field: models.Field[Any, Any]
    member: str = ""
    old: Any
    new: Any


@dataclass(frozen=True, kw_only=True)
class Edit:
    """One edit of one row, with the version that it led to (of a deletion: what was deleted)."""

    id: int
    at: datetime
    by: str
    """A user's name, or a command's; empty where nobody said."""
    kind: str
    """`CREATED`, `CHANGED` or `DELETED`."""
    version: Any
    """The row as it was after the edit, as an instance of its model that isn't saved."""
    changes: tuple[Change, ...] = ()
    reverted_to: datetime | None = None
    """The time of the version that it brought back, if it did."""
    begun: bool = False
    """No edit: what was there when the history began."""
    reason: str = ""

    @property
    def key(self) -> str:
        """The pinned key that was edited; empty when it was the job or source itself."""
        return self.version.key if isinstance(self.version, Key) else ""


def edits_of_job(name: str, limit: int, offset: int = 0) -> list[Edit]:
    """The edits of the job called `name`, whether there is one now or not, latest first."""
    return _edits(Job.history.filter(name=name), "name", limit, offset)


def edit_of(model: Any, id: int) -> Edit | None:
    """One edit of a row of `model`, without what it changed."""
    row = model.history.filter(history_id=id).first()
    return None if row is None else _edit(row, None)


def edits_of_source(name: str, limit: int, offset: int = 0) -> list[Edit]:
    """The edits of the source called `name` and of its pinned keys, latest first."""
    versions = Source.history.filter(name=name)
    keys = Key.history.filter(source_id__in=versions.order_by().values("id"))
    found = _edits(versions, "name", offset + limit) + _edits(keys, "id", offset + limit)
    return sorted(found, key=lambda edit: (edit.at, edit.id), reverse=True)[offset : offset + limit]


def edits_of_prices(id: int, limit: int, offset: int = 0) -> list[Edit]:
    """The edits of one price list, latest first."""
    return _edits(PriceList.history.filter(id=id), "id", limit, offset)


def deleted(model: Any, limit: int) -> list[Edit]:
    """The latest deletion of each job, or source, that isn't there now, latest first."""
    last = model.history.order_by().values("name").annotate(last=models.Max("history_id")).values("last")
    there = model.objects.order_by().values("name")
    rows = model.history.filter(history_id__in=last, history_type=DELETED).exclude(name__in=there)
    return [_edit(row, None) for row in rows.order_by("-history_id")[:limit]]


def _edits(rows: QuerySet[Any], identity: str, limit: int, offset: int = 0) -> list[Edit]:
    """The edits of what has one `identity`, each compared with the version before it."""
    model = rows.model
    earlier = model.objects.filter(
        **{identity: OuterRef(identity)}, history_id__lt=OuterRef("history_id")
    ).order_by("-history_id")
    shown = list(
        rows.annotate(before=Subquery(earlier.values("history_id")[:1])).order_by("-history_id")[
            offset : offset + limit
        ]
    )
    known = {row.history_id: row for row in shown}
    missing = {row.before for row in shown} - known.keys() - {None}
    before = known | model.objects.in_bulk(missing)
    return [_edit(row, before.get(row.before)) for row in shown]


def _edit(row: Any, before: Any) -> Edit:
    reason = row.history_change_reason or ""
    reverted_to = None
    if reason.startswith(REVERTED):
        reverted_to, reason = datetime.fromisoformat(reason.removeprefix(REVERTED)), ""
    changed = row.history_type == CHANGED and before is not None
    return Edit(
        id=row.history_id,
        at=row.history_date,
        by=row.history_user_id,
        kind=row.history_type,
        version=row.instance,
        changes=tuple(changes(before.instance, row.instance)) if changed else (),
        reverted_to=reverted_to,
        begun=reason == BEGUN,
        reason="" if reason == BEGUN else reason,
    )


def changes(old: models.Model, new: models.Model) -> Iterator[Change]:
    """What is different in `new`, field by field in the model's own order."""
    for field in old._meta.concrete_fields:
        if field.name in NOT_OF_INTEREST:
            continue
        was, became = getattr(old, field.attname), getattr(new, field.attname)
        # In JSON 1, 1.0 and true are not the same, but Python equals them.
        same = repr(was) == repr(became) if isinstance(field, models.JSONField) else was == became
        if same:
            continue
        if isinstance(was, dict) and isinstance(became, dict):
            yield from _changed_members(field, was, became)
        else:
            yield Change(field=field, old=was, new=became)


def _changed_members(
    field: models.Field[Any, Any], old: dict[str, Any], new: dict[str, Any]
) -> Iterator[Change]:
    for member in old | new:
        was, became = old.get(member, ABSENT), new.get(member, ABSENT)
        if repr(was) != repr(became):
            yield Change(field=field, member=member, old=was, new=became)
