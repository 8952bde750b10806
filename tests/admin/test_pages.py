from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from hotdata.models import (
    Alert,
    ApiCall,
    ApiToken,
    Component,
    ComponentChange,
    Delivery,
    Job,
    Node,
    PriceList,
    Report,
    Run,
    Silence,
    Source,
    SourceUsage,
    Statement,
    TokenUsage,
)
from hotdata.models.runs import Cause, State
from tests.builders import (
    Staff,
    issue_statement,
    make_change,
    make_component,
    make_job,
    make_prices,
    make_report,
    make_run,
    make_source,
    make_token,
)

pytestmark = pytest.mark.django_db

RECORDS = [
    Alert,
    ApiCall,
    Component,
    ComponentChange,
    Delivery,
    Node,
    Run,
    Silence,
    SourceUsage,
    Statement,
    TokenUsage,
    Report,
]
DEFINITIONS = [Job, Source, PriceList]
ALL = [*RECORDS, *DEFINITIONS, ApiToken]
SECRET = "5ec2e7-t0ken"


def url(model: type, page: str, *args: Any) -> str:
    return reverse(f"admin:hotdata_{model._meta.model_name}_{page}", args=args)


@pytest.fixture
def rows() -> dict[type, Any]:
    """One row of each model, each as full as it gets."""
    now = timezone.now()
    job = make_job(name="update", title="Update <b>", task="refresh_source", params={"source": "stock"})
    lost = make_run(job, state=State.ABANDONED, reason="Its node died.")
    return {
        Job: job,
        Source: make_source(
            name="stock", pinned=("AAPL", "北京"), secret_headers={"X-API-Key": "HOTDATA_SECRET_TEST"}
        ),
        Run: make_run(
            job,
            cause=Cause.RECOVERY,
            recovers=lost,
            state=State.FAILED,
            requested_by="ada",
            started_at=now,
            attempts=[{"number": 1, "error": "broken"}],
            error="ValueError: <script>alert(1)</script>",
            traceback="Traceback",
            log="a log",
            result={"failed": {"北京": "why"}},
            progress_total=5,
        ),
        Report: make_report(),
        Node: Node.objects.create(name="node-1", host="here", pid=1, version="1", leading=True),
        ApiCall: ApiCall.objects.create(
            source="stock",
            keys="AAPL,北京",
            url="https://upstream.example/stocks",
            outcome=ApiCall.Outcome.FAILED,
            error="UpstreamStatus: <b>",
            started_at=now,
            duration=timedelta(seconds=1),
        ),
        Component: make_component(state="down", detail="OperationalError: <b>"),
        ComponentChange: make_change(detail="OperationalError: <b>"),
        SourceUsage: SourceUsage.objects.create(day=timezone.localdate(), source="stock", calls=1),
        TokenUsage: TokenUsage.objects.create(
            day=timezone.localdate(), source="stock", token="<script>alert(1)</script>", reads=1
        ),
        PriceList: make_prices("stock"),
        Statement: issue_statement("2026-10"),
        Alert: Alert.objects.create(
            kind="failing", subject="update", summary="<script>alert(1)</script>", opened_at=now, seen_at=now
        ),
        Delivery: Delivery.objects.create(
            channel="mail",
            recipient="ada@example.com",
            about="alert",
            subject="<script>alert(1)</script>",
            text="<script>alert(1)</script>",
            html="<script>alert(1)</script>",
            state="failed",
            created_at=now,
        ),
        Silence: Silence.objects.create(
            of="job", name="update", until=now, note="<script>alert(1)</script>", by="ada", created_at=now
        ),
        ApiToken: make_token(),
    }


# All pages


def test_every_model_with_a_page_is_tested_here() -> None:
    shown = {model for model in admin.site._registry if model._meta.app_label == "hotdata"}
    assert shown == set(ALL)


@pytest.mark.parametrize("model", ALL)
def test_a_superuser_sees_every_page(admin_client: Client, rows: dict[type, Any], model: type) -> None:
    row = rows[model].pk
    pages = [url(model, "changelist"), url(model, "change", row), url(model, "history", row)]
    if model in DEFINITIONS:
        pages += [url(model, "add"), url(model, "delete", row)]
    for page in ["/admin/", "/admin/hotdata/", *pages]:
        answer = admin_client.get(page)
        assert answer.status_code == 200, page
        assert "<script>alert" not in answer.content.decode()


@pytest.mark.parametrize("model", ALL)
def test_empty_lists_are_shown(admin_client: Client, model: type) -> None:
    assert admin_client.get(url(model, "changelist")).status_code == 200


@pytest.mark.parametrize("model", ALL)
def test_every_list_can_be_searched_sorted_and_filtered(
    admin_client: Client, rows: dict[type, Any], model: type
) -> None:
    page = admin.site._registry[model]
    queries = [f"o={number}" for number in range(1, len(page.list_display) + 1)]
    queries += ["q=stock", "q=%00", "q=a+b+c"] if page.search_fields else []
    for query in queries:
        answer = admin_client.get(f"{url(model, 'changelist')}?{query}", follow=True)
        assert (answer.status_code, answer.redirect_chain) == (200, []), query
    for name, choice in FILTERS.items():
        if name.split("__")[0] in page.list_filter:
            answer = admin_client.get(url(model, "changelist"), {name: choice})
            assert answer.status_code == 200
            assert answer.context["cl"].result_count == 1


FILTERS = {
    "paused__exact": "0",
    "trigger__exact": "cron",
    "task": "refresh_source",
    "enabled__exact": "1",
    "state__exact": "failed",
    "cause__exact": "recovery",
    "outcome__exact": "failed",
    "source": "stock",
}


@pytest.mark.parametrize("model", ALL)
def test_a_row_that_does_not_exist_is_no_crash(admin_client: Client, model: type) -> None:
    for row in ("999", "nothing", "%00"):
        for page in ("change", "history"):
            answer = admin_client.get(f"/admin/hotdata/{model._meta.model_name}/{row}/{page}/", follow=True)
            assert answer.status_code == 200


def test_staff_without_permissions_see_nothing(staff: Staff, rows: dict[type, Any]) -> None:
    client = staff()
    for model, row in rows.items():
        assert client.get(url(model, "changelist")).status_code == 403
        assert client.get(url(model, "change", row.pk)).status_code == 403


def test_strangers_are_asked_to_log_in(client: Client, rows: dict[type, Any]) -> None:
    for model in rows:
        assert client.get(url(model, "changelist"))["Location"].startswith("/admin/login/")


def test_no_page_shows_a_secret(
    admin_client: Client, rows: dict[type, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOTDATA_SECRET_TEST", SECRET)
    shown = ""
    for model, row in rows.items():
        shown += admin_client.get(url(model, "changelist")).content.decode()
        shown += admin_client.get(url(model, "change", row.pk)).content.decode()
    assert "HOTDATA_SECRET_TEST" in shown
    assert SECRET not in shown


# Records


@pytest.mark.parametrize("model", RECORDS)
def test_a_record_cannot_be_added(admin_client: Client, model: type) -> None:
    assert admin_client.get(url(model, "add")).status_code == 403
    assert admin_client.post(url(model, "add"), {}).status_code == 403
    assert not model.objects.exists()


@pytest.mark.parametrize("model", RECORDS)
def test_a_record_cannot_be_changed(admin_client: Client, rows: dict[type, Any], model: type) -> None:
    before = model.objects.filter(pk=rows[model].pk).values().get()
    page = admin_client.get(url(model, "change", rows[model].pk)).content.decode()
    assert 'name="_save"' not in page
    assert "deletelink" not in page
    assert admin_client.post(url(model, "change", rows[model].pk), {"error": "forged"}).status_code == 403
    assert model.objects.filter(pk=rows[model].pk).values().get() == before


@pytest.mark.parametrize("model", RECORDS)
def test_a_record_cannot_be_deleted(admin_client: Client, rows: dict[type, Any], model: type) -> None:
    row = rows[model].pk
    assert admin_client.post(url(model, "delete", row), {"post": "yes"}).status_code == 403
    action = {"action": "delete_selected", "_selected_action": [row], "post": "yes"}
    admin_client.post(url(model, "changelist"), action)
    assert model.objects.filter(pk=row).exists()
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize("typed", ['{"a": "\\ud800"}', "[" * 100_000, "1" * 5_000, "{"])
@pytest.mark.parametrize(("page", "field"), [("job", "params"), ("source", "query")])
def test_json_that_can_not_be_read_is_an_error_at_the_field(
    admin_client: Client, page: str, field: str, typed: str
) -> None:
    answer = admin_client.post(f"/admin/hotdata/{page}/add/", {field: typed})
    assert answer.status_code == 200
    assert field in answer.context["adminform"].form.errors
