"""Reading a fresh entry: `hotdata.get` against `cache.get` of the same payload on the same cache."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.measuring import percentile, seconds

PAYLOAD = {"symbol": "AAPL", "price": 231.4, "history": [round(230 + number / 7, 2) for number in range(80)]}
READS = 10_000


def measure() -> dict[str, Any]:
    """p50 and p99 in microseconds of both, one read of each in turn."""
    from django.core.cache import caches

    import hotdata
    from hotdata.conf import conf
    from hotdata.freshness import entries
    from hotdata.freshness.entries import Stored

    now = time.time()
    stored = Stored(
        source="bench",
        key="AAPL",
        value=PAYLOAD,
        fetched_at=now,
        soft_expiry=now + 600,
        hard_expiry=now + 600,
        changed_at=now,
    )
    entries.write([stored])
    cache = caches[conf().cache]
    name = entries.name_of("bench", "AAPL")
    assert cache.get(name) is not None
    raw, ours = [], []
    for _ in range(READS):
        raw.append(seconds(lambda: cache.get(name)))
        ours.append(seconds(lambda: hotdata.get("bench", "AAPL")))
    figures = {
        "raw_p50_us": percentile(raw, 0.5) * 1e6,
        "get_p50_us": percentile(ours, 0.5) * 1e6,
        "raw_p99_us": percentile(raw, 0.99) * 1e6,
        "get_p99_us": percentile(ours, 0.99) * 1e6,
    }
    return {
        **figures,
        "ratio_p50": figures["get_p50_us"] / figures["raw_p50_us"],
        "ratio_p99": figures["get_p99_us"] / figures["raw_p99_us"],
    }
