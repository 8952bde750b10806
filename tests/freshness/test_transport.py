from __future__ import annotations

import gc
import logging
import os
import shutil
import socket
import ssl
import subprocess
import threading
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
import requests.utils

from hotdata.exceptions import (
    BadSource,
    UpstreamError,
    UpstreamForbidden,
    UpstreamPayload,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from hotdata.freshness.transport import Answer, Transport
from tests.freshness.hostile import FullUpstream, HostileUpstream, closed_port, whole

DEADLINE = timedelta(milliseconds=500)
PATIENCE = timedelta(seconds=10)
OVERSHOOT = 1.0
"""Seconds a call may end after its deadline on a busy machine; alone it is a few milliseconds."""
MAX_BYTES = 1024 * 1024
SECRET = "5ec2e7-t0ken"


@pytest.fixture
def upstream() -> Iterator[HostileUpstream]:
    with HostileUpstream() as upstream:
        yield upstream


@pytest.fixture
def transport(upstream: HostileUpstream) -> Iterator[Transport]:
    transport = make_transport(upstream.address)
    yield transport
    transport.close()


def make_transport(*allowed: str) -> Transport:
    return Transport(concurrency=4, allow_private=allowed, max_bytes=MAX_BYTES)


def get(transport: Transport, url: str, *, timeout: timedelta = PATIENCE, **headers: str) -> Answer:
    return transport.get(url, headers=headers, timeout=timeout)


def assert_ends_at_the_deadline(transport: Transport, url: str) -> None:
    began = monotonic()
    with pytest.raises(UpstreamTimeout, match=r"gave no whole answer in 0\.5 s"):
        get(transport, url, timeout=DEADLINE)
    took = monotonic() - began
    assert DEADLINE.total_seconds() <= took < DEADLINE.total_seconds() + OVERSHOOT


# What comes back


def test_an_answer_is_returned_whole(transport: Transport, upstream: HostileUpstream) -> None:
    answer = get(transport, upstream.url("/ok"))
    assert (answer.status, answer.body) == (200, b'{"price": 1}')
    assert answer.headers["content-type"] == answer.headers["Content-Type"] == "application/json"
    assert timedelta(0) < answer.duration < PATIENCE


@pytest.mark.parametrize("status", [200, 204, 400, 401, 404, 429, 500, 503])
def test_any_status_but_a_redirect_is_an_answer(
    transport: Transport, upstream: HostileUpstream, status: int
) -> None:
    assert get(transport, upstream.url(f"/status/{status}?Retry-After=7")).headers["Retry-After"] == "7"


def test_not_modified_is_an_answer(transport: Transport, upstream: HostileUpstream) -> None:
    answer = get(transport, upstream.url("/not-modified"), **{"If-None-Match": '"1"'})
    assert (answer.status, answer.body) == (304, b"")
    assert 'If-None-Match: "1"\r\n' in upstream.requests[0]


def test_a_compressed_body_is_returned_decoded(transport: Transport, upstream: HostileUpstream) -> None:
    assert get(transport, upstream.url("/zipped")).body == b'{"price": 1}'


def test_html_is_an_answer_for_the_caller_to_judge(transport: Transport, upstream: HostileUpstream) -> None:
    assert get(transport, upstream.url("/html")).headers["Content-Type"] == "text/html"


# What is sent


def test_a_request_says_who_asks_and_what_it_understands(
    transport: Transport, upstream: HostileUpstream
) -> None:
    get(transport, upstream.url("/ok?symbol=AAPL"), **{"X-API-Key": SECRET})
    (head,) = upstream.requests
    assert head.startswith(f"GET /ok?symbol=AAPL HTTP/1.1\r\nHost: {upstream.address}\r\n")
    assert "User-Agent: hotdata/" in head
    assert "Accept-Encoding: gzip, deflate, identity\r\n" in head
    assert f"X-API-Key: {SECRET}\r\n" in head


def test_calls_one_after_the_other_share_a_connection(
    transport: Transport, upstream: HostileUpstream
) -> None:
    for _ in range(5):
        get(transport, upstream.url("/ok"))
        get(transport, upstream.url("/not-modified"))
    assert (len(upstream.requests), upstream.connections) == (10, 1)


def test_a_connection_that_one_thread_opened_serves_the_next(
    transport: Transport, upstream: HostileUpstream
) -> None:
    for _ in range(3):
        with ThreadPoolExecutor(1) as pool:
            pool.submit(get, transport, upstream.url("/ok")).result()
    assert upstream.connections == 1


def test_calls_of_many_threads_get_their_own_answers(transport: Transport, upstream: HostileUpstream) -> None:
    with ThreadPoolExecutor(16) as pool:
        urls = [upstream.url(f"/status/{200 + n % 100}?X-Number={n}") for n in range(200)]
        numbers = [answer.headers["X-Number"] for answer in pool.map(lambda url: get(transport, url), urls)]
    assert numbers == [str(n) for n in range(200)]


def test_a_cookie_is_not_sent_back(transport: Transport, upstream: HostileUpstream) -> None:
    get(transport, upstream.url("/cookie"))
    get(transport, upstream.url("/ok"))
    assert "cookie" not in upstream.requests[1].lower()


def test_nothing_is_taken_from_the_environment(
    transport: Transport, upstream: HostileUpstream, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login hotdata password leaked")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://{closed_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert get(transport, upstream.url("/ok")).status == 200
    assert "authorization" not in upstream.requests[0].lower()


# What is refused


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "//example.com/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:6379/_FLUSHALL",
        "javascript:alert(1)",
        "https://",
        "https:///path",
        "http://[::1",
        "https://user@example.com/",
        f"https://user:{SECRET}@example.com/",
        "https://*.example.com/",
        "http://example.com/",
        "https://127.0.0.1/",
        "https://127.0.0.1:6379/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://0177.0.0.1/",
        "https://127.1/",
        "https://0/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://169.254.169.254/latest/meta-data/",
        "https://１２７.0.0.1/",
    ],
)
def test_an_address_that_may_not_be_asked_is_refused(url: str) -> None:
    with pytest.raises(UpstreamForbidden) as raised:
        get(make_transport(), url, timeout=PATIENCE)
    assert raised.value.permanent
    assert SECRET not in str(raised.value)


def test_allowing_one_port_allows_no_other_and_no_other_spelling(upstream: HostileUpstream) -> None:
    port = upstream.address.rpartition(":")[2]
    transport = make_transport(f"127.0.0.1:{int(port) - 1}", f"example.com:{port}")
    for host in ("127.0.0.1", "localhost", "2130706433", "127.1"):
        for scheme in ("http", "https"):
            with pytest.raises(UpstreamForbidden):
                get(transport, f"{scheme}://{host}:{port}/ok")
    assert upstream.connections == 0


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("target", ["@evil.example/ok", "\\@evil.example/ok", "#@evil.example/ok"])
def test_a_url_that_parsers_read_differently_reaches_no_other_host(
    transport: Transport, upstream: HostileUpstream, monkeypatch: pytest.MonkeyPatch, scheme: str, target: str
) -> None:
    asked = set()

    def getaddrinfo(host: str, port: int, *args: Any, **kwargs: Any) -> list[Any]:
        asked.add(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with suppress(UpstreamError):
        get(transport, f"{scheme}://{upstream.address}{target}", timeout=DEADLINE)
    assert asked <= {"127.0.0.1"}


def test_a_name_that_leads_inside_is_refused_before_anything_is_sent(
    upstream: HostileUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = int(upstream.address.rpartition(":")[2])
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in ("8.8.8.8", "127.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: found)
    with pytest.raises(UpstreamForbidden, match=r"rebind\.example:\d+ leads to 127\.0\.0\.1"):
        get(make_transport(), f"https://rebind.example:{port}/ok")
    assert upstream.connections == 0


def test_a_name_is_looked_up_once_and_what_was_checked_is_connected_to(
    upstream: HostileUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = int(upstream.address.rpartition(":")[2])
    answers = iter([[(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]])
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: next(answers))
    transport = make_transport(f"rebind.example:{port}")
    for _ in range(2):
        assert get(transport, f"http://rebind.example:{port}/ok").status == 200
    transport.close()


@pytest.mark.parametrize("status", [300, 301, 302, 303, 305, 307, 308])
def test_no_redirect_is_followed(transport: Transport, upstream: HostileUpstream, status: int) -> None:
    location = upstream.url("/ok")
    with pytest.raises(
        UpstreamForbidden, match=r"redirects to http://127\.0\.0\.1, which is not followed"
    ) as raised:
        get(transport, upstream.url(f"/status/{status}?Location={location}"))
    assert raised.value.status == status
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    ("location", "told"),
    [
        ("https://evil.example:8443/path?key=" + SECRET, "https://evil.example"),
        ("http://169.254.169.254/latest/meta-data/", "http://169.254.169.254"),
        ("http://[::1]:6379/", "http://[::1]"),
        ("//evil.example/" + SECRET, "the same scheme://evil.example"),
        ("/login?key=" + SECRET, "another path of its own"),
        ("", "nowhere"),
        ("http://[" + SECRET, "another path of its own"),
    ],
)
def test_a_redirect_is_told_by_scheme_and_host_only(
    transport: Transport, upstream: HostileUpstream, location: str, told: str
) -> None:
    with pytest.raises(UpstreamForbidden) as raised:
        get(transport, upstream.url("/redirect?" + requests.utils.quote(location, safe="")))
    assert f"redirects to {told}, which" in str(raised.value)
    assert SECRET not in str(raised.value)


# The deadline


@pytest.mark.parametrize(
    "path", ["/silent", "/silent-body", "/dripped-headers", "/dripped-body", "/continues"]
)
def test_an_upstream_that_takes_its_time_is_left_at_the_deadline(
    transport: Transport, upstream: HostileUpstream, path: str
) -> None:
    assert_ends_at_the_deadline(transport, upstream.url(path))


def test_a_connection_kept_alive_is_left_at_the_deadline_too(
    transport: Transport, upstream: HostileUpstream
) -> None:
    get(transport, upstream.url("/ok"))
    assert_ends_at_the_deadline(transport, upstream.url("/dripped-body"))
    assert upstream.connections == 1
    assert get(transport, upstream.url("/ok")).status == 200


def test_a_port_that_swallows_connections_is_left_at_the_deadline() -> None:
    with FullUpstream() as full:
        assert_ends_at_the_deadline(make_transport(full.address), f"http://{full.address}/")


def test_a_server_that_does_not_answer_the_tls_handshake_is_left_at_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        assert_ends_at_the_deadline(make_transport(address), f"https://{address}/")


def test_a_lookup_that_hangs_is_left_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: answered.wait(timeout=30) and [])
    try:
        assert_ends_at_the_deadline(make_transport(), "https://slow.example/")
    finally:
        answered.set()


def test_an_address_that_swallows_packets_leaves_time_for_the_next(
    upstream: HostileUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FullUpstream() as full:
        ports = [int(address.rpartition(":")[2]) for address in (full.address, upstream.address)]
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: found)
        transport = make_transport("two.example:80")
        assert get(transport, "http://two.example/ok", timeout=timedelta(seconds=2)).status == 200
        transport.close()


def test_many_calls_wait_with_one_watchdog(transport: Transport, upstream: HostileUpstream) -> None:
    with ThreadPoolExecutor(20) as pool:
        calls = [
            pool.submit(get, transport, upstream.url("/dripped-body"), timeout=DEADLINE) for _ in range(20)
        ]
        assert all(isinstance(call.exception(timeout=10), UpstreamTimeout) for call in calls)
    assert sum(thread.name == "hotdata-deadlines" for thread in threading.enumerate()) == 1


def test_a_later_call_with_an_earlier_deadline_is_not_kept_waiting(
    transport: Transport, upstream: HostileUpstream
) -> None:
    with ThreadPoolExecutor(1) as pool:
        long = pool.submit(get, transport, upstream.url("/dripped-body"), timeout=timedelta(seconds=2))
        assert_ends_at_the_deadline(transport, upstream.url("/dripped-body"))
        assert isinstance(long.exception(timeout=10), UpstreamTimeout)


def test_the_deadline_of_an_earlier_call_does_not_cut_the_connection_it_left() -> None:
    def later(upstream: HostileUpstream, peer: socket.socket, target: str) -> bool:
        upstream.stopped.wait(2 * DEADLINE.total_seconds())
        peer.sendall(whole())
        return True

    with HostileUpstream(behaviours={"later": later}) as upstream:
        transport = make_transport(upstream.address)
        get(transport, upstream.url("/ok"), timeout=DEADLINE)
        assert get(transport, upstream.url("/later")).status == 200
        assert upstream.connections == 1
        transport.close()


def test_a_deadline_that_has_passed_is_a_timeout(transport: Transport, upstream: HostileUpstream) -> None:
    with pytest.raises(UpstreamTimeout):
        get(transport, upstream.url("/ok"), timeout=timedelta(0))
    assert upstream.connections == 0


# Answers that can't be used


@pytest.mark.parametrize("path", ["/large", "/chunks", "/bomb"])
def test_a_body_that_is_too_large_is_dropped(
    transport: Transport, upstream: HostileUpstream, path: str
) -> None:
    with pytest.raises(UpstreamPayload, match=f"is larger than {MAX_BYTES} bytes") as raised:
        get(transport, upstream.url(path))
    assert raised.value.status == 200
    get(transport, upstream.url("/ok"))
    assert upstream.connections == 2


def test_a_body_of_just_the_limit_is_returned() -> None:
    def full(upstream: HostileUpstream, peer: socket.socket, target: str) -> bool:
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % MAX_BYTES + bytes(MAX_BYTES))
        return True

    with HostileUpstream(behaviours={"full": full}) as upstream:
        transport = make_transport(upstream.address)
        assert get(transport, upstream.url("/full")).body == bytes(MAX_BYTES)
        transport.close()


@pytest.mark.parametrize("path", ["/badly-zipped", "/brotli"])
def test_a_body_that_cannot_be_decoded_is_no_answer(
    transport: Transport, upstream: HostileUpstream, path: str
) -> None:
    with pytest.raises(UpstreamPayload, match=r"can't be decoded|encoding that wasn't asked for"):
        get(transport, upstream.url(path))


def test_a_useless_body_still_tells_when_to_come_back(
    transport: Transport, upstream: HostileUpstream
) -> None:
    with pytest.raises(UpstreamPayload) as raised:
        get(transport, upstream.url("/badly-zipped"))
    assert (raised.value.status, raised.value.retry_after) == (200, timedelta(seconds=7))


@pytest.mark.parametrize(
    "path", ["/half", "/half-chunked", "/reset", "/hang-up", "/garbage", "/many-headers", "/early-hints"]
)
def test_an_answer_that_breaks_off_or_breaks_the_protocol_is_unreachable(
    transport: Transport, upstream: HostileUpstream, path: str
) -> None:
    with pytest.raises(UpstreamUnreachable) as raised:
        get(transport, upstream.url(path))
    assert not raised.value.permanent


def test_an_interim_answer_does_not_shift_the_answers_of_later_calls(
    transport: Transport, upstream: HostileUpstream
) -> None:
    with pytest.raises(UpstreamUnreachable):
        get(transport, upstream.url("/early-hints"))
    assert get(transport, upstream.url("/status/404")).status == 404
    assert upstream.connections == 2


def test_a_refused_connection_is_unreachable() -> None:
    address = closed_port()
    with pytest.raises(UpstreamUnreachable, match="Connection refused"):
        get(make_transport(address), f"http://{address}/")


def test_a_failed_request_is_not_sent_twice(transport: Transport, upstream: HostileUpstream) -> None:
    for path in ("/hang-up", "/reset", "/half", "/status/503?Retry-After=1"):
        upstream.requests.clear()
        with suppress(UpstreamError):
            get(transport, upstream.url(path))
        assert len(upstream.requests) == 1


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate of 127.0.0.1, and its key."""
    openssl = shutil.which("openssl")
    if not openssl:
        pytest.skip("needs openssl to make a certificate")
    folder = tmp_path_factory.mktemp("certificate")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = f"{openssl} req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1"
    subprocess.run(
        [*command.split(), "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
        timeout=30,
    )
    return certificate, key


@pytest.fixture
def tls_upstream(certificate: tuple[Path, Path]) -> Iterator[HostileUpstream]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with HostileUpstream(tls=context) as upstream:
        yield upstream


@pytest.fixture
def trusting_transport(
    tls_upstream: HostileUpstream, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Transport]:
    monkeypatch.setattr(requests.utils, "DEFAULT_CA_BUNDLE_PATH", str(certificate[0]))
    transport = make_transport(tls_upstream.address)
    yield transport
    transport.close()


def test_a_certificate_that_nobody_vouches_for_is_refused(tls_upstream: HostileUpstream) -> None:
    with pytest.raises(UpstreamUnreachable, match="self-signed certificate"):
        get(make_transport(tls_upstream.address), tls_upstream.url("/ok"))
    assert tls_upstream.requests == []


def test_a_certificate_of_another_host_is_refused(
    tls_upstream: HostileUpstream, trusting_transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = tls_upstream.address.rpartition(":")[2]
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", int(port)))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: found)
    transport = make_transport(f"other.example:{port}")
    with pytest.raises(UpstreamUnreachable, match="Hostname mismatch"):
        get(transport, f"https://other.example:{port}/ok")


def test_a_server_without_tls_is_unreachable_over_https(
    transport: Transport, upstream: HostileUpstream
) -> None:
    with pytest.raises(UpstreamError):
        get(transport, upstream.url("/ok", scheme="https"), timeout=DEADLINE)
    assert upstream.requests == []


def test_calls_over_tls_share_a_connection(
    tls_upstream: HostileUpstream, trusting_transport: Transport
) -> None:
    for _ in range(3):
        assert get(trusting_transport, tls_upstream.url("/ok")).body == b'{"price": 1}'
    assert tls_upstream.connections == 1


@pytest.mark.parametrize("path", ["/silent", "/silent-body", "/dripped-headers", "/dripped-body"])
def test_the_deadline_holds_under_tls(
    tls_upstream: HostileUpstream, trusting_transport: Transport, path: str
) -> None:
    assert_ends_at_the_deadline(trusting_transport, tls_upstream.url(path))
    get(trusting_transport, tls_upstream.url("/ok"))
    assert_ends_at_the_deadline(trusting_transport, tls_upstream.url(path))  # and on a connection kept alive


# Secrets


@pytest.mark.parametrize(
    "path",
    [
        "/hang-up",
        "/half",
        "/garbage",
        "/silent",
        "/dripped-body",
        "/large",
        "/badly-zipped",
        "/brotli",
        "/early-hints",
        "/status/302",
        "/many-headers",
    ],
)
def test_no_error_shows_the_query_or_a_header(
    transport: Transport, upstream: HostileUpstream, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(UpstreamError) as raised:
        get(transport, upstream.url(f"{path}?key={SECRET}"), timeout=DEADLINE, **{"X-API-Key": SECRET})
    assert_holds_no_secret(raised.value)
    assert f"http://{upstream.address}{path}" in str(raised.value)
    assert SECRET not in caplog.text


def assert_holds_no_secret(error: BaseException) -> None:
    assert SECRET not in "".join(traceback.format_exception(error))
    assert error.__cause__ is None
    while error.__context__:  # what a reporter that ignores `from None` would find
        error = error.__context__
        assert SECRET not in f"{error!r} {error} {vars(error)}"


@pytest.mark.parametrize(
    "url", [f"https://127.0.0.1/?key={SECRET}", f"ftp://x/?key={SECRET}", f"http://[::1?key={SECRET}"]
)
def test_a_refused_address_shows_no_query(url: str) -> None:
    with pytest.raises(UpstreamForbidden) as raised:
        get(make_transport(), url, **{"X-API-Key": SECRET})
    assert_holds_no_secret(raised.value)


def test_a_retried_connection_logs_no_query(caplog: pytest.LogCaptureFixture) -> None:
    address = closed_port()
    with pytest.raises(UpstreamUnreachable) as raised:
        get(make_transport(address), f"http://{address}/?key={SECRET}", **{"X-API-Key": SECRET})
    assert_holds_no_secret(raised.value)
    assert SECRET not in caplog.text


def test_neither_success_nor_strange_headers_log_the_query(
    transport: Transport, upstream: HostileUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="urllib3")  # which the settings of the site keep quiet
    get(transport, upstream.url(f"/ok?key={SECRET}"))
    get(transport, upstream.url(f"/broken-headers?key={SECRET}"))
    assert SECRET not in caplog.text


def test_urllib3_may_log_what_others_do_with_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="urllib3")
    logging.getLogger("urllib3.connectionpool").debug("of somebody else")
    assert "of somebody else" in caplog.text


def test_a_bad_header_value_is_named_and_not_shown(transport: Transport, upstream: HostileUpstream) -> None:
    with pytest.raises(BadSource, match="X-API-Key") as raised:
        get(transport, upstream.url("/ok"), **{"X-API-Key": f"{SECRET}\n"})
    assert_holds_no_secret(raised.value)
    assert raised.value.field == "headers"
    assert upstream.connections == 0


# Processes


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # Python 3.12 warns of what is tested here
def test_a_forked_child_uses_no_connection_of_its_parent(
    transport: Transport, upstream: HostileUpstream
) -> None:
    get(transport, upstream.url("/ok"))
    child = os.fork()
    if child == 0:
        try:
            assert get(transport, upstream.url("/ok"), timeout=PATIENCE).status == 200
            with pytest.raises(UpstreamTimeout):
                get(transport, upstream.url("/dripped-body"), timeout=DEADLINE)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert upstream.connections == 2
    get(transport, upstream.url("/ok"))
    assert upstream.connections == 2


def test_a_closed_transport_keeps_no_connection_and_can_be_used_again(
    transport: Transport, upstream: HostileUpstream
) -> None:
    get(transport, upstream.url("/ok"))
    transport.close()
    transport.close()
    get(transport, upstream.url("/ok"))
    assert upstream.connections == 2


def test_no_call_leaves_a_socket_open(transport: Transport, upstream: HostileUpstream) -> None:
    for path in ("/ok", "/half", "/brotli", "/large", "/dripped-body", "/reset", "/early-hints"):
        with suppress(UpstreamError):
            get(transport, upstream.url(path), timeout=DEADLINE)
    transport.close()
    gc.collect()  # a forgotten socket is a ResourceWarning, and so an error
    assert upstream.was_left_alone(timeout=10)
