"""How durations, shares and exact numbers are put, in the active language."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from django.utils import formats
from django.utils.translation import gettext as _

NONE = "–"
SECOND, MINUTE, HOUR, DAY = (timedelta(**{unit: 1}) for unit in ("seconds", "minutes", "hours", "days"))


def took(duration: timedelta | None) -> str:
    """A duration with two digits or so: 306 ms, 1.4 s, 32 s, 54 min, 9 h 20 min, 3 d 4 h."""
    if duration is None:
        return NONE
    if duration < SECOND:
        return _("%(n)d ms") % {"n": round(max(duration, timedelta()) / timedelta(milliseconds=1))}
    if duration < 10 * SECOND:
        return _("%(n)s s") % {"n": formats.number_format(round(duration / SECOND, 1), 1)}
    if duration < 2 * MINUTE:
        return _("%(n)s s") % {"n": duration // SECOND}
    if duration < 2 * HOUR:
        return _("%(n)d min") % {"n": duration // MINUTE}
    if duration < 2 * DAY:
        return _("%(hours)d h %(minutes)d min") % {
            "hours": duration // HOUR,
            "minutes": duration % HOUR // MINUTE,
        }
    return _("%(days)d d %(hours)d h") % {"days": duration // DAY, "hours": duration % DAY // HOUR}


def grouped(number: int | Decimal) -> str:
    """`number` with all its digits, in groups of three: 1,234.50."""
    return format(Decimal(number), ",f")


def share(value: float | None) -> str:
    """A share as per cent: 97.2 %. It is 100 % only when nothing is missing, and 0 % only when nothing is there."""
    if value is None:
        return NONE
    percent = round(value * 100, 1)
    if percent >= 100 and value < 1:
        percent = 99.9
    if percent <= 0 and value > 0:
        percent = 0.1
    return _("%(n)s %%") % {"n": formats.number_format(percent, 1)}
