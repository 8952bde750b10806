"""Orders: how something is to be made of a period, and what came of that."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any


class Again(enum.StrEnum):
    """How what was made once follows what is on record now."""

    REMAKE = "remake"
    """It is made again, and takes the place of the one that was there."""
    CORRECT = "correct"
    """It stays, and a correction is issued beside it."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """How something is to be made."""

    by: str
    now: datetime
    remake: bool = False
    """Replace what is there, unless the new one counts fewer records,"""
    force: bool = False
    """or even then."""
    correct: bool = False
    """Issue a correction, if what is on record now comes to something else than what is there."""
    mail: bool | None = None
    """None: only what is new. True: also what was there already."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """What came of an order."""

    name: str
    said: str
    """One sentence."""
    done: bool
    """Whether anything was made; else it was there already."""
    read: Callable[[], Any]
    """Gives what it holds, as JSON."""
