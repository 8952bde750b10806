"""``GET /api/freshness/<source>/plan``: when each hot key is refreshed and why, and how the gate stands, for staff."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from hotdata.api.answers import json_answer, json_error, local, methods, staff_with
from hotdata.exceptions import BadSource, CacheUnavailable
from hotdata.freshness import planner
from hotdata.freshness.gate import GateState
from hotdata.freshness.planner import PlannedKey
from hotdata.freshness.upstream import gate_of
from hotdata.models import Source


@methods("GET", "HEAD")
@staff_with("hotdata.view_source")
def of_source(request: HttpRequest, source: str) -> HttpResponse:
    """The plan of a source, as it is worked out at this moment."""
    row = Source.objects.prefetch_related("pinned").filter(name=source).first()
    if row is None:
        return json_error(f"There is no source {source!r}.", status=404)
    try:
        plan, gate = planner.plan(row, timezone.now()), gate_of(row).look()
    except BadSource as error:
        return json_error(f"{error.field}: {error}", status=409)
    except CacheUnavailable as error:
        return json_error(str(error), status=503, retry_after=error.retry_after)
    return json_answer(
        {
            "source": plan.source,
            "calls_per_minute": round(plan.calls_per_minute, 3),
            "budget": plan.budget,
            "gate": _gate(gate),
            "keys": [_key(planned) for planned in plan.keys],
        }
    )


def _gate(state: GateState) -> dict[str, Any]:
    return asdict(state) | {
        "cooldown": state.cooldown.total_seconds(),
        "pause": state.pause.total_seconds(),
    }


def _key(planned: PlannedKey) -> dict[str, Any]:
    return {
        "key": planned.key,
        "pinned": planned.pinned,
        "weight": planned.weight,
        "reads_per_minute": round(planned.reads_per_minute, 3),
        "interval": round(planned.interval.total_seconds(), 3),
        "fetched_at": local(planned.fetched_at),
        "due_at": local(planned.due_at),
        "why": planned.why,
    }
