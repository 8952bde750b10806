"""How often each key is refreshed when there is not budget for all of them as often as they may be: the √ rule.

A key that is refreshed evenly, `rate` times a minute, is half of 1/rate old on average, and so is what its readers
get. Over all reads that is least, at a given sum of rates, where each rate is in proportion to the square root of the
key's reads: in proportion to the reads themselves, the rarely read keys grow so old that nothing is gained over even
rates. (J. Cho and H. Garcia-Molina, *Effective page refresh policies for web crawlers*, ACM TODS 28(4), 2003; Y. Azar
and others, *Tractable near-optimal policies for crawling*, PNAS 115(32), 2018.)

Pure arithmetic, in minutes and refreshes a minute.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

EXACT = 1e-9  # of the budget, that may be left over
MOST_STEPS = 100
"""Of the bisection. Between weights of the most different sizes that a float can have it takes about 50."""


@dataclass(frozen=True, kw_only=True)
class Demand:
    """How much a key is worth to be refreshed, and within which bounds."""

    weight: float
    """The weight of one read times the reads a minute; 0 or more."""
    shortest: float
    """Minutes that pass between two refreshes at least; above 0."""
    longest: float
    """Minutes that may pass between two refreshes; no less than `shortest`."""


def rates(demands: Sequence[Demand], budget: float) -> list[float]:
    """Refreshes a minute for each of `demands`, whose sum is `budget` or as near below it as their bounds allow.

    Each is clamp(m·√weight, 1/longest, 1/shortest), where m is the same for all. When not even all at their longest
    interval keep to the budget, it is the bounds that give way: each rate is the same part of 1/longest.
    """
    ranges = [(math.sqrt(demand.weight), 1 / demand.longest, 1 / demand.shortest) for demand in demands]
    lowest = math.fsum(low for _, low, _ in ranges)
    if lowest > budget:
        return [low * (budget / lowest) for _, low, _ in ranges]
    return _rates_at(_multiplier(ranges, budget), ranges)


_Range = tuple[float, float, float]
"""The root of a weight, the lowest rate, and the highest."""


def _multiplier(ranges: Sequence[_Range], budget: float) -> float:
    """The highest m, but for `EXACT`, whose rates keep to `budget`, which the lowest rates do."""
    weighed = [(root, low, high) for root, low, high in ranges if root > 0]
    if not weighed:
        return 0.0
    most = max(high / root for root, _, high in weighed)
    if math.fsum(_rates_at(most, ranges)) <= budget:
        return most
    least = min(low / root for root, low, _ in weighed)
    for _ in range(MOST_STEPS):
        # Halved by ratio, since weights may be a million times apart.
        middle = math.sqrt(least) * math.sqrt(most)
        if not least < middle < most:
            break
        total = math.fsum(_rates_at(middle, ranges))
        if total > budget:
            most = middle
        else:
            least = middle
            if total >= budget * (1 - EXACT):
                break
    return least


def _rates_at(multiplier: float, ranges: Sequence[_Range]) -> list[float]:
    return [min(max(multiplier * root, low), high) for root, low, high in ranges]
