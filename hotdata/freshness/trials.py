"""Trials: an upstream is asked for one key, to see what it answers, and nothing is stored.

A trial goes through the source's gate, so it counts against the budget, and its call is recorded like any other. What
the source's rules say of the value is told beside the value, and not in its place. What is shown holds no secret,
also where the upstream repeats one.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import override

from hotdata.exceptions import CacheUnavailable, UpstreamError, UpstreamPayload
from hotdata.freshness import meters, redis
from hotdata.freshness.recording import Record
from hotdata.freshness.replies import Reply
from hotdata.freshness.upstream import Upstream, reason
from hotdata.models import ApiCall, Source
from hotdata.payloads import PayloadRules
from hotdata.text import shortened, storable, without_secrets

LONGEST = timedelta(seconds=15)
"""Of a call; a source's shorter timeout holds."""
PATIENCE = timedelta(seconds=2)  # at the gate
SLACK = timedelta(seconds=1)
SHOWN = 4096  # characters of a value

TURNS = 6
"""Trials of a source that one person may make in a window."""
WINDOW = timedelta(minutes=1)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What came of a trial, fit to be shown."""

    key: str
    url: str = ""
    """Scheme, host and path."""
    made: bool
    """Whether the upstream was asked at all."""
    status: int | None = None
    duration: timedelta | None = None
    size: int = 0
    value: str | None = None
    """As JSON, its two ends if it is long; None when there is none."""
    error: str = ""
    """Why there is no value."""
    refusal: str = ""
    """What rule of the source the value breaks."""

    @property
    def accepted(self) -> bool:
        """Whether a refresh would have stored it."""
        return self.value is not None and not self.refusal


def wait_for_turn(source: str, who: str) -> timedelta:
    """How long `who` has to wait for the next trial of `source`; nothing if this one may be made, which then counts.

    Raises CacheUnavailable.
    """
    name = redis.name("try", source, who)
    with redis.guarded(), redis.client().pipeline(transaction=True) as pipe:
        pipe.set(name, 0, nx=True, px=WINDOW)
        pipe.incr(name)
        pipe.pttl(name)
        _made, count, left = pipe.execute()
    return timedelta(milliseconds=max(1, left)) if count > TURNS else timedelta(0)


def try_out(source: Source, key: str, placeholders: Mapping[str, str] = {}) -> Trial:
    """Ask for the checked `key`, with `placeholders` if the source needs any. Takes a few seconds at most.

    Raises CacheUnavailable; BadSource and UnknownTask for a definition that can't be used.
    """
    rules = source.build_rules()
    upstream = Upstream(_unruled(source))
    try:
        upstream.check_filling(key, placeholders)
        (request,) = upstream.batches([key], {key: placeholders})
    except UpstreamError as error:
        return Trial(key=key, made=False, error=storable(str(error)))
    try:
        # What goes wrong goes on record, where one language is spoken.
        with override("en"):
            reply = upstream.submit(
                request,
                None,
                lambda: min(source.timeout, LONGEST),
                PATIENCE.total_seconds,
            ).result((LONGEST + PATIENCE + SLACK).total_seconds())
    except FutureTimeout:
        # Of a fetcher, that can't be cut off. Its call stays in the gate's account until it ends.
        return Trial(
            key=key,
            made=True,
            duration=LONGEST,
            error=_("It did not answer in time, and goes on without us."),
        )
    return _concluded(key, reply, rules)


def _unruled(source: Source) -> Source:
    """The same upstream for a source without rules: a value that breaks one is there to be seen."""
    bare = copy.copy(source)
    bare.value_kind, bare.required, bare.bounds, bare.max_bytes = "", [], {}, None
    return bare


def _concluded(key: str, reply: Reply, rules: PayloadRules) -> Trial:
    value, call = reply.values[key], reply.call
    error = value if isinstance(value, UpstreamError) else None
    refusal = _refusal(rules, value) if error is None else None
    if call is not None:
        if refusal is not None:
            with override("en"):
                call.outcome, call.error = ApiCall.Outcome.FAILED, reason(_refusal(rules, value) or refusal)
        Record(source=call.source, calls=[call]).write()
        with suppress(CacheUnavailable):
            meters.flush()
    return Trial(
        key=key,
        url=storable(call.url) if call is not None else "",
        made=call is not None,
        status=call.status if call is not None else None,
        duration=call.duration if call is not None else None,
        size=call.size if call is not None else 0,
        value=_shown(value) if error is None else None,
        error=storable(str(error or "")),
        refusal=storable(str(refusal or "")),
    )


def _refusal(rules: PayloadRules, value: Any) -> UpstreamPayload | None:
    """What rule `value` breaks, in the active language."""
    try:
        rules.check(value)
    except UpstreamPayload as error:
        return error
    return None


def _shown(value: Any) -> str:
    # Taken out of the texts, and then out of the whole: a secret of digits may be repeated as a number.
    text = json.dumps(without_secrets(value), ensure_ascii=False, indent=2)
    return shortened(storable(text), SHOWN)
