"""Durations that operators enter: what makes sense, and what every database and datetime can hold."""

from __future__ import annotations

from datetime import timedelta

from django.db import models
from django.utils.translation import gettext as _

LONGEST = timedelta(days=36_500)
SHORTEST_TIMEOUT = timedelta(milliseconds=1)


def check_durations(row: models.Model, **least: timedelta) -> dict[str, str]:
    """What is wrong with the durations of `row`, by field: shorter than the given one, or above a century."""
    errors = {}
    for field, shortest in least.items():
        value = getattr(row, field)
        if value is not None and value < shortest:
            message = _("This must be at least %(least)s seconds.")
            errors[field] = message % {"least": f"{shortest.total_seconds():g}"}
        elif value is not None and value > LONGEST:
            errors[field] = _("This must be at most %(most)s days.") % {"most": f"{LONGEST.days:,}"}
    return errors
