"""Clients: which address a request is taken to come from, whatever it says itself."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from django.test import RequestFactory
from pytest_django import Settings

from hotdata.api.clients import certain_address_of, is_within


def found(**meta: str) -> str | None:
    address = certain_address_of(RequestFactory().get("/", **meta))
    return None if address is None else str(address)


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("", None),
        ("unix:", None),
    ],
)
def test_without_proxies_it_is_the_other_end_of_the_connection(remote: str, address: str | None) -> None:
    assert found(REMOTE_ADDR=remote) == address


@pytest.mark.parametrize("header", ["HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED", "HTTP_X_REAL_IP", "HTTP_VIA"])
def test_what_comes_through_a_proxy_that_nobody_trusts_comes_from_anywhere(header: str) -> None:
    assert found(**{header: "10.0.0.1"}) is None


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        (1, "10.0.0.1", "10.0.0.1"),
        (1, "127.0.0.1, 10.0.0.1", "10.0.0.1"),
        (2, "127.0.0.1, 203.0.113.9 , 10.0.0.1", "203.0.113.9"),
        (2, "10.0.0.1", None),
        (1, "", None),
        (1, "10.0.0.1, nonsense", None),
        (1, "10.0.0.1:80", "10.0.0.1"),  # some add the port
        (1, "10.0.0.1,", None),
    ],
)
def test_behind_proxies_it_is_what_the_first_of_them_saw(
    settings: Settings, proxies: int, forwarded: str, address: str | None
) -> None:
    settings.HOTDATA_TRUSTED_PROXIES = proxies
    assert found(HTTP_X_FORWARDED_FOR=forwarded) == address


def test_an_address_that_is_not_known_is_in_no_network() -> None:
    assert is_within(ip_address("10.1.2.3"), ["192.168.0.0/16", "10.0.0.0/8"])
    assert not is_within(ip_address("11.1.2.3"), ["10.0.0.0/8", "::/0"])
    assert not is_within(None, ["0.0.0.0/0", "::/0"])
