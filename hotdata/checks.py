"""Django system checks: what would go wrong later is said at start, with an id and a hint."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.conf import settings
from django.core import checks

from hotdata.conf import conf


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
