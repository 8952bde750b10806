"""Runs as CSV: what the list has found, streamed, and harmless in a spreadsheet."""

from __future__ import annotations

import csv
import io
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from hotdata.admin import run_export
from hotdata.admin.run_export import export
from hotdata.models import Run
from hotdata.models.runs import State
from hotdata.observing.finding import Found
from tests.builders import Staff, make_job, make_run

pytestmark = pytest.mark.django_db

EXPORT = "/admin/hotdata/run/export/"


def rows(answer: Any) -> list[dict[str, str]]:
    text = b"".join(answer.streaming_content).decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_what_the_list_has_found_is_exported(admin_client: Client) -> None:
    run = make_run(
        make_job(name="update"),
        state=State.FAILED,
        error='ValueError: 北京,\n"broken"',
        started_at=timezone.now(),
        duration=timedelta(milliseconds=1500),
    )
    make_run(make_job(), state=State.SUCCEEDED)
    answer = admin_client.get(EXPORT, {"outcome": "failures"})
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert answer["Content-Disposition"].startswith('attachment; filename="runs-')
    (row,) = rows(answer)
    assert (row["id"], row["job"], row["state"], row["duration"]) == (str(run.pk), "update", "failed", "1.5")
    assert row["error"] == 'ValueError: 北京,\n"broken"'
    assert datetime.fromisoformat(row["started_at"]) == run.started_at
    assert datetime.fromisoformat(row["started_at"]).tzinfo is not None
    assert row["scheduled_for"] == ""


def test_the_file_begins_with_a_byte_order_mark(admin_client: Client) -> None:
    assert b"".join(admin_client.get(EXPORT).streaming_content).startswith(b"\xef\xbb\xbfid,job,")


def test_every_run_is_exported_once_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    job = make_job()
    runs = [make_run(job) for _ in range(7)]
    for piece in (1, 2, 3, 7, 8):
        monkeypatch.setattr(run_export, "PIECE", piece)
        lines = "".join(export(Found(rows=Run.objects.order_by("-id")))).splitlines()
        assert [int(line.partition(",")[0]) for line in lines[1:]] == [run.pk for run in reversed(runs)]


def test_a_file_that_is_cut_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    job = make_job()
    for _ in range(5):
        make_run(job)
    monkeypatch.setattr(run_export, "PIECE", 2)
    assert (
        "Cut after 4 rows"
        in "".join(export(Found(rows=Run.objects.order_by("-id")), most=4)).splitlines()[-1]
    )
    assert "Cut" not in "".join(export(Found(rows=Run.objects.order_by("-id")), most=5))


def test_nothing_is_exported_to_whom_may_not_see_runs(staff: Staff, client: Client) -> None:
    assert staff("view_job").get(EXPORT).status_code == 403
    assert client.get(EXPORT)["Location"].startswith("/admin/login/")
    assert staff("view_run").get(EXPORT).status_code == 200


def test_an_export_is_no_post(admin_client: Client) -> None:
    assert admin_client.post(EXPORT).status_code == 405
