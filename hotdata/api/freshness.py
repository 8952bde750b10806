"""``GET /api/freshness/<source>?hours=N``: what readers of a source got in the last hours, for staff."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import msgspec
from django.http import HttpRequest

from hotdata.api import shapes
from hotdata.api.answers import methods, staff_with
from hotdata.api.asking import Refused
from hotdata.api.operations import Operation
from hotdata.conf import MOST_DAYS, conf
from hotdata.exceptions import UnknownSource
from hotdata.observing.freshness import freshness_of


class FreshnessQuery(msgspec.Struct):
    """Over which time."""

    hours: Annotated[
        int, msgspec.Meta(ge=1, description="The last so many; as long as records are kept.")
    ] = 1


@methods("GET", "HEAD")
@staff_with("hotdata.view_source")
@Operation(query=FreshnessQuery, answer=shapes.Freshness)
def of_source(request: HttpRequest, source: str, asked: FreshnessQuery) -> shapes.Freshness:
    """The freshness of a source over one hour, or as many as are asked for, as long as records are kept."""
    most = 24 * (conf().retention.freshness or MOST_DAYS)
    if asked.hours > most:
        raise Refused(400, f"hours: expected at most {most:,}.")
    try:
        told = freshness_of(source, over=timedelta(hours=asked.hours))
    except UnknownSource as error:
        raise Refused(404, str(error)) from error
    return msgspec.convert(told.to_json(), shapes.Freshness)
