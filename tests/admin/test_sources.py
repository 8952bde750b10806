from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client

from hotdata import registry
from hotdata.models import ChangeCounter, Key, Source
from tests.builders import Staff, make_source

pytestmark = pytest.mark.django_db

LIST = "/admin/hotdata/source/"
ADD = f"{LIST}add/"


def page_of(source: Source) -> str:
    return f"{LIST}{source.pk}/change/"


def form(*keys: str, **fields: Any) -> dict[str, Any]:
    """What a browser sends for a source that is right, unless told otherwise, with new pinned `keys`."""
    return (
        {
            "name": "stock",
            "title": "",
            "enabled": "on",
            "base_url": "https://upstream.example/v1",
            "path": "/quote/{key}",
            "query": "{}",
            "headers": "{}",
            "value": "",
            "secret_query": "{}",
            "secret_headers": "{}",
            "batch_size": "1",
            "batch_path": "",
            "batch_query": "{}",
            "batch_items": "",
            "batch_key": "",
            "key_policy": "pinned",
            "key_pattern": "",
            "value_kind": "",
            "required": "[]",
            "bounds": "{}",
            "max_bytes": "",
            "soft_ttl": "300",
            "hard_ttl": "3600",
            "absent_ttl": "30",
            "hot_keys": "100",
            "refresh_after": "",
            "max_age": "",
            "windows": "",
            "calls_per_minute": "600",
            "burst": "60",
            "concurrency": "8",
            "timeout": "10",
            "breaker_failures": "5",
            "breaker_pause": "30",
            "objective_age": "",
            "objective_share": "0.99",
            "max_failed_share": "0.5",
            "fetcher": "",
            "pinned-TOTAL_FORMS": str(len(keys)),
            "pinned-INITIAL_FORMS": "0",
        }
        | {f"pinned-{number}-key": key for number, key in enumerate(keys)}
        | {f"pinned-{number}-weight": "1.0" for number in range(len(keys))}
        | {f"pinned-{number}-placeholders": "{}" for number in range(len(keys))}
        | {f"initial-pinned-{number}-placeholders": "{}" for number in range(len(keys))}
        | fields
    )


def errors(answer: Any) -> dict[str, list[str]]:
    assert answer.status_code == 200
    return dict(answer.context["adminform"].form.errors)


BAD_INPUTS = [
    ("name", {"name": ""}),
    ("name", {"name": "a/b"}),
    ("base_url", {"base_url": ""}),
    ("base_url", {"base_url": "file:///etc/passwd"}),
    ("base_url", {"base_url": "http://upstream.example"}),
    ("base_url", {"base_url": "http://127.0.0.1:8000"}),
    ("base_url", {"base_url": "https://2130706433"}),
    ("base_url", {"base_url": "https://[::1]"}),
    ("base_url", {"base_url": "https://169.254.169.254/latest"}),
    ("base_url", {"base_url": "https://localhost"}),
    ("base_url", {"base_url": "https://redis.internal"}),
    ("base_url", {"base_url": "https://user:password@upstream.example"}),
    ("base_url", {"base_url": "https://upstream.example/?token=1"}),
    ("path", {"path": ""}),
    ("path", {"path": "quote/{key}"}),
    ("path", {"path": "/quote"}),
    ("path", {"path": "/%2e%2E/{key}"}),
    ("path", {"path": "/quote\t/{key}"}),
    ("query", {"query": "["}),
    ("query", {"query": '["a"]'}),
    ("query", {"query": '{"a": 1}'}),
    ("query", {"query": '{"a": "x{key}"}'}),
    ("headers", {"headers": "nothing"}),
    ("headers", {"headers": '{"Host": "inside"}'}),
    ("headers", {"headers": '{"bad name": "x"}'}),
    ("headers", {"headers": '{"X-Test": "a\\r\\nX-Injected: 1"}'}),
    ("headers", {"headers": '{"X-Test": "中文"}'}),
    ("headers", {"headers": '{"X-Test": null}'}),
    ("secret_headers", {"secret_headers": '{"X-API-Key": "SECRET_KEY"}'}),
    ("secret_headers", {"secret_headers": '{"X-API-Key": "DATABASE_URL"}'}),
    ("secret_headers", {"secret_headers": '{"X-API-Key": "hotdata_secret_x"}'}),
    ("secret_headers", {"secret_headers": '{"X-API-Key": "HOTDATA_SECRET_$(id)"}'}),
    ("secret_headers", {"secret_headers": '{"Transfer-Encoding": "HOTDATA_SECRET_X"}'}),
    ("secret_query", {"secret_query": '{"token": "AWS_SECRET_ACCESS_KEY"}'}),
    ("value", {"value": "]["}),
    ("batch_path", {"batch_size": "10", "batch_path": ""}),
    ("batch_path", {"batch_size": "10", "batch_path": "/quotes"}),
    ("batch_size", {"batch_size": "0"}),
    ("batch_size", {"batch_size": "1001"}),
    ("soft_ttl", {"soft_ttl": "0"}),
    ("soft_ttl", {"soft_ttl": ""}),
    ("hard_ttl", {"soft_ttl": "300", "hard_ttl": "299"}),
    ("hard_ttl", {"hard_ttl": "long"}),
    ("hard_ttl", {"hard_ttl": "999999999 00:00:00"}),
    ("timeout", {"timeout": "0"}),
    ("timeout", {"timeout": "-1"}),
    ("concurrency", {"concurrency": "0"}),
    ("concurrency", {"concurrency": "65"}),
    ("calls_per_minute", {"calls_per_minute": "0"}),
    ("calls_per_minute", {"calls_per_minute": "100001"}),
    ("burst", {"burst": "-1"}),
    ("breaker_failures", {"breaker_failures": "0"}),
    ("breaker_pause", {"breaker_pause": "0"}),
    ("key_policy", {"key_policy": "some"}),
    ("key_pattern", {"key_policy": "pattern"}),
    ("key_pattern", {"key_policy": "pattern", "key_pattern": "(?=a)"}),
    ("key_pattern", {"key_pattern": "[A-Z"}),
    ("value_kind", {"value_kind": "integer"}),
    ("required", {"required": '"price"'}),
    ("required", {"required": '["a["]'}),
    ("required", {"required": r"""["a == '\u0000'"]"""}),
    ("bounds", {"bounds": "[]"}),
    ("bounds", {"bounds": '{"price": [1, 0]}'}),
    ("bounds", {"bounds": '{"price": [0, NaN]}'}),
    ("bounds", {"bounds": '{"price": [0, Infinity]}'}),
    ("bounds", {"bounds": '{"price": [true, 1]}'}),
    ("max_bytes", {"max_bytes": "0"}),
    ("absent_ttl", {"absent_ttl": "0"}),
    ("hot_keys", {"hot_keys": "10001"}),
    ("refresh_after", {"refresh_after": "-1"}),
    ("refresh_after", {"refresh_after": "300"}),
    ("max_age", {"refresh_after": "20", "max_age": "10"}),
    ("windows", {"windows": "always"}),
    ("windows", {"windows": "09:30-16:00 Mars/Olympus"}),
    ("objective_age", {"objective_age": "0"}),
    ("objective_share", {"objective_share": "99"}),
    ("objective_share", {"objective_share": "nan"}),
    ("max_failed_share", {"max_failed_share": "1.5"}),
    ("max_failed_share", {"max_failed_share": "nan"}),
    ("fetcher", {"fetcher": "os.system"}),
]


@pytest.mark.parametrize(("field", "fields"), BAD_INPUTS, ids=lambda value: str(value)[:60])
def test_a_bad_input_is_shown_at_its_field_and_nothing_is_saved(
    admin_client: Client, field: str, fields: dict[str, str]
) -> None:
    assert field in errors(admin_client.post(ADD, form("AAPL", **fields)))
    assert not Source.objects.exists()
    assert not Key.objects.exists()


@pytest.mark.parametrize("key", [".", "..", "a/b", "a\\b", "x" * 129, "a\u200bb"])
def test_a_bad_key_is_shown_at_its_field_and_nothing_is_saved(admin_client: Client, key: str) -> None:
    answer = admin_client.post(ADD, form("AAPL", key))
    assert answer.status_code == 200
    (keys,) = answer.context["inline_admin_formsets"]
    assert [list(found) for found in keys.formset.errors] == [[], ["key"]]
    assert not Source.objects.exists()


@pytest.mark.parametrize(
    ("field", "typed"),
    [
        ("weight", "0"),
        ("weight", "nan"),
        ("weight", "1e9"),
        ("placeholders", "latitude"),
        ("placeholders", '["latitude"]'),
        ("placeholders", '{"latitude": 39.9}'),
        ("placeholders", '{"keys": "A"}'),
        ("placeholders", '{"latitude": ".."}'),
        ("placeholders", '{"latitude": "1\\n2"}'),
        ("placeholders", '{"latitude": "\\ud800"}'),
        ("placeholders", "[" * 100_000),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_bad_input_beside_a_key_is_shown_at_its_field_and_nothing_is_saved(
    admin_client: Client, field: str, typed: str
) -> None:
    answer = admin_client.post(ADD, form("AAPL", **{f"pinned-0-{field}": typed}))
    assert answer.status_code == 200
    (keys,) = answer.context["inline_admin_formsets"]
    assert [list(found) for found in keys.formset.errors] == [[field]]
    assert not Source.objects.exists()


def test_a_key_is_saved_with_its_weight_and_placeholders(admin_client: Client) -> None:
    beside = {
        "pinned-0-weight": "2.5",
        "pinned-0-placeholders": '{"latitude": "39.9"}',
        "pinned-1-placeholders": "",
    }
    by_place = {"path": "/weather", "query": '{"lat": "{latitude}"}'}
    assert admin_client.post(ADD, form("北京", "Oslo", "", **beside, **by_place)).status_code == 302
    source = Source.objects.get()
    assert source.placeholders_by_key() == {"北京": {"latitude": "39.9"}, "Oslo": {}}
    assert list(source.pinned.values_list("weight", flat=True)) == [2.5, 1.0]


def test_a_key_is_pinned_once(admin_client: Client) -> None:
    assert admin_client.post(ADD, form("AAPL", "AAPL")).status_code == 200
    assert not Key.objects.exists()


def test_both_spellings_of_a_key_are_one(admin_client: Client) -> None:
    source = make_source(name="stock", pinned=("caf\u00e9",))
    there = {"pinned-INITIAL_FORMS": "1", "pinned-0-id": source.pinned.get().pk}
    answer = admin_client.post(page_of(source), form("caf\u00e9", "cafe\u0301", **there))
    assert answer.status_code == 200
    assert Key.objects.get().key == "caf\u00e9"


def test_what_a_source_accepts_and_how_it_is_kept_fresh_is_saved(admin_client: Client) -> None:
    fields = {
        "key_policy": "pattern",
        "key_pattern": "[A-Z]{1,5}",
        "value_kind": "object",
        "required": '["price"]',
        "bounds": '{"price": [0, null]}',
        "max_bytes": "10000",
        "absent_ttl": "",
        "refresh_after": "20",
        "max_age": "60",
        "windows": "09:30-16:00 America/New_York mon-fri",
        "objective_age": "90",
    }
    assert admin_client.post(ADD, form(**fields)).status_code == 302
    source = Source.objects.get()
    source.full_clean()
    assert source.bounds == {"price": [0, None]}
    assert source.absent_ttl is None
    assert (source.shortest_interval.seconds, source.longest_interval.seconds) == (20, 60)


def test_the_page_shows_every_field_of_a_source_and_of_its_keys(admin_client: Client) -> None:
    page = admin_client.get(ADD).content.decode()
    names = [field.name for field in Source._meta.concrete_fields if field.editable and field.name != "id"]
    assert [name for name in names if f'name="{name}"' not in page] == []
    assert all(f'name="pinned-0-{name}"' in page for name in ("key", "weight", "placeholders"))
    assert 'name="initial-pinned-0-placeholders" value="{}"' in page


def test_a_good_source_is_saved_with_its_keys(admin_client: Client) -> None:
    before = ChangeCounter.current()
    fields = {
        "query": '{"lang": "zh"}',
        "headers": '{"Accept-Language": "zh"}',
        "secret_headers": '{"X-API-Key": "HOTDATA_SECRET_STOCKS"}',
    }
    assert admin_client.post(ADD, form("AAPL", "北京", **fields)).status_code == 302
    source = Source.objects.get()
    assert source.pinned_keys() == ["AAPL", "北京"]
    assert source.secret_headers == {"X-API-Key": "HOTDATA_SECRET_STOCKS"}
    assert ChangeCounter.current() > before


@pytest.mark.parametrize("fetcher", ["", "fetcher_of_the_form"])
def test_objects_that_are_left_empty_are_empty_objects(admin_client: Client, fetcher: str) -> None:
    registry.fetcher(name="fetcher_of_the_form")(lambda keys: {})
    try:
        names = ["query", "headers", "secret_query", "secret_headers", "batch_query", "required", "bounds"]
        empty = dict.fromkeys(names, "")
        answer = admin_client.post(ADD, form(fetcher=fetcher, **empty))
    finally:
        registry.fetchers.remove("fetcher_of_the_form")
    assert answer.status_code == 302
    source = Source.objects.get()
    assert (source.query, source.secret_headers, source.required, source.bounds) == ({}, {}, [], {})


def test_a_private_address_that_the_settings_allow_is_saved(admin_client: Client, settings: Any) -> None:
    settings.HOTDATA_ALLOW_PRIVATE = ["127.0.0.1:8000"]
    assert admin_client.post(ADD, form(base_url="http://127.0.0.1:8000")).status_code == 302


def test_a_name_cannot_be_changed(admin_client: Client) -> None:
    source = make_source(name="stock")
    assert 'name="name"' not in admin_client.get(page_of(source)).content.decode()
    assert admin_client.post(page_of(source), form(name="renamed")).status_code == 302
    assert Source.objects.get().name == "stock"


def test_seeing_a_source_is_not_changing_it(staff: Staff) -> None:
    source = make_source(name="stock")
    client = staff("view_source")
    assert client.get(page_of(source)).status_code == 200
    assert client.post(page_of(source), form(title="New")).status_code == 403


def test_an_error_does_not_repeat_the_value_of_a_header(admin_client: Client) -> None:
    shown = errors(admin_client.post(ADD, form(headers='{"X-API-Key": "5ec2e7\\n"}')))
    assert "5ec2e7" not in str(shown)


@pytest.mark.usefixtures("clear_cache")
@pytest.mark.parametrize("field", ["calls_per_minute", "batch_size"])
def test_a_form_that_is_refused_shows_the_plan_of_what_is_on_record(staff: Staff, field: str) -> None:
    source = make_source(name="stock", pinned=("AAPL",))
    key = Key.objects.get()
    sent = form() | {field: "0", "pinned-TOTAL_FORMS": "1", "pinned-INITIAL_FORMS": "1"}
    sent |= {
        "pinned-0-id": key.pk,
        "pinned-0-source": source.pk,
        "pinned-0-key": "AAPL",
        "pinned-0-weight": "1",
    }
    answer = staff("change_source", "view_source", "change_key", "view_key").post(page_of(source), sent)
    assert answer.status_code == 200
    assert "not fetched yet" in answer.content.decode()


def test_a_form_that_was_overtaken_undoes_nothing(admin_client: Client) -> None:
    source = make_source(name="stock", pinned=("AAPL",))
    page = admin_client.get(page_of(source)).content.decode()
    (seen,) = re.findall(r'name="edit_seen" value="(\d+)"', page)
    source.enabled = False
    source.save()
    answer = admin_client.post(page_of(source), form(edit_seen=seen))
    assert answer.status_code == 200
    assert "after you opened it" in answer.content.decode()
    source.refresh_from_db()
    assert not source.enabled
