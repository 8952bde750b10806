"""Patience with the database: how long a look at the records may take, whatever is asked."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from django.db import connection, transaction

STEPS = 20_000  # of SQLite's machine between two looks at the clock: a millisecond or so


@contextmanager
def at_most(patience: timedelta) -> Iterator[None]:
    """Inside the block, a statement that has to be waited for longer than `patience` raises OperationalError.

    On PostgreSQL that holds for each statement by itself, on SQLite for all together; elsewhere it is not held.
    """
    if connection.vendor == "postgresql":
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT set_config('statement_timeout', %s, true)",
                    [str(patience // timedelta(milliseconds=1))],
                )
            yield
    elif connection.vendor == "sqlite":
        until = time.monotonic() + patience.total_seconds()
        connection.ensure_connection()
        sqlite = connection.connection
        sqlite.set_progress_handler(lambda: time.monotonic() > until, STEPS)
        try:
            yield
        finally:
            sqlite.set_progress_handler(None, STEPS)
    else:
        yield
