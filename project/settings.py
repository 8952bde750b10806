"""Settings of the hotdata site, from the environment (and from a file `.env` beside manage.py, if there is one).

| variable | default | meaning |
| --- | --- | --- |
| SECRET_KEY | none: required | Django's signing key, 32 characters or more |
| DEBUG | off | Django's debug mode; never in production |
| ALLOWED_HOSTS | localhost, 127.0.0.1, [::1] | host names that the site answers to, separated by commas |
| CSRF_TRUSTED_ORIGINS | empty | origins (`https://host`) whose forms are accepted, when a proxy changes the host |
| BEHIND_TLS_PROXY | off | trust `X-Forwarded-Proto` of the proxy in front |
| SECURE_COOKIES | on, unless DEBUG | cookies over https only, and HSTS |
| DATABASE_URL | sqlite in `.local/` | e.g. `postgres://user:password@host:5432/hotdata` |
| REDIS_URL | redis://127.0.0.1:6379/0 | where entries are kept; `unix:///path/redis.sock?db=0` works too |
| TIME_ZONE | UTC | the zone in which times are shown, and the default for new jobs |
| LOG_LEVEL | INFO | level of the console log |
| LOG_FORMAT | line | `json` for one JSON object per line |
| EMAIL_URL | none: mail goes to the console | e.g. `smtp+tls://user:password@mail.example.com:587` |
| MAIL_FROM | hotdata@localhost | whom mail comes from |
| HOTDATA_* | see hotdata/conf.py | hotdata's own settings, each documented there |
| HOTDATA_SECRET_* | none | secrets of upstreams; a source names the variable |
"""

from __future__ import annotations

import zoneinfo
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import django
import environ
from django.core.exceptions import ImproperlyConfigured
from redis.connection import parse_url

from hotdata.conf import FOREVER, SECRET_PREFIX

BASE_DIR = Path(__file__).resolve().parent.parent
STATE_DIR = BASE_DIR / ".local"

Value = TypeVar("Value")

# Values are read from `env.ENVIRON`: `env.str` takes one that begins with $ for the name of another variable, and
# so does one in fifty of the secret keys that Django itself makes.
env = environ.Env()
if (BASE_DIR / ".env").is_file():
    env.read_env(BASE_DIR / ".env")

TRUE_WORDS = {"1", "true", "yes", "on"}
FALSE_WORDS = {"0", "false", "no", "off", ""}


def read(name: str, cast: Callable[[str], Value], default: Value, expected: str) -> Value:
    """The variable `name` through `cast`, or `default` where it isn't set; stops with a sentence on a bad value."""
    raw = env.ENVIRON.get(name)
    if not raw:
        return default
    try:
        return cast(raw)
    except (ValueError, KeyError, OSError) as error:  # OSError: the time zone "Europe" is a directory
        raise ImproperlyConfigured(
            f"The environment variable {name} must be {expected}, not {raw!r}."
        ) from error


def read_bool(name: str, default: bool) -> bool:
    words = dict.fromkeys(TRUE_WORDS, True) | dict.fromkeys(FALSE_WORDS, False)
    return read(name, lambda raw: words[raw.strip().lower()], default, "one of 1, 0, true, false, on, off")


def read_list(name: str, default: list[str]) -> list[str]:
    return read(
        name, lambda raw: [item.strip() for item in raw.split(",") if item.strip()], default, "a list"
    )


def read_number(name: str, default: float) -> float:
    return read(name, float, default, "a number of seconds")


def read_int(name: str, default: int) -> int:
    return read(name, int, default, "a whole number")


SECRET_KEY = env.ENVIRON.get("SECRET_KEY", "")
if len(SECRET_KEY) < 32:
    raise ImproperlyConfigured(
        "The environment variable SECRET_KEY must be set to at least 32 random characters. Make one with: "
        "python -c 'import secrets; print(secrets.token_urlsafe(48))'"
    )

DEBUG = read_bool("DEBUG", False)
ALLOWED_HOSTS = read_list("ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = read_list("CSRF_TRUSTED_ORIGINS", [])

INSTALLED_APPS = [
    "project.apps.SiteConfig",  # django.contrib.admin, with hotdata's dashboard
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django_apscheduler",
    "simple_history",
    "hotdata",
    "project.demo",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "hotdata.api.languages.LocaleMiddleware",  # Django's makes what is for all readers vary by their language
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "simple_history.middleware.HistoryRequestMiddleware",  # whose name an edit is on record in
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "project" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

ROOT_URLCONF = "project.urls"
WSGI_APPLICATION = "project.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"


# Database

# A host that vanishes answers nothing, and TCP waits for a quarter of an hour. Here a leader finds out in about ten
# seconds, long after another has taken over; whoever connects waits for three. All for libpq, in seconds but the last.
POSTGRES_PATIENCE = {
    "connect_timeout": 3,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,  # milliseconds
}


def database(url: str) -> dict[str, Any]:
    """Django's settings for the database at `url`, with what hotdata needs of it."""
    refusal = ImproperlyConfigured("The environment variable DATABASE_URL is not a database URL.")
    if url.partition("://")[0] not in environ.Env.DB_SCHEMES:
        raise refusal
    try:
        parsed = dict(environ.Env.db_url_config(url))
    except ValueError:
        # The URL holds a password, so neither it is repeated, nor the error, which quotes a part of it.
        raise refusal from None
    if parsed["ENGINE"].endswith("sqlite3"):
        # Readers don't block the writer (WAL), and a transaction that will write waits for its turn at the
        # start: a deferred one fails at its first write, whatever the timeout, when another came in between.
        parsed["OPTIONS"] = {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        }
    else:
        parsed["CONN_MAX_AGE"] = 60
        parsed["CONN_HEALTH_CHECKS"] = True
        if parsed["ENGINE"].endswith("postgresql"):
            # What the URL says, as in `?connect_timeout=10`, goes before.
            parsed["OPTIONS"] = POSTGRES_PATIENCE | parsed.get("OPTIONS", {})
    return parsed


DATABASE_URL = env.ENVIRON.get("DATABASE_URL", "")
if not DATABASE_URL:
    STATE_DIR.mkdir(mode=0o700, exist_ok=True)  # SQLite makes its file, but no directory
    DATABASE_URL = f"sqlite:///{STATE_DIR / 'hotdata.sqlite3'}"
DATABASES = {"default": database(DATABASE_URL)}


# Redis

REDIS_URL = env.ENVIRON.get("REDIS_URL") or "redis://127.0.0.1:6379/0"
try:
    parse_url(REDIS_URL)  # type: ignore[no-untyped-call]
except ValueError:
    # The URL may hold a password, so neither it is repeated, nor the error, which quotes a part of it.
    raise ImproperlyConfigured(
        "The environment variable REDIS_URL must be a URL such as redis://host:6379/0, rediss://… or unix:///path."
    ) from None


def redis_cache(prefix: str, serializer: str) -> dict[str, Any]:
    return {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": prefix,
        "OPTIONS": {
            # Never the default serializer: it is pickle, and whoever can write to Redis could run code here.
            "SERIALIZER": serializer,
            # A reader waits for a dead Redis no longer than this (the client's default is 5 s).
            "SOCKET_CONNECT_TIMEOUT": 0.5,
            "SOCKET_TIMEOUT": 0.5,
        },
    }


CACHES = {
    "default": redis_cache("site", "django_redis.serializers.json.JSONSerializer"),
    "hotdata": redis_cache("hd", "hotdata.freshness.entries.EntrySerializer"),
}


# Language and time

LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("zh-hans", "简体中文")]
USE_I18N = True
# The language that somebody has chosen, in place of the one that their browser prefers.
LANGUAGE_COOKIE_AGE = 365 * 24 * 3600
LANGUAGE_COOKIE_HTTPONLY = True
LANGUAGE_COOKIE_SAMESITE = "Lax"
USE_TZ = True
TIME_ZONE = read(
    "TIME_ZONE",
    lambda raw: zoneinfo.ZoneInfo(raw).key,
    "UTC",
    "the name of a time zone such as Europe/Berlin",
)


# Mail

EMAIL_URL = env.ENVIRON.get("EMAIL_URL") or "consolemail://"
MAIL_PATIENCE = 10  # seconds: a mail server that hangs holds a thread
MAIL_OPTIONS = {
    "EMAIL_HOST": "host",
    "EMAIL_PORT": "port",
    "EMAIL_HOST_USER": "username",
    "EMAIL_HOST_PASSWORD": "password",
    "EMAIL_USE_TLS": "use_tls",
    "EMAIL_USE_SSL": "use_ssl",
    "EMAIL_FILE_PATH": "file_path",
}
try:
    _mail = dict(environ.Env.email_url_config(EMAIL_URL))
except (ValueError, KeyError, ImproperlyConfigured):
    # The URL may hold a password, so neither it is repeated, nor the error, which quotes a part of it.
    raise ImproperlyConfigured(
        "The environment variable EMAIL_URL must be a URL such as smtp+tls://user:password@mail.example.com:587."
    ) from None
if django.VERSION >= (6, 1):  # which has this in place of single settings
    _options = {option: _mail[name] for name, option in MAIL_OPTIONS.items() if _mail.get(name)}
    _patience = {"timeout": MAIL_PATIENCE} if "host" in _options else {}
    MAILERS = {"default": {"BACKEND": _mail["EMAIL_BACKEND"], "OPTIONS": _options | _patience}}
else:
    globals().update(_mail)
    EMAIL_TIMEOUT = MAIL_PATIENCE
DEFAULT_FROM_EMAIL = SERVER_EMAIL = env.ENVIRON.get("MAIL_FROM") or "hotdata@localhost"


# Static files

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
WHITENOISE_USE_FINDERS = True  # `collectstatic` is optional: what isn't collected is found in the apps


# Security

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]
SECURE_COOKIES = read_bool("SECURE_COOKIES", not DEBUG)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = LANGUAGE_COOKIE_SECURE = SECURE_COOKIES
SECURE_HSTS_SECONDS = 30 * 24 * 3600 if SECURE_COOKIES else 0
if read_bool("BEHIND_TLS_PROXY", False):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

DEFAULT_EXCEPTION_REPORTER_FILTER = "project.debugging.WithoutSecrets"

# All that a page may load comes from this site: no script, style or handler stands in the page itself, and no nonce
# is needed, which would make answers differ that caches may share.
CONTENT_POLICY = {
    "default-src": ["'self'"],
    "object-src": ["'none'"],
    "base-uri": ["'none'"],
    "form-action": ["'self'"],
    "frame-ancestors": ["'none'"],
}
# Before WhiteNoise: an SVG among the static files is a page, too, when it is opened by itself.
if django.VERSION >= (6, 0):
    MIDDLEWARE.insert(1, "django.middleware.csp.ContentSecurityPolicyMiddleware")
    SECURE_CSP = CONTENT_POLICY
else:
    MIDDLEWARE.insert(1, "csp.middleware.CSPMiddleware")
    CONTENT_SECURITY_POLICY = {"DIRECTIVES": CONTENT_POLICY}


# Logs

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"run": {"()": "hotdata.execution.context.RunFacts"}},
    "formatters": {
        "line": {"()": "hotdata.logs.LineFormatter"},
        "json": {"()": "hotdata.logs.JsonFormatter"},
    },
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "filters": ["run"],
            "formatter": read(
                "LOG_FORMAT",
                lambda raw: {name: name for name in ("line", "json")}[raw.lower()],
                "line",
                "line or json",
            ),
        }
    },
    "root": {
        "handlers": ["console"],
        "level": read(
            "LOG_LEVEL",
            lambda raw: {name: name for name in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")}[
                raw.upper()
            ],
            "INFO",
            "DEBUG, INFO, WARNING, ERROR or CRITICAL",
        ),
    },
    "loggers": {
        # Not by handlers of Django's own: these would say things twice while debugging, and in another form.
        "django": {"handlers": []},
        "django.server": {"handlers": [], "propagate": True},
        # Below WARNING these print whole request URLs, and with them API keys.
        "urllib3": {"level": "WARNING"},
        "requests": {"level": "WARNING"},
        # Its job store events tell nothing that a Run doesn't.
        "apscheduler": {"level": "WARNING"},
        # Below ERROR it tells each check of each probe that finds something down, with a traceback.
        "health_check": {"level": "ERROR"},
    },
}


# hotdata: names, types and defaults in hotdata/conf.py. Only what the environment sets is passed on.


def read_text(name: str, default: str) -> str:
    return read(name, str, default, "a text")


def read_rate(name: str, default: str) -> str:
    """`off` is no limit. (What is empty in the environment counts as not set.)"""
    return read(name, lambda raw: "" if raw.strip().lower() in FALSE_WORDS else raw, default, "a text")


def read_days(name: str, default: dict[str, int | str]) -> dict[str, int | str]:
    """Days by kind, as in ``runs=30,usage=forever``."""

    def pair(item: str) -> tuple[str, int | str]:
        kind, _equals, days = (part.strip() for part in item.partition("="))
        return kind, days if days == FOREVER else int(days)

    return read(
        name,
        lambda raw: dict(pair(item) for item in raw.split(",") if item.strip()),
        default,
        "days by kind such as runs=30,usage=forever",
    )


SETTING_READERS: dict[str, Callable[[str, Any], Any]] = {
    "HOTDATA_WORKERS": read_int,
    "HOTDATA_GRACE": read_number,
    "HOTDATA_POLL_INTERVAL": read_number,
    "HOTDATA_LEASE_TTL": read_number,
    "HOTDATA_NODE_TIMEOUT": read_number,
    "HOTDATA_LOG_LIMIT": read_int,
    "HOTDATA_RESULT_LIMIT": read_int,
    "HOTDATA_UPSTREAM_MAX_BYTES": read_int,
    "HOTDATA_ALLOW_PRIVATE": read_list,
    "HOTDATA_CACHE": read_text,
    SECRET_PREFIX: read_text,
    "HOTDATA_READ_PATIENCE": read_number,
    "HOTDATA_RETENTION": read_days,
    "HOTDATA_DEMO_UPSTREAM": read_text,
    "HOTDATA_SITE_URL": read_text,
    "HOTDATA_READS_NEED_TOKEN": read_bool,
    "HOTDATA_RATE_LIMIT": read_rate,
    "HOTDATA_RATE_LIMIT_ADDRESS": read_rate,
    "HOTDATA_TRUSTED_PROXIES": read_int,
    "HOTDATA_METRICS_NETWORKS": read_list,
    "HOTDATA_ALERT_MAIL": read_list,
    "HOTDATA_ALERT_URLS": read_list,
    "HOTDATA_ALERT_REPEAT": read_int,
    "HOTDATA_ALERTS_PER_HOUR": read_int,
    "HOTDATA_HEARTBEAT_URL": read_text,
    "HOTDATA_REPORT_MAIL": read_list,
}
# The secrets of upstreams, and what the tests and `make run` tell their processes: no settings.
NO_SETTINGS = ("HOTDATA_SECRET_", "HOTDATA_TEST_", "HOTDATA_DEV_")

for _name, _value in env.ENVIRON.items():
    if not _name.startswith("HOTDATA_") or not _value:
        continue
    if _name.startswith(NO_SETTINGS) and _name not in SETTING_READERS:
        continue
    if _name not in SETTING_READERS:
        raise ImproperlyConfigured(
            f"The environment variable {_name} is no setting. There are: {', '.join(SETTING_READERS)}, and those that "
            "begin with HOTDATA_SECRET_, for the secrets of upstreams."
        )
    globals()[_name] = SETTING_READERS[_name](_name, None)
