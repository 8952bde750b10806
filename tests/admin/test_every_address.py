"""What holds for every address of the admin, also for those that are yet to come: they are taken from its URLs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import Group, User
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.urls import URLResolver, get_resolver
from django.utils import timezone

from hotdata.models import Alert, Delivery, Job, Silence, SourceUsage, TokenUsage
from hotdata.models.runs import State
from tests.builders import (
    Staff,
    issue_statement,
    make_call,
    make_change,
    make_component,
    make_job,
    make_prices,
    make_report,
    make_run,
    make_source,
    make_token,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clear_cache")]

ODD = ["9" * 5000, "%00", "_00", "中文"]
VIEWS = [
    f"view_{model._meta.model_name}" for model in (*apps.get_app_config("hotdata").get_models(), User, Group)
]
FORM = {"key": "AAPL", "note": "x", "jobs": "1", "post": "yes", "name": "x", "title": "x"}
ACTIONS: list[dict[str, str]] = [
    {"action": action, "_selected_action": "1", "index": "0", "post": "yes"}
    for action in (
        "run_now",
        "pause",
        "resume",
        "delete_selected",
        "cancel_runs",
        "run_again",
        "refresh_now",
        "revoke_selected",
        "try_again",
        "end_silences",
    )
]


@pytest.fixture
def keys() -> list[str]:
    """What addresses name: rows of all kinds, which have the same small numbers, and a job that is gone."""
    make_job(name="gone").delete()
    run = make_run(make_job(name="update"), state=State.RUNNING)
    make_call(make_source(name="stock", pinned=("AAPL",)).name, run_id=run.pk)
    token = make_token()
    make_component()
    make_change()
    make_report()
    make_alerts()
    ContentType.objects.get_for_models(*apps.get_models())  # else the first page makes them
    make_prices("stock")
    SourceUsage.add([SourceUsage(day=date(2026, 10, 1), source="stock", calls=1)])
    TokenUsage.add([TokenUsage(day=date(2026, 10, 1), source="stock", token="app", reads=1)])
    statement = issue_statement("2026-10")
    SourceUsage.add(
        [SourceUsage(day=date(2026, 10, 1), source="stock", calls=1)]
    )  # there is something to correct
    numbers = {
        Job.objects.get().pk,
        run.pk,
        Job.history.first().history_id,
        token.pk,
        statement.pk,
    }
    return [*map(str, numbers), "gone"]


def make_alerts() -> None:
    """A row of each model of alerting, as those are that somebody would act on."""
    now = timezone.now()
    Alert.objects.create(kind="failing", subject="update", summary="It fails.", opened_at=now, seen_at=now)
    Delivery.objects.create(
        channel="mail",
        recipient="ada@example.com",
        about="alert",
        subject="x",
        text="x",
        state="failed",
        created_at=now,
    )
    until = now + timedelta(hours=1)
    Silence.objects.create(of="job", name="update", until=until, by="bob", created_at=now)


def addresses(keys: list[str]) -> Iterator[str]:
    """Every address of the admin with each of `keys` where it names something."""
    for pattern in patterns(get_resolver()):
        if pattern.startswith("admin/") and not re.search(r"[\^(]|log(in|out)/", pattern):
            for key in keys if "<" in pattern else [""]:
                yield "/" + re.sub("<[^>]+>", key.replace("\\", ""), pattern)


def patterns(resolver: Any, before: str = "") -> Iterator[str]:
    for found in resolver.url_patterns:
        here = before + str(found.pattern)
        if isinstance(found, URLResolver):
            yield from patterns(found, here)
        else:
            yield here


def on_record() -> dict[str, str]:
    """All rows of all tables, but for sessions."""
    rows = {}
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names():
            if table != "django_session":
                cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
                rows[table] = repr(sorted(map(repr, cursor.fetchall())))
    return rows


@pytest.mark.parametrize("who", ["root", "viewer"])
def test_to_look_changes_nothing_and_never_fails(who: str, keys: list[str], staff: Staff) -> None:
    client = staff(*VIEWS)
    User.objects.filter(username="ada").update(is_superuser=who == "root")
    before = on_record()
    for address in addresses([*keys, *ODD]):
        answer = client.get(address)
        list(answer)  # an export is made while it is read
        assert answer.status_code < 500, address[:200]
        assert "frame-ancestors 'none'" in answer["Content-Security-Policy"], address[:200]
    assert on_record() == before


@pytest.mark.parametrize("who", ["root without a token", "viewer", "stranger"])
def test_who_may_not_changes_nothing(who: str, keys: list[str], staff: Staff) -> None:
    client = staff(*VIEWS, check_csrf=who.startswith("root"))
    User.objects.filter(username="ada").update(is_superuser=who.startswith("root"))
    if who == "stranger":
        client.logout()
    before = on_record()
    for address in addresses(keys):
        for form in [FORM, *(ACTIONS if address.count("/") == 4 else [])]:  # those of a list
            answer = client.post(address, form)
            assert answer.status_code < 500, address
    assert on_record() == before
