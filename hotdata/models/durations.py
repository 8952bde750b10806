"""Durations that operators enter: what makes sense, and what every database and datetime can hold."""

from __future__ import annotations

from datetime import timedelta

from django.db import models

LONGEST = timedelta(days=36_500)
SHORTEST_TIMEOUT = timedelta(milliseconds=1)


def check_durations(row: models.Model, **least: timedelta) -> dict[str, str]:
    """What is wrong with the durations of `row`, by field: shorter than the given one, or above a century."""
    errors = {}
    for field, shortest in least.items():
        value = getattr(row, field)
        if value is not None and value < shortest:
            errors[field] = f"This must be at least {shortest.total_seconds():g} seconds."
        elif value is not None and value > LONGEST:
            errors[field] = f"This must be at most {LONGEST.days:,} days."
    return errors
