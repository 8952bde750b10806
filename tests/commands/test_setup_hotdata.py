"""`setup_hotdata`: what a new installation begins with, made once."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django import Settings

from hotdata.defaults.jobs import JOBS
from hotdata.defaults.sources import demo_sources, public_sources
from hotdata.models import Job, Key, Run, Schedule, Source
from hotdata.models.runs import Cause, State
from tests.threads import PATIENCE, in_thread

pytestmark = pytest.mark.django_db

RUN_AT_ONCE = ["cache_warmup", "update_hot_data", "update_news", "update_stocks", "update_weather"]


@pytest.fixture(autouse=True)
def _a_demo_upstream_that_may_be_asked(settings: Settings) -> None:
    settings.HOTDATA_DEMO_UPSTREAM = "http://127.0.0.1:8100"
    settings.HOTDATA_ALLOW_PRIVATE = ["127.0.0.1:8100", "127.0.0.1:8200"]


def setup_hotdata(**options: str) -> str:
    """What the command says."""
    out = io.StringIO()
    call_command("setup_hotdata", stdout=out, **options)
    return out.getvalue()


def test_a_new_installation_gets_its_sources_and_jobs_and_is_told_of_each() -> None:
    said = setup_hotdata().splitlines()
    assert said == [
        *(f"made source {default.name}" for default in demo_sources()),
        *(f"made job {default.name}" for default in JOBS),
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
        "monthly_billing": "0 3 1 * *",
        "daily_report": "0 2 * * *",
        "weekly_report": "0 9 * * mon",
    }
    assert Schedule.objects.filter(next_run_time__gt=timezone.now()).count() == len(JOBS)


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
    assert setup_hotdata() == f"{len(JOBS) + len(demo_sources())} defaults left as they are.\n"
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


# The other upstream


def addresses() -> dict[str, str]:
    return dict(Source.objects.values_list("name", "base_url"))


PUBLIC_ADDRESSES = {default.name: default.base_url for default in public_sources()}
MOVED = [f"moved source {name} to {address}" for name, address in PUBLIC_ADDRESSES.items()]


def test_a_new_installation_may_begin_with_public_upstreams() -> None:
    assert setup_hotdata(upstream="public").splitlines()[:4] == [
        f"made source {name}" for name in ("stock", "news", "weather", "forecast")
    ]
    assert addresses() == PUBLIC_ADDRESSES
    city = Key.objects.get(source__name="weather", key="北京")
    assert city.placeholders == {"latitude": "39.9042", "longitude": "116.4074"}


def test_sources_move_to_the_public_upstreams_and_back_and_are_refreshed_then() -> None:
    setup_hotdata()
    demo = {source.name: source.definition() for source in Source.objects.all()}
    said = setup_hotdata(upstream="public").splitlines()
    assert said[:4] == MOVED
    assert [line for line in said if line.startswith("asked")] == [
        f"asked job {job.name} to run now" for job in JOBS if job.run_at_once
    ]
    assert Run.objects.count() == 2 * len(RUN_AT_ONCE)
    assert addresses() == PUBLIC_ADDRESSES
    assert Source.objects.get(name="stock").batch_size == 1, "nothing is left of the demo's definition"
    assert "moved source stock to http://127.0.0.1:8100" in setup_hotdata(upstream="demo")
    assert {source.name: source.definition() for source in Source.objects.all()} == demo


def test_once_they_are_moved_sources_stay_where_they_are() -> None:
    setup_hotdata()
    setup_hotdata(upstream="public")
    runs = Run.objects.count()
    untouched = f"{len(JOBS) + len(demo_sources())} defaults left as they are.\n"
    assert setup_hotdata(upstream="public") == untouched
    assert setup_hotdata() == untouched, "as `make run` calls it at each start"
    assert (addresses(), Run.objects.count()) == (PUBLIC_ADDRESSES, runs)


def edit_a_field() -> None:
    Source.objects.filter(name="news").update(enabled=False)


def pin_a_key() -> None:
    Source.objects.get(name="news").pinned.create(key="science")


def unpin_a_key() -> None:
    Key.objects.filter(source__name="news", key="general").delete()


def weigh_a_key() -> None:
    Key.objects.filter(source__name="news", key="general").update(weight=2)


@pytest.mark.parametrize("edit", [edit_a_field, pin_a_key, unpin_a_key, weigh_a_key])
def test_a_source_that_was_edited_does_not_move_and_the_others_do(edit: Callable[[], None]) -> None:
    setup_hotdata()
    edit()
    edited = Source.objects.get(name="news").definition()
    for _ in range(2):
        said = setup_hotdata(upstream="public")
        assert "kept source news at http://127.0.0.1:8100: it was edited since it was made" in said
    assert Source.objects.get(name="news").definition() == edited
    assert addresses() == PUBLIC_ADDRESSES | {"news": "http://127.0.0.1:8100"}


def test_an_edited_source_that_follows_the_demo_is_still_known_as_edited(settings: Settings) -> None:
    setup_hotdata()
    edit_a_field()
    settings.HOTDATA_DEMO_UPSTREAM = "http://127.0.0.1:8200"
    setup_hotdata()
    assert "kept source news at http://127.0.0.1:8200" in setup_hotdata(upstream="public")


def test_what_was_deleted_or_never_made_here_does_not_move(settings: Settings) -> None:
    Source.objects.create(name="stock", base_url="https://api.example.com", path="/{key}")
    setup_hotdata()
    Source.objects.get(name="news").delete()
    setup_hotdata(upstream="public")
    assert addresses()["stock"] == "https://api.example.com"
    assert "news" not in addresses()


def test_a_job_that_is_paused_or_does_something_else_is_not_asked_to_run() -> None:
    setup_hotdata()
    Job.objects.filter(name="update_news").update(paused=True)
    Job.objects.filter(name="update_weather").update(params={"source": "my-weather"})
    said = setup_hotdata(upstream="public")
    assert "update_news" not in said
    assert "update_weather" not in said
    assert "asked job cache_warmup to run now" in said


@pytest.mark.parametrize(
    ("key", "sent"), [(None, {}), ("", {}), ("s3", {"X-API-Key": "HOTDATA_SECRET_STOCKS"})]
)
def test_stock_quotes_are_asked_for_with_a_key_if_the_environment_has_one(
    monkeypatch: pytest.MonkeyPatch, key: str | None, sent: dict[str, str]
) -> None:
    monkeypatch.delenv("HOTDATA_SECRET_STOCKS", raising=False)
    if key is not None:
        monkeypatch.setenv("HOTDATA_SECRET_STOCKS", key)
    setup_hotdata(upstream="public")
    assert Source.objects.get(name="stock").secret_headers == sent


# What goes wrong


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
    assert said.count("made job") == Job.objects.count() == len(JOBS)
    assert said.count("made source") == Source.objects.count() == len(demo_sources())
    assert Run.objects.count() == len(RUN_AT_ONCE)
