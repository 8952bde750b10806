"""System checks: what would go wrong later is said at start."""

from __future__ import annotations

from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.contrib import admin
from django.core import checks
from django.test import override_settings
from django_apscheduler.models import DjangoJob, DjangoJobExecution

from tests.outbox.mailers import mail_settings

# From Django 6.1 on, the checks of models ask the database what it can do.
pytestmark = pytest.mark.django_db

ENTRIES = "hotdata.freshness.entries.EntrySerializer"


def found() -> dict[str, checks.CheckMessage]:
    """What ``manage.py check``, and every command that checks first, says about hotdata; by id."""
    messages = checks.run_checks()
    return {message.id: message for message in messages if message.id and message.id.startswith("hotdata.")}


def caches(**changes: Any) -> dict[str, Any]:
    return {**settings.CACHES, "hotdata": {**settings.CACHES["hotdata"], **changes}}


def databases(engine: str, **options: Any) -> dict[str, Any]:
    return {"default": {"ENGINE": f"django.db.backends.{engine}", "NAME": "x", "OPTIONS": options}}


def test_the_project_passes_its_checks() -> None:
    assert found() == {}


def test_entries_need_redis() -> None:
    local = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
    with override_settings(CACHES={**settings.CACHES, "hotdata": local}):
        message = found()["hotdata.E001"]
    assert message.level == checks.ERROR
    assert message.msg == "The cache 'hotdata' is not a django-redis cache."


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({}, "pickle (the default)"),
        ({"SERIALIZER": "django_redis.serializers.pickle.PickleSerializer"}, "PickleSerializer"),
        ({"SERIALIZER": "django_redis.serializers.json.JSONSerializer"}, "JSONSerializer"),
    ],
)
def test_entries_need_the_serializer_that_cannot_run_code(options: dict[str, str], named: str) -> None:
    with override_settings(CACHES=caches(OPTIONS=options)):
        message = found()["hotdata.E002"]
    assert message.level == checks.ERROR
    assert named in message.msg
    assert ENTRIES in str(message.hint)


def test_the_cache_that_is_checked_is_the_one_that_is_used() -> None:
    with override_settings(HOTDATA_CACHE="default"):
        assert "'default'" in found()["hotdata.E002"].msg


@pytest.mark.parametrize("options", [{}, {"transaction_mode": "DEFERRED"}])
def test_sqlite_without_a_lock_at_the_start_of_transactions_is_warned_of(
    options: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "DATABASES", databases("sqlite3", **options))
    message = found()["hotdata.W001"]
    assert message.level == checks.WARNING
    assert "'default'" in message.msg


@pytest.mark.parametrize(
    "configured", [databases("sqlite3", transaction_mode="IMMEDIATE"), databases("postgresql")]
)
def test_a_database_that_locks_in_time_is_not_warned_of(
    configured: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "DATABASES", configured)
    assert found() == {}


# The order of the apps


def swapped() -> list[str]:
    """The installed apps with django-apscheduler right after hotdata."""
    names = [name for name in settings.INSTALLED_APPS if name != "django_apscheduler"]
    names.insert(names.index("hotdata") + 1, "django_apscheduler")
    return names


def test_django_apscheduler_after_hotdata_is_an_error() -> None:
    with override_settings(INSTALLED_APPS=swapped()):
        message = found()["hotdata.E003"]
    assert message.level == checks.ERROR
    assert message.msg == "django_apscheduler stands after hotdata in INSTALLED_APPS."


def test_the_order_is_that_of_the_apps_however_they_are_spelt() -> None:
    spelt = {
        "hotdata": "hotdata.apps.HotdataConfig",
        "django_apscheduler": "django_apscheduler.apps.DjangoApschedulerConfig",
    }
    assert {type(apps.get_app_config(label)).__name__ for label in spelt} == {
        "HotdataConfig",
        "DjangoApschedulerConfig",
    }
    with override_settings(INSTALLED_APPS=[spelt.get(name, name) for name in swapped()]):
        assert "hotdata.E003" in found()
    with override_settings(INSTALLED_APPS=[spelt.get(name, name) for name in settings.INSTALLED_APPS]):
        assert found() == {}


def test_in_the_projects_order_the_pages_that_run_pickles_are_gone() -> None:
    admin.autodiscover()
    assert not admin.site.is_registered(DjangoJob)
    assert not admin.site.is_registered(DjangoJobExecution)


@pytest.mark.parametrize("setting", ["HOTDATA_ALERT_MAIL", "HOTDATA_REPORT_MAIL"])
@pytest.mark.parametrize(("backend", "said"), [("console", "is printed"), ("dummy", "is thrown away")])
def test_mail_that_reaches_nobody_is_warned_of(setting: str, backend: str, said: str) -> None:
    backend = f"django.core.mail.backends.{backend}.EmailBackend"
    with override_settings(**mail_settings(backend), **{setting: ["ada@example.com"]}):
        message = found()["hotdata.W020"]
    assert message.level == checks.WARNING
    assert said in message.msg
    with override_settings(**mail_settings(backend)):
        assert found() == {}


def test_mail_that_goes_to_a_server_is_not_warned_of() -> None:
    backend = "django.core.mail.backends.smtp.EmailBackend"
    with override_settings(**mail_settings(backend), HOTDATA_ALERT_MAIL=["ada@example.com"]):
        assert found() == {}
