"""Every page of the admin, as it is without anybody doing anything: it loads, and the browser doesn't complain."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.db.models import Model
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page, expect

from hotdata.models import (
    Alert,
    ApiCall,
    ApiToken,
    Component,
    ComponentChange,
    Delivery,
    Node,
    Report,
    Run,
    Silence,
    SourceUsage,
    Statement,
    TokenUsage,
)
from hotdata.models.runs import State
from tests.builders import (
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

pytestmark = [pytest.mark.only_on("sqlite"), pytest.mark.usefixtures("statements_go")]

MODELS = list(admin.site._registry)
READ_ONLY = [
    ApiCall,
    Node,
    Run,
    Component,
    ComponentChange,
    SourceUsage,
    Statement,
    TokenUsage,
    Report,
    Alert,
    Delivery,
    Silence,
]
NEVER_DELETED = [*READ_ONLY, ApiToken]


@pytest.fixture
def rows(admin_user: User) -> dict[type[Model], Any]:
    """A row of each model; jobs have runs, and sources pinned keys."""
    job = make_job(name="update", title="更新 <b>")
    run = make_run(job, state=State.FAILED, error="ValueError: <script>", traceback="Traceback", log="a log")
    today = timezone.localdate()
    SourceUsage.add([SourceUsage(day=today, source="stock", calls=5)])
    TokenUsage.add([TokenUsage(day=today, source="stock", token="<b>", reads=5)])
    now = timezone.now()
    return {
        type(row): row
        for row in (
            Alert.objects.create(
                kind="failing", subject="update", summary="<script>", opened_at=now, seen_at=now
            ),
            Delivery.objects.create(
                channel="mail",
                recipient="ada@example.com",
                about="alert",
                subject="x",
                text="x",
                state="failed",
                error="<script>",
                created_at=now,
            ),
            Silence.objects.create(
                of="job", name="update", until=now + timedelta(hours=1), by="bob", created_at=now
            ),
            job,
            run,
            make_source(name="stock", pinned=("AAPL", "北京")),
            make_call("stock"),
            make_component(state="down", detail="OperationalError: <script>"),
            make_change(),
            make_report(),
            Node.objects.create(name="node-1", host="here", pid=1, version="1", leading=True),
            make_token(username=admin_user.username),
            SourceUsage.objects.get(),
            TokenUsage.objects.get(),
            make_prices("stock"),
            issue_statement("2026-10"),
            Group.objects.create(name="operators"),
            admin_user,
        )
    }


def see(page: Page, path: str) -> None:
    answer = page.goto(path)
    assert answer is not None
    assert answer.status == 200, path
    expect(page.locator("#content")).to_be_visible()


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.model_name)
def test_the_pages_of_a_model_keep_to_the_policy(
    page: Page, rows: dict[type[Model], Any], model: type[Model]
) -> None:
    name, key = f"admin:{model._meta.app_label}_{model._meta.model_name}", rows[model].pk
    see(page, reverse(f"{name}_changelist"))
    expect(page.locator("#result_list tbody tr")).to_have_count(1)
    see(page, reverse(f"{name}_changelist") + "?q=nothing")
    see(page, reverse(f"{name}_change", args=[key]))
    see(page, reverse(f"{name}_history", args=[key]))
    if model not in READ_ONLY:
        see(page, reverse(f"{name}_add"))
    if model not in NEVER_DELETED:
        see(page, reverse(f"{name}_delete", args=[key]))


def test_the_other_pages_keep_to_the_policy(page: Page, admin_user: User) -> None:
    see(page, reverse("admin:index"))
    see(page, reverse("admin:tables"))
    see(page, reverse("admin:app_list", args=["hotdata"]))
    see(page, reverse("admin:auth_user_password_change", args=[admin_user.pk]))
    see(page, reverse("admin:password_change"))


def test_a_pop_up_hands_over_what_it_has_added(page: Page) -> None:
    page.goto(reverse("admin:auth_user_change", args=[User.objects.get().pk]))
    with page.expect_popup() as opened:
        page.get_by_role("link", name="Add another group").click()
    pop_up = opened.value
    pop_up.get_by_label("Name").fill("operators")
    with pop_up.expect_event("close"):
        pop_up.get_by_role("button", name="Save", exact=True).click()
    # Both boxes of the choice are made by a script; what was added is among the chosen.
    expect(page.locator("#id_groups_to option")).to_have_text("operators")
