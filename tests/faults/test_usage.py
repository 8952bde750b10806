"""Usage is exact: it is what is on record of calls, whoever is killed at whatever moment."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest
from django.db.models import Count, Q, Sum

from hotdata.freshness.refresh import refresh
from hotdata.models import ApiCall, Source, SourceUsage
from project.demo.upstream import DemoUpstream
from tests.builders import make_source
from tests.faults.test_killed_at_each_step import COUNTING, armed
from tests.freshness.conftest import demo
from tests.processes import PythonProcess
from tests.threads import PATIENCE, eventually, in_thread
from tools.redis_server import RedisServer

__all__ = ["demo"]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("moody_redis")]

SYMBOLS = ("AAPL", "MSFT", "NVDA", "GOOGL")


@pytest.fixture
def environment(
    child_environment: dict[str, str], demo: DemoUpstream, moody_redis: RedisServer
) -> dict[str, str]:
    allowed = {"HOTDATA_ALLOW_PRIVATE": f"127.0.0.1:{demo.port}"}
    return {**child_environment, **allowed, "REDIS_URL": moody_redis.url}


def stocks(demo: DemoUpstream) -> Source:
    return make_source(name="stock", base_url=demo.url, pinned=(*SYMBOLS, "GONE"))


def refreshing(environment: dict[str, str]) -> PythonProcess:
    return PythonProcess(["-m", "tests.faults.refreshing", "stock"], environment)


def counted() -> tuple[int, int, int]:
    """Calls, failed calls and bytes, by usage."""
    sums = SourceUsage.objects.filter(source="stock").aggregate(
        Sum("calls"), Sum("failed_calls"), Sum("size")
    )
    return sums["calls__sum"] or 0, sums["failed_calls__sum"] or 0, sums["size__sum"] or 0


def on_record() -> tuple[int, int, int]:
    """The same, by the calls on record."""
    failed = Count("id", filter=Q(outcome=ApiCall.Outcome.FAILED))
    sums = ApiCall.objects.filter(source="stock").aggregate(
        calls=Count("id"), failed=failed, size=Sum("size")
    )
    return sums["calls"], sums["failed"], sums["size"] or 0


def test_usage_is_what_the_upstream_has_counted(environment: dict[str, str], demo: DemoUpstream) -> None:
    source = stocks(demo)

    def refresh_often() -> None:
        for _ in range(10):
            refresh(source, SYMBOLS)

    for refreshing in [in_thread(refresh_often) for _ in range(4)]:
        refreshing.result(PATIENCE)
    assert len(demo.requests) == 4 * 10 * len(SYMBOLS)
    assert counted() == on_record()
    assert counted()[0] == len(demo.requests)


def test_usage_is_what_is_on_record_whenever_processes_are_killed(
    environment: dict[str, str], demo: DemoUpstream
) -> None:
    stocks(demo)
    demo.set_fault("/stocks/GONE", "404")
    for _ in range(3):
        before = counted()[0]
        with ExitStack() as fleet:
            processes = [fleet.enter_context(refreshing(environment)) for _ in range(2)]
            eventually(lambda before=before: counted()[0] >= before + 50)
            for process in processes:
                process.kill()
        assert counted() == on_record()
    calls, failed, size = counted()
    assert failed >= 1
    assert size > 0
    assert calls <= len(demo.requests)  # some had been made and were not on record yet


@pytest.mark.parametrize("step", COUNTING)
def test_a_process_that_dies_while_it_counts_leaves_both_or_neither(
    environment: dict[str, str], demo: DemoUpstream, tmp_path: Path, step: str
) -> None:
    stocks(demo)
    dangerous, done = armed(environment, tmp_path, step)
    with refreshing(dangerous) as process:
        eventually(lambda: process.ended)
    assert done.exists(), process.output
    eventually(lambda: counted() == on_record())
    assert (counted()[0] > 0) == (step == "calls committed")
