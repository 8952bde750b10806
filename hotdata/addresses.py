"""Which addresses an upstream may have.

A source may name any host; what counts is where the name leads. Every address that it resolves to must be one
of the public internet's, and the caller connects to those very addresses, so that a name which answers
differently the next time (DNS rebinding) gains nothing.
"""

from __future__ import annotations

import re
import socket
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from django.utils.translation import gettext as _

from hotdata.exceptions import UpstreamForbidden

MAX_LOOKUPS = 32
"""Lookups under way in this process; a resolver that hangs costs this many threads, not one per call."""

# `ipaddress.is_global` is not asked: it differs between Python versions, and calls 64:ff9b::a00:1 (10.0.0.1
# behind NAT64), 2002:7f00:1:: (127.0.0.1 behind 6to4) and multicast global.
_NOT_PUBLIC_4 = [
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network; Linux connects 0.0.0.0 to itself
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT, and the metadata service of Alibaba Cloud
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's host agent: a public number that only leads inside
        "169.254.0.0/16",  # link-local, and the metadata service of most clouds
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments, and the metadata service of Oracle Cloud
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarking
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/3",  # multicast, reserved, broadcast
    )
]

# Everything outside of this block (loopback, unique local, link-local, site-local, multicast) is not public.
_GLOBAL_UNICAST_6 = IPv6Network("2000::/3")
_NOT_PUBLIC_6 = [
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments: Teredo, which embeds an IPv4 address, benchmarking, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which embeds an IPv4 address
        "3fff::/20",  # documentation
    )
]
_EMBEDS_IPV4 = [
    IPv6Network("::ffff:0:0/96"),  # IPv4-mapped
    IPv6Network("64:ff9b::/96"),  # NAT64: where there is only IPv6, every IPv4 upstream looks like this
]


# What the system's resolver reads as an IPv4 address beside the dotted decimal: 2130706433, 0x7f.1, 0177.0.0.1.
_SPELLS_A_NUMBER = re.compile(r"(0x[0-9a-f]*|[0-9]+)(\.(0x[0-9a-f]*|[0-9]+))*")


@dataclass(frozen=True, kw_only=True)
class Address:
    """One address of a host, ready for ``socket.socket(family)`` and ``connect(sockaddr)``."""

    family: int
    sockaddr: tuple[str, int] | tuple[str, int, int, int]


def is_public(address: str) -> bool:
    """Whether `address`, a numeric IPv4 or IPv6 address, is one that anybody on the internet may have.

    Anything that is not a plain numeric address (a name, an octal spelling, a scope) is not.
    """
    try:
        return _is_public(ip_address(address))
    except ValueError:
        return False


def _is_public(ip: IPv4Address | IPv6Address) -> bool:
    if isinstance(ip, IPv4Address):
        return not any(ip in network for network in _NOT_PUBLIC_4)
    if ip.scope_id is not None:
        return False
    if any(ip in network for network in _EMBEDS_IPV4):
        return _is_public(IPv4Address(int(ip) & 0xFFFF_FFFF))
    return ip in _GLOBAL_UNICAST_6 and not any(ip in network for network in _NOT_PUBLIC_6)


def origin(host: str, port: int) -> str:
    """``host:port`` as the setting ``HOTDATA_ALLOW_PRIVATE`` spells it, with IPv6 addresses in brackets."""
    host = host.lower().strip("[]")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def check_host(host: str) -> None:
    """Raise ValueError for a host that can only lead inside, as far as its spelling tells without a lookup."""
    name = host.lower().strip("[]").rstrip(".")
    if name == "localhost" or name.endswith((".localhost", ".local", ".internal")):
        raise ValueError(_("%(host)s is not a host of the public internet.") % {"host": host})
    if (_is_numeric(name) or _SPELLS_A_NUMBER.fullmatch(name)) and not is_public(name):
        raise ValueError(_("%(host)s is not an address of the public internet.") % {"host": host})


def find(host: str, port: int, *, private: bool, timeout: float) -> list[Address]:
    """Return the addresses of `host`, all of them fit to connect to.

    One bad address among good ones condemns the host: which of them is connected to is up to chance and to
    whoever answers the lookup. With `private`, every address is fit.

    Raises UpstreamForbidden, TimeoutError after `timeout` seconds, and OSError if there is no such host.
    """
    addresses = _look_up(host, port, timeout)
    for address in addresses:
        number = address.sockaddr[0]
        if not (private or is_public(number)):
            raise UpstreamForbidden(
                f"{origin(host, port)} leads to {number}, which is not an address of the public internet."
            )
    return addresses


def _look_up(host: str, port: int, timeout: float) -> list[Address]:
    """Resolve `host` in a thread of its own, since nothing can interrupt the system's resolver.

    A lookup that was given up on ends by itself, after the resolver's own timeouts.
    """
    if _is_numeric(host):
        return _resolve(host, port)  # nothing to wait for
    if not _lookups.acquire(timeout=max(timeout, 0)):
        raise TimeoutError(f"{MAX_LOOKUPS} other lookups are under way")
    lookup: Future[list[Address]] = Future()

    def run() -> None:
        try:
            lookup.set_result(_resolve(host, port))
        except Exception as error:  # noqa: BLE001 - handed to the caller, who waits for it
            lookup.set_exception(error)
        finally:
            _lookups.release()

    try:
        threading.Thread(target=run, name="hotdata-lookup", daemon=True).start()
    except RuntimeError:  # no thread is to be had
        _lookups.release()
        raise
    return lookup.result(timeout=max(timeout, 0))


_lookups = threading.BoundedSemaphore(MAX_LOOKUPS)


def _is_numeric(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _resolve(host: str, port: int) -> list[Address]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:  # a label that is empty or longer than 63 bytes
        raise socket.gaierror(socket.EAI_NONAME, "not a host name") from None
    # The check of the type is for Pythons built without IPv6, which give its addresses as numbers.
    return [
        Address(family=family, sockaddr=sockaddr)
        for family, _, _, _, sockaddr in found
        if family in (socket.AF_INET, socket.AF_INET6) and isinstance(sockaddr[0], str)
    ]
