"""``GET /healthz``: this process answers. ``GET /readyz``: it should be sent requests.

They are for everybody, and so say no more than names and states: what was seen is in the admin, and told by
`checkhealth`. Neither asks who is there, since a session is in the database that may be what hangs.
"""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse

from hotdata.api.answers import json_answer, methods
from hotdata.models.components import Health
from hotdata.observing import readiness
from hotdata.observing.readiness import Readiness


@methods("GET", "HEAD")
def healthz(request: HttpRequest) -> HttpResponse:
    """Always 200, and without a look at anything: to start a process again mends no database."""
    return _unkept(_text("ok\n"))


@methods("GET", "HEAD")
def readyz(request: HttpRequest) -> HttpResponse:
    """503 without the database or its migrations; with ``strict=1``, when anything isn't well.

    With ``format=text`` it is no JSON but lines.
    """
    found = readiness.look()
    ready = found.state == Health.OK if request.GET.get("strict") == "1" else found.state != Health.DOWN
    answer = _text(_lines(found)) if request.GET.get("format") == "text" else json_answer(_shown(found))
    answer.status_code = 200 if ready else 503
    return _unkept(answer)


def _shown(found: Readiness) -> dict[str, object]:
    checks = {
        name: {"state": seen.part.state, "seconds": round(seen.took.total_seconds(), 4)}
        for name, seen in found.seen.items()
    }
    return {"state": found.state, "checks": checks}


def _lines(found: Readiness) -> str:
    checks = (
        f"{name}: {seen.part.state} ({seen.took.total_seconds():.3f} s)\n"
        for name, seen in found.seen.items()
    )
    return "".join([f"{found.state}\n", *checks])


def _text(text: str) -> HttpResponse:
    return HttpResponse(text, content_type="text/plain; charset=utf-8")


def _unkept(answer: HttpResponse) -> HttpResponse:
    answer["Cache-Control"] = "no-store"
    return answer
