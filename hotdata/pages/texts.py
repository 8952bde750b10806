"""How the pages show texts that anybody may have written: logs, errors, results. What can't be seen is made visible."""

from __future__ import annotations

import json
from typing import Any

from hotdata.text import shortened

CONTROL_PICTURES = 0x2400  # where Unicode has a picture for each of the first 32 characters
SHOWN = {code: CONTROL_PICTURES + code for code in range(32) if chr(code) not in "\n\t"}
SHOWN[0x7F] = 0x2421
# These turn the direction of what follows round, and with it what a line seems to say.
SHOWN |= dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C], 0xFFFD)


def visible(text: str) -> str:
    """`text` with line breaks and tabs as the only characters that do something."""
    return text.replace("\r\n", "\n").replace("\r", "\n").translate(SHOWN)


def first_line(text: str) -> str:
    """The first line of `text` that says something."""
    return visible(text).strip().partition("\n")[0]


def pretty(data: Any, limit: int) -> str:
    """JSON `data` for people to read, shortened to about `limit` characters."""
    return visible(shortened(json.dumps(data, ensure_ascii=False, indent=2), limit))
