"""Who changed what of a source, and the way back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from hotdata.models import ChangeCounter, Job, Key, Source
from tests.builders import Staff, make_job, make_source

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clear_cache")]

LIST = "/admin/hotdata/source/"


def log_of(source: Source) -> str:
    return f"{LIST}{source.pk}/history/"


def revert_to(number: int) -> str:
    """The way back to the version that an edit led to, counted from the first."""
    return f"{LIST}revert/{Source.history.order_by('history_id')[number].history_id}/"


def edited_source() -> Source:
    source = make_source(name="stock", title="before", pinned=("AAPL",), headers={"Accept": "text/json"})
    source.title, source.soft_ttl, source.headers = "after", timedelta(minutes=2), {"Accept": "*/*"}
    source.save()
    return source


def test_the_log_tells_edits_of_the_source_and_of_its_keys(
    staff: Staff, django_assert_max_num_queries: Any
) -> None:
    source = edited_source()
    client = staff("view_source")
    client.get(log_of(source))
    with django_assert_max_num_queries(12):
        page = client.get(log_of(source)).content.decode()
    for text in (
        "<del>5 min</del>", "<ins>2 min</ins>",
        "Headers: Accept", "<ins>&quot;*/*&quot;</ins>",
        "Pinned the key AAPL.", "Created.", "its keys stay pinned or not",
    ):  # fmt: skip
        assert text in page, text
    assert "Go back to this" not in page


def test_the_log_tells_who_asked_for_what(staff: Staff) -> None:
    source = make_source(name="stock")
    client = staff("view_source", "change_source", "add_key")
    client.post(f"{LIST}{source.pk}/pin/", {"key": "北京"})
    actions = client.get(log_of(source)).content.decode().partition("<h2>Actions")[2]
    assert "Pinned 北京." in actions
    assert "ada" in actions


def test_a_long_log_comes_in_pages(admin_client: Client) -> None:
    source = make_source(name="stock", pinned=tuple(f"K{number}" for number in range(40)))
    for number in range(30):
        source.title = f"Title {number}"
        source.save()
    first = admin_client.get(log_of(source)).content.decode()
    second = admin_client.get(log_of(source), {"p": "1"}).content.decode()
    assert "<ins>Title 29</ins>" in first
    assert "Created." not in first
    assert "Created." in second
    assert admin_client.get(log_of(source), {"p": "99999"}).status_code == 200


def test_a_revert_is_an_edit_that_leaves_the_keys_alone(staff: Staff) -> None:
    source = edited_source()
    source.pin("MSFT")
    counter = ChangeCounter.current()
    client = staff("view_source", "change_source")
    assert "Go back to this" in client.get(log_of(source)).content.decode()
    answer = client.post(revert_to(0), follow=True)
    source.refresh_from_db()
    assert (source.title, source.soft_ttl) == ("before", timedelta(minutes=5))
    assert source.headers == {"Accept": "text/json"}
    assert source.pinned_keys() == ["AAPL", "MSFT"]
    assert ChangeCounter.current() > counter
    assert Source.history.latest("history_id").history_user == "ada"
    assert "Reverted to the version of" in answer.content.decode()


def test_a_version_that_is_not_valid_any_more_is_refused_with_the_reason(admin_client: Client) -> None:
    source = make_source(name="stock", fetcher="gone")
    source.fetcher = ""
    source.save()
    answer = admin_client.post(revert_to(0), follow=True)
    assert "gone" in answer.content.decode()
    assert Source.objects.get().fetcher == ""


def test_a_revert_needs_a_post_a_token_and_the_permission(staff: Staff, admin_client: Client) -> None:
    source = edited_source()
    assert admin_client.get(revert_to(0)).status_code == 405
    assert staff("view_source", "add_source", "refresh_source").post(revert_to(0)).status_code == 403
    assert staff("view_source", "change_source", check_csrf=True).post(revert_to(0)).status_code == 403
    assert staff("change_job").get(log_of(source)).status_code == 403
    assert Source.objects.get().title == "after"


def test_an_edit_of_a_job_is_no_edit_of_a_source(admin_client: Client) -> None:
    make_job(name="stock")
    assert admin_client.post(f"{LIST}revert/{Job.history.get().history_id}/").status_code == 404


def test_a_deleted_source_is_found_and_made_again(staff: Staff) -> None:
    edited_source().delete()
    client = staff("view_source", "add_source")
    assert "Make a deleted source again" in client.get(f"{LIST}add/").content.decode()
    assert f"{LIST}deleted/stock/" in client.get(f"{LIST}deleted/").content.decode()
    page = client.get(f"{LIST}deleted/stock/").content.decode()
    assert "This source was deleted." in page
    assert staff("view_source", "change_source").post(revert_to(1)).status_code == 403
    client = staff("view_source", "add_source")
    assert client.post(revert_to(1)).status_code == 302
    made = Source.objects.get()
    assert (made.name, made.title) == ("stock", "after")
    assert not Key.objects.exists()
    assert "None was deleted." in client.get(f"{LIST}deleted/").content.decode()
    assert client.get(f"{LIST}deleted/stock/")["Location"] == log_of(made)
