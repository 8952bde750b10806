"""What is written, in which order, and what never is."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from hotdata.definitions.export import CantExport, document, text_of
from hotdata.models import Source
from tests.builders import make_job, make_source

pytestmark = pytest.mark.django_db


def exported() -> str:
    return text_of(document(now=timezone.now())[0])


def test_it_reads_like_this() -> None:
    source = make_source(
        name="quotes",
        base_url="https://api.example.com/v1",
        path="/quote/{key}",
        secret_headers={"X-API-Key": "HOTDATA_SECRET_QUOTES"},
        calls_per_minute=60,
        burst=60,
        breaker_failures=5,
        soft_ttl=timedelta(minutes=1, seconds=30),
        pinned=("MSFT", "AAPL"),
    )
    source.pin("600519", {"market": "上海"})
    make_job(
        name="update_quotes", task="refresh_source", params={"source": "quotes"}, timeout=None, title="Yes"
    )
    make_job(name="b", task="health_check", trigger="interval", interval=timedelta(hours=36), cron="")
    assert exported() == (
        "version: 1\n"
        "sources:\n"
        "  quotes:\n"
        "    base_url: https://api.example.com/v1\n"
        "    path: /quote/{key}\n"
        "    secret_headers:\n"
        "      X-API-Key: HOTDATA_SECRET_QUOTES\n"
        "    calls_per_minute: 60\n"
        "    soft_ttl: 1 min 30 s\n"
        "    keys:\n"
        "      '600519':\n"
        "        placeholders:\n"
        "          market: 上海\n"
        "      AAPL: {}\n"
        "      MSFT: {}\n"
        "jobs:\n"
        "  b:\n"
        "    task: health_check\n"
        "    trigger: interval\n"
        "    interval: 1 d 12 h\n"
        "    time_zone: UTC\n"
        "  update_quotes:\n"
        "    title: 'Yes'\n"
        "    task: refresh_source\n"
        "    params:\n"
        "      source: quotes\n"
        "    cron: '*/5 * * * *'\n"
        "    time_zone: UTC\n"
        "    timeout: null\n"
    )


def test_whether_a_job_is_paused_is_not_written() -> None:
    make_job(name="j", paused=True, pause_note="Moving.", paused_by="grace")
    text = exported()
    assert "j:" in text
    assert "paus" not in text
    assert "Moving" not in text


def test_jobs_that_will_never_be_due_again_are_left_out_and_told() -> None:
    now = timezone.now()
    make_job(name="later", trigger="date", run_at=now + timedelta(hours=1), cron="")
    over = make_job(name="over", trigger="date", run_at=now + timedelta(hours=1), cron="")
    type(over).objects.filter(pk=over.pk).update(run_at=now - timedelta(hours=1), paused=True)
    make_job(name="ended", ends_at=now + timedelta(seconds=1))
    written, left_out = document(now=now + timedelta(seconds=2))
    assert (list(written.jobs), left_out) == (["later"], ["ended", "over"])
    assert list(document(now=now, jobs=["over"])[0].jobs) == ["over"]  # it was asked for


def test_what_is_named_is_written_and_nothing_else() -> None:
    for name in ("a", "b"):
        make_job(name=name)
        make_source(name=name)
    written, _ = document(now=timezone.now(), jobs=["b"], sources=[])
    assert (list(written.jobs), list(written.sources)) == (["b"], [])
    with pytest.raises(CantExport, match="There is no source 'c', 'd'"):
        document(now=timezone.now(), sources=["d", "a", "c"])


def test_no_secret_is_written_wherever_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    make_source(name="s")
    Source.objects.update(headers={"X-API-Key": "S3cretPass-of-the-vendor"})
    assert "S3cretPass" in exported()  # nobody knows yet that it is one
    monkeypatch.setenv("HOTDATA_SECRET_VENDOR", "S3cretPass-of-the-vendor")
    with pytest.raises(CantExport, match=r"sources\.s holds the value of a secret") as refused:
        exported()
    assert "S3cret" not in str(refused.value)
    Source.objects.update(headers={})
    make_job(name="j", params={"source": "S3cretPass-of-the-vendor"})
    with pytest.raises(CantExport, match=r"jobs\.j holds the value of a secret"):
        exported()
