"""Totals of all calls by source, which stay when the days that they were added up from are deleted by age."""

from django.db import migrations, models
from django.db.models import Min, Sum

BATCH = 1000


def add_up(apps, schema_editor):
    alias = schema_editor.connection.alias
    CallTotal = apps.get_model('hotdata', 'CallTotal')
    SourceUsage = apps.get_model('hotdata', 'SourceUsage')
    sums = (
        SourceUsage.objects.using(alias).order_by().values('source')
        .annotate(first=Min('id'), all=Sum('calls'), failed=Sum('failed_calls'), bytes=Sum('size'))
        .order_by('first')
    )
    # In this order, by which metrics choose the sources that have numbers of their own.
    CallTotal.objects.using(alias).bulk_create(
        [
            CallTotal(source=row['source'], calls=row['all'], failed_calls=row['failed'], size=row['bytes'])
            for row in sums
        ],
        batch_size=BATCH,
    )


class Migration(migrations.Migration):

    dependencies = [
        ('hotdata', '0012_seal_statements'),
    ]

    operations = [
        migrations.CreateModel(
            name='CallTotal',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('calls', models.PositiveBigIntegerField(default=0, verbose_name='calls')),
                ('failed_calls', models.PositiveBigIntegerField(default=0, verbose_name='failed calls')),
                ('size', models.PositiveBigIntegerField(default=0, help_text='Bytes of the decoded answers.', verbose_name='size')),
                ('source', models.CharField(max_length=100, unique=True, verbose_name='source')),
            ],
            options={
                'verbose_name': 'total of calls',
                'verbose_name_plural': 'totals of calls',
                'ordering': ['id'],
            },
        ),
        migrations.RunPython(add_up, migrations.RunPython.noop),
    ]
