"""`setup_hotdata`: what a new installation begins with, made once."""

from __future__ import annotations

import io

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django import Settings

from hotdata import defaults
from hotdata.models import Job, Key, Run, Schedule, Source
from hotdata.models.runs import Cause, State
from tests.threads import PATIENCE, in_thread

pytestmark = pytest.mark.django_db

RUN_AT_ONCE = ["cache_warmup", "update_hot_data", "update_news", "update_stocks", "update_weather"]


@pytest.fixture(autouse=True)
def _a_demo_upstream_that_may_be_asked(settings: Settings) -> None:
    settings.HOTDATA_DEMO_UPSTREAM = "http://127.0.0.1:8100"
    settings.HOTDATA_ALLOW_PRIVATE = ["127.0.0.1:8100", "127.0.0.1:8200"]


def setup_hotdata() -> str:
    """What the command says."""
    out = io.StringIO()
    call_command("setup_hotdata", stdout=out)
    return out.getvalue()


def test_a_new_installation_gets_its_sources_and_jobs_and_is_told_of_each() -> None:
    said = setup_hotdata().splitlines()
    assert said == [
        *(f"made source {default.name}" for default in defaults.SOURCES),
        *(f"made job {default.name}" for default in defaults.JOBS),
    ]


def test_the_default_jobs_are_due_when_they_should_be() -> None:
    setup_hotdata()
    cron = dict(Job.objects.exclude(cron="").values_list("name", "cron"))
    assert cron == {
        "update_stocks": "*/5 * * * *",
        "update_news": "*/10 * * * *",
        "update_weather": "0 * * * *",
        "cache_warmup": "0 23 * * *",
        "cleanup_logs": "0 3 * * sun",
        "roll_up_freshness": "5 * * * *",
    }
    assert Schedule.objects.filter(next_run_time__gt=timezone.now()).count() == len(defaults.JOBS)


def test_the_default_sources_pin_what_is_looked_at() -> None:
    setup_hotdata()
    assert Source.objects.get(name="stock").pinned_keys() == ["AAPL", "GOOGL", "MSFT", "AMZN", "TSLA"]
    assert Source.objects.get(name="weather").pinned_keys()[0] == "北京"


def test_what_refreshes_runs_at_once_so_that_there_is_data() -> None:
    setup_hotdata()
    runs = Run.objects.order_by("job_id")
    assert [run.job_id for run in runs] == RUN_AT_ONCE
    for run in runs:
        assert (run.state, run.cause, run.requested_by) == (State.QUEUED, Cause.CLI, "setup_hotdata")
        assert run.node == ""


def test_a_second_time_nothing_is_made_and_nothing_runs() -> None:
    setup_hotdata()
    jobs, sources = list(Job.objects.values()), list(Source.objects.values())
    assert setup_hotdata() == f"{len(defaults.JOBS) + len(defaults.SOURCES)} defaults left as they are.\n"
    assert (list(Job.objects.values()), list(Source.objects.values())) == (jobs, sources)
    assert Run.objects.count() == len(RUN_AT_ONCE)


def test_what_an_operator_edited_stays_edited() -> None:
    setup_hotdata()
    job, source = Job.objects.get(name="update_stocks"), Source.objects.get(name="stock")
    job.cron, job.paused, source.path = "0 9 * * mon-fri", True, "/quotes/{key}"
    job.save()
    source.save()
    source.pinned.all().delete()
    setup_hotdata()
    job.refresh_from_db()
    source.refresh_from_db()
    assert (job.cron, job.paused) == ("0 9 * * mon-fri", True)
    assert (source.path, source.pinned_keys()) == ("/quotes/{key}", [])


def test_what_an_operator_deleted_stays_deleted() -> None:
    setup_hotdata()
    Job.objects.get(name="update_news").delete()
    Source.objects.get(name="news").delete()
    runs = Run.objects.count()
    setup_hotdata()
    assert not Job.objects.filter(name="update_news").exists()
    assert not Source.objects.filter(name="news").exists()
    assert not Key.objects.filter(key="technology").exists()
    assert Run.objects.count() == runs


def test_what_was_there_before_under_a_defaults_name_is_the_operators() -> None:
    Source.objects.create(name="stock", base_url="https://api.example.com", path="/{key}")
    Job.objects.create(name="update_stocks", task="refresh_due", cron="0 0 * * *")
    setup_hotdata()
    assert Source.objects.get(name="stock").base_url == "https://api.example.com"
    assert Job.objects.get(name="update_stocks").task == "refresh_due"
    assert not Run.objects.filter(job_id="update_stocks").exists()


def test_the_demo_sources_follow_the_demo_upstream_and_an_operators_address_stays(
    settings: Settings,
) -> None:
    setup_hotdata()
    Source.objects.filter(name="news").update(base_url="https://news.example.com")
    settings.HOTDATA_DEMO_UPSTREAM = "http://127.0.0.1:8200"
    assert "moved source stock" in setup_hotdata()
    addresses = dict(Source.objects.values_list("name", "base_url"))
    assert addresses["stock"] == addresses["weather"] == "http://127.0.0.1:8200"
    assert addresses["news"] == "https://news.example.com"


def test_an_upstream_that_sources_may_not_ask_is_refused_with_the_settings_to_look_at(
    settings: Settings,
) -> None:
    settings.HOTDATA_ALLOW_PRIVATE = []
    with pytest.raises(CommandError) as refusal:
        setup_hotdata()
    assert "with http://127.0.0.1:8100 as upstream: " in str(refusal.value)
    assert "See HOTDATA_DEMO_UPSTREAM and HOTDATA_ALLOW_PRIVATE." in str(refusal.value)
    assert not Source.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_processes_that_start_together_make_everything_once() -> None:
    done = [in_thread(setup_hotdata) for _ in range(4)]
    said = "".join(future.result(PATIENCE) for future in done)
    assert said.count("made job") == Job.objects.count() == len(defaults.JOBS)
    assert said.count("made source") == Source.objects.count() == len(defaults.SOURCES)
    assert Run.objects.count() == len(RUN_AT_ONCE)
