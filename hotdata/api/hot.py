"""``GET /api/hot/<source>/<key>`` and ``GET /api/hot/<source>?key=…&key=…``: hot data for everybody."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse

from hotdata.api.answers import json_answer, json_error, local, methods
from hotdata.exceptions import CacheUnavailable, HotdataError, NotReady, ReadError, UnknownSource
from hotdata.freshness import reads
from hotdata.freshness.entries import Entry

MAX_KEYS = 100


@methods("GET", "HEAD")
def one(request: HttpRequest, source: str, key: str) -> HttpResponse:
    """One entry, or why there is none: 404 for what is not served, 503 for what can't be served yet."""
    try:
        return json_answer(_shown(reads.get(source, key)))
    except (ReadError, CacheUnavailable) as error:
        return _refusal(error)


@methods("GET", "HEAD")
def many(request: HttpRequest, source: str) -> HttpResponse:
    """Several entries: those that there are under ``entries``, why others are missing under ``errors``."""
    keys = request.GET.getlist("key")
    if not keys:
        return json_error("Name the keys: ?key=…&key=…", status=400)
    if len(keys) > MAX_KEYS:
        return json_error(f"At most {MAX_KEYS} keys at a time; these are {len(keys)}.", status=400)
    try:
        answers = reads.get_many(source, keys)
    except (UnknownSource, CacheUnavailable) as error:
        return _refusal(error)
    return json_answer(
        {
            "source": source,
            "entries": {key: _shown(answer) for key, answer in answers.items() if isinstance(answer, Entry)},
            "errors": {key: str(answer) for key, answer in answers.items() if isinstance(answer, ReadError)},
        }
    )


def _shown(entry: Entry) -> dict[str, Any]:
    return {
        "source": entry.source,
        "key": entry.key,
        "value": entry.value,
        "fetched_at": local(entry.fetched_at),
        "age": round(entry.age, 3),
        "state": entry.state,
    }


def _refusal(error: HotdataError) -> HttpResponse:
    unavailable = isinstance(error, NotReady | CacheUnavailable)
    return json_error(str(error), status=503 if unavailable else 404, retry_after=error.retry_after)
