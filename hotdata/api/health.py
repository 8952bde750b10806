"""``GET /healthz``: this process answers. ``GET /readyz``: it should be sent requests.

They are for everybody, and so say no more than names and states: what was seen is in the admin, and told by
`checkhealth`. Neither asks who is there, since a session is in the database that may be what hangs.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from django.http import HttpRequest, HttpResponse

from hotdata.api.answers import json_answer, methods
from hotdata.api.operations import Operation
from hotdata.api.shapes import Seconds
from hotdata.models.components import Health
from hotdata.observing import readiness
from hotdata.observing.readiness import Readiness

TEXT = "text/plain"


class Check(msgspec.Struct):
    """What one check found, and how long it took."""

    state: Health
    seconds: Seconds


class Ready(msgspec.Struct):
    """How the whole is, and each of its parts."""

    state: Health
    checks: dict[str, Check]


class ReadyQuery(msgspec.Struct):
    """What is asked of a process."""

    strict: Annotated[
        bool, msgspec.Meta(description="Whether all has to be well, and not only what is essential.")
    ] = False
    format: Annotated[Literal["json", "text"], msgspec.Meta(description="`text`: one check a line.")] = "json"


@methods("GET", "HEAD")
@Operation(texts=(TEXT,), is_probe=True)
def healthz(request: HttpRequest) -> HttpResponse:
    """Whether this process answers.

    Always 200, and without a look at anything: to start a process again mends no database.
    """
    return _unkept(_text("ok\n"))


@methods("GET", "HEAD")
@Operation(
    query=ReadyQuery,
    answer=Ready,
    texts=(TEXT,),
    also={503: "It should be sent no requests; with `strict`, or something isn't well."},
    is_probe=True,
)
def readyz(request: HttpRequest, asked: ReadyQuery) -> HttpResponse:
    """Whether this process should be sent requests.

    503 without the database or its migrations; with `strict=1`, when anything isn't well.
    """
    found = readiness.look()
    ready = found.state == Health.OK if asked.strict else found.state != Health.DOWN
    answer = _text(_lines(found)) if asked.format == "text" else json_answer(_shown(found))
    answer.status_code = 200 if ready else 503
    return _unkept(answer)


def _shown(found: Readiness) -> Ready:
    checks = {
        name: Check(state=seen.part.state, seconds=round(seen.took.total_seconds(), 4))
        for name, seen in found.seen.items()
    }
    return Ready(state=found.state, checks=checks)


def _lines(found: Readiness) -> str:
    checks = (
        f"{name}: {seen.part.state} ({seen.took.total_seconds():.3f} s)\n"
        for name, seen in found.seen.items()
    )
    return "".join([f"{found.state}\n", *checks])


def _text(text: str) -> HttpResponse:
    return HttpResponse(text, content_type=f"{TEXT}; charset=utf-8")


def _unkept(answer: HttpResponse) -> HttpResponse:
    answer["Cache-Control"] = "no-store"
    return answer
