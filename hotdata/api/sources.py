"""Sources: how they are defined and how they stand, and "refresh now"."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
from django.http import HttpRequest
from django.utils import timezone

from hotdata import actions
from hotdata.api import shapes
from hotdata.api.answers import local, methods, staff_with
from hotdata.api.asking import Nothing, Refused
from hotdata.api.cursors import Cursor, Limit, Page, cursor_at, name_at
from hotdata.api.operations import Operation
from hotdata.api.shapes import seconds
from hotdata.exceptions import CacheUnavailable
from hotdata.freshness import planner
from hotdata.freshness.meters import Measures, Served
from hotdata.models import ApiCall, Source
from hotdata.observing.freshness import Objective
from hotdata.observing.sources import HotKeys, Standing, standings
from hotdata.observing.upstreams import Traffic
from hotdata.text import without_secrets


class SourceQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Which part of the list is asked for."""

    limit: Limit = 20
    cursor: Cursor = ""


@methods("GET", "HEAD")
@staff_with("hotdata.view_source")
@Operation(query=SourceQuery, answer=Page[shapes.Source])
def listed(request: HttpRequest, asked: SourceQuery) -> Page[shapes.Source]:
    """The sources by name, each with how it stands."""
    sources = Source.objects.filter(name__gt=name_at(asked.cursor)).order_by("name")
    found = list(sources[: asked.limit + 1])
    shown = found[: asked.limit]
    stand = standings(shown, timezone.now()).by_source
    return Page(
        [shapes.Source(**_facts(source, stand[source.name])) for source in shown],
        cursor_at(shown[-1].name) if len(found) > asked.limit else None,
    )


@methods("GET", "HEAD")
@staff_with("hotdata.view_source")
@Operation(answer=shapes.SourceDetails)
def one(request: HttpRequest, name: str) -> shapes.SourceDetails:
    """One source, with its definition. Secrets are named, and not shown."""
    source = _source(name)
    standing = standings([source], timezone.now()).by_source[source.name]
    return shapes.SourceDetails(
        **_facts(source, standing),
        pinned_keys=source.pinned.count(),
        last_success=local(ApiCall.objects.last_success(source.name)),
        definition=_definition(source),
    )


@methods("POST")
@staff_with("hotdata.refresh_source")
@Operation(
    body=Nothing,
    answer=shapes.Refreshing,
    status=202,
    errors={
        409: "The source is switched off.",
        503: "Nobody is there to do it, or the database or Redis is away.",
    },
)
def refresh(request: HttpRequest, name: str, body: Nothing) -> shapes.Refreshing:
    """Have the hot keys of a source refreshed now, as fast as its budget allows."""
    source = _source(name)
    if not source.enabled:
        raise Refused(409, f"{source.name} is switched off.")
    keys = planner.hot_set(source)
    if keys and not actions.refresh(actions.Actor.of(request), source, keys):
        raise Refused(
            503, "No run of refresh_due is there to do it.", retry_after=CacheUnavailable.retry_after
        )
    return shapes.Refreshing(source=source.name, keys=len(keys))


def _source(name: str) -> Source:
    source = Source.objects.prefetch_related("pinned").filter(name=name).first()
    if source is None:
        raise Refused(404, f"There is no source {name!r}.")
    return source


def _facts(source: Source, standing: Standing) -> dict[str, Any]:
    """What a `shapes.Source` is made of."""
    return {
        "name": source.name,
        "title": source.title,
        "enabled": source.enabled,
        "rests": standing.rests,
        "calls": _calls(standing.traffic),
        "gate": standing.gate and shapes.gate(standing.gate),
        "reads": standing.reads and _reads(standing.reads),
        "objective": standing.objective and _objective(standing.objective),
        "hot_keys": standing.hot and _hot_keys(standing.hot),
    }


def _calls(traffic: Traffic) -> shapes.Traffic:
    return shapes.Traffic(
        calls=traffic.calls, failed=traffic.failed, p50=seconds(traffic.p50), p95=seconds(traffic.p95)
    )


def _reads(measures: Measures) -> shapes.Reads:
    return shapes.Reads(
        reads=measures.reads, fresh=measures.share(Served.FRESH), stale=measures.share(Served.STALE)
    )


def _objective(objective: Objective) -> shapes.Objective:
    return msgspec.convert(objective.to_json(), shapes.Objective)


def _hot_keys(hot: HotKeys) -> shapes.HotKeys:
    oldest, shown = hot.oldest, None
    if oldest is not None and oldest.age is not None:
        shown = shapes.AgedKey(oldest.key, round(oldest.age.total_seconds(), 3))
    return shapes.HotKeys(count=hot.count, missing=hot.missing, overdue=hot.overdue, oldest=shown)


def _definition(source: Source) -> shapes.Definition:
    """How `source` is defined. What an operator has put where no secret belongs is not shown either."""
    fields: dict[str, Any] = {}
    for name in shapes.Definition.__struct_fields__:
        value = getattr(source, name)
        fields[name] = seconds(value) if isinstance(value, timedelta) else without_secrets(value)
    return shapes.Definition(**fields)
