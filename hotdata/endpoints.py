"""Endpoints: how an HTTP JSON upstream is asked for keys, and where the values are in its answer.

Pure values, as triggers are: they build requests and read bodies, and never touch the network. A placeholder
stands only for a whole path segment or a whole query value, and what fills it is quoted, so neither a key nor
what was pinned with it can change what is asked. Secrets are named by environment variable and looked up when
a request is built.
"""

from __future__ import annotations

import functools
import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec
from django.utils.translation import gettext as _

from hotdata.addresses import check_host, origin
from hotdata.conf import conf
from hotdata.exceptions import BadSource, UpstreamForbidden, UpstreamPayload
from hotdata.headers import check_headers
from hotdata.keys import CLIMBING
from hotdata.paths import check_expression, search
from hotdata.text import storable

ENVIRONMENT_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,99}")
PLACEHOLDER_NAME = re.compile(r"[a-z_]{1,30}")
KEY, KEYS = "key", "keys"
MAX_FILLING = 200  # characters
# Control characters, and halves of characters that can't be encoded.
UNFIT = frozenset({"Cc", "Cs"})


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

    ``path`` and ``query`` hold ``{key}``, or other placeholders that each key brings its own texts for, or both.
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
        _check_template(self.path, self.query, batch=False)
        if self.batch_size > 1:
            _check_template(self.batch_path, self.batch_query, batch=True)
        for name in ("value", "batch_items", "batch_key"):
            check_expression(name, getattr(self, name))

    @functools.cached_property
    def placeholders(self) -> tuple[str, ...]:
        """The names of the placeholders beside ``{key}``, for which each key must bring a text of its own."""
        texts = dict.fromkeys([*self.path.split("/"), *self.query.values()])
        return tuple(name for text in texts if (name := _placeholder(text)) and name != KEY)

    def check_filling(self, key: str, texts: Mapping[str, str]) -> None:
        """Raise UpstreamForbidden unless `texts`, by placeholder, are all that `key` is to be asked for with."""
        for name in self.placeholders:
            if name not in texts:
                raise UpstreamForbidden(
                    f"This key brings nothing for {{{name}}}: it is not pinned with it.", key=key
                )
            try:
                _check_filling(name, texts[name])
            except BadSource as error:
                raise UpstreamForbidden(str(error), key=key) from error

    def batches(
        self, keys: Sequence[str], placeholders: Mapping[str, Mapping[str, str]] = {}
    ) -> list[Request]:
        """The requests that ask for all of `keys`, as few as the upstream's batches allow.

        `placeholders` has by key the texts for its further placeholders. Raises UpstreamForbidden when a secret is
        not set, or a key is asked for alone whose texts `check_filling` refuses.
        """

        def alone_for(key: str) -> Request:
            return self._single(key, placeholders.get(key, {}))

        if self.batch_size <= 1:
            return [alone_for(key) for key in keys]
        # A key with a comma can't stand in a list that is joined by commas.
        alone = [key for key in keys if "," in key]
        listed = [key for key in keys if "," not in key]
        chunks = [listed[at : at + self.batch_size] for at in range(0, len(listed), self.batch_size)]
        return [alone_for(key) for key in alone] + [
            self._batch(tuple(chunk)) if len(chunk) > 1 else alone_for(chunk[0]) for chunk in chunks
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

    def _single(self, key: str, texts: Mapping[str, str]) -> Request:
        self.check_filling(key, texts)
        fillings = {KEY: key} | {name: texts[name] for name in self.placeholders}
        quoted = {name: quote(text, safe="") for name, text in fillings.items()}
        return self._request((key,), self.path, self.query, quoted)

    def _batch(self, keys: tuple[str, ...]) -> Request:
        joined = ",".join(quote(key, safe="") for key in keys)
        return self._request(keys, self.batch_path, self.batch_query, {KEYS: joined})

    def _request(
        self, keys: tuple[str, ...], path: str, query: Mapping[str, str], fillings: Mapping[str, str]
    ) -> Request:
        """`fillings` are quoted, and there is one for each placeholder in `path` and `query`."""
        public_url = self.base_url.rstrip("/") + "/".join(
            _filled(segment, fillings, safe="~:@!$&'()*+,;=-._%") for segment in path.split("/")
        )
        pairs = [(quote(name, safe=""), _filled(text, fillings, safe="")) for name, text in query.items()] + [
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
            found = search(self.value, document)
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
            return search(self.batch_key, item)
        except UpstreamPayload:
            return None

    def _items(self, document: Any) -> dict[str, Any]:
        items = search(self.batch_items, document)
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


def _placeholder(text: str) -> str:
    """The name of the placeholder that `text` is; empty if it is none."""
    name = text[1:-1]
    return name if text == f"{{{name}}}" and PLACEHOLDER_NAME.fullmatch(name) else ""


def _filled(text: str, fillings: Mapping[str, str], *, safe: str) -> str:
    """What `text`, a segment or a value, is in a URL: its filling if it is a placeholder, else itself, quoted."""
    name = _placeholder(text)
    return fillings[name] if name else quote(text, safe=safe)


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
        raise BadSource("base_url", _("This is not a URL: %(problem)s.") % {"problem": error}) from error
    if parts.scheme not in ("https", "http"):
        message = _("The URL must begin with https://, not %(start)s.")
        raise BadSource("base_url", message % {"start": parts.scheme or base_url[:20]})
    if not parts.hostname:
        raise BadSource("base_url", _("The URL has no host."))
    if parts.username is not None or parts.password is not None:
        raise BadSource(
            "base_url", _("The URL must not hold a login: name secrets by environment variable instead.")
        )
    # An empty query or fragment, too: with `https://example.com?` the whole path would be sent as a query.
    if set("?#{}") & set(base_url):
        raise BadSource(
            "base_url", _("The base URL has no query, fragment or placeholder; those have their own fields.")
        )
    if any(ord(character) <= 32 or character == "\\" for character in base_url):
        raise BadSource("base_url", _("The URL can't hold spaces, control characters or \\."))
    place = origin(parts.hostname, port or (443 if parts.scheme == "https" else 80))
    if place in {pair.lower() for pair in conf().allow_private}:
        return
    if parts.scheme != "https":
        message = _("Only https is allowed, unless HOTDATA_ALLOW_PRIVATE lists %(place)s.")
        raise BadSource("base_url", message % {"place": place})
    try:
        check_host(parts.hostname)
    except ValueError as error:
        message = _("%(problem)s HOTDATA_ALLOW_PRIVATE doesn't list %(place)s.")
        raise BadSource("base_url", message % {"problem": error, "place": place}) from error


def _check_texts(name: str, value: Any) -> None:
    if not isinstance(value, Mapping) or not all(
        isinstance(key, str) and key and isinstance(text, str) for key, text in value.items()
    ):
        raise BadSource(name, _("This must be a JSON object from names to texts."))
    if any(storable(text) != text for pair in value.items() for text in pair):
        raise BadSource(name, _("This holds a secret, or characters that can't be stored."))


def _check_environment_names(name: str, variables: Mapping[str, str]) -> None:
    prefix = conf().secret_prefix
    for variable in variables.values():
        # Without the prefix, whoever may edit a source could have any secret of the server sent anywhere.
        if not ENVIRONMENT_NAME.fullmatch(variable) or not variable.startswith(prefix):
            message = _("%(name)r can't be used: a secret's environment variable must begin with %(prefix)s.")
            raise BadSource(name, message % {"name": variable, "prefix": prefix})


def _check_template(path: str, query: Mapping[str, str], *, batch: bool) -> None:
    in_path, in_query = ("batch_path", "batch_query") if batch else ("path", "query")
    if not path.startswith("/"):
        raise BadSource(in_path, _("The path must begin with /."))
    if any(ord(character) <= 32 or character in "?#\\" for character in path):
        raise BadSource(in_path, _("The path can't hold spaces, control characters, ?, # or \\."))
    segments = path.split("/")
    if CLIMBING & {re.sub("%2e", ".", segment, flags=re.IGNORECASE) for segment in segments}:
        raise BadSource(in_path, _("The path can't climb: . and .. are no segments."))
    if any("{" in name or "}" in name for name in query):
        raise BadSource(in_query, _("A placeholder can be a value in the query, not a name."))
    places = [(in_path, segment) for segment in segments] + [(in_query, text) for text in query.values()]
    filled = [(where, text) for where, text in places if "{" in text or "}" in text]
    for where, text in filled:
        _check_placeholder(where, text, batch=batch)
    if not filled:
        raise BadSource(
            in_path,
            _("{keys} must stand somewhere in the path or the query.")
            if batch
            else _("{key}, or another placeholder, must stand somewhere in the path or the query."),
        )


def _check_placeholder(where: str, text: str, *, batch: bool) -> None:
    name = _placeholder(text)
    if name and (name == KEYS) == batch:
        return
    message = (
        _("Only {keys} can be filled in, as a whole segment or value; not %(text)r.")
        if batch
        else _(
            "Only {key}, and others such as {latitude}, can be filled in, as a whole segment or value; "
            "not %(text)r."
        )
    )
    raise BadSource(where, message % {"text": text})


def check_placeholders(placeholders: Any) -> None:
    """Raise BadSource unless `placeholders` are names and texts that a key may be asked for with."""
    _check_texts("placeholders", placeholders)
    for name, text in placeholders.items():
        if not PLACEHOLDER_NAME.fullmatch(name) or name in (KEY, KEYS):
            message = _("%(name)r can't be a placeholder: names are of a-z and _, but not key or keys.")
            raise BadSource("placeholders", message % {"name": name})
        _check_filling(name, text)


def _check_filling(name: str, text: Any) -> None:
    if not isinstance(text, str) or not 0 < len(text) <= MAX_FILLING:
        message = _("{%(name)s} must be filled with a text of 1 to %(most)d characters.")
        raise BadSource("placeholders", message % {"name": name, "most": MAX_FILLING})
    if text in CLIMBING:
        message = _("{%(name)s} can't be %(text)r: it would climb in the upstream's path.")
        raise BadSource("placeholders", message % {"name": name, "text": text})
    if any(unicodedata.category(character) in UNFIT for character in text):
        message = _("{%(name)s} can't be filled with control characters.")
        raise BadSource("placeholders", message % {"name": name})
