"""Sources: what their definition is checked for, and their pinned keys."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import transaction

from hotdata import registry
from hotdata.models import ChangeCounter, Key, Source
from hotdata.models.acceptance import KeyPolicy
from hotdata.models.sources import DURATIONS
from hotdata.payloads import Kind, PayloadRules
from hotdata.windows import Windows
from tests.builders import make_source

pytestmark = pytest.mark.django_db

SECOND = timedelta(seconds=1)
VALID = {"name": "stock", "base_url": "https://upstream.example", "path": "/stocks/{key}"}


def errors(**fields: Any) -> dict[str, list[str]]:
    with pytest.raises(ValidationError) as refused:
        Source(**(VALID | fields)).full_clean()
    return dict(refused.value.message_dict)


def test_a_source_needs_only_a_name_an_address_and_a_path() -> None:
    Source(**VALID).full_clean()


@pytest.mark.parametrize(
    ("fields", "blamed", "message"),
    [
        ({"name": "no spaces"}, "name", "Enter a valid “slug”"),
        ({"name": ""}, "name", "cannot be blank"),
        ({"base_url": ""}, "base_url", "must begin with https://"),
        ({"base_url": "http://upstream.example"}, "base_url", "Only https is allowed"),
        ({"base_url": "https://10.0.0.1"}, "base_url", "not an address of the public internet"),
        ({"base_url": "file:///etc/passwd"}, "base_url", "not file"),
        ({"path": "/stocks"}, "path", "{key}, or another placeholder, must stand somewhere"),
        ({"query": {"a": "x{key}"}}, "query", "Only {key}, and others such as {latitude}, can be filled in"),
        ({"query": []}, "query", "a JSON object from names to texts"),
        ({"headers": {"Host": "x"}}, "headers", "can't be set"),
        ({"secret_headers": {"X-Key": "PATH"}}, "secret_headers", "must begin with HOTDATA_SECRET_"),
        ({"secret_query": {"key": "SECRET_KEY"}}, "secret_query", "must begin with HOTDATA_SECRET_"),
        ({"value": "a["}, "value", "not a JMESPath expression"),
        ({"batch_size": 0}, "batch_size", "greater than or equal to 1"),
        ({"batch_size": 1001, "batch_path": "/{keys}"}, "batch_size", "less than or equal to 1000"),
        ({"batch_size": 2}, "batch_path", "must begin with /"),
        ({"batch_size": 2, "batch_path": "/", "batch_query": {"a": "1"}}, "batch_path", "{keys} must stand"),
        ({"batch_items": "a["}, "batch_items", "not a JMESPath expression"),
        ({"batch_key": "a["}, "batch_key", "not a JMESPath expression"),
        ({"fetcher": "no_such"}, "fetcher", "No fetcher named 'no_such' is registered"),
        ({"hard_ttl": 299 * SECOND}, "hard_ttl", "can't be kept for a shorter time than it is fresh"),
        ({"soft_ttl": None}, "soft_ttl", "cannot be null"),
        ({"concurrency": 0}, "concurrency", "greater than or equal to 1"),
        ({"concurrency": 65}, "concurrency", "less than or equal to 64"),
        ({"calls_per_minute": 0}, "calls_per_minute", "greater than or equal to 1"),
        ({"calls_per_minute": 100_001}, "calls_per_minute", "less than or equal to 100000"),
        ({"burst": 0}, "burst", "greater than or equal to 1"),
        ({"breaker_failures": 0}, "breaker_failures", "greater than or equal to 1"),
        ({"hot_keys": 10_001}, "hot_keys", "less than or equal to 10000"),
        ({"windows": "always"}, "windows", "is not a window"),
        ({"windows": "09:30-16:00 Mars/Olympus"}, "windows", "There is no time zone"),
        ({"objective_share": 1.1}, "objective_share", "less than or equal to 1"),
        ({"objective_age": timedelta(0)}, "objective_age", "at least 0.001 seconds"),
        (
            {"refresh_after": 2 * SECOND, "max_age": SECOND},
            "max_age",
            "after 0:00:01, but not sooner than 0:00:02",
        ),
        ({"refresh_after": 300 * SECOND}, "refresh_after", "before it may be refreshed"),
        ({"key_policy": "some"}, "key_policy", "not a valid choice"),
        ({"key_policy": "pattern"}, "key_pattern", "A pattern is needed"),
        ({"key_policy": "pattern", "key_pattern": "["}, "key_pattern", "not a regular expression"),
        ({"key_pattern": "["}, "key_pattern", "not a regular expression"),
        ({"value_kind": "integer"}, "value_kind", "not a valid choice"),
        ({"required": "price"}, "required", "a JSON array of JMESPaths"),
        ({"bounds": {"price": [1, 0]}}, "bounds", "a least that is above its most"),
        ({"max_bytes": 0}, "max_bytes", "at least 1"),
        ({"max_failed_share": 1.5}, "max_failed_share", "less than or equal to 1"),
        ({"max_failed_share": -1}, "max_failed_share", "greater than or equal to 0"),
    ],
)
def test_a_bad_field_is_refused_by_its_name(fields: dict[str, Any], blamed: str, message: str) -> None:
    found = errors(**fields)
    assert message in " ".join(found[blamed])


@pytest.mark.parametrize("field", DURATIONS)
def test_a_time_that_is_not_positive_is_refused(field: str) -> None:
    assert field in errors(**{field: timedelta(0)})


def test_several_mistakes_are_told_at_once() -> None:
    found = errors(path="stocks", hard_ttl=SECOND, required=1, key_pattern="(", windows="?")
    assert {"path", "hard_ttl", "required", "key_pattern", "windows"} <= found.keys()


def test_times_that_may_be_left_out_may_be_left_out() -> None:
    empty = dict.fromkeys(("absent_ttl", "refresh_after", "max_age", "objective_age", "max_bytes"))
    Source(**VALID, **empty).full_clean()


def test_json_that_a_form_left_empty_is_empty_json() -> None:
    source = Source(**VALID, query=None, required=None, bounds=None)
    source.clean()
    assert (source.query, source.required, source.bounds) == ({}, [], {})


# What a source accepts


def test_a_source_demands_of_its_values_what_its_fields_say() -> None:
    fields: dict[str, Any] = {"required": ["price"], "bounds": {"price": [0, None]}, "max_bytes": 100}
    source = Source(**VALID, value_kind="object", **fields)
    assert source.build_rules() == PayloadRules(kind=Kind.OBJECT, **fields)
    assert Source(**VALID).build_rules() == PayloadRules(required=[])


@pytest.mark.parametrize("policy", KeyPolicy)
def test_a_pattern_counts_only_where_the_policy_asks_for_one(policy: KeyPolicy) -> None:
    pattern = Source(**VALID, key_policy=policy, key_pattern="[A-Z]+").build_pattern()
    assert (pattern is not None) == (policy == KeyPolicy.PATTERN)
    assert pattern is None or (pattern.matches("AAPL") and not pattern.matches("aapl"))


# How it is kept fresh


@pytest.mark.parametrize(
    ("fields", "shortest", "longest"),
    [
        ({"soft_ttl": 100 * SECOND}, 10, 85),
        ({"soft_ttl": 100 * SECOND, "refresh_after": 30 * SECOND}, 30, 85),
        ({"soft_ttl": 100 * SECOND, "max_age": 60 * SECOND}, 10, 60),
        ({"soft_ttl": 100 * SECOND, "max_age": 5 * SECOND}, 5, 5),
        ({"soft_ttl": 100 * SECOND, "max_age": 500 * SECOND, "refresh_after": 200 * SECOND}, 200, 500),
    ],
)
def test_a_hot_key_is_refreshed_between_two_intervals(
    fields: dict[str, Any], shortest: int, longest: int
) -> None:
    source = Source(**VALID, **fields)
    source.full_clean()
    assert (source.shortest_interval, source.longest_interval) == (shortest * SECOND, longest * SECOND)


def test_a_source_is_refreshed_ahead_in_its_windows() -> None:
    windows = Source(**VALID, windows="09:30-16:00 America/New_York mon-fri").build_windows()
    assert windows == Windows.parse("09:30-16:00 America/New_York mon-fri")
    assert Source(**VALID).build_windows() == Windows()


def test_a_source_with_a_fetcher_needs_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    fetchers: registry.Registry[registry.Fetcher] = registry.Registry("fetcher")
    monkeypatch.setattr(registry, "fetchers", fetchers)
    registry.fetcher(name="rates")(lambda keys: {})
    Source(name="rates", fetcher="rates").full_clean()


def test_an_edit_tells_the_leader_when_it_is_committed() -> None:
    before = ChangeCounter.current()
    source = make_source()
    source.title = "Stocks"
    source.save()
    assert ChangeCounter.current() == before + 2


def test_an_edit_that_is_taken_back_tells_nobody() -> None:
    source, before = make_source(), ChangeCounter.current()
    with transaction.atomic():
        source.save()
        transaction.set_rollback(True)
    assert ChangeCounter.current() == before


def test_only_enabled_sources_are_refreshed() -> None:
    on, off = make_source(), make_source(enabled=False)
    assert list(Source.objects.enabled()) == [on]
    assert off in Source.objects.all()


def test_a_source_is_shown_by_its_title_or_else_its_name() -> None:
    assert str(Source(name="stock", title="Stock quotes")) == "Stock quotes"
    assert str(Source(name="stock")) == "stock"


# Pinned keys


def test_keys_are_pinned_in_the_order_in_which_they_were_given() -> None:
    source = make_source(pinned=("TSLA", "AAPL", "北京", "GOOGL"))
    assert source.pinned_keys() == ["TSLA", "AAPL", "北京", "GOOGL"]


def test_a_pinned_key_takes_its_one_form() -> None:
    key = Key(source=make_source(), key="Zu\u0308rich")
    key.full_clean()
    key.save()
    assert Key.objects.get().key == "Zürich"


def test_two_ways_to_type_a_key_pin_it_once() -> None:
    source = make_source(pinned=("Zürich",))
    with pytest.raises(ValidationError, match="already exists"):
        Key(source=source, key="Zu\u0308rich").full_clean()


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("", "cannot be blank"),
        ("..", "can't be a key"),
        ("a/b", "can't contain '/'"),
        ("AA\u200bPL", "can't contain the character U+200B"),
        ("x" * 129, "at most 128 characters"),
    ],
)
def test_what_cannot_be_a_key_cannot_be_pinned(key: str, message: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Key(source=make_source(), key=key).full_clean()
    assert message in " ".join(refused.value.message_dict["key"])


def test_a_key_is_pinned_once_in_its_one_form_and_the_schedulers_look() -> None:
    source, before = make_source(query={"lat": "{latitude}"}), ChangeCounter.current()
    assert source.pin("Zu\u0308rich", {"latitude": "47.4"})
    assert ChangeCounter.current() == before + 1
    assert not source.pin("Zürich")
    assert ChangeCounter.current() == before + 1
    assert source.placeholders_by_key() == {"Zürich": {"latitude": "47.4"}}


@pytest.mark.parametrize("key", ["", "..", "a/b", "x" * 129])
def test_what_can_not_be_a_key_is_not_pinned(key: str) -> None:
    source = make_source()
    with pytest.raises(ValidationError) as refused:
        source.pin(key)
    assert list(refused.value.message_dict) == ["key"]
    assert not Key.objects.exists()


def test_only_keys_that_match_the_pattern_are_pinned_where_there_is_one() -> None:
    source = make_source(key_policy=KeyPolicy.PATTERN, key_pattern="[A-Z]+")
    assert source.pin("AAPL")
    with pytest.raises(ValidationError, match="pattern"):
        source.pin("aapl")
    assert source.pinned_keys() == ["AAPL"]


def test_a_key_is_unpinned_once_and_the_schedulers_look() -> None:
    source, before = make_source(pinned=("AAPL", "北京")), ChangeCounter.current()
    assert source.unpin("北京")
    assert ChangeCounter.current() == before + 1
    assert not source.unpin("北京")
    assert not source.unpin("a/b")
    assert ChangeCounter.current() == before + 1
    assert source.pinned_keys() == ["AAPL"]


def test_a_key_is_pinned_with_what_else_it_is_asked_for_with() -> None:
    source = make_source(pinned=("AAPL",))
    texts = {"latitude": "39.9", "longitude": "116.4"}
    key = Key(source=source, key="Zu\u0308rich", placeholders=texts)
    key.full_clean()
    key.save()
    assert source.placeholders_by_key() == {"AAPL": {}, "Zürich": texts}


@pytest.mark.parametrize(
    ("fields", "blamed", "message"),
    [
        ({"placeholders": ["a"]}, "placeholders", "a JSON object from names to texts"),
        ({"placeholders": {"latitude": 39.9}}, "placeholders", "a JSON object from names to texts"),
        ({"placeholders": {"key": "A"}}, "placeholders", "'key' can't be a placeholder"),
        ({"placeholders": {"latitude": ".."}}, "placeholders", "it would climb"),
        ({"placeholders": {"latitude": "1\n2"}}, "placeholders", "control characters"),
        ({"placeholders": {"latitude": "1" * 201}}, "placeholders", "1 to 200 characters"),
        ({"weight": 0}, "weight", "greater than or equal to 0.01"),
        ({"weight": 1001}, "weight", "less than or equal to 1000"),
    ],
)
def test_what_is_pinned_with_a_key_is_checked(fields: dict[str, Any], blamed: str, message: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Key(source=make_source(), key="a/b", **fields).full_clean()
    assert {"key", blamed} == refused.value.message_dict.keys()
    assert message in " ".join(refused.value.message_dict[blamed])


def test_placeholders_that_a_form_left_empty_are_none() -> None:
    key = Key(source=make_source(), key="AAPL", placeholders=None)
    key.clean()
    assert key.placeholders == {}


def test_pinned_keys_go_with_their_source() -> None:
    source = make_source(pinned=("AAPL",))
    source.delete()
    assert not Key.objects.exists()
