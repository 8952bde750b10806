"""The site's settings: what the environment may say, in processes of their own that read nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT = 60  # seconds
KEY = "a key of the tests, " * 3
PASSWORD = "S3cretPass"

SHOW = """
import json, sys
from project import settings
print(json.dumps({name: getattr(settings, name, None) for name in sys.argv[1:]}, default=str))
"""
CHECK = "import sys; from django.core import management as m; m.execute_from_command_line(['', 'check', *sys.argv[1:]])"
ERROR_PAGE = """
import os, django
django.setup()
from django.test import Client
print(Client().get("/admin/login/", **os.environ, HTTP_HOST="elsewhere.example.com").content.decode())
"""
LOAD = "from hotdata.conf import load; load()"


def run(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `code` with nothing but `environment` set."""
    plain = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    values = {"SECRET_KEY": KEY, "DJANGO_SETTINGS_MODULE": "project.settings"} | environment
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=plain | values,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


def show(*names: str, **environment: str) -> dict[str, Any]:
    """The settings `names`, as they are with that environment."""
    done = run(SHOW, *names, **environment)
    assert done.returncode == 0, done.stderr
    values: dict[str, Any] = json.loads(done.stdout)
    return values


def refusal(**environment: str) -> str:
    """All that is printed by a process that must not start with that environment."""
    done = run(LOAD, **environment)
    assert done.returncode != 0
    assert "ImproperlyConfigured: " in done.stderr
    return done.stdout + done.stderr


@pytest.fixture(autouse=True)
def _no_env_file() -> None:
    if (ROOT / ".env").exists():
        pytest.skip("A developer's .env would take part in each of these tests.")


# What is refused


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        (
            "SECRET_KEY",
            "",
            "SECRET_KEY must be set to at least 32 random characters. Make one with: python -c",
        ),
        ("SECRET_KEY", "k" * 31, "SECRET_KEY must be set to at least 32 random characters"),
        ("DEBUG", "maybe", "DEBUG must be one of 1, 0, true, false, on, off, not 'maybe'."),
        ("SECURE_COOKIES", "2", "SECURE_COOKIES must be one of"),
        ("BEHIND_TLS_PROXY", "nginx", "BEHIND_TLS_PROXY must be one of"),
        (
            "TIME_ZONE",
            "Mars/Olympus",
            "TIME_ZONE must be the name of a time zone such as Europe/Berlin, not 'Mars",
        ),
        ("TIME_ZONE", "Europe", "TIME_ZONE must be the name of a time zone"),
        ("TIME_ZONE", "../../etc/passwd", "TIME_ZONE must be the name of a time zone"),
        ("LOG_LEVEL", "loud", "LOG_LEVEL must be DEBUG, INFO, WARNING, ERROR or CRITICAL, not 'loud'."),
        ("LOG_FORMAT", "xml", "LOG_FORMAT must be line or json, not 'xml'."),
        ("HOTDATA_WORKERS", "many", "HOTDATA_WORKERS must be a whole number, not 'many'."),
        ("HOTDATA_WORKERS", "1.5", "HOTDATA_WORKERS must be a whole number, not '1.5'."),
        ("HOTDATA_WORKERS", "0", "HOTDATA_WORKERS must be a whole number of at least 1, not 0."),
        ("HOTDATA_GRACE", "soon", "HOTDATA_GRACE must be a number of seconds, not 'soon'."),
        ("HOTDATA_GRACE", "inf", "HOTDATA_GRACE must be a positive number of seconds, not inf."),
        ("HOTDATA_GRACE", "-1", "HOTDATA_GRACE must be a positive number of seconds"),
        (
            "HOTDATA_RETENTION",
            "runs",
            "HOTDATA_RETENTION must be days by kind such as runs=30,usage=forever, not 'runs'.",
        ),
        ("HOTDATA_RETENTION", "runs=soon", "HOTDATA_RETENTION must be days by kind"),
        ("HOTDATA_RETENTION", "rnus=30", "of which there are runs, calls, "),
        ("HOTDATA_RETENTION", "runs=0", "HOTDATA_RETENTION must be between 1 and 36,500 days for runs"),
        ("DATABASE_URL", "nonsense", "DATABASE_URL is not a database URL."),
        ("REDIS_URL", "http://127.0.0.1:6379", "REDIS_URL must be a URL such as redis://host:6379/0"),
        ("REDIS_URL", "127.0.0.1:6379", "REDIS_URL must be a URL such as redis://host:6379/0"),
        ("REDIS_URL", "redis://host:abc/0", "REDIS_URL must be a URL such as redis://host:6379/0"),
        ("HOTDATA_RATE_LIMIT", "1200/minuteX", "HOTDATA_RATE_LIMIT must be number/unit, as 600/minute"),
        ("HOTDATA_CACHE", "nowhere", "HOTDATA_CACHE names 'nowhere', which is not in CACHES."),
        ("HOTDATA_DEMO_UPSTREAM", "nonsense", "HOTDATA_DEMO_UPSTREAM must begin with http:// or https://"),
        ("HOTDATA_ALLOW_PRIVATE", "127.0.0.1:99999", "HOTDATA_ALLOW_PRIVATE holds '127.0.0.1:99999'"),
    ],
)
def test_a_bad_value_stops_the_site_with_a_sentence(name: str, value: str, sentence: str) -> None:
    assert sentence in refusal(**{name: value})


def test_there_is_no_secret_key_by_default() -> None:
    done = run("import os; del os.environ['SECRET_KEY']; " + LOAD)
    assert done.returncode != 0
    assert "SECRET_KEY must be set to at least 32 random characters" in done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SECRET_KEY", PASSWORD),
        ("DATABASE_URL", f"foo://user:{PASSWORD}@db.example/hotdata"),
        ("DATABASE_URL", f"//user:{PASSWORD}@db.example/hotdata"),
        ("DATABASE_URL", f"user:{PASSWORD}@db.example/hotdata"),
        # The slash ends the host, so what stands before it is taken for a port.
        ("DATABASE_URL", f"postgres://user:{PASSWORD}/x@db.example/hotdata"),
        ("REDIS_URL", f"http://user:{PASSWORD}@redis.example"),
        ("REDIS_URL", f"redis://user:{PASSWORD}/x@redis.example"),
        ("EMAIL_URL", f"foo://user:{PASSWORD}@mail.example"),
        ("EMAIL_URL", f"smtp://user:{PASSWORD}/x@mail.example"),
    ],
)
def test_a_bad_value_that_holds_a_secret_is_not_repeated(name: str, value: str) -> None:
    printed = refusal(**{name: value})
    assert f"The environment variable {name} " in printed
    assert PASSWORD not in printed


def test_a_setting_of_hotdata_that_is_bad_stops_every_command() -> None:
    done = run(CHECK, HOTDATA_WORKERS="0")
    assert done.returncode != 0
    assert "ImproperlyConfigured: HOTDATA_WORKERS must be a whole number of at least 1, not 0." in done.stderr


# What is read


def test_by_default_the_site_is_as_safe_as_in_production() -> None:
    values = show(
        "DEBUG",
        "ALLOWED_HOSTS",
        "SESSION_COOKIE_SECURE",
        "CSRF_COOKIE_SECURE",
        "SECURE_HSTS_SECONDS",
        "SECURE_PROXY_SSL_HEADER",
        "CSRF_TRUSTED_ORIGINS",
    )
    assert values == {
        "DEBUG": False,
        "ALLOWED_HOSTS": ["localhost", "127.0.0.1", "[::1]"],
        "SESSION_COOKIE_SECURE": True,
        "CSRF_COOKIE_SECURE": True,
        "SECURE_HSTS_SECONDS": 30 * 24 * 3600,
        "SECURE_PROXY_SSL_HEADER": None,
        "CSRF_TRUSTED_ORIGINS": [],
    }


def test_djangos_own_deployment_checks_find_only_what_a_proxy_may_do() -> None:
    done = run(CHECK, "--deploy", EMAIL_URL="smtp://mail.example.com")  # Django wants a mail server, too
    silent = {"security.W005", "security.W008", "security.W021"}  # HSTS for subdomains, redirect, preload
    assert done.returncode == 0, done.stderr
    assert {word.strip("?:()") for word in done.stderr.split() if "security.W" in word} <= silent


def test_debugging_works_without_tls_unless_told_otherwise() -> None:
    names = ("DEBUG", "SESSION_COOKIE_SECURE", "SECURE_HSTS_SECONDS")
    assert show(*names, DEBUG="on") == dict(zip(names, (True, False, 0), strict=True))
    assert show(*names, DEBUG="1", SECURE_COOKIES="1") == dict(zip(names, (True, True, 2592000), strict=True))


def test_the_page_of_an_error_shows_no_password_while_debugging() -> None:
    """Also not of the environment, which the development server passes on with each request."""
    urls = {
        "DATABASE_URL": f"postgres://hotdata:{PASSWORD}@db.example.com/hotdata",
        "REDIS_URL": f"redis://:{PASSWORD}@redis.example.com/0",
        "EMAIL_URL": f"smtp+tls://robot:{PASSWORD}@mail.example.com:587",
        "HOTDATA_ALERT_URLS": f"slack://{PASSWORD}/token",
        "HOTDATA_HEARTBEAT_URL": f"https://hc.example.com/{PASSWORD}",
        "HOTDATA_SECRET_STOCKS": PASSWORD,
    }
    done = run(ERROR_PAGE, DEBUG="on", **urls)
    assert done.returncode == 0, done.stderr
    for name in urls:
        assert name in done.stdout
    assert PASSWORD not in done.stdout


def test_a_proxy_is_trusted_only_when_there_is_one() -> None:
    values = show("SECURE_PROXY_SSL_HEADER", BEHIND_TLS_PROXY="yes")
    assert values == {"SECURE_PROXY_SSL_HEADER": ["HTTP_X_FORWARDED_PROTO", "https"]}


def test_lists_are_separated_by_commas() -> None:
    values = show(
        "ALLOWED_HOSTS",
        "HOTDATA_ALLOW_PRIVATE",
        ALLOWED_HOSTS=" a.example, ,b.example ",
        HOTDATA_ALLOW_PRIVATE="a:1,b:2",
    )
    assert values == {"ALLOWED_HOSTS": ["a.example", "b.example"], "HOTDATA_ALLOW_PRIVATE": ["a:1", "b:2"]}


def test_days_by_kind_are_separated_by_commas() -> None:
    values = show("HOTDATA_RETENTION", HOTDATA_RETENTION=" runs=30, usage = forever ,")
    assert values == {"HOTDATA_RETENTION": {"runs": 30, "usage": "forever"}}


def test_a_variable_that_is_empty_counts_as_not_set() -> None:
    names = (
        "DEBUG",
        "ALLOWED_HOSTS",
        "TIME_ZONE",
        "DATABASES",
        "REDIS_URL",
        "HOTDATA_WORKERS",
        "HOTDATA_DEMO_UPSTREAM",
    )
    empty = dict.fromkeys({*names, "DATABASE_URL", "LOG_LEVEL"} - {"DATABASES"}, "")
    assert show(*names, **empty) == show(*names)


@pytest.mark.parametrize("start", ["$", "$$", "#", "'", '"', " "])
def test_a_secret_key_may_begin_with_anything(start: str) -> None:
    assert show("SECRET_KEY", SECRET_KEY=start + KEY) == {"SECRET_KEY": start + KEY}


def test_what_the_environment_does_not_set_is_left_to_hotdata() -> None:
    code = (
        "from project import settings; print([name for name in dir(settings) if name.startswith('HOTDATA_')])"
    )
    assert run(code).stdout.strip() == "[]"
    assert (
        run(code, HOTDATA_WORKERS="5", HOTDATA_GRACE="2.5").stdout.strip()
        == "['HOTDATA_GRACE', 'HOTDATA_WORKERS']"
    )


def test_a_password_with_odd_characters_reaches_the_database_settings_decoded() -> None:
    database = show("DATABASES", DATABASE_URL="postgres://u%40x:p%2Fw%23@db.example:5433/hot")["DATABASES"][
        "default"
    ]
    assert (database["USER"], database["PASSWORD"], database["PORT"]) == ("u@x", "p/w#", 5433)
    assert (database["CONN_MAX_AGE"], database["CONN_HEALTH_CHECKS"]) == (60, True)


def postgres_options(url: str) -> dict[str, Any]:
    options: dict[str, Any] = show("DATABASES", DATABASE_URL=url)["DATABASES"]["default"]["OPTIONS"]
    return options


def test_nobody_waits_for_a_postgresql_that_has_vanished() -> None:
    options = postgres_options("postgres://db.example/hot")
    assert options["connect_timeout"] <= 5
    probes = options["keepalives_idle"] + options["keepalives_count"] * options["keepalives_interval"]
    assert max(probes, options["tcp_user_timeout"] / 1000) <= 15


def test_what_the_url_says_of_a_connection_goes_before() -> None:
    usual = postgres_options("postgres://db.example/hot")
    told = postgres_options("postgres://db.example/hot?connect_timeout=10&sslmode=require")
    assert told == {**usual, "connect_timeout": 10, "sslmode": "require"}


def test_another_database_gets_no_options_of_postgresql() -> None:
    assert "tcp_user_timeout" not in show("DATABASES")["DATABASES"]["default"]["OPTIONS"]


# SQLite, on real connections

LOCKS = """
import sys, sqlite3, json
import django; django.setup()
from django.db import connection, transaction
with connection.cursor() as cursor:
    cursor.execute("CREATE TABLE there (id)")
    cursor.execute("PRAGMA journal_mode"); journal = cursor.fetchone()[0]
    cursor.execute("PRAGMA synchronous"); synchronous = cursor.fetchone()[0]
    cursor.execute("PRAGMA busy_timeout"); patience = cursor.fetchone()[0]
other = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)
with transaction.atomic():
    read = other.execute("SELECT count(*) FROM there").fetchone()[0]
    try:
        other.execute("BEGIN IMMEDIATE")
        locked = False
    except sqlite3.OperationalError as error:
        locked = str(error)
other.execute("INSERT INTO there VALUES (1)")
print(json.dumps([journal, synchronous, patience, read, locked]))
"""


def test_sqlite_locks_when_a_transaction_begins_and_readers_are_not_blocked(tmp_path: Path) -> None:
    path = tmp_path / "db.sqlite3"
    done = run(LOCKS, str(path), DATABASE_URL=f"sqlite:///{path}")
    assert done.returncode == 0, done.stderr
    normal, patience = 1, 20_000
    assert json.loads(done.stdout) == ["wal", normal, patience, 0, "database is locked"]


def test_a_misspelt_variable_of_hotdata_stops_the_site() -> None:
    assert "HOTDATA_WORKER is no setting." in refusal(HOTDATA_WORKER="5")


def test_a_secret_of_an_upstream_is_no_setting_and_stops_nothing() -> None:
    assert show("DEBUG", HOTDATA_SECRET_STOCKS="sesame") == {"DEBUG": False}


def test_the_prefix_of_secrets_is_a_setting_although_it_looks_like_one_of_them() -> None:
    assert show("HOTDATA_SECRET_PREFIX", HOTDATA_SECRET_PREFIX="UPSTREAM_") == {
        "HOTDATA_SECRET_PREFIX": "UPSTREAM_"
    }


def test_a_rate_limit_is_switched_off_by_a_word_since_what_is_empty_is_not_set() -> None:
    names = ("HOTDATA_RATE_LIMIT", "HOTDATA_RATE_LIMIT_ADDRESS")
    given = {names[0]: "Off", names[1]: "30/hour"}
    assert show(*names, **given) == {names[0]: "", names[1]: "30/hour"}
