"""``GET /api/hot/<source>/<key>`` and ``GET /api/hot/<source>?key=…&key=…``: hot data for everybody.

Or, by a setting, for whoever says who they are: see `open_to_readers`. What is read with a token is counted.

What HTTP caches are told of it is in `caching`: RFC 9111, 5861, 9110 and 9211.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from django.http import HttpRequest, HttpResponse

from hotdata.api import usage
from hotdata.api.answers import json_answer, json_error, methods, open_to_readers
from hotdata.api.caching import cached
from hotdata.api.callers import token_of
from hotdata.api.operations import Operation
from hotdata.api.shapes import Moment, Seconds, moment
from hotdata.exceptions import CacheUnavailable, HotdataError, NotReady, ReadError, UnknownSource
from hotdata.freshness import reads
from hotdata.freshness.entries import Entry

MAX_KEYS = 100
NOT_MODIFIED = {304: "The reader has the value already, as If-None-Match says."}
CACHING = {
    "Age": "Seconds since the value was fetched.",
    "ETag": "Of the value.",
    "Cache-Status": "As of RFC 9211.",
}


class Value(msgspec.Struct, omit_defaults=True):
    """The value of a key."""

    source: str
    key: str
    value: Any
    fetched_at: Moment
    age: Seconds
    state: Literal["fresh", "stale"]
    last_known: Annotated[
        bool, msgspec.Meta(description="Whether it is what this process has read last, since Redis is away.")
    ] = False


class Values(msgspec.Struct):
    """The values of several keys, and why others are missing."""

    source: str
    entries: dict[str, Value]
    errors: dict[str, str]


class KeysQuery(msgspec.Struct):
    """Which keys are asked for."""

    key: Annotated[list[str], msgspec.Meta(min_length=1, max_length=MAX_KEYS)]


@methods("GET", "HEAD")
@open_to_readers
@Operation(answer=Value, errors=NOT_MODIFIED, headers=CACHING)
def one(request: HttpRequest, source: str, key: str) -> HttpResponse:
    """One entry, or why there is none: 404 for what is not served, 503 for what can't be served yet."""
    try:
        entry = reads.get(source, key)
    except (ReadError, CacheUnavailable) as error:
        return _counted(request, _refusal(error), source, reads=1, failed=1)
    return _counted(request, cached(request, json_answer(_shown(entry)), [entry]), source, reads=1)


@methods("GET", "HEAD")
@open_to_readers
@Operation(query=KeysQuery, answer=Values, errors=NOT_MODIFIED, headers=CACHING)
def many(request: HttpRequest, source: str, asked: KeysQuery) -> HttpResponse:
    """Several entries: those that there are under ``entries``, why others are missing under ``errors``.

    Only an answer without errors is for caches.
    """
    keys = list(dict.fromkeys(asked.key))
    try:
        answers = reads.get_many(source, keys)
    except (UnknownSource, CacheUnavailable) as error:
        return _counted(request, _refusal(error), source, reads=len(keys), failed=len(keys))
    entries = {key: answer for key, answer in answers.items() if isinstance(answer, Entry)}
    errors = {key: str(answer) for key, answer in answers.items() if isinstance(answer, ReadError)}
    shown = {key: _shown(entry) for key, entry in entries.items()}
    answer = json_answer(Values(source, shown, errors))
    answer = cached(request, answer, [] if errors else list(entries.values()))
    return _counted(request, answer, source, reads=len(answers), failed=len(errors))


def _shown(entry: Entry) -> Value:
    return Value(
        source=entry.source,
        key=entry.key,
        value=entry.value,
        fetched_at=moment(entry.fetched_at),
        age=round(entry.age, 3),
        state=entry.state,
        last_known=entry.last_known,
    )


def _refusal(error: HotdataError) -> HttpResponse:
    unavailable = isinstance(error, NotReady | CacheUnavailable)
    return json_error(str(error), status=503 if unavailable else 404, retry_after=error.retry_after)


def _counted(
    request: HttpRequest, answer: HttpResponse, source: str, *, reads: int, failed: int = 0
) -> HttpResponse:
    """`answer`, which goes out to somebody who asked for so many keys; counted if they did so with a token."""
    token = token_of(request)
    if token is not None:
        size = 0 if request.method == "HEAD" else len(answer.content)
        usage.count(token, source, reads=reads, failed=failed, size=size)
    return answer
