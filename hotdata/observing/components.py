"""Components on record: how each was seen last, since when, and each change of that.

Two checks at once make one change: they lock the rows, and the second finds it made. One that was overtaken, because it
began before what is on record was checked, changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db import models, transaction
from django.db.models import Case, F, Q, QuerySet, Value, When
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from hotdata.logs import EventLogger
from hotdata.models import Component, ComponentChange, bulk
from hotdata.observing.health import Part, Report

logger = EventLogger(__name__)

STALE_AFTER = timedelta(minutes=1)
"""What was checked longer ago is not known any more; the job looks each ten seconds."""


class Standing(models.TextChoices):
    """How a component stands, the worst first: as it was seen, unless that is long ago."""

    DOWN = "down", _("Down")
    UNKNOWN = "unknown", _("Unknown")
    DEGRADED = "degraded", _("Degraded")
    OK = "ok", pgettext_lazy("health", "OK")


def worst_first(components: QuerySet[Component], now: datetime) -> QuerySet[Any]:
    """`components`, each with its ``standing``, in the order of that; those that stand alike by name."""
    # What says that it was checked in the future is from before the clock was set back.
    stale = Q(checked_at__lt=now - STALE_AFTER) | Q(checked_at__gt=now + STALE_AFTER)
    places = [When(standing=standing, then=Value(place)) for place, standing in enumerate(Standing)]
    return components.annotate(
        standing=Case(
            When(stale, then=Value(Standing.UNKNOWN.value)),
            default=F("state"),
            output_field=models.CharField(),
        ),
        place=Case(*places, output_field=models.IntegerField()),
    ).order_by("place", "name")


def unwell(now: datetime) -> list[Any]:
    """The components that are not known to be well, each with its ``standing``, the worst first. One query."""
    return list(worst_first(Component.objects.all(), now).exclude(standing=Standing.OK))


def record(report: Report) -> list[ComponentChange]:
    """Put on record what `report` found, all or nothing, and return what it changed.

    A component that isn't found any more, of a source that was deleted or disabled, goes from the record; that it
    went is a change. Raises what the database raises.
    """
    with transaction.atomic():
        changes = _write(report)
        ComponentChange.objects.bulk_create(changes)
    for change in changes:
        logger.info(
            "health.changed",
            component=change.component,
            before=change.before or "new",
            after=change.after or "gone",
        )
    return changes


def _write(report: Report) -> list[ComponentChange]:
    # Who records at the same time waits here, and then sees what this one has written.
    known = {row.name: row for row in Component.objects.select_for_update().order_by("name")}
    open_to_it = {name: row for name, row in known.items() if not _was_overtaken(report, row)}
    found = {name: row for name, row in open_to_it.items() if name in report.parts}
    changes = [
        *_come({name: part for name, part in report.parts.items() if name not in known}, report.at),
        *(_change(row, report) for name, row in found.items() if row.state != report.parts[name].state),
    ]
    for name, row in found.items():
        _see(row, report.parts[name], report.at)
    bulk.update(list(found.values()), ["state", "detail", "since", "checked_at"])
    if report.knows_sources:
        gone = [row for name, row in open_to_it.items() if name not in report.parts]
        changes += [_change(row, report) for row in gone]
        Component.objects.filter(pk__in=[row.pk for row in gone]).delete()
    return changes


def _was_overtaken(report: Report, row: Component) -> bool:
    """Whether `row` was checked after `report` was begun; not when it says that this is yet to come."""
    return report.at <= row.checked_at <= report.at + STALE_AFTER


def _come(parts: Mapping[str, Part], at: datetime) -> Iterator[ComponentChange]:
    """Insert the new ones, but for those that somebody else has inserted in this moment."""
    for name, part in sorted(parts.items()):
        values = {"state": part.state, "detail": part.detail, "since": at, "checked_at": at}
        _row, new = Component.objects.get_or_create(name=name, defaults=values)
        if new:
            yield ComponentChange(component=name, after=part.state, detail=part.detail, at=at)


def _change(row: Component, report: Report) -> ComponentChange:
    """The change of `row`, as it is on record yet, to what was found, or to nothing."""
    part = report.parts.get(row.name)
    after, detail = ("", "") if part is None else (part.state, part.detail)
    return ComponentChange(component=row.name, before=row.state, after=after, detail=detail, at=report.at)


def _see(row: Component, part: Part, at: datetime) -> None:
    if row.state != part.state:
        row.state, row.since = part.state, at
    row.detail, row.checked_at = part.detail, at
