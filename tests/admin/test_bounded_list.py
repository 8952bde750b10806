"""Lists that are asked what no database can answer."""

from __future__ import annotations

import pytest
from django.test import Client

from hotdata.models import Run
from tests.builders import make_call, make_job, make_run, make_source

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clear_cache")]


@pytest.mark.parametrize("term", ["a " * 1500, "_" * 26_000, "x" * 51_000], ids=["words", "signs", "letters"])
@pytest.mark.parametrize("name", ["job", "run", "source", "apicall"])
def test_a_search_that_is_too_long_is_refused_in_words(admin_client: Client, name: str, term: str) -> None:
    make_run(make_job(), state="failed", error="no")
    make_source()
    make_call(outcome="failed", error="no")
    answer = admin_client.get(f"/admin/hotdata/{name}/", {"q": term})
    assert answer.status_code == 200
    assert "at most 500 characters" in answer.content.decode()


@pytest.mark.parametrize("name", ["job", "run", "source"])
def test_many_words_can_be_searched_for(admin_client: Client, name: str) -> None:
    make_run(make_job(), state="failed", error="no")
    answer = admin_client.get(f"/admin/hotdata/{name}/", {"q": "a " * 249})
    assert answer.status_code == 200
    assert "at most 500" not in answer.content.decode()


@pytest.mark.parametrize("key", ["x", "\x00", "²", "-1", "9" * 30, "9" * 5000, "1.5", ""])
@pytest.mark.parametrize(
    ("name", "action"), [("job", "run_now"), ("run", "run_again"), ("source", "refresh_now")]
)
def test_what_is_no_row_is_not_acted_on(admin_client: Client, name: str, action: str, key: str) -> None:
    make_job()
    make_source()
    sent = {"action": action, "_selected_action": ["1", key], "index": "0"}
    answer = admin_client.post(f"/admin/hotdata/{name}/", sent, follow=True)
    assert answer.status_code == 200
    assert "is not in this list" in answer.content.decode()
    assert not Run.objects.exists()


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("job", "interval=x"), ("job", "jitter__gt=1"), ("job", "pause_note__contains=x"), ("job", "params__a=1"),
        ("source", "soft_ttl=1"), ("source", "pinned__key=x"), ("source", "secret_headers__has_key=x"),
    ],
)  # fmt: skip
def test_only_what_the_filters_ask_for_is_looked_up(admin_client: Client, name: str, asked: str) -> None:
    assert admin_client.get(f"/admin/hotdata/{name}/?{asked}").status_code == 400


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("job", "trigger__exact=cron"),
        ("job", "task__exact=gone"),
        ("job", "health=late"),
        ("source", "enabled__exact=1"),
    ],
)
def test_what_the_filters_ask_for_is_looked_up(admin_client: Client, name: str, asked: str) -> None:
    assert admin_client.get(f"/admin/hotdata/{name}/?{asked}").status_code == 200


@pytest.mark.parametrize(
    "before", ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00%2B23:59", "x", "9" * 5000, "%00"]
)
@pytest.mark.parametrize("name", ["apicall", "run"])
def test_a_place_that_no_list_has_leads_to_the_whole_list(
    admin_client: Client, name: str, before: str
) -> None:
    answer = admin_client.get(f"/admin/hotdata/{name}/?before={before}")
    assert (answer.status_code, answer["Location"]) == (302, f"/admin/hotdata/{name}/?e=1")


@pytest.mark.parametrize(
    "asked",
    [
        "job/?task__exact=",
        "job/?o=",
        "run/?job=",
        "run/export/?job=",
        "apicall/?source=",
        "source/?x=",
    ],
)
def test_a_nul_in_the_address_leads_to_the_whole_list(admin_client: Client, asked: str) -> None:
    answer = admin_client.get(f"/admin/hotdata/{asked}%00")
    assert (answer.status_code, answer["Location"].endswith("?e=1")) == (302, True)


@pytest.mark.parametrize("page", ["", "change/", "live/", "history/"])
@pytest.mark.parametrize("key", ["9" * 30, "9" * 5000])
def test_a_run_of_endless_digits_is_none(admin_client: Client, key: str, page: str) -> None:
    assert admin_client.get(f"/admin/hotdata/run/{key}/{page}").status_code in (302, 404)
