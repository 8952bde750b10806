"""Refreshing 200 keys of an upstream that takes 50 ms: the sequential loop of a tutorial against `refresh`.

The upstream is the demo's, in a process of its own. Ours does everything that production does: guarded
transport, fenced writes, a record of each call.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests

from benchmarks.measuring import median, seconds

KEYS = [f"A{chr(65 + number // 26)}{chr(65 + number % 26)}" for number in range(200)]
LATENCY_MS = 50
THREADS = 16
ROUNDS = 3


@contextmanager
def upstream() -> Iterator[str]:
    """The demo upstream with a fixed latency; yields its address."""
    command = [sys.executable, "-m", "benchmarks.slow_upstream", str(LATENCY_MS / 1000)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def measure() -> dict[str, Any]:
    """Median keys per second of both, in turns."""
    from django.core.cache import caches
    from django.test import override_settings

    from hotdata.freshness.refresh import refresh
    from hotdata.models import Source

    with upstream() as url:
        host = url.removeprefix("http://")
        with override_settings(HOTDATA_ALLOW_PRIVATE=[host]):
            source = Source(name="bench", base_url=url, path="/stocks/{key}", concurrency=THREADS)
            source.full_clean()
            source.save()

            def loop() -> None:
                for key in KEYS:
                    caches["default"].set(key, requests.get(f"{url}/stocks/{key}", timeout=5).json(), 300)

            loops, refreshes = [], []
            for _ in range(ROUNDS):
                loops.append(seconds(loop))
                refreshes.append(seconds(lambda: refresh(source, KEYS)))
    return {
        "loop_keys_per_second": len(KEYS) / median(loops),
        "refresh_keys_per_second": len(KEYS) / median(refreshes),
        "ratio": median(loops) / median(refreshes),
    }
