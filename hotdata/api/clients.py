"""Clients: from which address a request comes, as far as that can be known, and whether that is one of ours."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from django.http import HttpRequest

from hotdata.conf import conf

Address = IPv4Address | IPv6Address

PROXY_HEADERS = ("X-Forwarded-For", "Forwarded", "X-Real-Ip", "Via")
"""A request with one of these has come through somebody."""


def address_of(request: HttpRequest) -> Address | None:
    """The address of who sent `request`; None when only a proxy's is known.

    Behind so many proxies as the settings trust, it is the one that the first of them has seen: what stands before
    it in ``X-Forwarded-For`` may be made up. A request that has come through a proxy that nobody trusts, or has passed
    by one that all should come through, is anybody's.
    """
    proxies = conf().trusted_proxies
    if not proxies:
        if any(header in request.headers for header in PROXY_HEADERS):
            return None
        return _parsed(request.META.get("REMOTE_ADDR", ""))
    seen = [part.strip() for part in request.headers.get("X-Forwarded-For", "").split(",") if part.strip()]
    return _parsed(seen[-proxies]) if len(seen) >= proxies else None


def is_within(address: Address | None, networks: Iterable[str]) -> bool:
    """Whether `address` is known, and in one of `networks`."""
    return address is not None and any(address in ip_network(network) for network in networks)


def _parsed(text: str) -> Address | None:
    """`text` as an address; an IPv4 address in IPv6's clothes as what it is."""
    try:
        address = ip_address(text)
    except ValueError:  # a socket of Unix has none
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
