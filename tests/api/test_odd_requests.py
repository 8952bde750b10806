"""Whatever is sent to an endpoint, in its path, query, body or headers, it answers as described and not with a 5xx.

What schemathesis makes up for `test_openapi` goes through libraries that put it right; here the bytes are odd.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client

from hotdata.api.description import description
from hotdata.freshness import wants
from hotdata.models.runs import State
from tests.builders import make_job, make_run, make_source, store

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clear_cache")]

PATHS = description()["paths"]
OPERATIONS = [(method.upper(), path) for path, found in PATHS.items() for method in found]
WITH_BODY = [(method, path) for method, path in OPERATIONS if "requestBody" in PATHS[path][method.lower()]]
TEXTS = ("/healthz", "/readyz", "/metrics")
"""They answer with text, or can."""
NAMES = [
    "%00", "%ff", "%ed%a0%80", "%0a", "..", ".", "%2e%2e", "a%2fb", "9" * 30, "9" * 5000, "-1", "x" * 5000, "北京",
    "%E2%80%AE", "%", "%zz", " ", "'", '"', "<b>", "{key}", "%25", "%c0%af",
]  # fmt: skip
VALUES = [
    *NAMES,
    "",
    "null",
    "true",
    "1e400",
    "1.5",
    "٣",
    "0x1",
    "1_000",
    "YQ",
    "AA",
    "==",
    "[]",
    "%f0%9f%92%a9",
]
BODIES = [
    b"", b"{", b"null", b"[]", b"1", b'"', b"\x00", b"\xff\xfe", b"\xef\xbb\xbf{}", b"[" * 100_000, b'{"a":' * 50_000,
    b'{"params": null}', b'{"params": {"": ""}}', b'{"params": {"\\ud800": 1}}', b'{"params": {"a\\u0000": "b"}}',
    b'{"params": {"days": 1' + b"0" * 400 + b"}}", b'{"params": {"days": 1' + b"0" * 5000 + b"}}",
    b'{"params": {"days": 1e999}}', b'{"params": {"days": NaN}}', b'{"params": {"days": -0.0}}',
    b'{"params": {"days": ' + b"[" * 900 + b"]" * 900 + b"}}", b'{"note": "\\ud800"}', b'{"note": "\\u0000"}',
    b'{"note": "\xf0\x9f\x92\xa9"}', b'{"note": "\xed\xa0\x80"}', b'{"until": "0001-01-01T00:00:00+23:59"}',
    b'{"until": "9999-12-31T23:59:59-23:59"}', b'{"until": "2999-02-30T00:00:00Z"}', b'{"note": 1, "note": "x"}',
]  # fmt: skip
HEADERS = [
    {"Content-Type": ""}, {"Content-Type": "/"}, {"Content-Type": "multipart/form-data"},
    {"Content-Type": "multipart/form-data; boundary=\xff"}, {"Content-Type": "application/json; charset=no"},
    {"Content-Length": "x"}, {"Content-Length": "-1"}, {"Content-Length": "9" * 30}, {"If-None-Match": '"'},
    {"If-None-Match": "*"}, {"Accept": "\xff"}, {"Accept-Language": "x" * 5000}, {"Authorization": "Bearer"},
    {"Authorization": "Bearer \xff\x00"}, {"Cookie": "sessionid=\x00; csrftoken=\xff"}, {"X-CSRFToken": "\xff"},
    {"Idempotency-Key": "x"}, {"X-HTTP-Method-Override": "DELETE"},
]  # fmt: skip


@pytest.fixture
def root(admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> Client:
    """A client who may do everything, where there is something of each kind to do it to."""
    job = make_job(name="known", task="cleanup_logs")
    for state in State:
        make_run(job, state=state)
    for name in ("stock", "known"):
        make_source(name=name, pinned=("AAPL",))
    store("stock", "AAPL")
    monkeypatch.setattr(wants, "are_served", lambda: True)  # the sign of it would end before the test does
    return admin_client


def filled(path: str, *, odd: str = "") -> list[str]:
    """`path` with what there is; with something odd in its place, once for each place, where that is given."""
    known = {"source": "stock", "key": "AAPL", "name": "known", "job_id": "known", "run_id": "1"}
    names = re.findall(r"{(\w+)}", path)
    fillings = [known | {name: odd} for name in names] if odd else [known]
    return [path.format(**filling) for filling in fillings]


def check(answer: Any, what: Any) -> None:
    if answer.status_code == 503 and answer.request["PATH_INFO"] == "/readyz":
        return  # what it was asked is whether it is ready
    assert answer.status_code < 500, what
    if answer.status_code >= 400:
        assert answer["Content-Type"].startswith("application/json"), (what, answer.status_code)
        assert answer.json().keys() == {"error"}, what
    elif answer.status_code != 304:
        path = answer.request["PATH_INFO"]
        kinds = ("text/plain", "application/json") if path in TEXTS else ("application/json",)
        assert answer["Content-Type"].startswith(kinds), (what, answer.status_code)


@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=[" ".join(found) for found in OPERATIONS])
def test_an_odd_name_in_the_path(method: str, path: str, root: Client) -> None:
    for odd in NAMES:
        for address in filled(path, odd=odd):
            check(root.generic(method, address, b"{}", "application/json"), address[:200])


@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=[" ".join(found) for found in OPERATIONS])
def test_an_odd_value_in_the_query(method: str, path: str, root: Client) -> None:
    names = [found["name"] for found in PATHS[path][method.lower()]["parameters"] if found["in"] == "query"]
    (address,) = filled(path)
    queries = [f"{name}={odd}" for name in names for odd in VALUES] + ["%00", "%ff=1", "=%ed%a0%80", "&&=&%"]
    for query in queries:
        check(root.generic(method, f"{address}?{query}", b"{}", "application/json"), query[:200])


@pytest.mark.parametrize(("method", "path"), WITH_BODY, ids=[path for _, path in WITH_BODY])
def test_an_odd_body(method: str, path: str, root: Client) -> None:
    (address,) = filled(path)
    for body in BODIES:
        check(root.generic(method, address, body, "application/json"), body[:100])


@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=[" ".join(found) for found in OPERATIONS])
def test_an_odd_header(method: str, path: str, root: Client) -> None:
    (address,) = filled(path)
    for header in HEADERS:
        ((name, value),) = header.items()
        meta = name.upper().replace("-", "_")
        meta = meta if meta.startswith("CONTENT_") else f"HTTP_{meta}"
        check(root.generic(method, address, b"{}", "application/json", **{meta: value}), header)


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "PUT", "DELETE", "PATCH", "PROPFIND", "", "\xff"])
def test_an_odd_method(method: str, root: Client) -> None:
    for _, path in OPERATIONS:
        (address,) = filled(path)
        answer = root.generic(method, address, b"{}", "application/json")
        assert answer.status_code == 405, (method, address)
        assert answer["Allow"]
        check(answer, (method, address))


@pytest.mark.parametrize(
    "path", ["/api", "/api/nothing", "/api/nothing/", "/api/hot", "/api/jobs/", "/api//"]
)
def test_where_there_is_no_endpoint_below_api_json_says_so(client: Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.json() == {"error": "There is nothing here."}


def test_what_breaks_is_told_in_json_to_programs_and_on_a_page_to_people(
    root: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("with a secret in it")

    root.raise_request_exception = False
    monkeypatch.setattr("hotdata.api.jobs.job_statuses", broken)
    monkeypatch.setattr("hotdata.api.admin_paths._shown", broken)
    for path in ("/api/jobs", "/api/jobs/known", "/admin/scheduled-jobs"):
        answer = root.get(path)
        assert answer.status_code == 500
        assert answer.json() == {"error": "Something is broken here. The log says what."}
    monkeypatch.setattr("hotdata.pages.dashboard.health.worst_first", broken)
    answer = root.get("/admin/")
    assert answer.status_code == 500
    assert answer["Content-Type"].startswith("text/html")
    assert b"secret" not in answer.content
