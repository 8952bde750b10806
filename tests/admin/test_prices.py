"""Price lists in the admin: what is typed is checked, brought into one form, and on record with who did it."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from hotdata.models import PriceList
from tests.builders import Staff, make_prices, make_source

pytestmark = pytest.mark.django_db

ADD = "/admin/hotdata/pricelist/add/"
GOOD = {
    "source": "stock",
    "kind": "calls",
    "valid_from": "2026-11",
    "currency": "usd",
    "tiers": "First 10000 free, then 0.0020",
    "failed_charged": "on",
}


@pytest.fixture(autouse=True)
def _stock() -> None:
    make_source(name="stock")


def errors(answer: Any) -> dict[str, list[str]]:
    return dict(answer.context["adminform"].form.errors)


def test_what_is_typed_is_brought_into_one_form(admin_client: Client, admin_user: User) -> None:
    assert admin_client.post(ADD, GOOD).status_code == 302
    prices = PriceList.objects.get()
    assert (prices.tiers, prices.currency, prices.failed_charged) == (
        "first 10,000 free, then 0.002",
        "USD",
        True,
    )
    assert prices.history.get().history_user_id == admin_user.get_username()


@pytest.mark.parametrize(
    ("field", "typed", "said"),
    [
        ("tiers", "0,002", "can&#x27;t be read"),
        ("tiers", "first 10 free", "Nothing says what comes after"),
        ("tiers", "x" * 1001, "at most 1000 characters"),
        ("currency", "XXX", "no currency of ISO 4217"),
        ("currency", "", "required"),
        ("valid_from", "2026-13", "Write a month as 2026-11."),
        ("valid_from", "2026-11\n", "valid_from"),
        ("source", "stonk", "There is no source of this name"),
        ("kind", "moods", "Select a valid choice"),
    ],
)
def test_what_makes_no_sense_is_refused_at_its_field(
    admin_client: Client, field: str, typed: str, said: str
) -> None:
    answer = admin_client.post(ADD, GOOD | {field: typed})
    if field == "valid_from" and typed.strip() != typed:  # a browser's line break is no part of it
        assert PriceList.objects.get().valid_from == "2026-11"
        return
    assert list(errors(answer)) == [field]
    assert said in answer.content.decode()
    assert not PriceList.objects.exists()


def test_there_is_one_list_from_a_month_on(admin_client: Client) -> None:
    make_prices("stock", valid_from="2026-11")
    answer = admin_client.post(ADD, GOOD)
    assert "already exists" in answer.content.decode()
    assert PriceList.objects.count() == 1


def test_sources_are_offered_while_one_types(admin_client: Client) -> None:
    page = admin_client.get(ADD).content.decode()
    assert 'list="id_source_sources"' in page
    assert '<option value="stock"></option>' in page


def test_an_edit_is_on_record_with_who_made_it(admin_client: Client) -> None:
    prices = make_prices("stock", tiers="1")
    address = f"/admin/hotdata/pricelist/{prices.pk}/"
    admin_client.post(f"{address}change/", GOOD | {"tiers": "2"})
    log = admin_client.get(f"{address}history/").content.decode()
    assert "<del>1</del>" in log
    assert "<ins>2</ins>" in log
    assert "root" in log


def test_a_form_that_was_overtaken_undoes_nothing(admin_client: Client) -> None:
    prices = make_prices("stock", tiers="1")
    address = f"/admin/hotdata/pricelist/{prices.pk}/change/"
    seen = admin_client.get(address).context["adminform"].form.edit_seen
    prices.tiers = "2"
    prices.save()
    answer = admin_client.post(address, GOOD | {"tiers": "3", "edit_seen": seen})
    assert "after you opened it" in answer.content.decode()
    prices.refresh_from_db()
    assert prices.tiers == "2"


def test_who_may_not_change_prices_can_only_look(staff: Staff) -> None:
    prices = make_prices("stock", tiers="1")
    address = f"/admin/hotdata/pricelist/{prices.pk}/change/"
    client = staff("view_pricelist")
    assert client.get(address).status_code == 200
    assert client.post(address, GOOD).status_code == 403
    assert client.post(ADD, GOOD).status_code == 403
    assert staff("view_job").get(address).status_code == 403
