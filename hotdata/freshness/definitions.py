"""Sources as those who read know them: each process looks a definition up at most once a second.

Most reads need none. One that finds no entry does, and a stranger who asks for a thousand keys that don't exist
must not make a thousand queries of that.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

from django.db.models.signals import post_delete, post_save

from hotdata.exceptions import BadSource, UnknownSource
from hotdata.keys import KeyPattern
from hotdata.models import Key, Source
from hotdata.models.acceptance import KeyPolicy

KEPT = 1.0  # seconds
MAX_KEPT = 1000


@dataclass(frozen=True, kw_only=True)
class Definition:
    """A source, and which keys it serves."""

    source: Source
    pinned: frozenset[str]
    pattern: KeyPattern | None

    def serves(self, key: str) -> bool:
        """Whether the checked `key` may be fetched because a reader asks for it."""
        if key in self.pinned:
            return True
        policy = self.source.key_policy
        matches = self.pattern is not None and self.pattern.matches(key)
        return policy == KeyPolicy.ANY or (policy == KeyPolicy.PATTERN and matches)


_known: dict[str, tuple[float, Definition | None]] = {}
_lock = threading.Lock()


def definition_of(name: str) -> Definition:
    """The source called `name`, as it was within the last second. Raises UnknownSource."""
    now = time.monotonic()
    until, found = _known.get(name, (0.0, None))
    if until <= now:
        found = _look_up(name)
        with _lock:
            if len(_known) >= MAX_KEPT:
                _known.clear()
            _known[name] = (now + KEPT, found)
    if found is None:
        raise UnknownSource(f"There is no source {name!r}.", source=name)
    return found


def _look_up(name: str) -> Definition | None:
    source = Source.objects.prefetch_related("pinned").filter(name=name).first()
    if source is None:
        return None
    try:
        pattern = source.build_pattern()
    except BadSource:  # written behind the model's back; it matches nothing
        pattern = None
    return Definition(source=source, pinned=frozenset(source.pinned_keys()), pattern=pattern)


def forget(**_: Any) -> None:
    """Look everything up anew."""
    with _lock:
        _known.clear()


for _model in (Source, Key):
    post_save.connect(forget, sender=_model)
    post_delete.connect(forget, sender=_model)
