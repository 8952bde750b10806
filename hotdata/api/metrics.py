"""``GET /metrics``: metrics for Prometheus, for networks that the settings name and for staff who may read them."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from django.http import HttpRequest, HttpResponse
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from hotdata.api.answers import json_error, methods, staff_with
from hotdata.api.clients import certain_address_of, is_within
from hotdata.api.operations import Operation
from hotdata.conf import conf
from hotdata.observing.metrics import readings
from hotdata.observing.totals import BeingCounted


@methods("GET", "HEAD")
@Operation(texts=("text/plain", "application/openmetrics-text"))
def metrics(request: HttpRequest) -> HttpResponse:
    """Metrics for Prometheus: the latest reading, in the text format or, for who asks for that, as OpenMetrics.

    Networks that the settings name need no token; others need one, with the permission hotdata.view_metrics.
    """
    if is_within(certain_address_of(request), conf().metrics_networks):
        return _shown(request)
    return _for_staff(request)


def _shown(request: HttpRequest) -> HttpResponse:
    try:
        reading = readings.latest()
    except BeingCounted as error:
        return json_error(str(error), status=503)
    encode, content_type = _encoder(request.headers.get("Accept", ""))
    answer = HttpResponse(encode(cast(Collector, reading)), content_type=content_type)
    answer["Cache-Control"] = "private, no-store"
    answer["Vary"] = "Accept"
    return answer


_for_staff = staff_with("hotdata.view_metrics")(_shown)


def _encoder(accept: str) -> tuple[Callable[[Collector], bytes], str]:
    try:
        return choose_encoder(accept)
    except (ValueError, TypeError):  # a version that is none
        return choose_encoder("")
