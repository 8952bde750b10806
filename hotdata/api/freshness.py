"""``GET /api/freshness/<source>?hours=N``: what readers of a source got in the last hours, for staff."""

from __future__ import annotations

from datetime import timedelta

from django.http import HttpRequest, HttpResponse

from hotdata.api.answers import json_answer, json_error, methods, staff_with
from hotdata.conf import MOST_DAYS, conf
from hotdata.exceptions import CacheUnavailable, UnknownSource
from hotdata.observing.freshness import freshness_of


@methods("GET", "HEAD")
@staff_with("hotdata.view_source")
def of_source(request: HttpRequest, source: str) -> HttpResponse:
    """The freshness of a source over one hour, or as many as are asked for, as long as records are kept."""
    most = 24 * (conf().retention.freshness or MOST_DAYS)
    try:
        hours = int(request.GET.get("hours", "1"))
    except ValueError:
        hours = 0
    if not 1 <= hours <= most:
        return json_error(f"hours: a whole number between 1 and {most:,}.", status=400)
    try:
        return json_answer(freshness_of(source, over=timedelta(hours=hours)).to_json())
    except UnknownSource as error:
        return json_error(str(error), status=404)
    except CacheUnavailable as error:
        return json_error(str(error), status=503, retry_after=error.retry_after)
