"""Django system checks: what would go wrong later is said at start, with an id and a hint."""

from __future__ import annotations

import importlib.util
from typing import Any
from urllib.parse import urlsplit

from django.apps import apps
from django.conf import settings
from django.core import checks
from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from hotdata.conf import conf

LOCAL = ("localhost", "127.0.0.1")
REACH_NOBODY = {
    f"django.core.mail.backends.{name}.EmailBackend": words
    for name, words in {"console": "is printed", "dummy": "is thrown away"}.items()
}
"""Mail backends of Django's for development, which take all that there is to send, and what becomes of it."""


def is_safe_to_call(url: str) -> bool:
    """Whether `url`, which is a secret, may be called: https, or http on this machine."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    if not parts.hostname or "@" in parts.netloc:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOCAL)


@checks.register("hotdata")
def check_app_order(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    """django-apscheduler's admin pages, which run pickles, stay away only if they come before ours remove them."""
    names = [app.name for app in apps.get_app_configs()]
    if names.index("django_apscheduler") < names.index("hotdata"):
        return []
    return [
        checks.Error(
            "django_apscheduler stands after hotdata in INSTALLED_APPS.",
            hint="Put it before: else its admin pages, which unpickle what is in the database, come back.",
            id="hotdata.E003",
        )
    ]


@checks.register("hotdata")
def check_cache(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    """The cache of the entries is django-redis with our serializer, which can't run code."""
    alias = conf().cache
    cache = settings.CACHES[alias]
    if "django_redis" not in cache["BACKEND"]:
        return [
            checks.Error(
                f"The cache {alias!r} is not a django-redis cache.",
                hint="Use BACKEND django_redis.cache.RedisCache: entries need Redis.",
                id="hotdata.E001",
            )
        ]
    serializer = cache.get("OPTIONS", {}).get("SERIALIZER", "")
    if serializer != "hotdata.freshness.entries.EntrySerializer":
        return [
            checks.Error(
                f"The cache {alias!r} must not use the serializer {serializer or 'pickle (the default)'}.",
                hint="Set OPTIONS SERIALIZER to hotdata.freshness.entries.EntrySerializer.",
                id="hotdata.E002",
            )
        ]
    return []


@checks.register("hotdata")
def check_mail(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    """Whom alerts and reports are mailed to can be mailed to."""
    errors: list[checks.CheckMessage] = []
    recipients = {"HOTDATA_ALERT_MAIL": conf().alert_mail, "HOTDATA_REPORT_MAIL": conf().report_mail}
    for setting, addresses in recipients.items():
        for address in addresses:
            try:
                validate_email(address)
            except ValidationError:
                errors.append(
                    checks.Error(
                        f"{setting} holds {address!r}, which is no mail address.",
                        hint="Separate addresses by commas, without names: ada@example.com,bob@example.com.",
                        id="hotdata.E020",
                    )
                )
    return errors


@checks.register("hotdata")
def check_apprise(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    """What HOTDATA_ALERT_URLS names is sent by apprise, which is an extra."""
    if not conf().alert_urls or importlib.util.find_spec("apprise") is not None:
        return []
    return [
        checks.Error(
            "HOTDATA_ALERT_URLS is set, but apprise is not installed.",
            hint="Install requirements-apprise.txt, here and where the scheduler runs.",
            id="hotdata.E021",
        )
    ]


@checks.register("hotdata")
def check_heartbeat_url(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    """The heartbeat URL holds a secret, so it is called over https, or on this machine."""
    url = conf().heartbeat_url
    if not url or is_safe_to_call(url):
        return []
    return [
        checks.Error(
            "HOTDATA_HEARTBEAT_URL can't be called: it must begin with https://, or be one of this machine.",
            hint="Take the URL as the service shows it, without a user name or a password.",
            id="hotdata.E022",
        )
    ]


@checks.register("hotdata")
def check_sqlite(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    """SQLite survives several threads and processes only with transactions that lock at their start."""
    return [
        checks.Warning(
            f"The SQLite database {alias!r} begins its transactions without a lock.",
            hint="Set OPTIONS transaction_mode to IMMEDIATE, or writers fail with 'database is locked'.",
            id="hotdata.W001",
        )
        for alias, database in settings.DATABASES.items()
        if database["ENGINE"].endswith("sqlite3")
        and database.get("OPTIONS", {}).get("transaction_mode") != "IMMEDIATE"
    ]


def _mail_backend() -> str:
    """That of the default mailer, which is a setting of its own before Django 6.1."""
    mailers = getattr(settings, "MAILERS", None)
    backend: str = (
        settings.EMAIL_BACKEND if mailers is None else mailers.get("default", {}).get("BACKEND", "")
    )
    return backend


@checks.register("hotdata")
def check_mail_goes_out(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    """Who is to be told of alerts is not told by a backend that says of each mail that it was sent."""
    words = REACH_NOBODY.get(_mail_backend())
    if words is None or not (conf().alert_mail or conf().report_mail):
        return []
    return [
        checks.Warning(
            f"There is no mail server: mail to HOTDATA_ALERT_MAIL and HOTDATA_REPORT_MAIL {words}.",
            hint="Set EMAIL_URL, such as smtp+tls://user:password@mail.example.com:587.",
            id="hotdata.W020",
        )
    ]
