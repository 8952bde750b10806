"""Kinds of records: what makes one old, which old ones are kept all the same, and what is never deleted, and why.

A kind has its age in the setting ``HOTDATA_RETENTION``, under its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from django.contrib.admin.models import LogEntry
from django.db import models
from django.db.models import Q, QuerySet
from django.utils import timezone

from hotdata.models import (
    Alert,
    ApiCall,
    ComponentChange,
    Delivery,
    FreshnessHour,
    Job,
    Key,
    Notice,
    PriceList,
    Report,
    Run,
    Silence,
    Source,
    SourceUsage,
    Statement,
    TokenUsage,
)
from hotdata.models.runs import ACTIVE, FINISHED
from hotdata.models.usage import day_of
from hotdata.observing import totals

NOT_ENDED = "have not ended"
NOT_COUNTED = "are not in the totals of the metrics yet"
OPEN = "are open"
WAITING = "wait to be sent"
EDITS = "edit history is never deleted"
ACTIONS = "what people did is never deleted"
ISSUED = "issued statements are never deleted"
REPORTS = "reports outlive the records that they count"


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table of a kind. Its age column has an index, and rows are deleted in the order of that."""

    model: type[models.Model]
    age: str
    done: Q = field(default_factory=Q)
    """What a row must fulfil to be deleted, however old it is."""
    ready: Callable[[], Q] = Q
    """What it must fulfil beside that, as things stand at the moment."""
    kept: Mapping[str, Callable[[], Q]] = field(default_factory=dict)
    """Old rows that don't, by the reason why they are kept."""
    ageless: bool = False
    """Whether what is kept has no age yet, so that all of it is told."""

    @property
    def rows(self) -> QuerySet[Any]:
        return self.model._default_manager.order_by()

    def before(self, until: datetime) -> Q:
        """What is older than `until`."""
        column = self.model._meta.get_field(self.age)
        limit: date = until if isinstance(column, models.DateTimeField) else day_of(until)
        return Q(**{f"{self.age}__lt": limit})

    def old(self, until: datetime) -> QuerySet[Any]:
        """The rows that go because they are older than `until`."""
        return self.rows.filter(self.before(until), self.done, self.ready())

    def spared(self, until: datetime) -> dict[str, int]:
        """How many rows are kept although they are older than that, by the reason."""
        rows = self.rows if self.ageless else self.rows.filter(self.before(until))
        return {why: count for why, which in self.kept.items() if (count := rows.filter(which()).count())}


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Records that are kept for the same time."""

    name: str
    tables: tuple[Table, ...]
    by_name_only: bool = False
    """Whether days that are given without kinds are not meant for it."""


def _counted() -> Q:
    return totals.counted(timezone.now())


def _not_counted() -> Q:
    counted = _counted()
    return Q(state__in=FINISHED) & ~counted if counted else Q(pk__in=[])


RUNS = Table(
    model=Run,
    age="created_at",
    done=Q(state__in=FINISHED),
    ready=_counted,
    kept={NOT_ENDED: lambda: Q(state__in=ACTIVE), NOT_COUNTED: _not_counted},
)

KINDS = (
    Kind(name="runs", tables=(RUNS,)),
    Kind(name="calls", tables=(Table(model=ApiCall, age="started_at"),)),
    Kind(name="freshness", tables=(Table(model=FreshnessHour, age="hour"),)),
    Kind(name="components", tables=(Table(model=ComponentChange, age="at"),)),
    # An open alert has no end to be old by.
    Kind(
        name="alerts",
        tables=(
            Table(model=Alert, age="closed_at", kept={OPEN: lambda: Q(closed_at=None)}, ageless=True),
            Table(
                model=Notice,
                age="at",
                done=Q(delivery__isnull=False),
                kept={WAITING: lambda: Q(delivery__isnull=True)},
            ),
            Table(model=Silence, age="until"),
        ),
    ),
    Kind(
        name="deliveries",
        tables=(
            Table(
                model=Delivery,
                age="created_at",
                done=Q(state__in=[Delivery.State.SENT, Delivery.State.FAILED]),
                kept={WAITING: lambda: Q(state__in=[Delivery.State.WAITING, Delivery.State.SENDING])},
            ),
        ),
    ),
    # Statements are made from it.
    Kind(
        name="usage",
        tables=(Table(model=SourceUsage, age="day"), Table(model=TokenUsage, age="day")),
        by_name_only=True,
    ),
)
BY_NAME = {kind.name: kind for kind in KINDS}


@dataclass(frozen=True, kw_only=True)
class Untouched:
    """Records that are never deleted, whatever their age."""

    name: str
    models: tuple[type[models.Model], ...]
    why: str

    def count(self) -> int:
        return sum(model._default_manager.count() for model in self.models)


NEVER = (
    Untouched(
        name="edits",
        models=(Job.history.model, Source.history.model, Key.history.model, PriceList.history.model),
        why=EDITS,
    ),
    Untouched(name="actions", models=(LogEntry,), why=ACTIONS),
    Untouched(name="statements", models=(Statement,), why=ISSUED),
    Untouched(name="reports", models=(Report,), why=REPORTS),
)
