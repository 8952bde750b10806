from __future__ import annotations

import socket
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotdata.addresses import check_host, find, is_public, origin
from hotdata.exceptions import UpstreamForbidden

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.216.34",
    "100.63.255.255",
    "100.128.0.0",
    "172.15.255.255",
    "172.32.0.1",
    "223.255.255.255",
    "2001:4860:4860::8888",
    "2606:4700:4700::1111",
    "2a00:1450:4001:80b::200e",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",  # 8.8.8.8 seen from a network that has only IPv6
]

NOT_PUBLIC = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:808:808::1",
    "3fff::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "2606:4700:4700::1111%eth0",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
]

NOT_AN_ADDRESS = [
    "",
    "localhost",
    "2130706433",
    "0x7f.1",
    "0177.0.0.1",
    "127.1",
    "8.8.8.8 ",
    "8.8.8.8/32",
    "[::1]",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_an_address_of_a_special_block_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", NOT_AN_ADDRESS)
def test_what_is_not_spelt_as_a_plain_address_is_not_public(address: str) -> None:
    assert not is_public(address)


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_no_address_that_python_calls_private_is_public(address: Any) -> None:
    if not address.is_global and not getattr(address, "ipv4_mapped", None):
        assert not is_public(str(address))


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("Example.COM", "example.com:443"),
        ("::1", "[::1]:443"),
        ("[::1]", "[::1]:443"),
        ("127.0.0.1", "127.0.0.1:443"),
    ],
)
def test_an_origin_is_spelt_as_in_the_setting(host: str, expected: str) -> None:
    assert origin(host, 443) == expected


def answer_lookups(monkeypatch: pytest.MonkeyPatch, *found: str) -> list[str]:
    """Make every name resolve to `found`; return the list of names that are looked up from now on."""
    asked = []

    def getaddrinfo(host: str, port: int, *args: Any, **kwargs: Any) -> list[Any]:
        asked.append(host)
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
            if ":" in address
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in found
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LocalHost",
        "localhost.",
        "db.localhost",
        "printer.local",
        "metadata.google.internal",
        "api.internal.",
    ],
)
def test_a_name_that_only_leads_inside_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match="is not a host of the public internet"):
        check_host(host)


@pytest.mark.parametrize("host", [*NOT_PUBLIC, "[::1]", "[fd00:ec2::254]", "127.0.0.1."])
def test_an_address_that_is_not_public_is_refused_as_a_host(host: str) -> None:
    with pytest.raises(ValueError, match="is not an address of the public internet"):
        check_host(host)


@pytest.mark.parametrize(
    "host",
    [
        "0",
        "2130706433",
        "134744072",  # 8.8.8.8
        "127.1",
        "8.8.2056",
        "017700000001",
        "0177.0.0.1",
        "010.010.010.010",
        "0x7f000001",
        "0x08080808",
        "0X7F.0.0.1",
        "0x7f.1",
        "0x",
    ],
)
def test_a_number_in_an_unusual_spelling_is_refused_as_a_host_wherever_it_leads(host: str) -> None:
    with pytest.raises(ValueError, match="is not an address of the public internet"):
        check_host(host)


@pytest.mark.parametrize(
    "host",
    [
        *PUBLIC,
        "[2606:4700:4700::1111]",
        "8.8.8.8.",
        "example.com",
        "EXAMPLE.com.",
        "1.example.com",
        "0x7f.example",
        "localhost.example.com",
        "internal.example.com",
        "notlocalhost",
        "münchen.example",
    ],
)
def test_a_host_that_may_be_public_is_accepted_without_a_lookup(
    monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    asked = answer_lookups(monkeypatch, "127.0.0.1")
    check_host(host)
    assert asked == []


@pytest.mark.parametrize("bad", NOT_PUBLIC)
def test_one_bad_address_among_good_ones_condemns_the_host(monkeypatch: pytest.MonkeyPatch, bad: str) -> None:
    answer_lookups(monkeypatch, "8.8.8.8", bad, "2606:4700:4700::1111")
    with pytest.raises(UpstreamForbidden, match=r"mixed\.example:443 leads to"):
        find("mixed.example", 443, private=False, timeout=1)


def test_every_address_of_a_good_host_is_returned_in_the_order_of_the_resolver(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = answer_lookups(monkeypatch, "2606:4700:4700::1111", "8.8.8.8")
    found = find("good.example", 443, private=False, timeout=1)
    assert [address.sockaddr[:2] for address in found] == [("2606:4700:4700::1111", 443), ("8.8.8.8", 443)]
    assert asked == ["good.example"]


@pytest.mark.parametrize(
    "host",
    ["2130706433", "0x7f000001", "0177.0.0.1", "0x7f.1", "127.1", "0", "017700000001", "127.0.0.1", "::1"],
)
def test_a_number_in_an_unusual_spelling_is_refused_for_where_it_leads(host: str) -> None:
    with pytest.raises(UpstreamForbidden, match="not an address of the public internet"):
        find(host, 443, private=False, timeout=5)


def test_an_allowed_host_may_be_private() -> None:
    assert find("127.0.0.1", 8100, private=True, timeout=1)[0].sockaddr == ("127.0.0.1", 8100)


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "a..example"])
def test_a_name_that_cannot_exist_is_an_os_error(host: str) -> None:
    with pytest.raises(OSError, match="not a host name"):
        find(host, 443, private=False, timeout=5)


def test_a_lookup_that_hangs_is_given_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()

    def getaddrinfo(*args: Any, **kwargs: Any) -> list[Any]:
        answered.wait(timeout=30)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    try:
        with pytest.raises(TimeoutError):
            find("slow.example", 443, private=False, timeout=0.1)
    finally:
        answered.set()
