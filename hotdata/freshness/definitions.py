"""Sources as those who read know them: each process looks a definition up at most once a second.

Most reads need none. One that finds no entry does, and a stranger who asks for a thousand keys or sources that don't
exist must not make a thousand queries of that: so the names of all sources are looked up, once a second as well.
While one thread looks, the others take what was known before, if anything was. So does everybody while the database
is away: a reader is not refused for want of an answer that was known a moment ago.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import Error as AnyDatabaseError
from django.db import close_old_connections
from django.db.models.signals import post_delete, post_save
from django.utils import timezone

from hotdata.exceptions import BadSource, UnknownSource
from hotdata.keys import KeyPattern
from hotdata.logs import EventLogger
from hotdata.models import Key, Source
from hotdata.models.acceptance import KeyPolicy
from hotdata.models.hotkeys import guest_keys

logger = EventLogger(__name__)

KEPT = 1.0  # seconds
NAMES = ""  # what the names of all sources are known by; it is the name of none


@dataclass(frozen=True, kw_only=True)
class Definition:
    """A source, and which keys it serves."""

    source: Source
    pinned: frozenset[str]
    pattern: KeyPattern | None
    guests: frozenset[str] = frozenset()
    """Keys that a task fetched, and that could not be fetched otherwise, or not as they were."""

    def serves(self, key: str) -> bool:
        """Whether the checked `key` may be fetched because a reader asks for it."""
        return key in self.guests or self.serves_by_itself(key)

    def serves_by_itself(self, key: str) -> bool:
        """`serves`, if no task had fetched it."""
        if key in self.pinned:
            return True
        policy = self.source.key_policy
        matches = self.pattern is not None and self.pattern.matches(key)
        return policy == KeyPolicy.ANY or (policy == KeyPolicy.PATTERN and matches)

    def can_be_asked_again(self, key: str, placeholders: Mapping[str, str]) -> bool:
        """Whether nothing but the checked `key` is needed to fetch it as it was, with `placeholders`."""
        return key in self.pinned or (not placeholders and self.serves_by_itself(key))

    def is_refreshed_at(self, now: datetime) -> bool:
        """Whether keys that have an entry may be refreshed: not while the source is switched off, or rests."""
        try:
            return self.source.enabled and self.source.build_windows().is_open(now)
        except BadSource:  # written behind the model's back
            return False


class _Known:
    """What was looked up within the last second, by name. Thread-safe."""

    def __init__(self) -> None:
        self._looking = threading.Lock()
        self._found: dict[str, tuple[float, Any]] = {}
        self._away = False

    def get(self, name: str, look_up: Callable[[], Any]) -> Any:
        """What `look_up` gives, now or within the last second; while it fails, what it gave last."""
        until, found = self._found.get(name, (0.0, None))
        if time.monotonic() < until:
            return found
        # Only where nothing was known before, there is nothing to do but to wait for who looks.
        if self._looking.acquire(blocking=name not in self._found):
            try:
                return self._looked_up(name, look_up)
            finally:
                self._looking.release()
        return found

    def knows(self, name: str) -> bool:
        """Whether `name` was ever looked up."""
        return name in self._found

    def _looked_up(self, name: str, look_up: Callable[[], Any]) -> Any:
        until, found = self._found.get(name, (0.0, None))
        if time.monotonic() < until:
            return found
        away: AnyDatabaseError | None = None
        try:
            found = look_up()
        except AnyDatabaseError as error:
            if name not in self._found:
                raise
            away = error
            close_old_connections()  # what broke would stay so, in a thread that serves no request
        self._note(away)
        self._found[name] = time.monotonic() + KEPT, found
        return found

    def _note(self, away: AnyDatabaseError | None) -> None:
        """Say once that the database is away, and once that it is back."""
        if away is not None and not self._away:
            logger.warning("definitions.database_away", error=away)
        elif away is None and self._away:
            logger.info("definitions.database_back")
        self._away = away is not None


_known = _Known()


def definition_of(name: str) -> Definition:
    """The source called `name`, as it was within the last second. Raises UnknownSource."""
    known, found = _known, None
    if known.knows(name) or name in known.get(NAMES, _names):
        found = known.get(name, lambda: _look_up(name))
    if found is None:
        raise UnknownSource(f"There is no source {name!r}.", source=name)
    assert isinstance(found, Definition)
    return found


def _names() -> frozenset[str]:
    return frozenset(Source.objects.values_list("name", flat=True))


def _look_up(name: str) -> Definition | None:
    source = Source.objects.prefetch_related("pinned").filter(name=name).first()
    if source is None:
        return None
    return defined(source, guest_keys(name, timezone.now()))


def defined(source: Source, its_guests: Iterable[str] = ()) -> Definition:
    """The definition of `source` by its row, its pinned keys, and those of its guests that matter to the caller."""
    try:
        pattern = source.build_pattern()
    except BadSource:  # written behind the model's back; it matches nothing
        pattern = None
    pinned = frozenset(source.pinned_keys())
    return Definition(source=source, pinned=pinned, pattern=pattern, guests=frozenset(its_guests))


def forget(**_: Any) -> None:
    """Look everything up anew. What is being looked up just now is for those alone who have asked before."""
    global _known
    _known = _Known()


os.register_at_fork(after_in_child=forget)  # its lock may have been held in the parent

for _model in (Source, Key):
    post_save.connect(forget, sender=_model)
    post_delete.connect(forget, sender=_model)
