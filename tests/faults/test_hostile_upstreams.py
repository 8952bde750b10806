"""Sources whose upstreams do what no upstream should: each refresh ends in time, and what was stored stays."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from hotdata.freshness import entries
from hotdata.freshness.outcomes import RefreshFailed
from hotdata.freshness.refresh import refresh
from hotdata.models import ApiCall, Source
from tests.builders import make_source, store
from tests.freshness.conftest import close_upstreams
from tests.freshness.hostile import BEHAVIOURS, hostile_process

# What is kept fresh is in Redis: which database there is beside it has no say.
pytestmark = [
    pytest.mark.only_on("sqlite"),
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("clear_cache"),
]

STATM = Path("/proc/self/statm")
TIMEOUT = timedelta(seconds=0.3)
IN_TIME = 0.5  # seconds
WARM_UP, ROUNDS = 6, 12
MOST_GROWTH = 20 * 1024 * 1024

GOOD = {"ok", "zipped", "cookie"}
"""What is odd, but an answer."""
NOT_AN_ANSWER = {"status", "redirect"}
"""What needs more than its name; test_transport.py has them."""
BAD = sorted(BEHAVIOURS.keys() - GOOD - NOT_AN_ANSWER)
PRICE = {"price": 1}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with hostile_process() as there:
        yield there


@pytest.fixture
def source(address: str, settings: Settings) -> Iterator[Source]:
    """A source whose keys are the names of what its upstream does."""
    settings.HOTDATA_ALLOW_PRIVATE = [address]
    yield make_source(name="stock", base_url=f"http://{address}", path="/{key}", timeout=TIMEOUT)
    close_upstreams()


def seconds(source: Source, *keys: str) -> float:
    """How long a refresh of `keys` takes, whatever it comes to."""
    begun = time.monotonic()
    with suppress(RefreshFailed):
        refresh(source, keys)
    return time.monotonic() - begun


def value(key: str) -> Any:
    return entries.read("stock", key).value


@pytest.fixture
def in_time(source: Source) -> float:
    """Seconds in which any refresh of one key has to end, on this machine as busy as it is now."""
    seconds(source, "ok")
    return TIMEOUT.total_seconds() + max(IN_TIME, 10 * max(seconds(source, "ok") for _ in range(5)))


@pytest.mark.parametrize("behaviour", BAD)
def test_whatever_an_upstream_does_a_refresh_ends_in_time_and_keeps_the_old_value(
    source: Source, in_time: float, behaviour: str
) -> None:
    store(key=behaviour, value="old", age=60)
    assert seconds(source, behaviour) < in_time
    assert value(behaviour) == "old"
    assert value("ok") == PRICE
    assert ApiCall.objects.filter(keys=behaviour, outcome=ApiCall.Outcome.FAILED).count() == 1


def resident_bytes() -> int:
    return int(STATM.read_text().split()[1]) * resource.getpagesize()


@pytest.mark.slow
@pytest.mark.skipif(not STATM.exists(), reason="only Linux tells how large a process is now")
def test_whatever_upstreams_do_again_and_again_costs_no_memory(source: Source) -> None:
    for key in BAD:
        store(key=key, value="old", age=60)
    for _ in range(WARM_UP):
        seconds(source, *BAD, *GOOD)
    before = resident_bytes()
    for _ in range(ROUNDS):
        seconds(source, *BAD, *GOOD)
    assert resident_bytes() - before < MOST_GROWTH
    assert {key: value(key) for key in BAD} == dict.fromkeys(BAD, "old")
    assert {key: value(key) for key in GOOD} == dict.fromkeys(GOOD, PRICE)
