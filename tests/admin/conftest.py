"""Redis, as it is in tests of what is kept there."""

from tests.freshness.conftest import redis_down

__all__ = ["redis_down"]
