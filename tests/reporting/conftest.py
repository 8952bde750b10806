"""Fixtures of the reports' tests."""

from tests.freshness.conftest import redis_down

__all__ = ["redis_down"]
