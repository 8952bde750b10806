"""The Content-Security-Policy, as it is sent. That pages work under it is for tests/browser to show."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from tests.builders import make_source, store

HEADER = "Content-Security-Policy"
POLICY = {
    "default-src 'self'",
    "object-src 'none'",
    "base-uri 'none'",
    "form-action 'self'",
    "frame-ancestors 'none'",
}


def policy(answer: Any) -> set[str]:
    return set(answer[HEADER].split("; "))


@pytest.mark.django_db
@pytest.mark.parametrize(
    "path", ["/admin/", "/admin/hotdata/job/", "/admin/hotdata/job/add/", "/admin/password_change/"]
)
def test_a_page_may_load_nothing_but_what_the_site_serves(admin_client: Client, path: str) -> None:
    answer = admin_client.get(path)
    assert answer.status_code == 200
    assert policy(answer) == POLICY


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("path", "host", "status"),
    [
        ("/admin/login/", "testserver", 200),
        ("/nothing", "testserver", 404),
        ("/admin/login/", "elsewhere.example", 400),
        ("/static/admin/img/icon-yes.svg", "testserver", 200),
    ],
)
def test_a_stranger_gets_it_and_so_do_errors_and_files(path: str, host: str, status: int) -> None:
    answer = Client().get(path, headers={"host": host})
    answer.close()  # a file stays open until then
    assert answer.status_code == status
    assert policy(answer) == POLICY


@pytest.mark.django_db
def test_a_form_from_elsewhere_is_refused_under_it() -> None:
    answer = Client(enforce_csrf_checks=True).post("/admin/login/", {})
    assert answer.status_code == 403
    assert policy(answer) == POLICY


@pytest.mark.django_db
@pytest.mark.usefixtures("clear_cache")
def test_an_answer_in_json_can_be_cached_as_before(client: Client) -> None:
    make_source(name="stock", pinned=("AAPL",))
    store("stock", "AAPL", {"price": 1})
    first, second = client.get("/api/hot/stock/AAPL"), client.get("/api/hot/stock/AAPL")
    assert first.json()["value"] == {"price": 1}
    assert "max-age=" in first["Cache-Control"]
    assert first[HEADER] == second[HEADER]
