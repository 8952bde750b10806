"""Clients: from which address a request comes, as far as that can be known, and whether that is one of ours.

Each proxy adds, at the end of ``X-Forwarded-For``, whom it was asked by. Behind as many proxies as the settings trust,
it is the entry that the first of them has added: what stands further left may be made up.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from django.http import HttpRequest

from hotdata.conf import conf

Address = IPv4Address | IPv6Address

PROXY_HEADERS = ("X-Forwarded-For", "Forwarded", "X-Real-Ip", "Via")
"""A request with one of these has come through somebody."""


def address_of(request: HttpRequest) -> Address | None:
    """Whom a request is counted for; None where nothing is known.

    Where it has come past a proxy that all should come through, what counts is the connection.
    """
    return _forwarded(request) or _read(request.META.get("REMOTE_ADDR", ""))


def certain_address_of(request: HttpRequest) -> Address | None:
    """Who sent a request, if that is certain.

    One that has come through a proxy that nobody trusts, or past one that all should come through, is anybody's.
    """
    if conf().trusted_proxies:
        return _forwarded(request)
    if any(header in request.headers for header in PROXY_HEADERS):
        return None
    return _read(request.META.get("REMOTE_ADDR", ""))


def is_within(address: Address | None, networks: Iterable[str]) -> bool:
    """Whether `address` is known, and in one of `networks`."""
    return address is not None and any(address in ip_network(network) for network in networks)


def _forwarded(request: HttpRequest) -> Address | None:
    """Whom the outermost of the trusted proxies was asked by; None without any, and where it says nothing."""
    proxies = conf().trusted_proxies
    passed_by = request.headers.get("X-Forwarded-For", "").split(",")
    return _read(passed_by[-proxies]) if 0 < proxies <= len(passed_by) else None


def _read(text: str) -> Address | None:
    """The address `text`, as proxies spell it: some add a port, and then there are brackets around one of IPv6.

    An IPv4 address in IPv6's clothes is taken for what it is; a socket of Unix has none.
    """
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
