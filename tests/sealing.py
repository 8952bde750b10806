"""What the database refuses to forget, for tests whose rows have to go at their end."""

from __future__ import annotations

from django.db import connection

from hotdata.models import Statement, StatementLine

TABLES = (StatementLine._meta.db_table, Statement._meta.db_table)


def delete_statements() -> None:
    """Delete all statements, with the triggers out of the way that refuse that."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            for table in TABLES:
                cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
                cursor.execute(f"DELETE FROM {table}")
                cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")
            return
        cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
        triggers = cursor.fetchall()
        for name, _ in triggers:
            cursor.execute(f"DROP TRIGGER {name}")
        for table in TABLES:
            cursor.execute(f"DELETE FROM {table}")
        for _, sql in triggers:
            cursor.execute(sql)
