"""Redis and upstreams, as they are in tests of what is fetched and kept."""

from tests.freshness.conftest import demo, redis_down

__all__ = ["demo", "redis_down"]
