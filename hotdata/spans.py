"""Spans: durations as people write and read them, in units: 90 s, 1 h 30 min."""

from __future__ import annotations

import re
from datetime import timedelta

from django.utils.duration import duration_string
from django.utils.translation import gettext as _

MILLISECOND = timedelta(milliseconds=1)
UNITS = {
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "min": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": MILLISECOND,
}
SPELLINGS = {
    "d": ["d", "day", "days", "天", "日"],
    "h": ["h", "hr", "hour", "hours", "小时", "时"],
    "min": ["min", "m", "mins", "minute", "minutes", "分钟", "分"],
    "s": ["s", "sec", "secs", "second", "seconds", "秒"],
    "ms": ["ms", "毫秒"],
}
WORDS = {word: unit for unit, words in SPELLINGS.items() for word in words}
UNIT = "|".join(sorted(WORDS, key=len, reverse=True))
PART = re.compile(rf"(\d+(?:\.\d+)?)\s*({UNIT})(?![a-z])", re.IGNORECASE)
SPAN = re.compile(rf"\s*(?:{PART.pattern}\s*)+", re.IGNORECASE)


def span(value: timedelta) -> str:
    """A duration in units, exactly: 1 h 30 min. What has parts of a millisecond is left in Django's own form."""
    if value < timedelta(0) or value % MILLISECOND:
        return duration_string(value)
    parts, rest = [], value
    for unit, length in UNITS.items():
        count, rest = divmod(rest, length)
        if count:
            parts.append(_counted(count, unit))
    return " ".join(parts) or _counted(0, "s")


def _counted(count: int, unit: str) -> str:
    """So many of a unit, in the active language: what `SPELLINGS` has, for it is read again."""
    texts = {
        "d": _("%(n)s d"),
        "h": _("%(n)s h"),
        "min": _("%(n)s min"),
        "s": _("%(n)s s"),
        "ms": _("%(n)s ms"),
    }
    return texts[unit] % {"n": count}


def read_span(text: str) -> timedelta | None:
    """What a text of counts with units comes to; None for any other text."""
    if not SPAN.fullmatch(text):
        return None
    try:
        return sum(
            (float(count) * UNITS[WORDS[unit.lower()]] for count, unit in PART.findall(text)), timedelta(0)
        )
    except OverflowError:
        return None
