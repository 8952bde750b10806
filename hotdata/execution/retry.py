"""When a failed attempt is tried again.

Exponential backoff with full jitter (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog,
2015): a uniformly random share of a delay that doubles with each attempt, up to a cap.
"""

from __future__ import annotations

import random
from datetime import timedelta

MAX_DOUBLINGS = 32


def retry_delay(
    attempt: int, *, first: timedelta, longest: timedelta, retry_after: timedelta | None = None
) -> timedelta:
    """How long to wait after failed attempt number `attempt` (1 for the first).

    At least `retry_after`, where whoever failed asked for it, and then even above `longest`: asking again
    earlier could only fail.
    """
    # In floats: a long first delay, doubled often, is more than a timedelta holds.
    doubled = first.total_seconds() * 2.0 ** min(attempt - 1, MAX_DOUBLINGS)
    ceiling = timedelta(seconds=min(longest.total_seconds(), doubled))
    jittered = ceiling * random.random()  # noqa: S311 - spreads load, guards nothing
    return max(jittered, retry_after or timedelta(0))
