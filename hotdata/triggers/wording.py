"""A cron expression in words of the active language, by cron-descriptor.

cron-descriptor leaves the names of days and months in English; Django has them in every language.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path

import cron_descriptor
from cron_descriptor import ExpressionDescriptor
from django.utils.dates import MONTHS, WEEKDAYS
from django.utils.translation import get_language, override, to_locale

LOCALES = Path(cron_descriptor.__file__).parent / "locale"
ENGLISH = "en_US"
CHINESE = {"zh_Hans": "zh_CN", "zh_Hant": "zh_TW"}


def words(expression: str) -> str:
    """The expression in words or, where cron-descriptor can't put it into any, as it stands."""
    locale = _locale(get_language() or "en")
    try:
        text = str(
            ExpressionDescriptor(
                expression.upper(), locale_code=locale, use_24hour_time_format=True, verbose=False
            ).get_description()
        )
    except (cron_descriptor.FormatError, ValueError):
        return expression
    return text if locale == ENGLISH else _translate_names(text).strip()


@functools.cache
def _locale(language: str) -> str:
    """The locale of cron-descriptor for a language of Django's; English where it has none."""
    locale = to_locale(language)
    wanted = CHINESE.get(locale, locale)
    if (LOCALES / f"{wanted}.mo").is_file():
        return wanted
    relatives = sorted(path.stem for path in LOCALES.glob(f"{locale.split('_')[0]}_*.mo"))
    return relatives[0] if relatives else ENGLISH


def _translate_names(text: str) -> str:
    return _english_names().sub(lambda match: str(_names()[match[0]]), text)


@functools.cache
def _names() -> dict[str, object]:
    with override("en"):
        return {str(name): name for name in (*WEEKDAYS.values(), *MONTHS.values())}


@functools.cache
def _english_names() -> re.Pattern[str]:
    # Not \b: a Chinese character is a word character too, and stands right beside the name.
    return re.compile(rf"(?<![A-Za-z])({'|'.join(_names())})(?![A-Za-z])")
