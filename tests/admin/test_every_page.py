"""What holds for each page that operators look at: it is there without Redis, for viewers, and on an empty site."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
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
    Notice,
    PriceList,
    Report,
    Run,
    Silence,
    Source,
    SourceUsage,
    Statement,
    TokenUsage,
)
from hotdata.models.runs import State
from hotdata.reporting.periods import Length, containing
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

MODELS = (
    Job,
    Run,
    Source,
    ApiCall,
    Node,
    ApiToken,
    Component,
    ComponentChange,
    SourceUsage,
    TokenUsage,
    PriceList,
    Statement,
    Report,
    Alert,
    Delivery,
    Silence,
)
LISTS = ["admin:index", "admin:tables", *(f"admin:hotdata_{m._meta.model_name}_changelist" for m in MODELS)]
MOST_QUERIES = 12
VIEWS = [f"view_{model._meta.model_name}" for model in MODELS]
ACTING = re.compile(
    r'hd-primary|hd-danger|hd-switch|formaction|<button[^>]*name="key"|name="_(save|addanother|continue)"|'
    r'action="[^"]*/(run|run-with|pause|resume|try|cancel|again|revert|revoke)/'
    r'action="[^"]*/(run|run-with|pause|resume|try|cancel|again|revert|correct|send)/'
    r'action="[^"]*/(run|run-with|pause|resume|try|cancel|again|revert|silence|end-silence|retry)/'
)
LONG = "長い" * 100


@pytest.fixture
def pages() -> dict[str, str]:
    """Every page of a site on which each text is as long as it gets."""
    job = make_job(name="j" * 100, title=LONG, pause_note=LONG[:150], cron="0 3 * * *")
    run = make_run(job, state=State.FAILED, error="E" * 5000, started_at=timezone.now())
    source = make_source(name="s" * 50, title=LONG, pinned=tuple("京" * 100 + str(n) for n in range(20)))
    node = Node.objects.create(name="n" * 100, host="h" * 100, pid=1, version="1", leading=True)
    call = make_call(source.name, keys="京" * 2000, error="E" * 2000, run_id=run.pk)
    token = make_token(name="t" * 50, username="u" * 150)
    component = make_component(name=f"source:{source.name}", detail="E" * 500)
    change = make_change(component=component.name, detail="E" * 500)
    rows: list[Any] = [
        job,
        run,
        source,
        node,
        call,
        token,
        component,
        change,
        *billed(source.name),
        make_report(),
        *alerting(job),
    ]
    pages = {name: reverse(name) for name in LISTS}
    for row in rows:
        name = row._meta.model_name
        pages[name] = reverse(f"admin:hotdata_{name}_change", args=[row.pk])
        pages[f"{name} history"] = reverse(f"admin:hotdata_{name}_history", args=[row.pk])
    return pages


def billed(source: str) -> list[Any]:
    """Usage of this month and the last one, and the statement of that, which has been corrected."""
    today = timezone.localdate()
    month = containing(today, Length.MONTH).before
    for day in (today, month.first):
        SourceUsage.add([SourceUsage(day=day, source=source, calls=10**15, size=10**15)])
        TokenUsage.add([TokenUsage(day=day, source=source, token="t" * 100, reads=10**15)])
    issue_statement(month.name)
    prices = make_prices(
        source, tiers="first 1,000,000 free, " + "next 1 at 0.002, " * 18 + "then 0.000000000001"
    )
    make_prices(source, kind="reads", tiers="999999999999")
    statement = issue_statement(month.name, by="b" * 150, correct=True)
    SourceUsage.add([SourceUsage(day=month.first, source=source, calls=1)])
    return [SourceUsage.objects.get(day=today), TokenUsage.objects.get(day=today), prices, statement]


def alerting(job: Job) -> list[Any]:
    """A row of each model of alerting, with much beside it."""
    now = timezone.now()
    Alert.objects.bulk_create(
        Alert(kind="failing", subject=job.name, summary="S" * 500, opened_at=now, seen_at=now, closed_at=now)
        for _ in range(20)
    )
    alert = Alert.objects.create(
        kind="failing", subject=job.name, summary=LONG, opened_at=now, seen_at=now, severity=2
    )
    delivery = Delivery.objects.create(
        channel="mail", recipient="r" * 320, about="alert", subject="S" * 300, text=LONG, error="E" * 2000,
        state="failed", created_at=now,
    )  # fmt: skip
    Notice.objects.bulk_create(
        Notice(
            alert=alert, event="opened", text=LONG, at=now, channel="mail", recipient="r" * 320,
            delivery=delivery,
        )
        for _ in range(20)
    )  # fmt: skip
    silence = Silence.objects.create(
        of="job", name=job.name, until=now + timedelta(hours=1), note="n" * 500, by="b" * 150, created_at=now
    )
    return [alert, delivery, silence]


def test_no_page_needs_more_than_a_dozen_queries(
    admin_client: Client, pages: dict[str, str], django_assert_max_num_queries: Any
) -> None:
    for page in pages.values():
        admin_client.get(page)  # what is asked once in a process
        with django_assert_max_num_queries(MOST_QUERIES):
            assert admin_client.get(page).status_code == 200, page


def test_each_page_is_there_without_redis(
    admin_client: Client, pages: dict[str, str], redis_down: None
) -> None:
    for page in pages.values():
        assert admin_client.get(page).status_code == 200, page


def test_who_may_only_look_sees_each_page_and_no_button_that_acts(
    staff: Staff, pages: dict[str, str]
) -> None:
    client = staff(*VIEWS)
    for page in pages.values():
        answer = client.get(page)
        assert answer.status_code == 200, page
        assert not ACTING.search(answer.content.decode()), page


def test_an_empty_site_has_each_page(admin_client: Client) -> None:
    for name in LISTS:
        assert admin_client.get(reverse(name)).status_code == 200, name
    for name in ("job", "source", "apitoken", "pricelist"):
        assert admin_client.get(reverse(f"admin:hotdata_{name}_add")).status_code == 200
