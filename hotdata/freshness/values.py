"""Values: what of an answer, or of what a fetcher returned, may be stored and served. All else counts as an error."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import Any

import msgspec

from hotdata.exceptions import UpstreamError, UpstreamPayload
from hotdata.text import holds_secret

MAX_DEPTH = 100
MAX_NODES = 200_000  # values, and keys of objects count with theirs


def plain(value: Any) -> Any | UpstreamError:
    """A fetcher's value as JSON data, or the error that it counts as."""
    if value is None or (isinstance(value, str | list | tuple | dict) and not value):
        return UpstreamPayload("The fetcher returned nothing for this key.")
    if isinstance(value, UpstreamError):
        return value
    if isinstance(value, Exception):
        return UpstreamError(f"{type(value).__name__}: {value}")
    try:
        return servable(msgspec.json.decode(msgspec.json.encode(value)))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        return UpstreamPayload(f"The fetcher returned something that is not JSON: {error}")


def servable(value: Any) -> Any | UpstreamError:
    """`value`, or the error that it counts as when it can't be stored or must not be served.

    A short JMESPath can refer to one part of an answer a million times over, which costs nothing until it is
    written out: so what is written out is counted first.
    """
    if isinstance(value, UpstreamError):
        return value
    level, nodes = [value], 0
    for _ in range(MAX_DEPTH + 1):
        nodes += len(level)
        if nodes > MAX_NODES:
            return UpstreamPayload(f"The value has more than {MAX_NODES:,} parts.")
        if any(isinstance(item, float) and not math.isfinite(item) for item in level):
            return UpstreamPayload("The value holds a number that is none (NaN or infinite).")
        containers = [item for item in level if isinstance(item, list | dict)]
        if not containers:
            return _encodable(value)
        level = list(itertools.islice(itertools.chain.from_iterable(map(_parts, containers)), MAX_NODES + 1))
    return UpstreamPayload(f"The value is nested more than {MAX_DEPTH} levels deep.")


def _parts(container: list[Any] | dict[str, Any]) -> Iterable[Any]:
    return container.values() if isinstance(container, dict) else container


def _encodable(value: Any) -> Any | UpstreamError:
    try:
        text = msgspec.json.encode(value).decode()
    except (TypeError, ValueError, OverflowError) as error:
        return UpstreamPayload(f"The value is not JSON ({type(error).__name__}).")
    if holds_secret(text):
        # An upstream that repeats what it was sent would have it served to everybody.
        return UpstreamPayload("The value repeats a secret that is sent to upstreams.")
    return value
