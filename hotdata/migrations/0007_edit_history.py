import datetime
import django.core.validators
import django.db.models.deletion
import django.utils.timezone
import hotdata.models.jobs
import simple_history.models
from django.db import migrations, models


MOST_ROWS = 1000  # in memory at a time


def begin_history(apps, schema_editor):
    """Write down what each definition is now, so that the first edit has something to be compared with."""
    now = django.utils.timezone.now()
    for name in ("Job", "Source", "Key"):
        edits = apps.get_model("hotdata", f"Historical{name}").objects
        model = apps.get_model("hotdata", name)
        fields = [field.attname for field in model._meta.concrete_fields]
        row_of = edits.model
        written = []
        for row in model.objects.iterator(chunk_size=MOST_ROWS):
            written.append(
                row_of(
                    history_date=now,
                    history_type="+",
                    history_change_reason="history begun",
                    **{field: getattr(row, field) for field in fields},
                )
            )
            if len(written) == MOST_ROWS:
                edits.bulk_create(written)
                written = []
        edits.bulk_create(written)


class Migration(migrations.Migration):

    dependencies = [
        ('hotdata', '0006_guest_keys'),
    ]

    operations = [
        migrations.CreateModel(
            name='HistoricalJob',
            fields=[
                ('id', models.BigIntegerField(auto_created=True, blank=True, db_index=True, verbose_name='ID')),
                ('paused', models.BooleanField(default=False, help_text='Due times are passed over; runs by hand work.', verbose_name='paused')),
                ('pause_note', models.CharField(blank=True, max_length=500, verbose_name='pause note')),
                ('paused_by', models.CharField(blank=True, editable=False, max_length=150, verbose_name='paused by')),
                ('paused_until', models.DateTimeField(blank=True, help_text='The pause ends then by itself. Empty: when somebody resumes the job.', null=True, verbose_name='paused until')),
                ('pause_after_failures', models.PositiveSmallIntegerField(blank=True, help_text='Pause the job when this many of its runs in a row failed, each after all retries. Empty: never.', null=True, validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(1000)], verbose_name='pause after failures')),
                ('misfire_grace_time', models.DurationField(blank=True, help_text='A due time that is late by more is recorded as missed. Empty: however late, it runs.', null=True, verbose_name='misfire grace time')),
                ('coalesce', models.BooleanField(default=True, help_text='Of several due times that have passed, run only the latest.', verbose_name='coalesce')),
                ('max_instances', models.PositiveSmallIntegerField(default=1, help_text='Runs of this job that may be active at a time under “allow all”. The other policies run one at a time.', validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(1000)], verbose_name='instances')),
                ('overlap', models.CharField(choices=[('skip', 'Skip: start nothing while one is active'), ('buffer_one', 'Buffer one: start one more when the active one ends, skip the others'), ('cancel_other', 'Cancel other: cancel the active one, and start when it has ended'), ('allow_all', 'Allow all: start it, up to the number of instances')], default='skip', max_length=20, verbose_name='overlap')),
                ('isolation', models.CharField(choices=[('thread', "Thread: quick to start; told to stop, but can't be made to"), ('process', 'Process: killed at its timeout or when cancelled; takes longer to start')], default='thread', max_length=10, verbose_name='isolation')),
                ('timeout', models.DurationField(blank=True, default=datetime.timedelta(seconds=900), help_text='An attempt is told to stop after this. Empty: never.', null=True, verbose_name='timeout')),
                ('max_retries', models.PositiveSmallIntegerField(default=0, help_text='Further attempts after a failed one.', validators=[django.core.validators.MaxValueValidator(100)], verbose_name='retries')),
                ('retry_delay', models.DurationField(default=datetime.timedelta(seconds=10), help_text='Before the first retry; it doubles each time.', verbose_name='retry delay')),
                ('retry_delay_max', models.DurationField(default=datetime.timedelta(seconds=600), verbose_name='longest retry delay')),
                ('recover', models.BooleanField(default=False, help_text='Run it again when the node that worked on it died.', verbose_name='recover')),
                ('keep_runs', models.PositiveIntegerField(blank=True, help_text='Keep only this many finished runs, and those marked notable. Empty: all, until clean-up.', null=True, verbose_name='keep runs')),
                ('name', models.SlugField(help_text="Its identity, in URLs, commands and history. It can't be changed later.", max_length=100, verbose_name='name')),
                ('title', models.CharField(blank=True, help_text='For people. May be changed freely.', max_length=200, verbose_name='title')),
                ('task', models.CharField(help_text='A registered task.', max_length=100, verbose_name='task')),
                ('params', models.JSONField(blank=True, default=dict, help_text='A JSON object.', verbose_name='parameters')),
                ('trigger', models.CharField(choices=[('cron', 'Cron'), ('interval', 'Interval'), ('date', 'Once')], default='cron', max_length=10, verbose_name='trigger')),
                ('cron', models.CharField(blank=True, help_text='Five fields: minute hour day month weekday.', max_length=200, verbose_name='cron')),
                ('interval', models.DurationField(blank=True, help_text='Seconds, or HH:MM:SS.', null=True, verbose_name='interval')),
                ('run_at', models.DateTimeField(blank=True, null=True, verbose_name='run at')),
                ('time_zone', models.CharField(default=hotdata.models.jobs.default_time_zone, max_length=64, verbose_name='time zone')),
                ('starts_at', models.DateTimeField(blank=True, help_text='No due times before; intervals count from here.', null=True, verbose_name='starts at')),
                ('ends_at', models.DateTimeField(blank=True, help_text='No due times after.', null=True, verbose_name='ends at')),
                ('jitter', models.DurationField(default=datetime.timedelta(0), help_text='Fire up to this much later than due, by an amount that is fixed for the job.', verbose_name='jitter')),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name='created at')),
                ('updated_at', models.DateTimeField(blank=True, editable=False, verbose_name='updated at')),
                ('history_user_id', models.CharField(blank=True, default='', max_length=150)),
                ('history_id', models.BigAutoField(editable=False, primary_key=True, serialize=False)),
                ('history_date', models.DateTimeField(db_index=True)),
                ('history_change_reason', models.CharField(max_length=100, null=True)),
                ('history_type', models.CharField(choices=[('+', 'Created'), ('~', 'Changed'), ('-', 'Deleted')], max_length=1)),
            ],
            options={
                'verbose_name': 'edit of a job',
                'verbose_name_plural': 'edits of jobs',
                'ordering': ('-history_date', '-history_id'),
                'get_latest_by': ('history_date', 'history_id'),
            },
            bases=(simple_history.models.HistoricalChanges, models.Model),
        ),
        migrations.CreateModel(
            name='HistoricalSource',
            fields=[
                ('id', models.BigIntegerField(auto_created=True, blank=True, db_index=True, verbose_name='ID')),
                ('key_policy', models.CharField(choices=[('pinned', 'Pinned: only those that are pinned'), ('pattern', 'Pattern: also those that match the key pattern, fetched when first asked for'), ('any', 'Any: every key, fetched when first asked for')], default='pinned', max_length=10, verbose_name='keys served')),
                ('key_pattern', models.CharField(blank=True, help_text='A regular expression (RE2) that the whole key must match: [A-Z]{1,5}', max_length=200, verbose_name='key pattern')),
                ('value_kind', models.CharField(blank=True, choices=[('', 'anything'), ('object', 'an object'), ('array', 'an array'), ('string', 'a string'), ('number', 'a number')], default='', max_length=10, verbose_name='kind of value')),
                ('required', models.JSONField(blank=True, default=list, help_text='JMESPaths that must lead to something in a value: ["price", "symbol"]', verbose_name='required')),
                ('bounds', models.JSONField(blank=True, default=dict, help_text='JMESPath to the least and the most that a number there may be: {"price": [0, null]}', verbose_name='bounds')),
                ('max_bytes', models.PositiveIntegerField(blank=True, help_text='Of a value as JSON, in bytes. Empty: as large as an answer may be.', null=True, validators=[django.core.validators.MinValueValidator(1)], verbose_name='maximum size')),
                ('timeout', models.DurationField(default=datetime.timedelta(seconds=10), help_text="For one call, to the answer's last byte.", verbose_name='timeout')),
                ('calls_per_minute', models.PositiveIntegerField(default=600, help_text='By all processes together, in any minute. One call for a batch of keys is one call.', validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(100000)], verbose_name='calls per minute')),
                ('burst', models.PositiveIntegerField(default=60, help_text="Calls that may be made at once after a quiet time; then they come at the minute's pace.", validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(100000)], verbose_name='burst')),
                ('concurrency', models.PositiveSmallIntegerField(default=8, help_text='Calls under way at a time, by all processes together.', validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(64)], verbose_name='concurrency')),
                ('breaker_failures', models.PositiveSmallIntegerField(default=5, help_text='After so many failed calls in a row the upstream is left alone for a while.', validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(1000)], verbose_name='failures that open the breaker')),
                ('breaker_pause', models.DurationField(default=datetime.timedelta(seconds=30), help_text='How long that is. Then one call is let through: a success ends it, a failure makes it longer.', verbose_name='pause of the breaker')),
                ('soft_ttl', models.DurationField(default=datetime.timedelta(seconds=300), help_text='After this an entry is stale and due for refresh.', verbose_name='fresh for')),
                ('hard_ttl', models.DurationField(default=datetime.timedelta(days=1), help_text='After this without a refresh an entry is gone.', verbose_name='kept for')),
                ('absent_ttl', models.DurationField(blank=True, default=datetime.timedelta(seconds=30), help_text="A key that the upstream says doesn't exist is not asked for again before this. Empty: it may be at once.", null=True, verbose_name='absent for')),
                ('refresh_after', models.DurationField(blank=True, help_text='A hot key is not refreshed sooner than this. Empty: a tenth of the time that it is fresh.', null=True, verbose_name='refresh after')),
                ('max_age', models.DurationField(blank=True, help_text='A hot key is refreshed at least this often, if the budget allows. Empty: before it is stale.', null=True, verbose_name='maximum age')),
                ('hot_keys', models.PositiveIntegerField(default=100, help_text='So many of the most-read keys are kept hot beside the pinned ones.', validators=[django.core.validators.MaxValueValidator(10000)], verbose_name='hot keys')),
                ('windows', models.CharField(blank=True, help_text='Outside of these nothing is refreshed ahead: 09:30-16:00 America/New_York mon-fri. Several are separated by semicolons. Empty: always.', max_length=500, verbose_name='refresh windows')),
                ('objective_age', models.DurationField(blank=True, help_text='Reads should get values that are younger than this. Empty: no objective.', null=True, verbose_name='objective: age')),
                ('objective_share', models.FloatField(default=0.99, help_text='The share of reads that should: 0.99 is 99 %.', validators=[django.core.validators.MinValueValidator(0), django.core.validators.MaxValueValidator(1)], verbose_name='objective: share')),
                ('name', models.SlugField(help_text='In URLs: /api/hot/NAME/KEY', max_length=100, verbose_name='name')),
                ('title', models.CharField(blank=True, max_length=200, verbose_name='title')),
                ('enabled', models.BooleanField(default=True, help_text='Off: served as it is, not refreshed.', verbose_name='enabled')),
                ('fetcher', models.CharField(blank=True, help_text='A registered fetcher. Empty: HTTP JSON, as below.', max_length=100, verbose_name='fetcher')),
                ('base_url', models.CharField(blank=True, help_text='https://api.example.com/v1', max_length=500, verbose_name='base URL')),
                ('path', models.CharField(blank=True, help_text='With {key}, or a placeholder of the pinned keys, as a whole segment: /quote/{key}', max_length=500, verbose_name='path')),
                ('query', models.JSONField(blank=True, default=dict, help_text='With {key}, or a placeholder of the pinned keys, as a whole value: {"symbol": "{key}"}', verbose_name='query')),
                ('headers', models.JSONField(blank=True, default=dict, help_text='No secrets here.', verbose_name='headers')),
                ('secret_query', models.JSONField(blank=True, default=dict, help_text='Query name to the name of an environment variable.', verbose_name='secret query')),
                ('secret_headers', models.JSONField(blank=True, default=dict, help_text='Header to the name of an environment variable: {"X-API-Key": "HOTDATA_SECRET_STOCKS"}', verbose_name='secret headers')),
                ('value', models.CharField(blank=True, help_text='JMESPath from the answer to what is kept. Empty: all.', max_length=500, verbose_name='value')),
                ('batch_size', models.PositiveSmallIntegerField(default=1, help_text='Keys per call, where the upstream has a batch endpoint.', validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(1000)], verbose_name='batch size')),
                ('batch_path', models.CharField(blank=True, max_length=500, verbose_name='batch path')),
                ('batch_query', models.JSONField(blank=True, default=dict, help_text='With {keys} as a whole value: {"symbols": "{keys}"}', verbose_name='batch query')),
                ('batch_items', models.CharField(blank=True, help_text='JMESPath to the items: a list, or a mapping by key.', max_length=500, verbose_name='batch items')),
                ('batch_key', models.CharField(blank=True, help_text='In a list: JMESPath from an item to its key.', max_length=500, verbose_name='batch key')),
                ('max_failed_share', models.FloatField(default=0.5, help_text='A refresh fails when more than this share of its keys failed, or all did.', validators=[django.core.validators.MinValueValidator(0), django.core.validators.MaxValueValidator(1)], verbose_name='tolerated failures')),
                ('history_user_id', models.CharField(blank=True, default='', max_length=150)),
                ('history_id', models.BigAutoField(editable=False, primary_key=True, serialize=False)),
                ('history_date', models.DateTimeField(db_index=True)),
                ('history_change_reason', models.CharField(max_length=100, null=True)),
                ('history_type', models.CharField(choices=[('+', 'Created'), ('~', 'Changed'), ('-', 'Deleted')], max_length=1)),
            ],
            options={
                'verbose_name': 'edit of a source',
                'verbose_name_plural': 'edits of sources',
                'ordering': ('-history_date', '-history_id'),
                'get_latest_by': ('history_date', 'history_id'),
            },
            bases=(simple_history.models.HistoricalChanges, models.Model),
        ),
        migrations.CreateModel(
            name='HistoricalKey',
            fields=[
                ('id', models.BigIntegerField(auto_created=True, blank=True, db_index=True, verbose_name='ID')),
                ('key', models.CharField(max_length=128, verbose_name='key')),
                ('weight', models.FloatField(default=1.0, help_text="How much a read of it counts, when the budget doesn't suffice for all.", validators=[django.core.validators.MinValueValidator(0.01), django.core.validators.MaxValueValidator(1000)], verbose_name='weight')),
                ('placeholders', models.JSONField(blank=True, default=dict, help_text='What the path and query ask for beside {key}: {"latitude": "39.9", "longitude": "116.4"}', verbose_name='placeholders')),
                ('history_user_id', models.CharField(blank=True, default='', max_length=150)),
                ('history_id', models.BigAutoField(editable=False, primary_key=True, serialize=False)),
                ('history_date', models.DateTimeField(db_index=True)),
                ('history_change_reason', models.CharField(max_length=100, null=True)),
                ('history_type', models.CharField(choices=[('+', 'Created'), ('~', 'Changed'), ('-', 'Deleted')], max_length=1)),
                ('source', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='hotdata.source', verbose_name='source')),
            ],
            options={
                'verbose_name': 'edit of a pinned key',
                'verbose_name_plural': 'edits of pinned keys',
                'ordering': ('-history_date', '-history_id'),
                'get_latest_by': ('history_date', 'history_id'),
            },
            bases=(simple_history.models.HistoricalChanges, models.Model),
        ),
        migrations.RunPython(begin_history, migrations.RunPython.noop, elidable=True),
    ]
