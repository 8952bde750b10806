"""The reports' admin: list, page, files, and making one again."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse

from hotdata.models import Report, Run, SourceUsage
from hotdata.models.runs import State
from tests.builders import Staff, make_job, make_report, make_run, make_source

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clear_cache")]

NOW = datetime(2026, 11, 26, 8, tzinfo=UTC)
NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
LIST = "/admin/hotdata/report/"
HOSTILE = "=HYPERLINK(\"http://evil\")<script>alert('x')</script>\u202e"


@pytest.fixture(autouse=True)
def _now() -> Iterator[None]:
    with time_machine.travel(NOW, tick=False):
        yield


def ran(name: str = "update", **fields: Any) -> Run:
    values = {"state": State.SUCCEEDED, "created_at": NOON, "finished_at": NOON} | fields
    return make_run(make_job(name=name), **values)


def page_of(report: Report) -> str:
    return reverse("admin:hotdata_report_change", args=[report.pk])


def see(client: Client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, path
    return " ".join(answer.content.decode().split())


def file(client: Client, report: Report, name: str) -> list[list[str]]:
    answer = client.get(f"{LIST}{report.pk}/csv/{name}/")
    assert answer.status_code == 200
    return list(csv.reader(io.StringIO(answer.content.decode("utf-8-sig"), newline="")))


def test_the_list_tells_what_each_came_to(admin_client: Client) -> None:
    ran(state=State.FAILED)
    SourceUsage.objects.create(source="stock", day=date(2026, 11, 25), calls=1234)
    report = make_report()
    make_report("weekly_report")
    text = see(admin_client, LIST)
    assert "Daily report" in text
    assert "0.0 %" in text
    assert "1,234" in text
    assert page_of(report) in text
    assert (
        "Weekly report" not in see(admin_client, f"{LIST}?kind=daily_report").partition('id="result_list"')[2]
    )
    assert admin_client.get(f"{LIST}?kind=x").status_code == 302


def test_the_page_says_what_the_mail_says_with_links(admin_client: Client) -> None:
    run = ran(state=State.FAILED, error="boom")
    source = make_source(name="stock")
    SourceUsage.objects.create(source="stock", day=date(2026, 11, 25), calls=5)
    text = see(admin_client, page_of(make_report()))
    assert "Daily report 2026-11-25" in text
    for href in (
        reverse("admin:hotdata_job_change", args=[run.job.pk]),
        reverse("admin:hotdata_run_change", args=[run.pk]),
        reverse("admin:hotdata_source_change", args=[source.pk]),
    ):
        assert f'<a href="{href}">' in text
    assert "12:00: 1 failed" in text, "a bar of the chart"


def test_who_may_not_see_jobs_runs_or_sources_is_led_to_none(staff: Staff) -> None:
    ran(state=State.FAILED)
    make_source(name="stock")
    SourceUsage.objects.create(source="stock", day=date(2026, 11, 25), calls=5)
    text = see(staff("view_report"), page_of(make_report()))
    assert "update" in text
    assert not any(f"/hotdata/{model}/" in text for model in ("job", "run", "source"))


def test_hostile_texts_are_texts_on_the_page_and_in_files(admin_client: Client) -> None:
    ran(state=State.FAILED, error=HOSTILE)
    report = make_report()
    text = see(admin_client, page_of(report))
    assert "<script>alert" not in text
    assert "\u202e" not in text
    (head, row) = file(admin_client, report, "failures")
    assert head == ["Job", "Failures", "Latest", "Outcome", "Error"]
    assert row[-1].startswith("'=HYPERLINK")


def test_files_hold_plain_numbers(admin_client: Client) -> None:
    ran(duration=timedelta(milliseconds=1500))
    head, row = file(admin_client, make_report(), "jobs")
    assert dict(zip(head, row, strict=True)) == {
        "Job": "update", "Runs": "1", "Success": "1.0", "Failed": "0", "Timed out": "0", "Abandoned": "0",
        "Cancelled": "0", "Missed": "0", "Skipped": "0", "p50 (s)": "1.5", "p95 (s)": "1.5",
    }  # fmt: skip


def test_a_file_of_no_table_is_not_there(admin_client: Client) -> None:
    report = make_report()
    assert admin_client.get(f"{LIST}{report.pk}/csv/nothing/").status_code == 404
    assert admin_client.get(f"{LIST}99999/csv/jobs/").status_code == 404


def test_files_and_pages_need_the_permission(staff: Staff) -> None:
    report = make_report()
    for path in (LIST, page_of(report), f"{LIST}{report.pk}/csv/jobs/"):
        assert staff("view_run").get(path).status_code == 403, path


# Made again


def again(client: Client, report: Report) -> list[str]:
    """What is said after the button."""
    answer = client.post(f"{LIST}{report.pk}/again/", follow=True)
    assert answer.status_code == 200
    return [str(message) for message in answer.context["messages"]]


def test_a_report_is_made_again_by_who_may(staff: Staff) -> None:
    report = make_report()
    ran()
    client = staff("view_report", "remake_report")
    assert "Make again" in see(client, page_of(report))
    assert again(client, report) == ["daily_report 2026-11-25 was made again."]
    report.refresh_from_db()
    assert (report.remade_by, report.records, report.made_by) == ("ada", 1, "root")
    assert LogEntry.objects.get().user.username == "ada"
    assert "by ada, for the first time at" in see(client, page_of(report))


@pytest.mark.parametrize(
    "permissions", [["view_report"], ["remake_report"], ["view_report", "change_report"]]
)
def test_who_may_not_makes_none_again(staff: Staff, permissions: list[str]) -> None:
    report = make_report()
    client = staff(*permissions)
    assert client.post(f"{LIST}{report.pk}/again/").status_code == 403
    assert "Make again" not in client.get(page_of(report)).content.decode()
    report.refresh_from_db()
    assert report.remade_at is None


def test_by_a_get_or_without_a_token_none_is_made_again(staff: Staff) -> None:
    report = make_report()
    assert staff("view_report", "remake_report").get(f"{LIST}{report.pk}/again/").status_code == 405
    checked = staff("view_report", "remake_report", check_csrf=True)
    assert checked.post(f"{LIST}{report.pk}/again/").status_code == 403
    report.refresh_from_db()
    assert report.remade_at is None


def test_a_report_whose_records_are_gone_stays_and_the_page_says_why(admin_client: Client) -> None:
    ran()
    report = make_report()
    Run.objects.all().delete()
    (message,) = again(admin_client, report)
    assert message.startswith("daily_report 2026-11-25 counts 1 records, and only 0 of them are left")
    report.refresh_from_db()
    assert (report.records, report.remade_at) == (1, None)


def test_a_report_of_another_version_is_shown_as_it_is(admin_client: Client) -> None:
    report = make_report()
    Report.objects.update(data=report.data | {"version": 2, "new": "<b>"})
    text = see(admin_client, page_of(report))
    assert "Another version of hotdata has made this report." in text
    assert "&lt;b&gt;" in text
    Report.objects.update(kind="gone_report")
    see(admin_client, LIST)
    see(admin_client, page_of(report))
    assert admin_client.post(f"{LIST}{report.pk}/again/").status_code == 404


def test_a_report_that_may_lack_something_says_so(admin_client: Client) -> None:
    report = make_report(period="2026-01-05", now=NOW)
    assert "there may have been more" in see(admin_client, page_of(report))
