"""How hot data is read: `get` and `get_many`.

What is stored is returned at once, fresh or stale; a reader of what is stale has a refresh asked for, and waits for
none. Only who reads a key that nobody has fetched yet waits, for a bounded time, for the one fetch that the whole
fleet makes. While Redis is away, the process serves what it has read last, and says so.

A key that the source doesn't serve costs nothing: no fetch, no counter, no entry, and a query a second at most.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from hotdata.conf import conf
from hotdata.exceptions import CacheUnavailable, NotReady, ReadError, UnknownKey
from hotdata.freshness import absences, background, entries, flights, hotkeys, meters
from hotdata.freshness.definitions import Definition, definition_of
from hotdata.freshness.entries import Entry, Stored
from hotdata.freshness.lastknown import last_known
from hotdata.freshness.meters import Served
from hotdata.keys import check_key


def get(source: str, key: str) -> Entry:
    """The last good value of `key`, with its age: fresh, or stale until it is refreshed.

    Waits for no upstream, unless nobody has fetched the key yet: then up to the setting ``HOTDATA_READ_PATIENCE`` for
    the one call that is made for all. Raises UnknownSource; UnknownKey for a malformed key and one that the
    source or its upstream doesn't have; NotReady, with the time after which to ask again, when there is nothing
    to return yet; CacheUnavailable when Redis can't be reached and this process has not read the key before.
    """
    checked = _checked(source, key)
    try:
        stored = entries.read(source, checked, replica=True)
    except CacheUnavailable as error:
        return _last_known(source, checked, error)
    if stored is not None:
        return _served(stored)
    answer = _fetched(definition_of(source), [checked])[checked]
    if isinstance(answer, ReadError):
        raise answer
    return answer


def get_many(source: str, keys: Iterable[str]) -> dict[str, Entry | ReadError]:
    """`get` for several keys in one round trip: by key as given, its entry or the error that `get` would raise.

    Those that nobody has fetched yet are fetched together. Raises UnknownSource and, when it can return none of them,
    CacheUnavailable.
    """
    checked: dict[str, str] = {}
    answers: dict[str, Entry | ReadError] = {}
    for key in keys:
        try:
            checked[key] = _checked(source, key)
        except UnknownKey as error:
            answers[key] = error
    names = list(dict.fromkeys(checked.values()))
    try:
        found = _found(source, names)
    except CacheUnavailable as error:
        found = _all_last_known(source, names, error)
    return answers | {key: found[name] for key, name in checked.items()}


def _found(source: str, names: Sequence[str]) -> dict[str, Entry | ReadError]:
    stored = entries.read_many(source, names, replica=True)
    found: dict[str, Entry | ReadError] = {name: _served(stored[name]) for name in names if name in stored}
    missing = [name for name in names if name not in found]
    # Without any entry, the source itself may not exist.
    return found | _fetched(definition_of(source), missing) if missing or not found else found


def _checked(source: str, key: str) -> str:
    try:
        return check_key(key)
    except ValueError as error:
        raise UnknownKey(str(error), source=source) from error


def _served(stored: Stored) -> Entry:
    """What a reader gets of what is stored, having been counted."""
    entry = stored.entry(time.time())
    background.ensure()
    hotkeys.note(entry.source, entry.key)
    last_known.keep(stored)
    if entry.state == "stale":
        meters.note(entry.source, Served.STALE, entry.age)
        background.want(entry.source, entry.key)
    else:
        meters.note(entry.source, Served.FRESH, entry.age)
    return entry


# What is not there


def _fetched(definition: Definition, keys: Sequence[str]) -> dict[str, Entry | ReadError]:
    """For each of `keys`, none of which has an entry, what came of fetching it, or why it isn't fetched."""
    source = definition.source
    until = time.monotonic() + conf().read_patience.total_seconds()
    answers: dict[str, Entry | ReadError] = {
        key: _not_served(source.name, key) for key in keys if not definition.serves(key)
    }
    served = [key for key in keys if key not in answers]
    absent = absences.among(source.name, served)
    answers |= {key: flights.absent(source.name, key) for key in absent}
    wanted = [key for key in served if key not in absent]
    if wanted and not source.enabled:
        reason = f"The source {source.name!r} is switched off, and has no value to serve."
        return answers | {key: NotReady(reason, source=source.name, key=key) for key in wanted}
    if wanted:
        background.ensure()
        # As after a flush of Redis: who has read it before need not wait for it.
        known = {key: stored for key in wanted if (stored := last_known.get(source.name, key)) is not None}
        if known or len(wanted) > 1:
            flights.start(source, wanted)
        answers |= {key: _remembered(stored, lost=True) for key, stored in known.items()}
        answers |= {key: _waited_for(definition, key, until) for key in wanted if key not in known}
    return answers


def _not_served(source: str, key: str) -> UnknownKey:
    """The error for a key that nobody may have fetched."""
    return UnknownKey(f"The source {source!r} doesn't serve {key!r}.", source=source, key=key)


def _waited_for(definition: Definition, key: str, until: float) -> Entry | ReadError:
    name = definition.source.name
    try:
        stored = flights.wait_for(definition.source, key, until=until)
    except ReadError as error:
        if isinstance(error, NotReady):
            meters.note(name, Served.ERROR, None)
        return error
    entry = stored.entry(time.time(), fetched_now=True)
    hotkeys.note(name, key)
    last_known.keep(stored)
    meters.note(name, Served.MISS, entry.age)
    return entry


# When Redis is away, or has lost it


def _remembered(stored: Stored, *, lost: bool = False) -> Entry:
    """What a reader gets of what this process has read last, since Redis is away or has `lost` it."""
    entry = stored.entry(time.time(), last_known=True, lost=lost)
    meters.note(entry.source, Served.LAST_KNOWN, entry.age)
    return entry


def _last_known(source: str, key: str, error: CacheUnavailable) -> Entry:
    """What this process has read last; raises `error` where that is nothing, and what `get` does."""
    background.ensure()
    stored = last_known.get(source, key)
    if stored is not None:
        return _remembered(stored)
    if not definition_of(source).serves(key):
        raise _not_served(source, key)
    meters.note(source, Served.ERROR, None)
    raise error


def _all_last_known(
    source: str, names: Iterable[str], error: CacheUnavailable
) -> dict[str, Entry | ReadError]:
    """`_last_known` for several; raises `error` when it is the answer to all."""
    found: dict[str, Entry | ReadError] = {}
    for name in names:
        try:
            found[name] = _last_known(source, name, error)
        except UnknownKey as unknown:
            found[name] = unknown
        except CacheUnavailable:
            found[name] = NotReady(str(error), source=source, key=name)
    if not any(isinstance(answer, Entry | UnknownKey) for answer in found.values()):
        raise error
    return found
