"""Documents: what a file of definitions says, read but not yet compared with what is there.

```yaml
version: 1
sources:
  stock:
    base_url: https://api.example.com/v1
    path: /quote/{key}
    keys:
      AAPL: {}
      MSFT:
        weight: 2.0
jobs:
  update_stocks:
    task: refresh_source
    params:
      source: stock
    cron: '*/5 * * * *'
    time_zone: UTC
```

A field that is left out is as by default.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

VERSION = 1
KEYS = "keys"
SECTIONS = ("sources", "jobs")
"""In the order in which they are written and applied: jobs name sources."""

Written = Mapping[str, Any]
"""All fields of a definition, as they stand in a file."""


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """One job or source, by all of its fields."""

    name: str
    fields: Written
    keys: Mapping[str, Written] = {}
    """The pinned keys of a source."""


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """Definitions by name."""

    sources: Mapping[str, Definition] = {}
    jobs: Mapping[str, Definition] = {}
    lines: Mapping[str, int] = {}
    """Where a path such as ``jobs.update_stocks.cron`` stands, from 1 on."""

    def line_of(self, path: str) -> int:
        """Where `path` stands, or what it is a part of."""
        while path and path not in self.lines:
            path = path.rpartition(".")[0]
        return self.lines.get(path, 1)
