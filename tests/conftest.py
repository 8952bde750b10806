"""Fixtures for all tests: the databases of this process, and the environment of the processes it starts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import hypothesis
import pytest
from django.conf import settings
from django.contrib.auth.models import Permission, User
from django.core.cache import caches
from django.db import connection
from django.test import Client
from django.utils import translation
from pytest_django import Settings
from redis import Redis

from hotdata.api import rates, usage
from hotdata.freshness import background, definitions, flights, hotkeys, meters, recent, recording, wants
from hotdata.freshness.lastknown import last_known
from hotdata.freshness.redis import outage
from tests.builders import Staff, caches_at
from tests.sealing import delete_statements
from tests.services import SQLITE, database_kind
from tools.redis_server import RedisServer

# The same examples each time: a change that breaks something is found by who made it, and by nobody later.
# HYPOTHESIS_PROFILE=random looks for new ones.
# How long it takes to make them up says how busy the machine is, and nothing about the code.
unhurried = hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.too_slow], deadline=None)
hypothesis.settings.register_profile("same", unhurried, derandomize=True)
hypothesis.settings.register_profile("random", unhurried, derandomize=False)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    tmp_path_factory: pytest.TempPathFactory, django_db_modify_db_settings_parallel_suffix: None
) -> None:
    """Keep the SQLite database in a file: one in memory has neither WAL nor locks between threads."""
    if database_kind() == SQLITE:
        path = tmp_path_factory.getbasetemp() / "hotdata.sqlite3"
        connection.settings_dict.setdefault("TEST", {})["NAME"] = str(path)


@pytest.fixture(scope="session", autouse=True)
def _nothing_but_the_test_servers() -> None:
    """Flushing and migrating must never reach what a developer works with."""
    assert settings.REDIS_URL.startswith(os.environ["HOTDATA_TEST_REDIS_URL"] + "?db=")
    assert (
        database_kind()
        in {"postgres": "postgres", "postgresql": "postgres", "sqlite": "sqlite"}[connection.vendor]
    )


@pytest.fixture(scope="session", autouse=True)
def _static_root(tmp_path_factory: pytest.TempPathFactory) -> None:
    """WhiteNoise warns of one that doesn't exist, and warnings are errors."""
    settings.STATIC_ROOT = tmp_path_factory.mktemp("static")


@pytest.fixture
def admin_user(db: None) -> User:
    """A superuser without a password: hashing one takes longer than most tests."""
    return User.objects.create_superuser("root")


@pytest.fixture
def staff(db: None) -> Staff:
    """Makes a client of a user, ada, with the given permissions."""

    def make(*permissions: str, is_staff: bool = True, check_csrf: bool = False) -> Client:
        user, _ = User.objects.update_or_create(username="ada", defaults={"is_staff": is_staff})
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        client = Client(enforce_csrf_checks=check_csrf)
        client.force_login(user)
        return client

    return make


@pytest.fixture
def statements_go(transactional_db: None) -> Iterator[None]:
    """Statements that a test has issued are gone after it. The database empties all other tables by itself."""
    yield
    delete_statements()


@pytest.fixture(autouse=True)
def _language_of_the_settings() -> Iterator[None]:
    """What a test's request was answered in stays the language of the thread."""
    yield
    translation.deactivate()


@pytest.fixture
def redis() -> Iterator[Redis]:
    """A client of this worker's Redis database, which is empty before and after the test."""
    client = Redis.from_url(settings.REDIS_URL)
    client.flushdb()
    yield client
    client.flushdb()
    client.close()


@pytest.fixture
def clear_cache(redis: Redis) -> Iterator[None]:
    """Caches that are empty before and after the test, with their connections closed; and nothing is remembered."""
    _forget_all()
    yield
    _forget_all()
    for cache in caches.all(initialized_only=True):
        cache.close()


def _forget_all() -> None:
    """What a process that reads keeps in its memory; and no thread of its own sees to anything behind a test's back."""
    for pool in flights._airport.pools.values():
        pool.shutdown()
    flights._begin_anew()
    recording._recorder.pool.shutdown()
    recording._begin_anew()
    background._begin_anew()
    background._background.started = True
    hotkeys._begin_anew()
    meters._begin_anew()
    recent._begin_anew()
    usage._begin_anew()
    usage._tally.started = True
    rates._own.cache_clear()
    wants._begin_anew()
    definitions.forget()
    last_known.clear()
    outage.__init__()  # type: ignore[misc]


@pytest.fixture
def moody_redis(tmp_path: Path, settings: Settings, clear_cache: None) -> Iterator[RedisServer]:
    """A Redis that can be stopped, started and frozen, and holds the caches."""
    server = RedisServer(tmp_path / "redis", keep=False)
    try:
        server.start()
        settings.CACHES = caches_at(server.url)
        yield server
    finally:
        server.close()


@pytest.fixture
def child_environment(transactional_db: None) -> dict[str, str]:
    """The environment in which a process started by a test uses the test's own database and Redis."""
    return environment_of_children()


def environment_of_children() -> dict[str, str]:
    """As `child_environment`, for what is started once for many tests; after pytest-django has made the database."""
    name = str(connection.settings_dict["NAME"])
    if connection.vendor == "sqlite":
        return {**os.environ, "DATABASE_URL": f"sqlite:///{quote(str(Path(name)))}"}
    address = os.environ["DATABASE_URL"].rpartition("/")[0]
    return {**os.environ, "DATABASE_URL": f"{address}/{name}"}
