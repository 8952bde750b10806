"""``GET /api/hot/<source>/<key>`` and ``GET /api/hot/<source>?key=…&key=…``: hot data for everybody.

What HTTP caches are told of it is in `caching`: RFC 9111, 5861, 9110 and 9211.
"""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse

from hotdata.api.answers import json_answer, json_error, local, methods
from hotdata.api.caching import cached
from hotdata.exceptions import CacheUnavailable, HotdataError, NotReady, ReadError, UnknownSource
from hotdata.freshness import reads
from hotdata.freshness.entries import Entry

MAX_KEYS = 100


@methods("GET", "HEAD")
def one(request: HttpRequest, source: str, key: str) -> HttpResponse:
    """One entry, or why there is none: 404 for what is not served, 503 for what can't be served yet."""
    try:
        entry = reads.get(source, key)
    except (ReadError, CacheUnavailable) as error:
        return _refusal(error)
    return cached(request, json_answer(_shown(entry)), [entry])


@methods("GET", "HEAD")
def many(request: HttpRequest, source: str) -> HttpResponse:
    """Several entries: those that there are under ``entries``, why others are missing under ``errors``.

    Only an answer without errors is for caches.
    """
    keys = request.GET.getlist("key")
    if not keys:
        return json_error("Name the keys: ?key=…&key=…", status=400)
    if len(keys) > MAX_KEYS:
        return json_error(f"At most {MAX_KEYS} keys at a time; these are {len(keys)}.", status=400)
    try:
        answers = reads.get_many(source, keys)
    except (UnknownSource, CacheUnavailable) as error:
        return _refusal(error)
    entries = {key: answer for key, answer in answers.items() if isinstance(answer, Entry)}
    errors = {key: str(answer) for key, answer in answers.items() if isinstance(answer, ReadError)}
    shown = {key: _shown(entry) for key, entry in entries.items()}
    answer = json_answer({"source": source, "entries": shown, "errors": errors})
    return cached(request, answer, [] if errors else list(entries.values()))


def _shown(entry: Entry) -> dict[str, Any]:
    shown = {
        "source": entry.source,
        "key": entry.key,
        "value": entry.value,
        "fetched_at": local(entry.fetched_at),
        "age": round(entry.age, 3),
        "state": entry.state,
    }
    return shown | {"last_known": True} if entry.last_known else shown


def _refusal(error: HotdataError) -> HttpResponse:
    unavailable = isinstance(error, NotReady | CacheUnavailable)
    return json_error(str(error), status=503 if unavailable else 404, retry_after=error.retry_after)
