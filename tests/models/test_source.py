"""Sources: what their definition is checked for, and their pinned keys."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import transaction

from hotdata import registry
from hotdata.models import ChangeCounter, Key, Source
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
        ({"path": "/stocks"}, "path", "{key} must stand somewhere"),
        ({"query": {"a": "x{key}"}}, "query", "Only {key} can be filled in"),
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
        ({"max_failed_share": 1.5}, "max_failed_share", "less than or equal to 1"),
        ({"max_failed_share": -1}, "max_failed_share", "greater than or equal to 0"),
    ],
)
def test_a_bad_field_is_refused_by_its_name(fields: dict[str, Any], blamed: str, message: str) -> None:
    found = errors(**fields)
    assert message in " ".join(found[blamed])


@pytest.mark.parametrize("field", ["soft_ttl", "hard_ttl", "timeout"])
def test_a_time_that_is_not_positive_is_refused(field: str) -> None:
    assert errors(**{field: timedelta(0)})


def test_several_mistakes_are_told_at_once() -> None:
    assert {"path", "hard_ttl"} <= errors(path="stocks", hard_ttl=SECOND).keys()


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


def test_pinned_keys_go_with_their_source() -> None:
    source = make_source(pinned=("AAPL",))
    source.delete()
    assert not Key.objects.exists()
