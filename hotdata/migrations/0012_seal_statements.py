"""Triggers that refuse every change of a statement once it is issued, whoever asks for it and by whatever way.

Of other databases than PostgreSQL and SQLite the models alone keep statements as they are.
"""

from django.db import migrations

REFUSAL = 'A statement once issued is never changed or deleted: a correction is a new one.'

# The error's class is that of a constraint, so that it is one for Django, too.
POSTGRESQL = [
    f"""
    CREATE FUNCTION hotdata_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION '{REFUSAL}' USING ERRCODE = 'restrict_violation';
    END $$
    """,
    # Whoever empties all tables, as "manage.py flush" does, may do so while there is no statement.
    f"""
    CREATE FUNCTION hotdata_refuse_truncate() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF EXISTS (SELECT 1 FROM hotdata_statement) THEN
            RAISE EXCEPTION '{REFUSAL}' USING ERRCODE = 'restrict_violation';
        END IF;
        RETURN NULL;
    END $$
    """,
    f"""
    CREATE FUNCTION hotdata_refuse_late_line() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF EXISTS (SELECT 1 FROM hotdata_statement WHERE number = NEW.statement_id) THEN
            RAISE EXCEPTION '{REFUSAL}' USING ERRCODE = 'restrict_violation';
        END IF;
        RETURN NEW;
    END $$
    """,
    *[
        f"CREATE TRIGGER {table}_sealed BEFORE UPDATE OR DELETE ON {table} "
        "FOR EACH ROW EXECUTE FUNCTION hotdata_refuse_change()"
        for table in ('hotdata_statement', 'hotdata_statementline')
    ],
    *[
        f"CREATE TRIGGER {table}_not_emptied BEFORE TRUNCATE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION hotdata_refuse_truncate()"
        for table in ('hotdata_statement', 'hotdata_statementline')
    ],
    "CREATE TRIGGER hotdata_statementline_in_time BEFORE INSERT ON hotdata_statementline "
    "FOR EACH ROW EXECUTE FUNCTION hotdata_refuse_late_line()",
]
NOT_POSTGRESQL = [
    *[
        f"DROP TRIGGER {table}_{what} ON {table}"
        for table in ('hotdata_statement', 'hotdata_statementline')
        for what in ('sealed', 'not_emptied')
    ],
    "DROP TRIGGER hotdata_statementline_in_time ON hotdata_statementline",
    *[f"DROP FUNCTION hotdata_refuse_{what}()" for what in ('change', 'truncate', 'late_line')],
]

SQLITE = [
    *[
        f"CREATE TRIGGER {table}_no_{what} BEFORE {what} ON {table} BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END"
        for table in ('hotdata_statement', 'hotdata_statementline')
        for what in ('update', 'delete')
    ],
    # "INSERT OR REPLACE" deletes without asking the trigger for that.
    "CREATE TRIGGER hotdata_statement_no_replace BEFORE INSERT ON hotdata_statement "
    "WHEN EXISTS (SELECT 1 FROM hotdata_statement WHERE id = NEW.id OR number = NEW.number "
    "OR (month = NEW.month AND revision = NEW.revision)) "
    f"BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END",
    "CREATE TRIGGER hotdata_statementline_in_time BEFORE INSERT ON hotdata_statementline "
    "WHEN EXISTS (SELECT 1 FROM hotdata_statement WHERE number = NEW.statement_id) "
    "OR EXISTS (SELECT 1 FROM hotdata_statementline WHERE id = NEW.id) "
    f"BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END",
]
NOT_SQLITE = [
    f"DROP TRIGGER {trigger}"
    for trigger in (
        'hotdata_statement_no_update', 'hotdata_statement_no_delete', 'hotdata_statement_no_replace',
        'hotdata_statementline_no_update', 'hotdata_statementline_no_delete', 'hotdata_statementline_in_time',
    )
]


def seal(apps, schema_editor):
    execute(schema_editor, {'postgresql': POSTGRESQL, 'sqlite': SQLITE})


def unseal(apps, schema_editor):
    execute(schema_editor, {'postgresql': NOT_POSTGRESQL, 'sqlite': NOT_SQLITE})


def execute(schema_editor, statements):
    for statement in statements.get(schema_editor.connection.vendor, ()):
        schema_editor.execute(statement, params=None)


class Migration(migrations.Migration):

    dependencies = [
        ('hotdata', '0011_usage_of_calls_on_record'),
    ]

    operations = [
        migrations.RunPython(seal, unseal),
    ]
