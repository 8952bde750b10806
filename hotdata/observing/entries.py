"""How keys of a source stand: what is stored of each, and when and why it is refreshed next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from django.utils.translation import gettext_lazy

from hotdata.freshness import absences, entries
from hotdata.freshness.entries import Stored
from hotdata.freshness.planner import Plan, PlannedKey
from hotdata.keys import check_key

EntryState = Literal["fresh", "stale", "expired", "missing", "absent"]

LABELS: dict[EntryState, Any] = {
    "fresh": gettext_lazy("Fresh"),
    "stale": gettext_lazy("Stale"),
    "expired": gettext_lazy("Expired"),
    "missing": gettext_lazy("Missing"),
    "absent": gettext_lazy("Absent"),
}


@dataclass(frozen=True, kw_only=True)
class KeyState:
    """How a key stands."""

    key: str
    state: EntryState
    """Missing: nothing is stored. Absent: and the upstream said that there is no such thing."""
    age: timedelta | None
    planned: PlannedKey | None
    """None for a key that is not kept hot."""

    @property
    def label(self) -> Any:
        return LABELS[self.state]


def search(plan: Plan, text: str) -> list[PlannedKey]:
    """The planned keys that have `text` in them, whatever its case; those that are due first come first."""
    sought = text.casefold()
    return [planned for planned in plan.keys if sought in planned.key.casefold()]


def key_states(source: str, keys: Sequence[PlannedKey], now: datetime) -> list[KeyState]:
    """How the planned `keys` stand, in two round trips. Raises CacheUnavailable."""
    names = [planned.key for planned in keys]
    stored = entries.read_many(source, names)
    absent = absences.among(source, [name for name in names if name not in stored])
    return [
        _key_state(planned.key, stored.get(planned.key), planned.key in absent, planned, now)
        for planned in keys
    ]


def other_key(source: str, text: str, plan: Plan, now: datetime) -> KeyState | None:
    """The key that is just `text`, if it is not kept hot, but something is known of it. Raises CacheUnavailable."""
    try:
        key = check_key(text)
    except ValueError:
        return None
    if any(planned.key == key for planned in plan.keys):
        return None
    stored, absent = entries.read(source, key), absences.known(source, key)
    return _key_state(key, stored, absent, None, now) if stored is not None or absent else None


def _key_state(
    key: str, stored: Stored | None, absent: bool, planned: PlannedKey | None, now: datetime
) -> KeyState:
    if stored is None:
        return KeyState(key=key, state="absent" if absent else "missing", age=None, planned=planned)
    seconds = now.timestamp()
    state: EntryState = "expired"
    if seconds < stored.soft_expiry:
        state = "fresh"
    elif seconds < stored.hard_expiry:
        state = "stale"
    age = timedelta(seconds=max(0.0, seconds - stored.fetched_at))
    return KeyState(key=key, state=state, age=age, planned=planned)
