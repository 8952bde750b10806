"""Caching: what an answer tells the HTTP caches on its way, and which conditions spare its body.

Age, Cache-Control (RFC 9111): `max-age` counts from when the value was fetched, as `Age` does. What is left of it
when an answer is sent, the difference of the two, are the seconds until the entry is stale.

stale-while-revalidate, stale-if-error (RFC 5861): for an error a value is good until its entry is gone. To spare a
reader the wait, only for as long again as it was fresh: there is hardly a wait to be spared, and a cache that is asked
once a day would serve what is a day old.

ETag, If-None-Match (RFC 9110, 8.8.3 and 13.1.2): weak, since the same value comes with another age each time.

Cache-Status (RFC 9211): whether the value was there (`hit`), or was fetched while this reader waited (`fwd=miss`); its
`ttl`, below 0 when it is stale; and as `detail` why it is what the process has read last: Redis is away (`redis-down`)
or has lost it (`redis-lost`). Several values make one answer: a hit if all were there, and with the `ttl` that is
the shortest.

An answer is the same for everybody, so it is `public`, also to a request with a token: a cache may give it to others
(RFC 9111, 3.5), and varies by nothing. Where reads need a token, it is `private`: no cache between a reader and this
site may keep it, or it would be given to somebody without one; and it varies by what says who reads.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence

import msgspec
from django.http import HttpRequest, HttpResponse, HttpResponseNotModified
from django.utils.cache import patch_vary_headers
from django.utils.http import parse_etags

from hotdata.conf import conf
from hotdata.freshness.entries import Entry

CACHE = "hotdata"
WHO_READS = ("Authorization", "Cookie")
PRINTABLE = re.compile(r"[ -~]*")  # what a string of RFC 8941 may hold


def cached(request: HttpRequest, answer: HttpResponse, entries: Sequence[Entry]) -> HttpResponse:
    """`answer`, which shows `entries`, with all that caches are told; without a body if the reader has their values.

    It is good as long as all of them are. Without any, it is not to be kept.
    """
    if not entries:
        answer["Cache-Control"] = "no-store"
        return answer
    etag = _etag(entries)
    if _has(request, etag):
        answer = HttpResponseNotModified()
    if etag:
        answer["ETag"] = etag
    answer["Cache-Status"] = _status(entries)
    age = int(max(entry.age for entry in entries))
    fresh_for = math.floor(min(entry.fresh_for for entry in entries))
    kept_for = math.floor(min(entry.kept_for for entry in entries))
    max_age, stale_for = max(0, age + fresh_for), max(0, kept_for - fresh_for)
    answer["Age"] = str(age)
    shared = not conf().reads_need_token
    if not shared:
        patch_vary_headers(answer, WHO_READS)
    answer["Cache-Control"] = (
        f"{'public' if shared else 'private'}, max-age={max_age}, "
        f"stale-while-revalidate={min(max_age, stale_for)}, stale-if-error={stale_for}"
    )
    return answer


def _has(request: HttpRequest, etag: str) -> bool:
    """Whether the reader has the values of `etag` already, as they say. `*` is any value (RFC 9110, 13.1.2)."""
    known = parse_etags(request.headers.get("If-None-Match", ""))
    return known == ["*"] or (bool(etag) and etag in {_weak(each) for each in known})


def _etag(entries: Sequence[Entry]) -> str:
    """What changes when a value does, or which keys there are; empty where that isn't known of all."""
    if not all(entry.etag for entry in entries):
        return ""
    if len(entries) == 1:
        return f'W/"{entries[0].etag}"'
    values = msgspec.json.encode([(entry.key, entry.etag) for entry in entries])
    return f'W/"{hashlib.sha256(values).hexdigest()[:16]}"'


def _weak(etag: str) -> str:
    return etag if etag.startswith("W/") else f"W/{etag}"


def _status(entries: Sequence[Entry]) -> str:
    fetched = any(entry.fetched_now for entry in entries)
    how = ["fwd=miss", "stored"] if fetched else ["hit"]
    how.append(f"ttl={math.floor(min(entry.fresh_for for entry in entries))}")
    if len(entries) == 1 and PRINTABLE.fullmatch(entries[0].key):
        escaped = re.sub(r'(["\\])', r"\\\1", entries[0].key)
        how.append(f'key="{escaped}"')
    last_known = [entry for entry in entries if entry.last_known]
    if last_known:
        lost = all(entry.lost for entry in last_known)
        how.append("detail=redis-lost" if lost else "detail=redis-down")
    return "; ".join([CACHE, *how])
