"""Edit history: who changed which definition, from what to what. One row per edit, in the edit's own transaction.

Who it was is kept as a name, not as a reference: a row outlives the user as it outlives the definition. The name is
that of the request's user or, outside of requests, what `edited_by` says; empty when nobody said. Edits behind the
ORM's back, by SQL, leave nothing here. Nothing ever deletes rows: they are as many as there were edits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any, TypeVar

from django.db import models, transaction
from django.http import HttpRequest
from simple_history.models import HistoricalRecords

MAX_NAME = 150  # as of Django's users
REVERTED = "reverted to "
"""What the reason of an edit begins with that brought back an earlier version; the time of that version follows."""
BEGUN = "history begun"
"""The reason of a row that is no edit: what a definition was when its history began."""

MOST_KEYS = 1000  # in one query

Row = TypeVar("Row", bound=models.Model)

_editor: ContextVar[str] = ContextVar("hotdata_editor", default="")


@contextmanager
def edited_by(name: str) -> Iterator[None]:
    """Edits inside the block, where no request makes them, are in the name of `name`."""
    token = _editor.set(name)
    try:
        yield
    finally:
        _editor.reset(token)


def edit_history(verbose_name: Any, verbose_name_plural: Any) -> Any:
    """The attribute by which a model has its edits on record; the names are those of the records."""
    return HistoricalRecords(
        verbose_name=verbose_name,
        verbose_name_plural=verbose_name_plural,
        history_id_field=models.BigAutoField(),
        history_user_id_field=models.CharField(max_length=MAX_NAME, blank=True, default=""),
        history_user_getter=_get_name,
        history_user_setter=_set_name,
        get_user=_name_of_editor,
    )


def reverted_to(version: datetime) -> str:
    """The reason of an edit that brings back the version of that time."""
    return f"{REVERTED}{version.isoformat()}"


def _get_name(row: Any) -> str:
    return str(row.history_user_id)


def _set_name(row: Any, name: str) -> None:
    row.history_user_id = name[:MAX_NAME]


def name_of(request: HttpRequest) -> str:
    """Who asks, for the record: the user, and with which token of the API, if with one. At most `MAX_NAME` long."""
    token = getattr(request, "api_token", None)
    return request.user.get_username() if token is None else str(token.signature)


def _name_of_editor(instance: models.Model, request: HttpRequest | None, **kwargs: object) -> str:
    return _editor.get() if request is None else name_of(request)


class TrackedQuerySet(models.QuerySet[Row]):
    """Leaves history where Django sends no signals: when many rows are made or changed by one statement."""

    def update(self, **fields: Any) -> int:
        with transaction.atomic(using=self.db):
            keys = list(self.order_by().select_for_update().values_list("pk", flat=True))
            changed = super().update(**fields)
            for start in range(0, len(keys), MOST_KEYS):
                rows = self.model._default_manager.using(self.db).filter(
                    pk__in=keys[start : start + MOST_KEYS]
                )
                self.model.history.bulk_history_create(rows, update=True)  # type: ignore[attr-defined]
        return changed

    # As on Django's own.
    update.alters_data = True  # type: ignore[attr-defined]

    def bulk_create(self, objs: Iterable[Row], *args: Any, **kwargs: Any) -> list[Row]:
        with transaction.atomic(using=self.db):
            rows = super().bulk_create(objs, *args, **kwargs)
            # What a conflict kept from being made has no key.
            made = [row for row in rows if row.pk is not None]
            self.model.history.bulk_history_create(made)  # type: ignore[attr-defined]
        return rows
