"""A cron expression in words of the active language, by cron-descriptor.

It puts phrases one after the other: the time, the day of the month, the weekday, the month. Ours for these, in the
language's catalogue, go before its own: some of its languages lack one, and it then leaves the phrase out. It leaves
the names of days and months in English; Django has them in every language.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import cron_descriptor
from cron_descriptor import ExpressionDescriptor
from django.utils.dates import MONTHS, WEEKDAYS
from django.utils.translation import get_language, override, pgettext, pgettext_lazy, to_locale

from hotdata.triggers.crontab import parse

LOCALES = Path(cron_descriptor.__file__).parent / "locale"
ENGLISH = "en_US"
COMMA = ", "
CHINESE = {"zh_Hans": "zh_CN", "zh_Hant": "zh_TW"}

# All of cron-descriptor that five fields can bring up, in its own spelling.
PHRASES = (
    pgettext_lazy("cron", "At "),
    pgettext_lazy("cron", "At"),
    pgettext_lazy("cron", " and"),
    pgettext_lazy("cron", " and "),
    pgettext_lazy("cron", "Every minute between {0} and {1}"),
    pgettext_lazy("cron", "every minute"),
    pgettext_lazy("cron", "every {0} minutes"),
    pgettext_lazy("cron", "minutes {0} through {1} past the hour"),
    pgettext_lazy("cron", "at {0} minutes past the hour"),
    pgettext_lazy("cron", "at {0} minutes past the hour [grThen20]"),
    pgettext_lazy("cron", ", minute {0} through minute {1}"),
    pgettext_lazy("cron", "every hour"),
    pgettext_lazy("cron", "every {0} hours"),
    pgettext_lazy("cron", "between {0} and {1}"),
    pgettext_lazy("cron", "at {0}"),
    pgettext_lazy("cron", ", hour {0} through hour {1}"),
    pgettext_lazy("cron", ", starting {0}"),
    pgettext_lazy("cron", "starting {0}"),
    pgettext_lazy("cron", ", every minute"),
    pgettext_lazy("cron", ", every hour"),
    pgettext_lazy("cron", ", every day"),
    pgettext_lazy("cron", ", every {0} days"),
    pgettext_lazy("cron", ", between day {0} and {1} of the month"),
    pgettext_lazy("cron", ", on day {0} of the month"),
    pgettext_lazy("cron", ", {0} through {1}"),
    pgettext_lazy("cron", ", on the last day of the month"),
    pgettext_lazy("cron", ", on the last weekday of the month"),
    pgettext_lazy("cron", ", every {0} days of the week"),
    pgettext_lazy("cron", ", every {0} weeks"),
    pgettext_lazy("cron", "first"),
    pgettext_lazy("cron", "second"),
    pgettext_lazy("cron", "third"),
    pgettext_lazy("cron", "fourth"),
    pgettext_lazy("cron", "fifth"),
    pgettext_lazy("cron", ", on the "),
    pgettext_lazy("cron", " {0} of the month"),
    pgettext_lazy("cron", ", on the last {0} of the month"),
    pgettext_lazy("cron", ", or on {0}"),
    pgettext_lazy("cron", ", only on {0}"),
    pgettext_lazy("cron", ", every {0} months"),
    pgettext_lazy("cron", ", month {0} through month {1}"),
    pgettext_lazy("cron", ", only in {0}"),
)


def words(expression: str) -> str:
    """The normalised `expression` in words or, where cron-descriptor can't put it into any, as it stands.

    Only for one that parses: cron-descriptor takes what is in it for formats, and a number there for a width.
    """
    return _words(expression, get_language() or "en")


@functools.lru_cache(maxsize=4096)
def _words(expression: str, language: str) -> str:
    """`words` in `language`, the active one. Kept: each takes 0.2 ms, and a list of jobs has hundreds."""
    locale = _locale(language)
    try:
        text = str(_Descriptor(_with_days_listed(expression), locale).get_description())
    except (cron_descriptor.FormatError, ValueError):
        return expression
    return text if locale == ENGLISH else _polished(text)


class _Descriptor(ExpressionDescriptor):  # type: ignore[misc]  # cron-descriptor has no types that mypy sees
    """cron-descriptor with our phrases, and with Debian's "or"."""

    def __init__(self, expression: str, locale: str) -> None:
        super().__init__(expression.upper(), locale_code=locale, use_24hour_time_format=True, verbose=False)

    def translate(self, message: str) -> str:
        if message == ", or on {0}" and self._expression_parts[3].startswith("*"):
            message = ", only on {0}"
        ours = _phrases().get(message, message)
        return str(ours) if ours != message else str(super().translate(message))

    def get_segment_description(self, expression: str, *phrases: Any) -> str:
        """As it was, but for the commas of a list, which are others than those between phrases in some languages."""
        text = str(super().get_segment_description(expression, *phrases))
        comma = _comma_of_lists()
        if "," not in expression or comma == COMMA:
            return text
        begin = COMMA if text.startswith(COMMA) else ""
        items = text.removeprefix(COMMA).replace("," + self.translate(" and "), self.translate(" and "))
        return begin + items.replace(COMMA, comma)


@functools.cache
def _phrases() -> dict[str, object]:
    with override(None):
        return {str(phrase): phrase for phrase in PHRASES}


def _with_days_listed(expression: str) -> str:
    """`expression` with its weekdays one by one where cron-descriptor would tell them wrongly.

    It takes a step from a day on for one in weeks, and says "or" of days that are listed, but not of a range.
    Raises ValueError for what it can't tell at all: several weekdays, some of them of some weeks only.
    """
    *others, day, month, weekdays = expression.split()
    if "," in weekdays and parse(expression).weekdays is None:
        raise ValueError(weekdays)
    either = not day.startswith("*")
    if weekdays.startswith("*") or not ("/" in weekdays or (either and "-" in weekdays)):
        return expression
    days = parse(expression).weekdays
    if days is None:
        return expression
    return " ".join([*others, day, month, ",".join(map(str, days))])


@functools.cache
def _locale(language: str) -> str:
    """The locale of cron-descriptor for a language of Django's; English where it has none."""
    locale = to_locale(language)
    wanted = CHINESE.get(locale, locale)
    if (LOCALES / f"{wanted}.mo").is_file():
        return wanted
    relatives = sorted(path.stem for path in LOCALES.glob(f"{locale.split('_')[0]}_*.mo"))
    return relatives[0] if relatives else ENGLISH


def _polished(text: str) -> str:
    """`text` with names and commas of the active language, and without spaces between Chinese characters."""
    text = _english_names().sub(lambda match: str(_names()[match[0]]), text).strip()
    text = re.sub(r"(?<=\d), (?=\d)", _comma_of_lists(), text)  # of the hours in "At 08:00, 12:00 and 20:00"
    return re.sub(r"(?<=[一-鿿]) (?=[一-鿿])", "", text.replace(COMMA, pgettext("cron", ", ")))


def _comma_of_lists() -> str:
    return pgettext("cron, in a list", ", ")


@functools.cache
def _names() -> dict[str, object]:
    with override("en"):
        return {str(name): name for name in (*WEEKDAYS.values(), *MONTHS.values())}


@functools.cache
def _english_names() -> re.Pattern[str]:
    # Not \b: a Chinese character is a word character too, and stands right beside the name.
    return re.compile(rf"(?<![A-Za-z])({'|'.join(_names())})(?![A-Za-z])")
