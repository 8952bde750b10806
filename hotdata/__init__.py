"""hotdata keeps the data people look at fresh. What an application needs of it is here.

@hotdata.task            register a function that jobs can run
@hotdata.fetcher         register a function that fetches a source's keys
hotdata.get(source, key) read hot data; hotdata.get_many(source, keys) for several
hotdata.freshness(source) what readers of a source got lately: how old, how often, within its objective?
hotdata.SourceName       the type of a task's parameter that names a source
hotdata.current_run()    inside a task: its progress, deadline and cancellation
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

from hotdata import freshness
from hotdata.registry import fetcher, task
from hotdata.version import VERSION

if TYPE_CHECKING:
    from hotdata.execution.context import current_run
    from hotdata.freshness.entries import Entry
    from hotdata.freshness.reads import get, get_many
    from hotdata.models.sources import SourceName
    from hotdata.observing.freshness import Freshness

__version__ = VERSION

__all__ = ["Entry", "SourceName", "current_run", "fetcher", "freshness", "get", "get_many", "task"]

# These need Django's models, which can't be imported while Django still loads its apps, this one among them.
_LATE = {
    "Entry": "hotdata.freshness.entries",
    "SourceName": "hotdata.models.sources",
    "get": "hotdata.freshness.reads",
    "get_many": "hotdata.freshness.reads",
    "current_run": "hotdata.execution.context",
}


class _Callable(ModuleType):
    """The package `hotdata.freshness`, which has the name of what an application asks it for."""

    def __call__(self, source: str, **options: Any) -> Freshness:
        """As `hotdata.observing.freshness.freshness_of`."""
        freshness_of = importlib.import_module("hotdata.observing.freshness").freshness_of
        found: Freshness = freshness_of(source, **options)
        return found


freshness.__class__ = _Callable


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_LATE[name]), name)
    globals()[name] = value
    return value
