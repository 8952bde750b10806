"""Readiness: whether this web process should be sent requests.

Without its database, or with one that isn't migrated, it can answer next to nothing, and should not. Without Redis it
serves what it has read last; without a scheduler, or with one that is behind, it serves what is stored. Then it is
``degraded``, and ready: to take all web processes out of service would turn a scheduler's trouble into everybody's.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from hotdata.models.components import Health
from hotdata.observing.bounded import Seen, look_at
from hotdata.observing.health import DATABASE, LOOKS, MIGRATIONS, worst

ESSENTIAL = (DATABASE, MIGRATIONS)
TIMEOUT = timedelta(seconds=3)
"""For each check; they are made at the same time."""


@dataclass(frozen=True, kw_only=True)
class Readiness:
    """What the checks found, by name."""

    seen: dict[str, Seen]

    @property
    def state(self) -> Health:
        """``down`` when something essential is; when anything else isn't well, no worse than ``degraded``."""
        if worst(self.seen[name].part.state for name in ESSENTIAL) == Health.DOWN:
            return Health.DOWN
        whole = worst(seen.part.state for seen in self.seen.values())
        return Health.OK if whole == Health.OK else Health.DEGRADED


def look() -> Readiness:
    """How ready this process is now; known within four seconds, whatever hangs."""
    return Readiness(seen=look_at(tuple(LOOKS), timeout=TIMEOUT))
