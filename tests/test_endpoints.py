"""Endpoints: what a definition may say, what is asked for a key, and what is read out of an answer."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

from hotdata.endpoints import MAX_FILLING, Endpoint, Request, check_placeholders
from hotdata.exceptions import BadSource, UpstreamForbidden, UpstreamPayload
from hotdata.keys import check_key
from hotdata.paths import MAX_EXPRESSION

VARIABLE = "HOTDATA_SECRET_STOCKS"
SECRET = "s3cr&t=?/#"
AWKWARD = [
    "a&b=c",
    "%2e%2e",
    "中文",
    "a b",
    "a+b",
    "{key}",
    "{keys}",
    "?x=1",
    "#x",
    "a/b",  # checked keys have no slash; if one had, it would still be quoted
    "../x",
    ";x",
    "a%2Fb",
    "...",
    "a:b@c",
    "~",
]
FULL_OF_KEYS = 3


def make_endpoint(**fields: Any) -> Endpoint:
    return Endpoint(**({"base_url": "https://api.example.com/v1", "path": "/quote/{key}"} | fields))


def make_batch(**fields: Any) -> Endpoint:
    batch = {"batch_size": FULL_OF_KEYS, "batch_path": "/quotes", "batch_query": {"symbols": "{keys}"}}
    return make_endpoint(**(batch | fields))


def ask(endpoint: Endpoint, *keys: str) -> Request:
    (request,) = endpoint.batches(keys)
    return request


def read(body: bytes, *keys: str, **fields: Any) -> dict[str, Any]:
    endpoint = make_batch(**fields)
    return endpoint.read(Request(keys=keys or ("AAPL",), url="", headers={}, public_url=""), body)


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, SECRET)


# What a definition may say


@pytest.mark.parametrize(
    "base_url",
    [
        "https://api.example.com",
        "https://api.example.com/",
        "https://api.example.com:8443/v1/",
        "HTTPS://API.EXAMPLE.COM",
        "https://8.8.8.8",
        "https://[2606:4700::1111]/",
        "https://例え.jp",
    ],
)
def test_a_public_https_url_is_accepted(base_url: str) -> None:
    make_endpoint(base_url=base_url)


@pytest.mark.parametrize(
    ("base_url", "message"),
    [
        ("", "must begin with https"),
        ("api.example.com", "must begin with https"),
        ("//api.example.com", "must begin with https"),
        ("file:///etc/passwd", "must begin with https://, not file"),
        ("ftp://example.com", "must begin with https://, not ftp"),
        ("gopher://example.com", "not gopher"),
        ("javascript:alert(1)", "not javascript"),
        ("http://api.example.com", "Only https is allowed, unless HOTDATA_ALLOW_PRIVATE lists api.example.com:80"),
        ("https://", "has no host"),
        ("https:///v1", "has no host"),
        ("https://:443/", "has no host"),
        ("https://[::1", "not a URL"),
        ("https://example.com:99999", "not a URL"),
        ("https://example.com:http", "not a URL"),
        ("https://user:password@example.com", "must not hold a login"),
        ("https://user@example.com", "must not hold a login"),
        ("https://@example.com", "must not hold a login"),
        ("https://example.com\\@evil.example", "must not hold a login"),
        ("https://example.com?", "no query, fragment or placeholder"),
        ("https://example.com?token=1", "no query, fragment or placeholder"),
        ("https://example.com#", "no query, fragment or placeholder"),
        ("https://example.com/#top", "no query, fragment or placeholder"),
        ("https://{key}.example.com", "no query, fragment or placeholder"),
        ("https://example.com/{key}", "no query, fragment or placeholder"),
        ("https://exam ple.com", "can't hold spaces"),
        ("https://example.com/\nHost: evil", "can't hold spaces"),
        (" https://example.com", "can't hold spaces"),
        ("https://example.com\\v1", "can't hold spaces, control characters or"),
        ("https://localhost", "localhost is not a host of the public internet. HOTDATA_ALLOW_PRIVATE doesn't list"),
        ("https://LOCALHOST.", "not a host of the public internet"),
        ("https://printer.local", "not a host of the public internet"),
        ("https://metadata.google.internal", "not a host of the public internet"),
        ("https://127.0.0.1", "not an address of the public internet"),
        ("https://127.1", "not an address of the public internet"),
        ("https://2130706433", "not an address of the public internet"),
        ("https://0x7f.1", "not an address of the public internet"),
        ("https://10.0.0.1", "not an address of the public internet"),
        ("https://169.254.169.254/latest", "not an address of the public internet"),
        ("https://[::1]", "not an address of the public internet"),
        ("https://[::ffff:10.0.0.1]", "not an address of the public internet"),
    ],
)  # fmt: skip
def test_any_other_base_url_is_refused_with_the_reason(base_url: str, message: str) -> None:
    with pytest.raises(BadSource, match=message) as refused:
        make_endpoint(base_url=base_url)
    assert refused.value.field == "base_url"


def test_a_refused_login_is_not_repeated() -> None:
    with pytest.raises(BadSource) as refused:
        make_endpoint(base_url="https://user:passw0rd@example.com")
    assert "passw0rd" not in str(refused.value)


@pytest.mark.parametrize(
    ("listed", "base_url"),
    [
        ("127.0.0.1:8100", "http://127.0.0.1:8100"),
        ("localhost:80", "http://LocalHost/v1"),
        ("[::1]:8443", "https://[::1]:8443"),
        ("10.1.2.3:443", "https://10.1.2.3"),
    ],
)
def test_a_private_place_may_be_allowed_by_host_and_port(listed: str, base_url: str) -> None:
    with override_settings(HOTDATA_ALLOW_PRIVATE=["other:1", listed]):
        make_endpoint(base_url=base_url)


@pytest.mark.parametrize("base_url", ["http://127.0.0.1:8101", "http://127.0.0.2:8100", "https://127.0.0.1"])
def test_allowing_one_place_allows_no_other(base_url: str) -> None:
    with override_settings(HOTDATA_ALLOW_PRIVATE=["127.0.0.1:8100"]), pytest.raises(BadSource):
        make_endpoint(base_url=base_url)


@pytest.mark.parametrize(
    ("fields", "blamed", "message"),
    [
        ({"path": ""}, "path", "must begin with /"),
        ({"path": "quote/{key}"}, "path", "must begin with /"),
        ({"path": "/quote"}, "path", "{key}, or another placeholder, must stand somewhere in the path"),
        ({"path": "/quote/{keys}"}, "path", "Only {key}, and others such as {latitude}, can be filled in"),
        ({"path": "/{key}/{keys}"}, "path", "Only {key}"),
        ({"path": "/quote/{key}.json"}, "path", "as a whole segment or value; not '{key}.json'"),
        ({"path": "/quote/{{key}}"}, "path", "Only {key}"),
        ({"path": "/{key}/{latitude},{longitude}"}, "path", "Only {key}"),
        ({"path": "/{key}/{Other}"}, "path", "Only {key}"),
        ({"path": "/{key}/{}"}, "path", "Only {key}"),
        ({"path": "/{key}/{a1}"}, "path", "Only {key}"),
        ({"path": "/{key}/{" + "a" * 31 + "}"}, "path", "Only {key}"),
        ({"path": "/quote/key}"}, "path", "Only {key}"),
        ({"path": "/a b/{key}"}, "path", "can't hold spaces"),
        ({"path": "/a\n/{key}"}, "path", "can't hold spaces, control"),
        ({"path": "/{key}?a=b"}, "path", "can't hold"),
        ({"path": "/{key}#a"}, "path", "can't hold"),
        ({"path": "/\\/{key}"}, "path", "can't hold"),
        ({"path": "/../{key}"}, "path", "can't climb"),
        ({"path": "/./{key}"}, "path", "can't climb"),
        ({"path": "/%2e%2E/{key}"}, "path", "can't climb"),
        ({"path": "/.%2e/{key}"}, "path", "can't climb"),
        ({"path": "/quote", "query": {"symbol": "x{key}"}}, "query", "Only {key}"),
        ({"query": {"a": "{other }"}}, "query", "Only {key}"),
        ({"query": {"{key}": "a"}}, "query", "A placeholder can be a value in the query, not a name"),
        ({"query": ["a"]}, "query", "a JSON object from names to texts"),
        ({"query": {"limit": 10}}, "query", "a JSON object from names to texts"),
        ({"query": {"": "x"}}, "query", "a JSON object from names to texts"),
        ({"query": None}, "query", "a JSON object from names to texts"),
        ({"headers": "X-Key: 1"}, "headers", "a JSON object from names to texts"),
        ({"headers": {"X Key": "1"}}, "headers", "not a header name"),
        ({"headers": {"X-Key": "a\r\nHost: evil"}}, "headers", "The value of X-Key must be"),
        ({"headers": {"Host": "evil"}}, "headers", "can't be set"),
        ({"secret_headers": {"X\nKey": VARIABLE}}, "secret_headers", "not a header name"),
        ({"secret_headers": {"Host": VARIABLE}}, "secret_headers", "can't be set"),
        ({"secret_headers": {"X-Key": "PATH"}}, "secret_headers", "must begin with HOTDATA_SECRET_"),
        ({"secret_headers": {"X-Key": "SECRET_KEY"}}, "secret_headers", "must begin with HOTDATA_SECRET_"),
        ({"secret_query": {"token": "DATABASE_URL"}}, "secret_query", "must begin with HOTDATA_SECRET_"),
        ({"secret_query": {"token": "hotdata_secret_x"}}, "secret_query", "must begin with"),
        ({"secret_query": {"token": VARIABLE + "\n"}}, "secret_query", "must begin with"),
        ({"secret_query": {"token": 5}}, "secret_query", "a JSON object from names to texts"),
        ({"value": "a["}, "value", "not a JMESPath expression"),
        ({"value": " "}, "value", "not a JMESPath expression"),
        ({"value": "[" * MAX_EXPRESSION}, "value", "not a JMESPath expression"),
        ({"value": "!" * (MAX_EXPRESSION - 1) + "a"}, "value", "not a JMESPath expression"),
        ({"value": "a" * (MAX_EXPRESSION + 1)}, "value", "At most 500 characters"),
        ({"batch_size": 2}, "batch_path", "must begin with /"),
        ({"batch_size": 2, "batch_path": "/all"}, "batch_path", "{keys} must stand somewhere"),
        ({"batch_size": 2, "batch_path": "/all/{key}"}, "batch_path", "Only {keys}"),
        ({"batch_size": 2, "batch_path": "/{keys}/{other}"}, "batch_path", "Only {keys}"),
        ({"batch_size": 2, "batch_path": "/", "batch_query": {"a": "x{keys}"}}, "batch_query", "Only {keys}"),
        ({"batch_query": {"a": 1}}, "batch_query", "a JSON object from names to texts"),
        ({"batch_items": "a["}, "batch_items", "not a JMESPath expression"),
        ({"batch_key": "a["}, "batch_key", "not a JMESPath expression"),
    ],
)
def test_a_bad_field_is_refused_by_its_name(fields: dict[str, Any], blamed: str, message: str) -> None:
    with pytest.raises(BadSource) as refused:
        make_endpoint(**fields)
    assert refused.value.field == blamed
    assert message in str(refused.value)


# JMESPath's old way to write a text, which it reads still.
@pytest.mark.filterwarnings("ignore:deprecated string literal syntax:PendingDeprecationWarning")
@given(st.text(st.sampled_from("ab0[]{}().,:*?!&|@`'\"\\- <=>")))
def test_an_expression_is_accepted_or_refused_but_never_breaks_anything(expression: str) -> None:
    try:
        endpoint = make_endpoint(value=expression)
    except BadSource:
        return
    endpoint.read(ask(endpoint, "AAPL"), b'{"a": [1, {"b": null}], "b": "x"}')


def test_another_prefix_of_secrets_takes_the_place_of_the_default() -> None:
    with override_settings(HOTDATA_SECRET_PREFIX="STOCKS_"):
        make_endpoint(secret_query={"token": "STOCKS_TOKEN"})
        with pytest.raises(BadSource, match="must begin with STOCKS_"):
            make_endpoint(secret_query={"token": VARIABLE})


# What is asked


def test_a_key_fills_a_segment_of_the_path() -> None:
    request = ask(make_endpoint(), "AAPL")
    assert request.url == request.public_url == "https://api.example.com/v1/quote/AAPL"
    assert request.keys == ("AAPL",)


def test_a_key_fills_a_value_of_the_query() -> None:
    request = ask(make_endpoint(path="/quote", query={"symbol": "{key}", "f": "a b&c"}), "AAPL")
    assert request.url == "https://api.example.com/v1/quote?symbol=AAPL&f=a%20b%26c"
    assert request.public_url == "https://api.example.com/v1/quote"


def test_a_key_fills_every_place_at_once() -> None:
    request = ask(make_endpoint(path="/{key}/by/{key}", query={"again": "{key}"}), "A/L".replace("/", " "))
    assert request.url == "https://api.example.com/v1/A%20L/by/A%20L?again=A%20L"


@pytest.mark.parametrize("key", AWKWARD)
def test_an_awkward_key_stays_one_segment(key: str) -> None:
    parts = urlsplit(ask(make_endpoint(), key).url)
    assert parts.path.count("/") == "/v1/quote/KEY".count("/")
    assert unquote(parts.path.rpartition("/")[2]) == key
    assert (parts.query, parts.fragment) == ("", "")


@pytest.mark.parametrize("key", AWKWARD)
def test_an_awkward_key_stays_one_value(key: str) -> None:
    parts = urlsplit(
        ask(make_endpoint(path="/quote", query={"a": "1", "symbol": "{key}", "b": "2"}), key).url
    )
    assert parse_qsl(parts.query, strict_parsing=True) == [("a", "1"), ("symbol", key), ("b", "2")]
    assert (parts.path, parts.fragment) == ("/v1/quote", "")


@given(st.text(min_size=1, max_size=128))
def test_no_accepted_key_changes_what_is_asked(text: str) -> None:
    try:
        key = check_key(text)
    except ValueError:
        return
    endpoint = make_endpoint(path="/quote/{key}/now", query={"symbol": "{key}", "last": "1"})
    url = ask(endpoint, key).url
    parts = urlsplit(url)
    assert url.isascii()
    assert (parts.scheme, parts.netloc, parts.fragment) == ("https", "api.example.com", "")
    assert [unquote(segment) for segment in parts.path.split("/")] == ["", "v1", "quote", key, "now"]
    pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True)
    assert pairs == [("symbol", key), ("last", "1")]


def test_what_a_definition_says_is_quoted_where_it_must_be_and_kept_where_it_is_quoted() -> None:
    endpoint = make_endpoint(path="/中文/%E4%B8%AD/a:b@c,d/{key}", query={"ü": "%41"})
    assert ask(endpoint, "K").url == (
        "https://api.example.com/v1/%E4%B8%AD%E6%96%87/%E4%B8%AD/a:b@c,d/K?%C3%BC=%2541"
    )


# What else a key is asked for with


def by_coordinates(**fields: Any) -> Endpoint:
    query = {"lat": "{latitude}", "lon": "{longitude}", "days": "3"}
    return make_endpoint(**({"path": "/forecast", "query": query} | fields))


def test_a_key_brings_what_fills_the_other_placeholders() -> None:
    endpoint = by_coordinates()
    beijing, oslo = endpoint.batches(
        ["北京", "Oslo"],
        {
            "北京": {"latitude": "39.9", "longitude": "116.4"},
            "Oslo": {"longitude": "10.8", "latitude": "59.9", "altitude": "23"},
        },
    )
    assert endpoint.placeholders == ("latitude", "longitude")
    assert (beijing.keys, beijing.url) == (
        ("北京",),
        "https://api.example.com/v1/forecast?lat=39.9&lon=116.4&days=3",
    )
    assert (oslo.keys, oslo.url) == (
        ("Oslo",),
        "https://api.example.com/v1/forecast?lat=59.9&lon=10.8&days=3",
    )


def test_other_placeholders_stand_beside_the_key_and_in_the_path() -> None:
    endpoint = make_endpoint(path="/{area}/{key}/{area}", query={"a": "{area}", "k": "{key}"})
    (request,) = endpoint.batches(["K"], {"K": {"area": "北 1"}})
    assert request.public_url == "https://api.example.com/v1/%E5%8C%97%201/K/%E5%8C%97%201"
    assert parse_qsl(urlsplit(request.url).query) == [("a", "北 1"), ("k", "K")]


def test_a_template_with_only_the_key_asks_for_nothing_else() -> None:
    assert make_endpoint(query={"again": "{key}"}).placeholders == ()


@pytest.mark.parametrize("text", [*AWKWARD, "Asia/Shanghai", "a\\b", "{longitude}"])
def test_an_awkward_filling_stays_one_segment_and_one_value(text: str) -> None:
    endpoint = make_endpoint(path="/{area}/now", query={"a": "{area}", "b": "2"})
    (request,) = endpoint.batches(["K"], {"K": {"area": text}})
    parts = urlsplit(request.url)
    assert [unquote(segment) for segment in parts.path.split("/")] == ["", "v1", text, "now"]
    assert parse_qsl(parts.query, strict_parsing=True) == [("a", text), ("b", "2")]
    assert parts.fragment == ""


UNFIT = ["", ".", "..", "a\nb", "\r", "a\x00", "\x7f", "\x85", "\ud800", "x" * (MAX_FILLING + 1), 5, None]


@pytest.mark.parametrize("text", UNFIT)
def test_a_filling_that_is_unfit_is_never_sent(text: Any) -> None:
    with pytest.raises(UpstreamForbidden, match=r"\{latitude\}") as refused:
        by_coordinates().batches(["K"], {"K": {"latitude": text, "longitude": "1"}})
    assert refused.value.key == "K"
    assert refused.value.permanent


def test_a_key_that_brings_nothing_for_a_placeholder_is_not_asked_for() -> None:
    for texts in ({}, {"latitude": "1"}):
        with pytest.raises(UpstreamForbidden, match=r"This key brings nothing for {\w+itude}"):
            by_coordinates().batches(["K"], {"K": texts})
    with pytest.raises(UpstreamForbidden):
        by_coordinates().batches(["K"])


def test_in_a_batch_a_key_needs_nothing_but_itself() -> None:
    endpoint = make_batch(path="/quote/{key}/{area}")
    several, alone = endpoint.batches(["A", "B", "C", "D"], {"D": {"area": "x"}})
    assert (several.keys, alone.keys) == (("A", "B", "C"), ("D",))


@pytest.mark.parametrize(
    "placeholders", [{}, {"latitude": "39.9", "a_b": "Asia/Shanghai"}, {"a" * 30: "x" * MAX_FILLING}]
)
def test_names_and_texts_may_be_pinned_with_a_key(placeholders: dict[str, str]) -> None:
    check_placeholders(placeholders)


@pytest.mark.parametrize(
    ("placeholders", "message"),
    [
        (None, "a JSON object from names to texts"),
        (["latitude"], "a JSON object from names to texts"),
        ({"latitude": 39.9}, "a JSON object from names to texts"),
        ({"": "1"}, "a JSON object from names to texts"),
        ({"key": "1"}, "'key' can't be a placeholder"),
        ({"keys": "1"}, "'keys' can't be a placeholder"),
        ({"Latitude": "1"}, "'Latitude' can't be a placeholder"),
        ({"lat\n": "1"}, "can't be a placeholder"),
        ({"a" * 31: "1"}, "can't be a placeholder"),
        *[({"latitude": text}, "") for text in UNFIT],
    ],
)
def test_anything_else_cannot_be_pinned_with_a_key(placeholders: Any, message: str) -> None:
    with pytest.raises(BadSource) as refused:
        check_placeholders(placeholders)
    assert refused.value.field == "placeholders"
    assert message in str(refused.value)


def test_a_secret_cannot_be_pinned_with_a_key(secret: None) -> None:
    with pytest.raises(BadSource, match="holds a secret") as refused:
        check_placeholders({"token": SECRET})
    assert SECRET not in str(refused.value)


# Secrets


def test_a_secret_comes_from_the_environment_when_a_request_is_built(secret: None) -> None:
    endpoint = make_endpoint(
        secret_query={"token": VARIABLE}, secret_headers={"X-Key": VARIABLE}, headers={"A": "b"}
    )
    request = ask(endpoint, "AAPL")
    assert parse_qsl(urlsplit(request.url).query) == [("token", SECRET)]
    assert request.headers == {"A": "b", "X-Key": SECRET}


def test_a_secret_shows_neither_in_the_public_url_nor_in_a_printed_request(secret: None) -> None:
    endpoint = make_endpoint(secret_query={"token": VARIABLE}, secret_headers={"X-Key": VARIABLE})
    request = ask(endpoint, "AAPL")
    assert "s3cr" not in repr(request) + str(request) + repr(endpoint) + request.public_url


def test_a_secret_that_is_not_set_is_named_and_not_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    endpoint = make_endpoint(secret_headers={"X-Key": VARIABLE})
    with pytest.raises(UpstreamForbidden, match=f"{VARIABLE}, which holds a secret, is not set") as error:
        endpoint.batches(["AAPL"])
    assert error.value.permanent


# Batches


def test_keys_are_asked_for_in_as_few_requests_as_the_batches_allow() -> None:
    requests = make_batch().batches([f"K{n}" for n in range(8)])
    assert [request.keys for request in requests] == [("K0", "K1", "K2"), ("K3", "K4", "K5"), ("K6", "K7")]
    assert requests[0].url == "https://api.example.com/v1/quotes?symbols=K0,K1,K2"


def test_a_key_that_is_left_over_is_asked_for_alone() -> None:
    requests = make_batch().batches(["K0", "K1", "K2", "K3"])
    assert requests[-1].url == "https://api.example.com/v1/quote/K3"


def test_no_keys_are_no_requests() -> None:
    assert make_batch().batches([]) == make_endpoint().batches([]) == []


def test_without_batches_each_key_is_a_request() -> None:
    requests = make_endpoint(batch_path="/ignored").batches(["A", "B"])
    assert [request.keys for request in requests] == [("A",), ("B",)]


def test_a_key_with_a_comma_never_stands_in_a_list() -> None:
    requests = make_batch().batches(["A", "B,C", "D"])
    assert {request.keys for request in requests} == {("B,C",), ("A", "D")}
    assert {urlsplit(request.url).path for request in requests} == {"/v1/quote/B%2CC", "/v1/quotes"}


@given(st.lists(st.text(st.sampled_from("ab,&=%+ 中{}"), min_size=1, max_size=6), max_size=20))
def test_every_key_is_in_exactly_one_request_that_spells_it_out(keys: list[str]) -> None:
    requests = make_batch(path="/quote", query={"symbol": "{key}"}).batches(keys)
    assert sorted(key for request in requests for key in request.keys) == sorted(keys)
    for request in requests:
        ((name, text),) = parse_qsl(urlsplit(request.url).query, strict_parsing=True)
        assert (name, text) in [("symbol", request.keys[0]), ("symbols", ",".join(request.keys))]
        assert len(request.keys) <= FULL_OF_KEYS


def test_keys_may_fill_a_segment_of_the_batch_path() -> None:
    endpoint = make_batch(batch_path="/quotes/{keys}", batch_query={})
    assert ask(endpoint, "A B", "中").url == "https://api.example.com/v1/quotes/A%20B,%E4%B8%AD"


# What is read


@pytest.mark.parametrize(
    ("body", "value", "found"),
    [
        (b'{"price": 1}', "", {"price": 1}),
        (b'{"price": 0}', "price", 0),
        (b'{"price": 0.0}', "price", 0.0),
        (b'{"open": false}', "open", False),
        (b'{"q": [{"p": 1}, {"p": 2}]}', "q[1].p", 2),
        (b'{"q": [{"p": 1}, {"p": 2}]}', "max_by(q, &p).p", 2),
        (b'"text"', "", "text"),
        (b"123456789012345678901234567890", "", 123456789012345678901234567890),
        (b'{"a": "\\u5317\\u4eac"}', "a", "北京"),
        (b' \n{"a": 1}\n', "a", 1),
    ],
)
def test_the_value_is_where_the_expression_leads(body: bytes, value: str, found: Any) -> None:
    read_value = read(body, value=value)["AAPL"]
    assert read_value == found
    assert type(read_value) is type(found)


@pytest.mark.parametrize(
    ("body", "value", "message"),
    [
        (b"null", "", "nothing in it"),
        (b"{}", "", "nothing in it"),
        (b"[]", "", "nothing in it"),
        (b'""', "", "nothing in it"),
        (b'{"error": "no such symbol"}', "price", "nothing at 'price'"),
        (b'{"price": null}', "price", "nothing at 'price'"),
        (b'{"price": ""}', "price", "nothing at 'price'"),
        (b'{"price": []}', "price", "nothing at 'price'"),
        (b'{"price": 5}', "length(price)", "doesn't fit 'length(price)'"),
        (b'{"price": [1]}', "nope(price)", "doesn't fit"),
        (b'{"price": [1, "a"]}', "sort(price)", "doesn't fit"),
        (b'{"price": [1]}', "price[::0]", "doesn't fit"),
    ],
)
def test_an_answer_without_a_usable_value_fails_its_key(body: bytes, value: str, message: str) -> None:
    error = read(body, value=value)["AAPL"]
    assert isinstance(error, UpstreamPayload)
    assert message in str(error)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"<html><body>Please log in</body></html>",
        b'{"price": 1',
        b'{"price": ',
        b'{"price": "a',
        b'{"price": 1}}',
        b'{"price": NaN}',
        b'{"price": Infinity}',
        b"NaN",
        b"nan",
        b"{'price': 1}",
        b'{"price": 1,}',
        b"callback({})",
        b'\xef\xbb\xbf{"price": 1}',
        b'{"price": "\xff"}',
        b"\xff\xfe{\x00}\x00",
        b'{"price": "\\ud800"}',
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b"\x00",
    ],
)
def test_what_is_not_json_is_refused_as_a_whole(body: bytes) -> None:
    with pytest.raises(UpstreamPayload, match="The answer is not JSON"):
        read(body)


def test_a_refused_answer_is_quoted_only_a_little() -> None:
    with pytest.raises(UpstreamPayload) as refused:
        read(b"<html>" + b"x" * 10_000)
    assert len(str(refused.value)) < 100


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (
            b'{"quotes": [{"s": "A", "p": 1}, {"s": "B", "p": 2}]}',
            {"batch_items": "quotes", "batch_key": "s"},
        ),
        (b'[{"id": {"s": "A"}, "p": 1}, {"id": {"s": "B"}, "p": 2}]', {"batch_key": "id.s"}),
        (b'{"quotes": {"A": {"p": 1}, "B": {"p": 2}}}', {"batch_items": "quotes"}),
        (b'{"A": {"p": 1}, "B": {"p": 2}}', {}),
    ],
)
def test_a_batch_answer_gives_each_key_its_own_item(body: bytes, fields: dict[str, Any]) -> None:
    assert read(body, "B", "A", value="p", **fields) == {"A": 1, "B": 2}


def test_numbers_may_be_keys_of_items() -> None:
    assert read(b'[{"id": 7, "p": 1}, {"id": 8, "p": 2}]', "8", "7", value="p", batch_key="id") == {
        "7": 1,
        "8": 2,
    }


def test_one_bad_item_fails_only_its_own_key() -> None:
    body = b'[{"s": "A", "p": 1}, {"s": "B", "p": null}, {"p": 3}, null, {"s": "E", "p": [2, "x"]}]'
    values = read(body, "A", "B", "C", "None", "null", "E", value="not_null(sort([p][]), p)", batch_key="s")
    assert values.pop("A") == [1]
    assert all(isinstance(value, UpstreamPayload) for value in values.values())
    assert str(values["C"]) == "The answer has no item for this key."


def test_an_item_without_a_key_is_nobodys() -> None:
    (missing, there) = read(b'[{"p": 3}, {"s": "A", "p": 1}]', "None", "A", value="p", batch_key="s").values()
    assert isinstance(missing, UpstreamPayload)
    assert there == 1


def test_an_item_whose_key_cannot_be_read_stops_no_other() -> None:
    body = b'[{"s": "A", "p": 1}, {"p": 2}, 3, null]'
    values = read(body, "A", "B", value="p", batch_key="join('', [s])")
    assert values["A"] == 1
    assert isinstance(values["B"], UpstreamPayload)


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (b'{"error": "slow down"}', {"batch_items": "quotes", "batch_key": "s"}),
        (b'{"quotes": "none"}', {"batch_items": "quotes", "batch_key": "s"}),
        (b'{"quotes": [{"s": "A"}]}', {"batch_items": "quotes"}),
        (b"null", {"batch_key": "s"}),
        (b'{"quotes": 1}', {"batch_items": "keys(quotes)", "batch_key": "s"}),
    ],
)
def test_a_batch_answer_without_items_is_refused_as_a_whole(body: bytes, fields: dict[str, Any]) -> None:
    with pytest.raises(UpstreamPayload):
        read(body, "A", "B", **fields)


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
def test_no_answer_breaks_anything(body: bytes) -> None:
    try:
        values = read(body, "A", "B", batch_items="q", batch_key="s", value="p")
    except UpstreamPayload:
        return
    assert set(values) == {"A", "B"}
