"""``GET /api/freshness/<source>/plan``: when each hot key is refreshed and why, and how the gate stands, for staff."""

from __future__ import annotations

import msgspec
from django.http import HttpRequest
from django.utils import timezone

from hotdata.api import shapes
from hotdata.api.answers import local, methods, staff_with
from hotdata.api.asking import Refused
from hotdata.api.operations import Operation
from hotdata.api.shapes import Moment, Seconds, moment
from hotdata.exceptions import BadSource
from hotdata.freshness import planner
from hotdata.freshness.upstream import gate_of
from hotdata.models import Source


class PlannedKey(msgspec.Struct):
    """A hot key, when it is refreshed, and why then."""

    key: str
    pinned: bool
    weight: float
    reads_per_minute: float
    interval: Seconds
    fetched_at: Moment | None
    due_at: Moment
    why: str


class Plan(msgspec.Struct):
    """When each hot key of a source is refreshed, and how its gate stands."""

    source: str
    calls_per_minute: float
    budget: float
    gate: shapes.Gate
    keys: list[PlannedKey]


@methods("GET", "HEAD")
@staff_with("hotdata.view_source")
@Operation(answer=Plan, errors={409: "The source's refresh windows or key pattern are none."})
def of_source(request: HttpRequest, source: str) -> Plan:
    """The plan of a source, as it is worked out at this moment."""
    row = Source.objects.prefetch_related("pinned").filter(name=source).first()
    if row is None:
        raise Refused(404, f"There is no source {source!r}.")
    try:
        plan, gate = planner.plan(row, timezone.now()), gate_of(row).look()
    except BadSource as error:
        raise Refused(409, f"{error.field}: {error}") from error
    return Plan(
        source=plan.source,
        calls_per_minute=round(plan.calls_per_minute, 3),
        budget=plan.budget,
        gate=shapes.gate(gate),
        keys=[_key(planned) for planned in plan.keys],
    )


def _key(planned: planner.PlannedKey) -> PlannedKey:
    return PlannedKey(
        key=planned.key,
        pinned=planned.pinned,
        weight=planned.weight,
        reads_per_minute=round(planned.reads_per_minute, 3),
        interval=round(planned.interval.total_seconds(), 3),
        fetched_at=local(planned.fetched_at),
        due_at=moment(planned.due_at),
        why=planned.why,
    )
