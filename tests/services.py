"""The real Redis and the real database that the tests run against, started before Django reads its settings.

HOTDATA_TEST_DB names the database: `sqlite` (the default) or `postgres`. One at DATABASE_URL is used if it is
of that kind, and decides the kind if HOTDATA_TEST_DB isn't set. Redis is always our own, since tests flush it.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
STOP_TIMEOUT = 30  # seconds

SQLITE = "sqlite"
POSTGRES = "postgres"
FIXTURES_WITH_A_DATABASE = {"db", "transactional_db", "live_server", "django_db_setup"}

# Tests that mostly wait for processes of their own, and share nothing that is set up for their whole module.
WAITING = (
    "tests/faults/test_killed_at_each_step.py",
    "tests/faults/test_redis_outages.py",
    "tests/faults/test_stampedes.py",
    "tests/scheduling/test_processes.py",
    "tests/tools/test_make_run.py",
)

# Tests that share a browser and a web server.
DRIVING = "tests/browser/"

# What a developer's shell or `.env` may have set, and what the tests rely on.
SETTINGS = {
    "DJANGO_SETTINGS_MODULE": "project.settings",
    "DEBUG": "0",
    "ALLOWED_HOSTS": "localhost,127.0.0.1,testserver",
    "CSRF_TRUSTED_ORIGINS": "",
    "BEHIND_TLS_PROXY": "0",
    "SECURE_COOKIES": "0",
    "TIME_ZONE": "UTC",
    "LOG_LEVEL": "INFO",
}
OWN_VARIABLES = ("HOTDATA_TEST_DB", "HOTDATA_TEST_REDIS_URL", "HOTDATA_TEST_BROWSER")


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, Any, Any]:
    # A wrapper, because it runs before every plain hook, and one of those is pytest-django reading the settings.
    kind = database_kind()
    if "PYTEST_XDIST_WORKER" not in os.environ:
        prepare_environment(kind)
        start_servers(early_config, kind)
    choose_redis_database()
    return (yield)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "uses_database: belongs to the run on PostgreSQL, although no fixture of it shows that"
    )
    config.addinivalue_line(
        "markers",
        "only_on(*kinds): runs on 'sqlite' or 'postgres' alone: only that does what is tested, or neither has a say",
    )
    config.addinivalue_line("markers", "slow: among the longest of all tests, which begin first")


def pytest_report_header() -> str:
    return f"database: {database_kind()}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what this database has no say in: on PostgreSQL, all tests that use no database."""
    kind = database_kind()
    left_out = [item for item in items if not belongs(item, kind)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if belongs(item, kind)]
    if "PYTEST_XDIST_WORKER" in os.environ:
        items[:] = mixed(items, int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))


def mixed(items: Sequence[pytest.Item], workers: int) -> list[pytest.Item]:
    """Return the slow ones first, then those that wait for processes, spread evenly among those that compute.

    Each of the `workers` begins with an equal share of the list, and steals from the end of others' shares. So the
    tests that drive a browser are done by one worker, with one browser, if they begin a share: the last worker's,
    since the first one has the slow ones.
    """
    driving: list[pytest.Item] = []
    slow: list[pytest.Item] = []
    waiting: list[pytest.Item] = []
    computing: list[pytest.Item] = []
    for item in items:
        if item.nodeid.startswith(DRIVING):
            driving.append(item)
        elif item.get_closest_marker("slow") is not None:
            slow.append(item)
        elif item.nodeid.startswith(WAITING):
            waiting.append(item)
        else:
            computing.append(item)
    placed = [
        (place / len(group), item) for group in (computing, waiting) for place, item in enumerate(group)
    ]
    others = [*slow, *(item for _, item in sorted(placed, key=lambda pair: pair[0]))]
    last_share = len(items) - -(-len(items) // workers)
    return [*others[:last_share], *driving, *others[last_share:]]


def belongs(item: pytest.Item, kind: str) -> bool:
    only_on = item.get_closest_marker("only_on")
    if only_on is not None:
        return kind in only_on.args
    return (
        kind == SQLITE
        or item.get_closest_marker("django_db") is not None
        or item.get_closest_marker("uses_database") is not None
        or not FIXTURES_WITH_A_DATABASE.isdisjoint(getattr(item, "fixturenames", ()))
    )


def database_kind() -> str:
    kind = os.environ.get("HOTDATA_TEST_DB") or kind_at(os.environ.get("DATABASE_URL", "")) or SQLITE
    if kind not in (SQLITE, POSTGRES):
        raise pytest.UsageError(f"HOTDATA_TEST_DB must be {SQLITE} or {POSTGRES}, not {kind!r}.")
    return kind


def kind_at(url: str) -> str:
    scheme = url.partition("://")[0]
    return POSTGRES if scheme in {"postgresql", "psql", "pgsql"} else scheme


def prepare_environment(kind: str) -> None:
    """Set what the settings read, for this process, the workers of pytest-xdist and what the tests start."""
    for name in [name for name in os.environ if name.startswith("HOTDATA_") and name not in OWN_VARIABLES]:
        del os.environ[name]
    os.environ |= SETTINGS
    os.environ["SECRET_KEY"] = secrets.token_urlsafe(48)
    os.environ["HOTDATA_TEST_DB"] = kind
    if kind_at(os.environ.get("DATABASE_URL", "")) != kind:
        os.environ.pop("DATABASE_URL", None)
    if kind == SQLITE:
        # Only the name of what pytest-django must not touch; tests/conftest.py says where theirs is.
        os.environ.setdefault("DATABASE_URL", "sqlite:////nonexistent/hotdata.sqlite3")


def start_servers(config: pytest.Config, kind: str) -> None:
    wanted = ["redis"] if "DATABASE_URL" in os.environ else ["redis", kind]
    # In a session of its own: Ctrl-C must not take the servers from under the tests that are being torn down.
    servers = subprocess.Popen(
        [sys.executable, "-m", "tools.servers", *wanted],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )

    def stop() -> None:
        servers.communicate(timeout=STOP_TIMEOUT)

    config.add_cleanup(stop)
    addresses = servers.stdout.readline() if servers.stdout else ""
    if not addresses:
        raise pytest.UsageError("The servers of the tests did not start.")
    os.environ |= json.loads(addresses)
    os.environ["HOTDATA_TEST_REDIS_URL"] = os.environ["REDIS_URL"]


def choose_redis_database() -> None:
    """Give every worker of pytest-xdist a database of its own."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    os.environ["REDIS_URL"] = f"{os.environ['HOTDATA_TEST_REDIS_URL']}?db={worker}"
