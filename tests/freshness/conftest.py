"""Upstreams and Redis servers that belong to one test, which may break them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings
from redis import Redis

from hotdata.freshness import upstream as upstreams
from project.demo.upstream import DemoUpstream
from tests.builders import caches_at
from tests.freshness.hostile import HostileUpstream, closed_port
from tools.redis_server import redis_server


@pytest.fixture
def demo(settings: Settings) -> Iterator[DemoUpstream]:
    """The demo upstream, which sources may ask."""
    with DemoUpstream() as upstream:
        settings.HOTDATA_ALLOW_PRIVATE = [f"127.0.0.1:{upstream.port}"]
        yield upstream
        close_upstreams()


@pytest.fixture
def hostile(settings: Settings) -> Iterator[HostileUpstream]:
    """An upstream that does what no upstream should, which sources may ask."""
    with HostileUpstream() as upstream:
        settings.HOTDATA_ALLOW_PRIVATE = [upstream.address]
        yield upstream
        close_upstreams()


def close_upstreams() -> None:
    """Forget the upstreams of sources, and with them their threads and connections."""
    upstreams._upstreams.clear()


class OwnRedis:
    """A Redis server of the test's own. ``client`` asks it; `stop` ends it at once."""

    def __init__(self, directory: Path) -> None:
        self._running = ExitStack()
        self.url = self._running.enter_context(redis_server(directory, keep=False))
        self.client = Redis.from_url(self.url)
        self.pid = int(self.client.info("server")["process_id"])

    def stop(self) -> None:
        self.client.close()
        self._running.close()


@pytest.fixture
def own_redis(tmp_path: Path, settings: Settings, clear_cache: None) -> Iterator[OwnRedis]:
    """The caches are in this server, for as long as it lives."""
    server = OwnRedis(tmp_path)
    settings.CACHES = caches_at(server.url)
    yield server
    server.stop()


@pytest.fixture
def redis_down(settings: Settings, clear_cache: None) -> None:
    """The caches are where nobody listens."""
    settings.CACHES = caches_at(f"redis://{closed_port()}/0")
