"""Usage of the calls that were on record before it was counted: by day and source, summed up in the database."""

from itertools import islice

from django.db import migrations
from django.db.models import Count, Q, Sum
from django.db.models.functions import TruncDate
from django.utils import timezone

BATCH = 1000


def count_calls(apps, schema_editor):
    alias = schema_editor.connection.alias
    ApiCall = apps.get_model('hotdata', 'ApiCall')
    SourceUsage = apps.get_model('hotdata', 'SourceUsage')
    day = TruncDate('started_at', tzinfo=timezone.get_default_timezone())
    days = (
        ApiCall.objects.using(alias).order_by().annotate(day=day).values('day', 'source')
        .annotate(calls=Count('id'), failed_calls=Count('id', filter=Q(outcome='failed')), bytes=Sum('size'))
    )
    counted = (SourceUsage(size=row.pop('bytes'), **row) for row in days.iterator(chunk_size=BATCH))
    while batch := list(islice(counted, BATCH)):
        # What is counted already is exact.
        SourceUsage.objects.using(alias).bulk_create(batch, ignore_conflicts=True)


class Migration(migrations.Migration):

    dependencies = [
        ('hotdata', '0010_operations'),
    ]

    operations = [
        migrations.RunPython(count_calls, migrations.RunPython.noop),
    ]
