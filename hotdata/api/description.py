"""The OpenAPI description of the endpoints, made of what is declared at their views and of where they are.

It is public, as the source code is: it holds no name of a job, a source or a key.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import msgspec
from django.db.models import Choices
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, get_resolver, reverse
from django.urls.converters import IntConverter, SlugConverter

from hotdata.api import shapes
from hotdata.api.answers import json_answer, methods
from hotdata.api.asking import JSON
from hotdata.api.operations import Operation
from hotdata.version import VERSION

OPENAPI = "3.1.0"
SCHEMAS = "#/components/schemas/{name}"
PARAMETER = re.compile(r"<(?:\w+:)?(\w+)>")
PARAMETERS = {
    "source": "The name of a source.",
    "key": "What is asked for.",
    "name": "Its name.",
    "job_id": "The name of a job.",
    "run_id": "The number of a run.",
}
ABOUT = """What people look at, and the jobs that keep it fresh.

Times are ISO 8601 with an offset, durations and ages are seconds, shares lie between 0 and 1. Each error is
`{"error": …}` with its status. Long lists come in pages: `next` is the `cursor` of the next one.

Programs send a token. In a browser the session of the admin works, too; what changes something then needs its CSRF
token in the header `X-CSRFToken`."""
REFUSALS = {
    400: "The request is not as described here; the error says what is wrong, and where.",
    401: "Nobody is logged in, and there is no valid token.",
    403: "The permission is missing, or the CSRF token.",
    404: "There is no such thing.",
    405: "Another method is needed.",
    413: "There is too much in the body, or in the query.",
    415: "The body is not JSON.",
    429: "Too many requests.",
    503: "The database or Redis can't be used now; nothing was done.",
}
LATER = {429, 503}
"""Statuses that come with `Retry-After`."""
SCHEMES = {
    "bearerAuth": {"type": "http", "scheme": "bearer", "description": "A token of the API."},
    "sessionCookie": {
        "type": "apiKey",
        "in": "cookie",
        "name": "sessionid",
        "description": "The session of somebody who is logged in to the admin.",
    },
}
LOGGED_IN: list[dict[str, list[str]]] = [{scheme: []} for scheme in SCHEMES]


class Index(msgspec.Struct):
    """Where the description is."""

    openapi: str


@methods("GET", "HEAD")
@Operation(answer=Index)
def index(request: HttpRequest) -> Index:
    """Where the description of the API is."""
    return Index(reverse("hotdata:openapi"))


@methods("GET", "HEAD")
@Operation(answer=dict[str, Any])
def openapi(request: HttpRequest) -> HttpResponse:
    """The description of the API."""
    answer = json_answer(description())
    answer["Cache-Control"] = "public, max-age=300"
    return answer


@functools.cache
def description() -> dict[str, Any]:
    """The OpenAPI description; the same for as long as the process runs."""
    endpoints = list(_endpoints())
    schemas, components = _schemas(endpoints)
    paths: dict[str, Any] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method] = _operation(endpoint, schemas, components)
    queries = {endpoint.operation.query.__name__ for endpoint in endpoints if endpoint.operation.query}
    return {
        "openapi": OPENAPI,
        "info": {"title": "hotdata", "version": VERSION, "description": ABOUT},
        "servers": [{"url": reverse("hotdata:index").removesuffix("/api/") or "/"}],
        "paths": paths,
        "components": {
            "schemas": {name: schema for name, schema in components.items() if name not in queries},
            "securitySchemes": SCHEMES,
        },
    }


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A path with what is declared at its view."""

    name: str
    path: str
    converters: Mapping[str, Any]
    method: str
    """The one that isn't HEAD, in lower case."""
    permission: str
    """What it takes; empty for what is for everybody."""
    operation: Operation
    about: str

    @property
    def who(self) -> list[dict[str, list[str]]]:
        """In whose name it can be asked for."""
        if self.operation.is_probe:
            return []
        return LOGGED_IN if self.permission else [{}, *LOGGED_IN]

    @property
    def types(self) -> list[Any]:
        told = self.operation
        return [kind for kind in (told.answer, told.query, told.body) if kind is not None]


def _endpoints() -> Iterator[Endpoint]:
    """All of `urls` whose views declare what they are."""
    for pattern in cast(list[URLPattern], get_resolver("hotdata.api.urls").url_patterns):
        view: Any = pattern.callback
        if hasattr(view, "operation"):
            (method,) = set(view.methods) - {"HEAD"}
            yield Endpoint(
                name=str(pattern.name),
                path="/" + PARAMETER.sub(r"{\1}", str(pattern.pattern)),
                converters=pattern.pattern.converters,
                method=method.lower(),
                permission=getattr(view, "permission", ""),
                operation=view.operation,
                about=inspect.getdoc(view) or "",
            )


def _schemas(endpoints: list[Endpoint]) -> tuple[dict[Any, Any], dict[str, Any]]:
    """The schema of each type that there is, and what those refer to."""
    types = list({kind: None for endpoint in endpoints for kind in endpoint.types} | {shapes.Error: None})
    schemas, components = msgspec.json.schema_components(
        types, schema_hook=_schema_of_choices, ref_template=SCHEMAS
    )
    return dict(zip(types, schemas, strict=True)), components


def _schema_of_choices(kind: Any) -> dict[str, Any]:
    """Django's enumerations are of a metaclass that msgspec reads and writes, but doesn't describe."""
    if not issubclass(kind, Choices):
        raise NotImplementedError
    return {"type": "string", "enum": kind.values}


def _operation(
    endpoint: Endpoint, schemas: Mapping[Any, Any], components: Mapping[str, Any]
) -> dict[str, Any]:
    told = endpoint.operation
    summary, _, more = endpoint.about.partition("\n")
    permission = f"Needs the permission {endpoint.permission}." if endpoint.permission else ""
    described: dict[str, Any] = {
        "operationId": endpoint.name,
        "summary": summary,
        "description": " ".join(filter(None, [" ".join(more.split()), permission])),
        "parameters": [*_of_path(endpoint), *_of_query(told, components)],
        "responses": _responses(endpoint, schemas),
        "security": endpoint.who,
    }
    if told.body is not None:
        described["requestBody"] = {"required": False, "content": {JSON: {"schema": schemas[told.body]}}}
    return described


def _of_path(endpoint: Endpoint) -> Iterator[dict[str, Any]]:
    for name, converter in endpoint.converters.items():
        schema: dict[str, Any] = {"type": "string", "minLength": 1}
        if isinstance(converter, IntConverter):
            schema = {"type": "integer", "minimum": 0}
        elif isinstance(converter, SlugConverter):
            schema["pattern"] = f"^{converter.regex}$"
        yield {
            "name": name,
            "in": "path",
            "required": True,
            "description": PARAMETERS[name],
            "schema": schema,
        }


def _of_query(told: Operation, components: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    if told.query is None:
        return
    query = components[told.query.__name__]
    for name, schema in query["properties"].items():
        required = name in query.get("required", ())
        plain = {word: value for word, value in schema.items() if word != "description"}
        yield {"name": name, "in": "query", "required": required, "schema": plain} | (
            {"description": schema["description"]} if "description" in schema else {}
        )


def _responses(endpoint: Endpoint, schemas: Mapping[Any, Any]) -> dict[str, Any]:
    told = endpoint.operation
    statuses = {405} if told.is_probe else {401, 403, 405, 429, 503}
    if told.query is not None or told.body is not None:
        statuses |= {400, 413}
    if told.body is not None:
        statuses.add(415)
    if endpoint.converters:
        statuses.add(404)
    errors = {status: REFUSALS[status] for status in statuses} | dict(told.errors)
    content = {kind: {"schema": {"type": "string"}} for kind in told.texts}
    if told.answer is not None:
        content = {JSON: {"schema": schemas[told.answer]}} | content
    good = {"content": content} | (
        {"headers": {name: _header(about) for name, about in told.headers.items()}} if told.headers else {}
    )
    answers = {told.status: "As described."} | dict(told.also)
    return {str(status): {"description": about} | good for status, about in answers.items()} | {
        str(status): _refusal(status, about, schemas) for status, about in sorted(errors.items())
    }


def _refusal(status: int, about: str, schemas: Mapping[Any, Any]) -> dict[str, Any]:
    if status < 400:
        return {"description": about}
    refusal: dict[str, Any] = {
        "description": about,
        "content": {JSON: {"schema": schemas[shapes.Error]}},
    }
    if status in LATER:
        refusal["headers"] = {"Retry-After": _header("After how many seconds to ask again.", "integer")}
    return refusal


def _header(about: str, kind: str = "string") -> dict[str, Any]:
    return {"description": about, "schema": {"type": kind}}
