"""The description of the API is whole and true: what is sent is as described, whatever is asked.

Requests are made up by schemathesis, from the description: such as it allows, and such as it doesn't.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import schemathesis
from django.contrib.auth.models import User
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from django.middleware.csrf import get_token
from django.test import Client, RequestFactory
from django.urls import get_resolver
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from hotdata.api.description import PARAMETER, REFUSALS, description
from hotdata.freshness import wants
from hotdata.models import Run
from hotdata.models.runs import ACTIVE, State
from tests.builders import make_call, make_job, make_run, make_source, store

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clear_cache")]

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
KNOWN = {"source": "stock", "key": "AAPL", "name": "known", "job_id": "known"}
"""What there is of each kind: nobody guesses a name."""
SERVED = {200, 202, 304, 409}
"""What answers with that was found, and looked at."""
PROBES = {"/healthz", "/readyz"}
PATHS: dict[str, dict[str, Any]] = description()["paths"]
OPERATIONS = [(method, path) for path, found in PATHS.items() for method in found]
WITH_INPUT = [
    (method, path)
    for method, path in OPERATIONS
    if PATHS[path][method]["parameters"] or "requestBody" in PATHS[path][method]
]


# The description


def test_it_is_for_everybody_and_kept_for_a_while(client: Client) -> None:
    answer = client.get("/api/openapi.json")
    assert answer.json() == description()
    assert answer["Cache-Control"] == "public, max-age=300"
    assert client.get("/api/").json() == {"openapi": "/api/openapi.json"}


def test_it_is_one_of_openapi(client: Client) -> None:
    schemathesis.openapi.from_dict(description()).validate()
    assert description()["openapi"].startswith("3.1.")


def test_each_path_is_described_and_none_that_is_not_there() -> None:
    there = {
        "/" + PARAMETER.sub(r"{\1}", str(found.pattern))
        for found in get_resolver("hotdata.api.urls").url_patterns
        if found.name
    }
    assert there == PATHS.keys()
    assert len(there) >= 23


@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=[" ".join(found) for found in OPERATIONS])
def test_each_operation_says_who_may_and_how_it_is_refused(method: str, path: str) -> None:
    told = PATHS[path][method]
    assert told["summary"]
    if path in PROBES:
        assert told["security"] == []
        assert told["responses"].keys() <= {"200", "400", "405", "413", "503"}
        return
    assert {"401", "403", "429", "503"} <= told["responses"].keys()
    assert "Retry-After" in told["responses"]["429"]["headers"]
    assert {scheme for kind in told["security"] for scheme in kind} == {"bearerAuth", "sessionCookie"}
    assert ({} in told["security"]) is ("Needs the permission" not in told["description"])


def test_readiness_is_described_as_what_it_is_also_when_it_is_none() -> None:
    told = PATHS["/readyz"]["get"]["responses"]
    assert told["200"]["content"] == told["503"]["content"]
    assert told["503"]["content"].keys() == {"application/json", "text/plain"}
    assert PATHS["/healthz"]["get"]["responses"]["200"]["content"].keys() == {"text/plain"}


def test_each_struct_that_is_referred_to_is_there() -> None:
    named = set(description()["components"]["schemas"])
    referred = {
        text.rpartition("/")[2] for text in _texts(description()) if text.startswith("#/components/schemas/")
    }
    assert referred <= named
    assert referred == named, "described, but nowhere used"


def _texts(found: Any) -> Iterator[str]:
    if isinstance(found, str):
        yield found
    elif isinstance(found, dict | list):
        for inner in found.values() if isinstance(found, dict) else found:
            yield from _texts(inner)


def test_what_an_answer_looks_like_when_it_is_refused_is_the_same_everywhere() -> None:
    assert description()["components"]["schemas"]["Error"]["required"] == ["error"]
    refusals = {
        response["content"]["application/json"]["schema"]["$ref"]
        for method, path in OPERATIONS
        for status, response in PATHS[path][method]["responses"].items()
        if int(status) in REFUSALS and (path, status) != ("/readyz", "503")
    }
    assert refusals == {"#/components/schemas/Error"}


# The answers


@pytest.fixture
def rows() -> dict[str, Any]:
    """Something of each kind, in the states that there are. What paths may be filled with."""
    job = make_job(name="known", title="更新", params={})
    make_job(name="broken", task="gone")
    make_job(name="resting", paused=True, pause_note="for now")
    for state in State:
        make_run(job, state=state, log="a line\n", error="it failed", result={"n": [1, None]})
    ended = {"number": 1, "state": "failed", "started_at": "2026-01-01T00:00:00+00:00", "duration": 0.5}
    make_run(job, state=State.RETRYING, attempts=[ended], attempt=1)
    for name in ("stock", "known"):
        make_source(name=name, pinned=("AAPL", "北京"), objective_age=timedelta(minutes=1))
    make_call("stock")
    store("stock", "AAPL", {"price": 1.5})
    return KNOWN | {"run_id": Run.objects.filter(state__in=ACTIVE).latest("id").pk}


@pytest.fixture
def browser() -> dict[str, Any]:
    """What a browser sends in which somebody is logged in who may do everything, with the token of its forms."""
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    request = RequestFactory().get("/")
    token = get_token(request)
    cookies = {"sessionid": client.cookies["sessionid"].value, "csrftoken": request.META["CSRF_COOKIE"]}
    return {"cookies": cookies, "headers": {"X-CSRFToken": token}}


@pytest.fixture
def app() -> Iterator[WSGIHandler]:
    """The site, which keeps the connection whose transaction is the test's: as Django's own test client does it."""
    request_started.disconnect(close_old_connections)
    request_finished.disconnect(close_old_connections)
    yield WSGIHandler()
    request_started.connect(close_old_connections)
    request_finished.connect(close_old_connections)


@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=[" ".join(found) for found in OPERATIONS])
def test_what_may_be_asked_is_answered_as_described(
    method: str, path: str, rows: dict[str, Any], app: WSGIHandler, browser: dict[str, Any]
) -> None:
    assert SERVED & statuses(method, path, GenerationMode.POSITIVE, rows, app, browser).keys()


@pytest.mark.parametrize(("method", "path"), WITH_INPUT, ids=[" ".join(found) for found in WITH_INPUT])
def test_what_may_not_be_asked_is_refused_as_described(
    method: str, path: str, rows: dict[str, Any], app: WSGIHandler, browser: dict[str, Any]
) -> None:
    assert {400, 404, 415} & statuses(method, path, GenerationMode.NEGATIVE, rows, app, browser).keys()


def statuses(
    method: str,
    path: str,
    mode: GenerationMode,
    rows: dict[str, Any],
    app: WSGIHandler,
    browser: dict[str, Any],
) -> Counter[int]:
    """Ask many times, check each answer, and return how often there was which status."""
    schema = schemathesis.openapi.from_wsgi("/api/openapi.json", app)
    schema.config.generation.update(with_security_parameters=False)  # who asks is somebody, each time
    found: Counter[int] = Counter()
    # Of readiness a 503 is as good an answer as any.
    checks = [check for check in CHECKS if (path, check) != ("/readyz", not_a_server_error)]

    @settings(max_examples=15, suppress_health_check=list(HealthCheck))
    @given(case=schema[path][method].as_strategy(generation_mode=mode), known=st.booleans())
    def ask(case: Any, known: bool) -> None:
        wants.announce()  # somebody is there to keep data fresh
        wrong = {location.value for location, part in case.meta.components.items() if part.mode.is_negative}
        if known and "path" not in wrong:  # what is made wrong is to stay so
            case.path_parameters = {name: rows[name] for name in case.path_parameters}
            if mode == GenerationMode.POSITIVE:
                case.query.pop("cursor", None)  # nobody guesses one either
        found[case.call_and_validate(checks=checks, **browser).status_code] += 1

    ask()
    return found
