"""Where a call may connect to, and the connections of requests and urllib3 that go nowhere else.

An upstream is asked over TLS, at one of the addresses that its name was checked to have; only what the setting
``HOTDATA_ALLOW_PRIVATE`` lists may be private and may be asked over plain http. Each connection belongs to the
call that is using it: the call's deadline cuts it, and nothing about it is logged.
"""

from __future__ import annotations

import errno
import functools
import logging
import socket
import ssl
from typing import TYPE_CHECKING, Any

import requests.adapters
import requests.utils
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import NewConnectionError
from urllib3.util import Retry
from urllib3.util.ssl_ import create_urllib3_context

from hotdata import addresses
from hotdata.exceptions import UpstreamForbidden
from hotdata.freshness.deadline import Call, current_call

if TYPE_CHECKING:
    from urllib3._base_connection import BaseHTTPConnection

UPSTREAMS_KEPT = 64
"""Upstreams whose idle connections are kept; the one that was asked longest ago loses its own."""


class Adapter(requests.adapters.HTTPAdapter):
    """Guarded connections, kept alive and shared by all threads (urllib3's pools may be; a Session may not)."""

    def __init__(self, *, concurrency: int) -> None:
        retries = Retry(
            total=None,
            connect=1,
            read=False,
            redirect=0,
            status=0,
            other=0,
            backoff_factor=0,
            respect_retry_after_header=False,  # it would sleep in this thread, for hours if asked to
        )
        super().__init__(pool_connections=UPSTREAMS_KEPT, pool_maxsize=concurrency, max_retries=retries)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        tls = _tls_context(requests.utils.DEFAULT_CA_BUNDLE_PATH)
        super().init_poolmanager(*args, ssl_context=tls, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}

    def cert_verify(self, *args: Any, **kwargs: Any) -> None:
        """Leave verification to the TLS context above: this would load the CA bundle for every connection."""


@functools.cache  # reading the CA bundle takes 35 ms
def _tls_context(ca_bundle: str) -> ssl.SSLContext:
    context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED)
    context.load_verify_locations(ca_bundle)
    return context


def connect(call: Call, host: str, port: int, *, tls: bool) -> socket.socket:
    """Return a socket connected to one of the addresses of `host`, every one of which was checked.

    Raises UpstreamForbidden, UpstreamTimeout, or the OSError of the last address that was tried.
    """
    where = addresses.origin(host, port)
    private = where in call.allowed
    if not (tls or private):
        raise UpstreamForbidden(f"{where} can only be asked over https.")
    found = addresses.find(host, port, private=private, timeout=call.remaining())
    failure = OSError(errno.EADDRNOTAVAIL, "the host has no address")
    for index, address in enumerate(found):
        # An equal share of the time each: one that swallows packets leaves some for the next.
        share = call.remaining() / (len(found) - index)
        try:
            return _connect_to(address, call, timeout=share)
        except OSError as error:
            failure = error
    raise failure


def _connect_to(address: addresses.Address, call: Call, *, timeout: float) -> socket.socket:
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(timeout)
        sock.connect(address.sockaddr)
        if sock.getpeername()[0] != address.sockaddr[0]:
            raise UpstreamForbidden(f"{call.place} was answered from an address that wasn't asked.")
        call.hold(sock)
        sock.settimeout(call.remaining())
    except BaseException:
        sock.close()
        raise
    return sock


# urllib3's own classes, with every connection made by `connect`


def _call() -> Call:
    call = current_call()
    assert call is not None, "a guarded connection was used outside of a call"
    return call


class _Connection(HTTPConnection):
    tls = False

    def _new_conn(self) -> socket.socket:
        try:
            return connect(_call(), self._dns_host, self.port, tls=self.tls)
        except OSError as error:
            raise NewConnectionError(self, type(error).__name__) from error  # the one error that is retried

    def request(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is not None:  # kept alive from an earlier call
            _call().hold(self.sock)
        super().request(*args, **kwargs)


class _TLSConnection(_Connection, HTTPSConnection):
    tls = True


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection

    def _put_conn(self, conn: BaseHTTPConnection | None) -> None:
        # From here on another thread may be using the connection: a deadline that passes now must not cut it.
        _call().let_go()
        super()._put_conn(conn)


class _TLSPool(_Pool, HTTPSConnectionPool):
    ConnectionCls = _TLSConnection


# What urllib3 logs


class _OutsideCalls(logging.Filter):
    """Drops what urllib3 logs about our calls: on DEBUG, and on a retry as a WARNING, it prints the whole URL."""

    def filter(self, record: logging.LogRecord) -> bool:
        return current_call() is None


for _name in ("urllib3.connection", "urllib3.connectionpool", "urllib3.response", "urllib3.util.retry"):
    logging.getLogger(_name).addFilter(_OutsideCalls())
