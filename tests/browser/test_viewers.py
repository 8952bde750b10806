"""Who may only look: no page offers them anything to do, and the site refuses what they send all the same."""

from __future__ import annotations

import pytest
from django.conf import settings
from django.contrib.auth.models import Permission, User
from django.urls import reverse
from playwright.sync_api import Page, expect

from hotdata.models import Job, Run, Source
from hotdata.models.runs import State
from tests.browser.conftest import Visitors
from tests.builders import make_job, make_run, make_source

pytestmark = [pytest.mark.only_on("sqlite"), pytest.mark.usefixtures("clear_cache")]

# What changes nothing: to search, to show days from – until, and to have the dashboard refresh itself.
HARMLESS = ("Search", "Show", "Pause")


@pytest.fixture
def viewer(transactional_db: None) -> User:
    user = User.objects.create_user("vera", is_staff=True)
    user.user_permissions.set(
        Permission.objects.filter(content_type__app_label="hotdata", codename__startswith="view_")
    )
    return user


def buttons(page: Page) -> list[str]:
    """What the buttons below the header say, but for those that change nothing."""
    found = page.locator("#content").locator("button, input[type=submit], input[type=button], [role=switch]")
    said = found.evaluate_all("all => all.map(it => (it.ariaLabel || it.value || it.textContent).trim())")
    return [text for text in said if text not in HARMLESS]


def status_of_post(page: Page, path: str) -> int:
    cookies = {cookie["name"]: cookie["value"] for cookie in page.context.cookies()}
    token = cookies[settings.CSRF_COOKIE_NAME]
    return page.context.request.post(
        path, form={"csrfmiddlewaretoken": token, "key": "AAPL"}, max_redirects=0
    ).status


def test_who_may_only_look_is_offered_nothing_and_refused_all(open_page: Visitors, viewer: User) -> None:
    job = make_job(title="before")
    job.title = "now"
    job.save()
    run = make_run(job, state=State.RUNNING)
    ended = make_run(job, state=State.FAILED)
    source = make_source(name="stock", pinned=("AAPL",))
    page = open_page(viewer)
    for path in (
        reverse("admin:index"),
        reverse("admin:hotdata_job_changelist"),
        reverse("admin:hotdata_job_change", args=[job.pk]),
        reverse("admin:hotdata_job_history", args=[job.pk]),
        reverse("admin:hotdata_run_changelist"),
        reverse("admin:hotdata_run_change", args=[run.pk]),
        reverse("admin:hotdata_run_change", args=[ended.pk]),
        reverse("admin:hotdata_source_changelist"),
        reverse("admin:hotdata_source_change", args=[source.pk]),
        reverse("admin:hotdata_apicall_changelist"),
        reverse("admin:hotdata_node_changelist"),
    ):
        answer = page.goto(path)
        assert answer is not None
        assert answer.status == 200, path
        assert buttons(page) == [], path
        expect(page.get_by_role("link", name="Duplicate")).to_have_count(0)
        expect(page.get_by_role("link", name="Run with other parameters")).to_have_count(0)

    page.goto(reverse("admin:hotdata_job_changelist"))
    edit = job.history.earliest("history_date").pk
    posts = [
        *(
            reverse(f"admin:hotdata_job_{name}", args=[job.pk])
            for name in ("run", "run_with", "pause", "resume")
        ),
        *(reverse(f"admin:hotdata_job_list_{name}", args=[job.pk]) for name in ("run", "pause", "resume")),
        reverse("admin:hotdata_job_list_pause_several"),
        reverse("admin:hotdata_job_revert", args=[edit]),
        reverse("admin:hotdata_job_add"),
        reverse("admin:hotdata_job_change", args=[job.pk]),
        reverse("admin:hotdata_job_delete", args=[job.pk]),
        reverse("admin:hotdata_run_cancel", args=[run.pk]),
        reverse("admin:hotdata_run_again", args=[ended.pk]),
        *(
            reverse(f"admin:hotdata_source_{name}", args=[source.pk])
            for name in ("refresh", "pin", "unpin", "try")
        ),
    ]
    assert {path: status_of_post(page, path) for path in posts} == dict.fromkeys(posts, 403)
    job.refresh_from_db()
    run.refresh_from_db()
    assert (job.title, job.paused, run.cancel_requested_by) == ("now", False, "")
    assert (Job.objects.count(), Run.objects.count(), Source.objects.count()) == (1, 2, 1)
