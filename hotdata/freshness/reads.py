"""How hot data is read: `get` and `get_many`. A read never waits for an upstream."""

from __future__ import annotations

import time
from collections.abc import Iterable

from hotdata.exceptions import NotReady, ReadError, UnknownKey, UnknownSource
from hotdata.freshness import entries
from hotdata.freshness.entries import Entry
from hotdata.keys import check_key
from hotdata.models import Key, Source


def get(source: str, key: str) -> Entry:
    """The last good value of `key`, at once, with its age: fresh, or stale until it is refreshed.

    Raises UnknownSource; UnknownKey for a malformed key or one that the source doesn't serve; NotReady when
    nothing has been fetched for it yet; CacheUnavailable when Redis can't be reached.
    """
    checked = _checked(source, key)
    stored = entries.read(source, checked)
    if stored is None:
        raise _why_missing(source, [checked])[checked]
    return stored.entry(time.time())


def get_many(source: str, keys: Iterable[str]) -> dict[str, Entry | ReadError]:
    """`get` for several keys in one round trip: by key as given, its entry or the error that `get` would raise.

    Raises UnknownSource and CacheUnavailable, which concern all of them.
    """
    checked: dict[str, str] = {}
    answers: dict[str, Entry | ReadError] = {}
    for key in keys:
        try:
            checked[key] = _checked(source, key)
        except UnknownKey as error:
            answers[key] = error
    stored = entries.read_many(source, set(checked.values()))
    missing = set(checked.values()) - stored.keys()
    # Without any entry, the source itself may not exist.
    errors = _why_missing(source, missing) if missing or not stored else {}
    now = time.time()
    for key, name in checked.items():
        answers[key] = stored[name].entry(now) if name in stored else errors[name]
    return answers


def _checked(source: str, key: str) -> str:
    try:
        return check_key(key)
    except ValueError as error:
        raise UnknownKey(str(error), source=source) from error


def _why_missing(name: str, keys: Iterable[str]) -> dict[str, ReadError]:
    """For each of `keys`, none of which has an entry, the error that says why. Raises UnknownSource."""
    source = Source.objects.filter(name=name).first()
    if source is None:
        raise UnknownSource(f"There is no source {name!r}.", source=name)
    pinned = set(Key.objects.filter(source=source, key__in=keys).values_list("key", flat=True))
    return {
        key: NotReady(f"Nothing has been fetched for {key!r} yet.", source=name, key=key)
        if key in pinned
        else UnknownKey(f"The source {name!r} doesn't serve {key!r}.", source=name, key=key)
        for key in keys
    }
