"""How the pages show texts that anybody may have written: logs, errors, results. What can't be seen is made visible."""

from __future__ import annotations

import json
from typing import Any

from hotdata.text import first_line, shortened, visible

__all__ = ["first_line", "pretty", "visible"]


def pretty(data: Any, limit: int) -> str:
    """JSON `data` for people to read, shortened to about `limit` characters."""
    return visible(shortened(json.dumps(data, ensure_ascii=False, indent=2), limit))
