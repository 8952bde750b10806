"""Endpoints: how an HTTP JSON upstream is asked for keys, and where the values are in its answer.

Pure values, as triggers are: they build requests and read bodies, and never touch the network. A placeholder
stands only for a whole path segment or a whole query value, and what fills it is quoted, so a key can't
change what is asked. Secrets are named by environment variable and looked up when a request is built.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

import jmespath
import msgspec
from jmespath.exceptions import JMESPathError

from hotdata.addresses import check_host, origin
from hotdata.conf import conf
from hotdata.exceptions import BadSource, UpstreamForbidden, UpstreamPayload
from hotdata.headers import check_headers
from hotdata.text import storable

MAX_EXPRESSION = 500
ENVIRONMENT_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,99}")
# JMESPath lets some of Python's own through: a slice by zero, brackets that are nested too deep.
EXPRESSION_ERRORS = (JMESPathError, ValueError, RecursionError)


@dataclass(frozen=True, kw_only=True)
class Request:
    """One GET, ready to send. ``url`` and ``headers`` may hold secrets; ``public_url`` never does."""

    keys: tuple[str, ...]
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    public_url: str


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """How to ask one upstream. Building one checks it: BadSource names the field to blame.

    ``query``, ``headers`` map names to texts; ``secret_query``, ``secret_headers`` map names to the names of
    environment variables. ``value`` is a JMESPath from an answer (or from one item of a batch answer) to the
    value that is kept; empty means all of it. With ``batch_size`` above 1, several keys are asked for at once
    through ``batch_path`` and ``batch_query`` (``{keys}`` is filled with the keys, joined by commas);
    ``batch_items`` leads to the items: a mapping by key, or a list in whose items ``batch_key`` is the key.
    """

    base_url: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    secret_query: Mapping[str, str] = field(default_factory=dict)
    secret_headers: Mapping[str, str] = field(default_factory=dict)
    value: str = ""
    batch_size: int = 1
    batch_path: str = ""
    batch_query: Mapping[str, str] = field(default_factory=dict)
    batch_items: str = ""
    batch_key: str = ""

    def __post_init__(self) -> None:
        _check_base_url(self.base_url)
        for name in ("query", "headers", "secret_query", "secret_headers", "batch_query"):
            _check_texts(name, getattr(self, name))
        check_headers(self.headers)
        # Their values are not known yet: the transport checks them when they are sent.
        check_headers(dict.fromkeys(self.secret_headers, ""), field="secret_headers")
        _check_environment_names("secret_query", self.secret_query)
        _check_environment_names("secret_headers", self.secret_headers)
        _check_template(self.path, self.query, "{key}", fields=("path", "query"))
        if self.batch_size > 1:
            _check_template(self.batch_path, self.batch_query, "{keys}", fields=("batch_path", "batch_query"))
        for name in ("value", "batch_items", "batch_key"):
            _check_expression(name, getattr(self, name))

    def batches(self, keys: Sequence[str]) -> list[Request]:
        """The requests that ask for all of `keys`, as few as the upstream's batches allow."""
        if self.batch_size <= 1:
            return [self._single(key) for key in keys]
        # A key with a comma can't stand in a list that is joined by commas.
        alone = [key for key in keys if "," in key]
        listed = [key for key in keys if "," not in key]
        chunks = [listed[at : at + self.batch_size] for at in range(0, len(listed), self.batch_size)]
        return [self._single(key) for key in alone] + [
            self._request(tuple(chunk), self.batch_path, self.batch_query, "{keys}")
            if len(chunk) > 1
            else self._single(chunk[0])
            for chunk in chunks
        ]

    def read(self, request: Request, body: bytes) -> dict[str, Any]:
        """The values in `body` by key; for a key without a usable value, the UpstreamPayload that says why.

        Raises UpstreamPayload when the body as a whole can't be used.
        """
        document = _decode(body)
        if len(request.keys) == 1:
            return {request.keys[0]: self._value(document)}
        items = self._items(document)
        return {
            key: self._value(items[key])
            if key in items
            else UpstreamPayload("The answer has no item for this key.")
            for key in request.keys
        }

    def _single(self, key: str) -> Request:
        return self._request((key,), self.path, self.query, "{key}")

    def _request(
        self, keys: tuple[str, ...], path: str, query: Mapping[str, str], placeholder: str
    ) -> Request:
        filling = ",".join(quote(key, safe="") for key in keys)
        public_url = self.base_url.rstrip("/") + "/".join(
            filling if segment == placeholder else quote(segment, safe="~:@!$&'()*+,;=-._%")
            for segment in path.split("/")
        )
        pairs = [
            (quote(name, safe=""), filling if text == placeholder else quote(text, safe=""))
            for name, text in query.items()
        ] + [
            (quote(name, safe=""), quote(_secret(variable), safe=""))
            for name, variable in self.secret_query.items()
        ]
        return Request(
            keys=keys,
            url=public_url + ("?" + "&".join(f"{name}={text}" for name, text in pairs) if pairs else ""),
            headers=dict(self.headers)
            | {name: _secret(variable) for name, variable in self.secret_headers.items()},
            public_url=public_url,
        )

    def _value(self, document: Any) -> Any:
        try:
            found = _search(self.value, document)
        except UpstreamPayload as error:
            return error
        if found is None or found in ("", [], {}):
            where = f"at {self.value!r}" if self.value else "in it"
            return UpstreamPayload(f"The answer has nothing {where}.")
        if not isinstance(found, str | int | float | list | dict):
            # JMESPath can also lead to an expression (`&price`), which is no value.
            return UpstreamPayload(f"The answer has no value at {self.value!r}.")
        return found

    def _name(self, item: Any) -> Any:
        """The key of an item of a batch answer; None for one that has none, whatever it is."""
        try:
            return _search(self.batch_key, item)
        except UpstreamPayload:
            return None

    def _items(self, document: Any) -> dict[str, Any]:
        items = _search(self.batch_items, document)
        if isinstance(items, dict):
            return items
        if isinstance(items, list) and self.batch_key:
            named = [(self._name(item), item) for item in items]
            return {str(name): item for name, item in named if name is not None}
        raise UpstreamPayload(f"The batch answer has no items at {self.batch_items!r}.")


def _decode(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        # No more than a character of it: an upstream that refuses a secret may well repeat it.
        start = body[:1].decode("latin-1")
        raise UpstreamPayload(f"The answer is not JSON: it begins with {start!r}.") from error


def _search(expression: str, document: Any) -> Any:
    """What `expression` leads to; raises UpstreamPayload where the document isn't of the shape it expects."""
    if not expression:
        return document
    try:
        return jmespath.search(expression, document)
    except Exception as error:
        # Without jmespath's own words, which repeat a part of the answer.
        raise UpstreamPayload(f"The answer doesn't fit {expression!r} ({type(error).__name__}).") from error


def _secret(variable: str) -> str:
    try:
        return os.environ[variable]
    except KeyError:
        raise UpstreamForbidden(
            f"The environment variable {variable}, which holds a secret, is not set."
        ) from None


# Checks


def _check_base_url(base_url: str) -> None:
    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError as error:
        raise BadSource("base_url", f"This is not a URL: {error}.") from error
    if parts.scheme not in ("https", "http"):
        raise BadSource("base_url", f"The URL must begin with https://, not {parts.scheme or base_url[:20]}.")
    if not parts.hostname:
        raise BadSource("base_url", "The URL has no host.")
    if parts.username is not None or parts.password is not None:
        raise BadSource(
            "base_url", "The URL must not hold a login: name secrets by environment variable instead."
        )
    # An empty query or fragment, too: with `https://example.com?` the whole path would be sent as a query.
    if set("?#{}") & set(base_url):
        raise BadSource(
            "base_url", "The base URL has no query, fragment or placeholder; those have their own fields."
        )
    if any(ord(character) <= 32 or character == "\\" for character in base_url):
        raise BadSource("base_url", "The URL can't hold spaces, control characters or \\.")
    place = origin(parts.hostname, port or (443 if parts.scheme == "https" else 80))
    if place in {pair.lower() for pair in conf().allow_private}:
        return
    if parts.scheme != "https":
        raise BadSource("base_url", f"Only https is allowed, unless HOTDATA_ALLOW_PRIVATE lists {place}.")
    try:
        check_host(parts.hostname)
    except ValueError as error:
        raise BadSource("base_url", f"{error} HOTDATA_ALLOW_PRIVATE doesn't list {place}.") from error


def _check_texts(name: str, value: Any) -> None:
    if not isinstance(value, Mapping) or not all(
        isinstance(key, str) and key and isinstance(text, str) for key, text in value.items()
    ):
        raise BadSource(name, "This must be a JSON object from names to texts.")
    if any(storable(text) != text for pair in value.items() for text in pair):
        raise BadSource(name, "This holds a secret, or characters that can't be stored.")


def _check_environment_names(name: str, variables: Mapping[str, str]) -> None:
    prefix = conf().secret_prefix
    for variable in variables.values():
        # Without the prefix, whoever may edit a source could have any secret of the server sent anywhere.
        if not ENVIRONMENT_NAME.fullmatch(variable) or not variable.startswith(prefix):
            raise BadSource(
                name, f"{variable!r} can't be used: a secret's environment variable must begin with {prefix}."
            )


def _check_template(
    path: str, query: Mapping[str, str], placeholder: str, *, fields: tuple[str, str]
) -> None:
    in_path, in_query = fields
    if not path.startswith("/"):
        raise BadSource(in_path, "The path must begin with /.")
    if any(ord(character) <= 32 or character in "?#\\" for character in path):
        raise BadSource(in_path, "The path can't hold spaces, control characters, ?, # or \\.")
    segments = path.split("/")
    if {".", ".."} & {re.sub("%2e", ".", segment, flags=re.IGNORECASE) for segment in segments}:
        raise BadSource(in_path, "The path can't climb: . and .. are no segments.")
    places = [(in_path, segment) for segment in segments] + [(in_query, text) for text in query.values()]
    if any("{" in name or "}" in name for name in query):
        raise BadSource(in_query, f"{placeholder} can be a value in the query, not a name.")
    for where, text in places:
        if ("{" in text or "}" in text) and text != placeholder:
            raise BadSource(
                where, f"Only {placeholder} can be filled in, as a whole segment or value; not {text!r}."
            )
    if placeholder not in {text for _, text in places}:
        raise BadSource(in_path, f"{placeholder} must stand somewhere in the path or the query.")


def _check_expression(name: str, expression: str) -> None:
    if len(expression) > MAX_EXPRESSION:
        raise BadSource(name, f"At most {MAX_EXPRESSION} characters.")
    if expression:
        try:
            jmespath.compile(expression)
        except EXPRESSION_ERRORS as error:
            raise BadSource(name, f"This is not a JMESPath expression: {error}") from error
