"""Components on record: how each was seen last, since when, and each change of that.

Two checks at once make one change: a state is changed by a conditional update, which the second finds done. One that
was overtaken, because it began before what is on record was checked, changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.db import models, transaction
from django.db.models import Case, F, Q, QuerySet, Value, When
from django.utils.translation import gettext_lazy as _

from hotdata.models import Component, ComponentChange
from hotdata.observing.health import Part, Report

logger = logging.getLogger(__name__)

STALE_AFTER = timedelta(minutes=1)
"""What was checked longer ago is not known any more; the job looks each ten seconds."""


class Standing(models.TextChoices):
    """How a component stands, the worst first: as it was seen, unless that is long ago."""

    DOWN = "down", _("Down")
    UNKNOWN = "unknown", _("Unknown")
    DEGRADED = "degraded", _("Degraded")
    OK = "ok", _("OK")


def worst_first(components: QuerySet[Component], now: datetime) -> QuerySet[Any]:
    """`components`, each with its ``standing``, in the order of that; those that stand alike by name."""
    stale = Q(checked_at__lt=now - STALE_AFTER) | _from_another_time(now)
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


def _from_another_time(now: datetime) -> Q:
    """Checked, as it says, in the future: that was before the clock was set back."""
    return Q(checked_at__gt=now + STALE_AFTER)


def record(report: Report) -> list[ComponentChange]:
    """Put on record what `report` found, all or nothing, and return what it changed.

    A component that isn't found any more, of a source that was deleted or disabled, goes from the record; that it
    went is a change. Raises what the database raises.
    """
    with transaction.atomic():
        changes = list(_changes(report))
        ComponentChange.objects.bulk_create(changes)
    for change in changes:
        logger.info(
            "health.changed component=%s before=%s after=%s",
            change.component,
            change.before or "new",
            change.after or "gone",
        )
    return changes


def _changes(report: Report) -> Iterator[ComponentChange]:
    known = {component.name: component for component in Component.objects.all()}
    # By name: two checks at once must not wait for each other's rows.
    for name in sorted(known.keys() | report.parts.keys()):
        part, component = report.parts.get(name), known.get(name)
        if part is None:
            change = _go(known[name], report) if report.knows_sources else None
        elif component is None:
            change = _come(name, part, report.at)
        else:
            change = _see(component, part, report.at)
        if change is not None:
            yield change


def _come(name: str, part: Part, at: datetime) -> ComponentChange | None:
    values = {"state": part.state, "detail": part.detail, "since": at, "checked_at": at}
    _row, new = Component.objects.get_or_create(name=name, defaults=values)
    return _change(name, "", part, at) if new else None


def _see(component: Component, part: Part, at: datetime) -> ComponentChange | None:
    """Write what was seen of a component, unless somebody else has seen it later."""
    earlier = _earlier(component, at)
    if component.state == part.state:
        earlier.filter(state=part.state).update(detail=part.detail, checked_at=at)
        return None
    changed = earlier.filter(state=component.state).update(
        state=part.state, detail=part.detail, since=at, checked_at=at
    )
    return _change(component.name, component.state, part, at) if changed else None


def _go(component: Component, report: Report) -> ComponentChange | None:
    gone, _rows = _earlier(component, report.at).delete()
    return _change(component.name, component.state, None, report.at) if gone else None


def _earlier(component: Component, at: datetime) -> QuerySet[Component]:
    """The row of `component`, unless it was checked after `at`."""
    return Component.objects.filter(Q(checked_at__lt=at) | _from_another_time(at), pk=component.pk)


def _change(name: str, before: str, part: Part | None, at: datetime) -> ComponentChange:
    after, detail = ("", "") if part is None else (part.state, part.detail)
    return ComponentChange(component=name, before=before, after=after, detail=detail, at=at)
