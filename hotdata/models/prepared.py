"""Queries that are compiled once.

Django builds the SQL of a query set anew each time it is asked. The firing path asks the same few questions for
each due time, and most of the CPU it takes would go into that: measured, 0.9 ms instead of 0.2 for the jobs of
what is due. A `Prepared` keeps the SQL, and puts other values in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from django.db import connections, models
from django.db.models.expressions import Col

Row = TypeVar("Row", bound=models.Model)

STAND_INS: dict[type, Any] = {
    datetime: datetime(1, 2, 3, 4, 5, 6, 7, tzinfo=UTC),
    str: "stands in for a value",
    int: 31_973,  # within the range of every integer column: Django compiles a comparison with another to nothing
}
"""What is compiled in the place of a value, by its type; no query has these of its own."""


@dataclass(frozen=True, kw_only=True)
class _Compiled:
    """A query for one database."""

    sql: str
    params: Sequence[Any]
    compiler: Any
    converters: dict[int, Any]
    """By column; as the compiler wants them back."""
    names: Sequence[str]
    """The attributes that the columns fill, without those of `annotations`."""
    annotations: dict[str, int]
    """Where the annotations are, after the model's own columns."""


class Prepared(Generic[Row]):
    """A query set that is built from at most one value of each type in `STAND_INS`, in as many places as it likes.

    `build` is called with stand-ins, once for each database, so it can't decide anything by the values.
    """

    def __init__(
        self, model: type[Row], build: Callable[..., models.QuerySet[Any, Any]], *types: type
    ) -> None:
        self._model = model
        self._build = build
        self._types = types
        self._compiled: dict[str, _Compiled] = {}

    def instances(self, *values: Any) -> list[Row]:
        """The rows, as instances of the model, with annotations; fields that the query set defers are deferred."""
        using = self._model._default_manager.db
        compiled, rows = self._ask(using, values)
        if compiled.converters:
            rows = compiled.compiler.apply_converters(rows, compiled.converters)
        found = []
        for row in rows:
            instance = self._model.from_db(using, compiled.names, row[: len(compiled.names)])
            for name, column in compiled.annotations.items():
                setattr(instance, name, row[column])
            found.append(instance)
        return found

    def tuples(self, *values: Any) -> list[tuple[Any, ...]]:
        """The rows as the database's driver gives them: for columns that Django need not convert."""
        return self._ask(self._model._default_manager.db, values)[1]

    def _ask(self, using: str, values: tuple[Any, ...]) -> tuple[_Compiled, list[tuple[Any, ...]]]:
        """The query for the database `using`, and the rows that it finds with `values`."""
        compiled = self._compiled.get(using) or self._compile(using)
        adapt = connections[using].ops.adapt_datetimefield_value
        given = {
            _adapted(adapt, STAND_INS[kind]): _adapted(adapt, value)
            for kind, value in zip(self._types, values, strict=True)
        }
        with connections[using].cursor() as cursor:
            cursor.execute(compiled.sql, [given.get(param, param) for param in compiled.params])
            return compiled, list(cursor.fetchall())

    def _compile(self, using: str) -> _Compiled:
        queryset = self._build(*(STAND_INS[kind] for kind in self._types))
        compiler = queryset.using(using).query.get_compiler(using)
        sql, params = compiler.as_sql()
        columns = [expression for expression, *_ in compiler.select]
        compiled = self._compiled[using] = _Compiled(
            sql=sql,
            params=params,
            compiler=compiler,
            converters=compiler.get_converters(columns),
            names=[column.target.attname for column in columns if isinstance(column, Col)],
            annotations=compiler.annotation_col_map or {},
        )
        return compiled


def _adapted(adapt: Callable[[datetime], Any], value: Any) -> Any:
    """The value as a compiled query hands it to the driver."""
    return adapt(value) if isinstance(value, datetime) else value
