"""Finds rows in tables that hold millions: newest first, along an index, and no further than is quick.

Each search takes one way, an index whose order is the list's. What only the rows themselves can tell is asked of the
latest `LOOKED_THROUGH` rows on that way; where the way goes on, the result says from where, so that who looks can go
on from there. So no search reads a whole table, whatever it is for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connections
from django.db.models import BooleanField, F, Func, Model, Q, QuerySet
from django.db.models.expressions import RawSQL

LOOKED_THROUGH = 20_000
"""Rows that are looked at one by one. Measured: 0.1 s and less on either database."""


class Unindexed(Func):
    """A column that is only compared. Without statistics, SQLite would leave the way for the column's own index."""

    template = "%(expressions)s"
    arity = 1

    def as_sqlite(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        return self.as_sql(compiler, connection, template="+%(expressions)s", **extra)


Condition = Callable[[type[Model], str, str, Any], Q]
"""Makes of a model, a field, a lookup and a value a condition."""


def walked(model: type[Model], field: str, lookup: str, value: Any) -> Q:
    """A condition that says where on the way to begin, and where to end."""
    return Q(**{f"{field}__{lookup}": value})


def compared(model: type[Model], field: str, lookup: str, value: Any) -> Q:
    """A condition on what is met on the way, of which SQLite makes no way of its own."""
    column = model._meta.get_field(field)
    output: Any = getattr(column, "target_field", column)
    return Q(output.get_lookup(lookup)(Unindexed(F(field), output_field=output), value))


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a search came to."""

    rows: QuerySet[Any]
    """In the list's order, newest first."""
    horizon: Any = None
    """The place in the order that was looked up to; None when nothing was left out."""
    order: str = "id"
    """The column in whose order they are."""
    condition: Condition = walked
    """How a place in that order is put, so that the search keeps to its way."""

    def after(self, place: Any) -> QuerySet[Any]:
        """The rows that come after `place`."""
        return self.rows.filter(self.condition(self.rows.model, self.order, "lt", place))


def one_of(rows: QuerySet[Any], field: str, values: Collection[str]) -> QuerySet[Any]:
    """Those of `rows` whose `field` has one of `values`, in the words of an index with that condition.

    SQLite compares the condition of an index with the text of a statement, where parameters are question marks. So
    `values`, which are a model's own choices, stand in it.
    """
    table = rows.model._meta.db_table
    column = rows.model._meta.get_field(field).column
    words = ", ".join(f"'{value}'" for value in values)
    condition = f"IN ({words})" if len(values) > 1 else f"= {words}"
    quote = connections[rows.db].ops.quote_name
    made = RawSQL(f"{quote(table)}.{quote(column)} {condition}", (), output_field=BooleanField())  # noqa: S611 - a model's own names and choices
    return rows.filter(made)


def limited(
    way: QuerySet[Any], order: str, rest: Q, *, within: str = "", condition: Condition = walked
) -> Found:
    """What fulfils `rest` of the latest rows on `way`, which is in the order of the column `order`, falling.

    Where the way is an index's part for one value of the column `within`, the rows are those of `only`: a range of one
    value, in whose order PostgreSQL finds no other way. Of a value that is frequent it expects to meet enough anywhere,
    also when it was frequent once and there is none among the latest million.
    The `condition` is how a place on the way is put: with `compared`, where SQLite would leave the way for it.
    """
    way = way.order_by(*filter(None, [within]), f"-{order}")
    if not rest:
        return Found(rows=way, order=order, condition=condition)
    horizon = way.values_list(order, flat=True)[LOOKED_THROUGH : LOOKED_THROUGH + 1].first()
    if horizon is not None:
        way = way.filter(condition(way.model, order, "gt", horizon))
    return Found(rows=way.filter(rest), horizon=horizon, order=order, condition=condition)


def only(rows: QuerySet[Any], field: str, value: str) -> QuerySet[Any]:
    """Those of `rows` with the one `value` of the column `field`, for a way within it."""
    if connections[rows.db].vendor == "postgresql":
        return rows.filter(**{f"{field}__gte": value, f"{field}__lte": value})
    return rows.filter(**{field: value})


def few(rows: QuerySet[Any], order: str) -> Found:
    """All of `rows`, which are so few that they are sorted: a walk through the table in that order may be endless."""
    return Found(rows=rows.order_by((F(order) + 0).desc()), order=order, condition=compared)


def bounded_count(rows: QuerySet[Any], most: int) -> int:
    """How many `rows` there are, or `most` and one more when there are more than that."""
    return rows.values("pk")[: most + 1].count()


def estimated_count(model: type[Model], using: str) -> int | None:
    """How many rows the table has, as the database remembers it; None where it doesn't."""
    connection = connections[using]
    if connection.vendor != "postgresql":
        return None
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT reltuples::bigint FROM pg_class WHERE oid = %s::regclass", [model._meta.db_table]
        )
        (count,) = cursor.fetchone()
    return count if count > 0 else None


def place_at(rows: QuerySet[Any], field: str, moment: datetime) -> Any:
    """The id of the first of `rows` whose indexed time `field` isn't before `moment`; None when there is none."""
    return rows.filter(**{f"{field}__gte": moment}).order_by(field).values_list("pk", flat=True).first()
