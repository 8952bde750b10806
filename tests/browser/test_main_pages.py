"""The main pages with much to show: for everybody, in the dark, on a phone, and in Chinese.

What more there is to the pages of jobs, runs and the dashboard is judged beside their own tests.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page, expect

from hotdata.models import Component, FreshnessHour, Job, Node, Report, Run, Source
from hotdata.models.runs import Cause, State
from tests.browser.axe import axe
from tests.browser.conftest import DESKTOP, PHONE, Visitors
from tests.builders import (
    make_call,
    make_change,
    make_component,
    make_job,
    make_report,
    make_run,
    make_source,
    store,
)

pytestmark = [pytest.mark.only_on("sqlite"), pytest.mark.usefixtures("clear_cache")]

LONG = "更新行情" * 12 + "stock-quotes" * 10
CHINESE = re.compile("[一-鿿]")


@pytest.fixture
def much(transactional_db: None) -> None:
    """Rows of all kinds and states, with texts that are long and Chinese."""
    now = timezone.now()
    job = make_job(name="update" * 16, title=LONG)
    for number, state in enumerate(State):
        scheduled_for = now - timedelta(minutes=number)
        make_run(
            job,
            state=state,
            cause=Cause.SCHEDULE,
            scheduled_for=scheduled_for,
            error="x" * 500,
            log="行" * 500,
        )
    make_job(title="paused").set_paused(True, note=LONG, by="ada")
    source = make_source(name="stock", title=LONG, pinned=("AAPL", "北京" * 40), key_policy="any")
    source.calls_per_minute = 60
    source.save()
    store("stock", "AAPL", age=90)
    store("stock", "TSLA", age=5)
    make_call("stock", keys="AAPL,北京" * 40)
    make_call("stock", outcome="failed", status=503, error="x" * 500)
    hour = now.replace(minute=0, second=0, microsecond=0)
    FreshnessHour.objects.create(source="stock", hour=hour, fresh=10, ages=[0] * 20 + [10] + [0] * 48)
    yesterday = now - timedelta(days=1)
    make_run(job, state=State.ABANDONED, error="x" * 500, created_at=yesterday, finished_at=yesterday)
    make_report()
    make_report("weekly_report")
    Node.objects.create(
        name="node-1", host="a-machine-with-a-long-name" * 3, pid=1, version="1", leading=True
    )
    make_component(name="source:stock", state="degraded", detail="x" * 500)
    make_component(name="source:old", checked_at=now - timedelta(hours=1))
    make_component(name="redis", state="down", detail="长" * 500)
    for before, after in (("", "ok"), ("ok", "down"), ("down", "")):
        make_change(component="redis", before=before, after=after, detail="x" * 500)


def own_pages() -> list[str]:
    """Those that no other module here judges."""
    source = Source.objects.get()
    return [
        reverse("admin:hotdata_source_changelist"),
        reverse("admin:hotdata_source_change", args=[source.pk]),
        reverse("admin:hotdata_source_history", args=[source.pk]),
        reverse("admin:hotdata_report_changelist"),
        *(reverse("admin:hotdata_report_change", args=[report.pk]) for report in Report.objects.all()),
        reverse("admin:tables"),
        reverse("admin:hotdata_component_changelist"),
        reverse("admin:hotdata_component_change", args=[Component.objects.get(name="redis").pk]),
        reverse("admin:hotdata_componentchange_changelist"),
    ]


def all_pages() -> list[str]:
    job = Job.objects.get(title=LONG)
    return [
        *own_pages(),
        reverse("admin:index"),
        reverse("admin:hotdata_job_changelist"),
        reverse("admin:hotdata_job_add"),
        reverse("admin:hotdata_job_change", args=[job.pk]),
        reverse("admin:hotdata_job_history", args=[job.pk]),
        reverse("admin:hotdata_job_run_with", args=[job.pk]),
        reverse("admin:hotdata_run_changelist"),
        reverse("admin:hotdata_run_change", args=[Run.objects.get(state=State.RUNNING).pk]),
        reverse("admin:hotdata_run_change", args=[Run.objects.get(state=State.FAILED).pk]),
        reverse("admin:hotdata_source_add"),
        reverse("admin:hotdata_apicall_changelist"),
        reverse("admin:hotdata_node_changelist"),
    ]


WIDE = """() => document.documentElement.scrollWidth <= window.innerWidth ? [] :
  [...document.querySelectorAll("body *")]
    .filter(it => it.getBoundingClientRect().right > window.innerWidth && !it.closest(".hd-scroll, .results, svg"))
    .map(it => it.outerHTML.slice(0, 120))"""


def too_wide(page: Page) -> list[str]:
    """What makes the page wider than the screen."""
    found: list[str] = page.evaluate(WIDE)
    return found


@pytest.mark.parametrize("looks", [{}, {"dark": True}, {"phone": True}], ids=["light", "dark", "phone"])
def test_everybody_can_use_them(
    open_page: Visitors, admin_user: User, much: None, looks: dict[str, Any]
) -> None:
    page = open_page(admin_user, **looks)
    for path in own_pages():
        page.goto(path)
        axe(page)
        assert too_wide(page) == [], path


def test_they_are_in_chinese_and_fit_every_screen(open_page: Visitors, admin_user: User, much: None) -> None:
    page = open_page(admin_user, language="zh-CN")
    for path in all_pages():
        page.set_viewport_size(DESKTOP)  # type: ignore[arg-type]
        page.goto(path)
        expect(page.locator("html")).to_have_attribute("lang", "zh-hans")
        if not path.endswith("/change/"):  # those are called by what they show
            expect(page).to_have_title(CHINESE)
        expect(page.locator(".hd-nav")).to_contain_text("作业")
        assert too_wide(page) == [], path
        page.set_viewport_size(PHONE["viewport"])
        assert too_wide(page) == [], f"{path} on a phone"
