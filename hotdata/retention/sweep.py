"""The sweep: deletes rows in the order of an indexed column, in small transactions of their own, at a pace.

There is no OFFSET and no look back: each batch begins where the last one ended, so that neither rows that are kept nor
the index entries of those just deleted are walked over again. A row is deleted only if it still fulfils the conditions
then. On PostgreSQL a batch that takes longer than `LIMIT` is ended by the database itself, with all its locks, and
tried again smaller; and its commit doesn't wait for the disk: what a crash of the server brings back is deleted by the
next clean-up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db import OperationalError, connections, transaction
from django.db.models import QuerySet

from hotdata.logs import EventLogger
from hotdata.retention.pace import LIMIT, Pace

logger = EventLogger(__name__)

MOST_FAILURES = 20
"""In a row, with ever longer rests, before a sweep gives up."""
QUERY_CANCELED = "57014"


def sweep(rows: QuerySet[Any], *, by: str, pace: Pace, deleted: Callable[[int], None]) -> int:
    """Delete `rows` by the column `by`, lowest first; return how many.

    `deleted` is told the number of rows of each batch once it is committed, and may raise to stop. Nothing may
    cascade from the rows. Cut off at any point, it can be called again.
    """
    done, reached, failures = 0, None, 0
    while True:
        ahead = rows if reached is None else rows.filter(**{f"{by}__gte": reached})
        size = pace.size
        batch = list(ahead.order_by(by).values_list("pk", by)[:size])
        if not batch:
            return done
        began = pace.clock()
        try:
            count = _delete(rows, [pk for pk, _ in batch], pace)
        except OperationalError as error:
            failures += 1
            if failures > MOST_FAILURES or not _took_too_long(error):
                raise
            logger.info("retention.too_long", table=rows.model._meta.db_table, rows=len(batch))
            pace.gave_up()
            pace.rest(failures * LIMIT)
            continue
        failures, reached = 0, batch[-1][1]
        done += count
        if count:
            deleted(count)
        if len(batch) < size:
            return done
        pace.rest(pace.clock() - began)


def _delete(rows: QuerySet[Any], keys: list[Any], pace: Pace) -> int:
    """Delete those of `rows` that have one of the `keys`, all or none, and tell `pace` how long they were locked."""
    with transaction.atomic(using=rows.db):
        _bound(rows.db)
        began = pace.clock()
        # Without collecting related rows: nothing cascades from these.
        count: int = rows.order_by().filter(pk__in=keys)._raw_delete(using=rows.db)
    pace.took(pace.clock() - began, len(keys))
    return count


def _bound(using: str) -> None:
    """Let the database end what takes too long in the current transaction, where it can."""
    connection = connections[using]
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT set_config('statement_timeout', %s, true), set_config('synchronous_commit', 'off', true)",
                [f"{LIMIT * 1000:.0f}"],
            )


def _took_too_long(error: OperationalError) -> bool:
    return getattr(error.__cause__, "sqlstate", None) == QUERY_CANCELED
