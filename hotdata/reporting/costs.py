"""What the calls of a period cost."""

from __future__ import annotations

from hotdata.reporting.amounts import Amount as Amount
from hotdata.reporting.periods import Period


def cost_of(period: Period) -> tuple[Amount, ...] | None:
    """What the upstreams' calls of `period` cost, by currency; None while no price is known."""
    return None
