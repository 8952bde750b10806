from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote

import pytest
import requests
from django.conf import settings
from django.core.management import CommandError, call_command

from project.demo.faults import HUGE_BYTES, PLAYS
from project.demo.log import LOG_LIMIT, Log, Served
from project.demo.upstream import DemoUpstream
from project.demo.world import price

NOON = datetime(2026, 3, 14, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
PATIENCE_SECONDS = 10
MANAGE = Path(__file__).resolve().parents[2] / "manage.py"


class Clock:
    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock(NOON)


@pytest.fixture
def upstream(clock: Clock) -> Iterator[DemoUpstream]:
    with DemoUpstream(clock=clock) as running:
        yield running


@pytest.fixture
def client() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


def get(client: requests.Session, upstream: DemoUpstream, path: str, **options: object) -> requests.Response:
    options.setdefault("allow_redirects", False)
    return client.get(upstream.url + path, timeout=PATIENCE_SECONDS, **options)


@contextmanager
def connect(upstream: DemoUpstream) -> Iterator[http.client.HTTPConnection]:
    """A connection without the kindness of requests: no retry, no redirect, no decoding."""
    with closing(
        http.client.HTTPConnection(upstream.host, upstream.port, timeout=PATIENCE_SECONDS)
    ) as connection:
        yield connection


# What is served


def test_a_stock_has_a_price_a_change_and_a_time(client, upstream):
    answer = get(client, upstream, "/stocks/AAPL").json()
    assert answer.keys() == {"symbol", "price", "change", "currency", "time"}
    assert answer["symbol"] == "AAPL"
    assert 100 < answer["price"] < 500
    assert answer["time"] == NOON.isoformat()


def test_a_price_is_the_same_for_the_whole_second_and_moves_with_the_next(client, upstream, clock):
    first = get(client, upstream, "/stocks/AAPL").json()
    clock.now += SECOND * 0.9
    assert get(client, upstream, "/stocks/AAPL").json() == first
    clock.now += SECOND
    assert get(client, upstream, "/stocks/AAPL").json()["time"] != first["time"]


def test_prices_move_in_small_steps_and_more_over_a_day():
    minute = [price("TSLA", NOON + n * SECOND) for n in range(60)]
    steps = [abs(after - before) / before for before, after in pairwise(minute)]
    assert len(set(minute)) > 30
    assert max(steps) < 0.005
    days = [price("TSLA", NOON + timedelta(days=n)) for n in range(30)]
    assert max(days) / min(days) > 1.02
    assert max(days) / min(days) < 1.5


def test_any_well_formed_symbol_has_a_price_of_its_own(client, upstream):
    prices = {get(client, upstream, f"/stocks/{symbol}").json()["price"] for symbol in ("IBM", "BRK.A", "X")}
    assert len(prices) == 3


@pytest.mark.parametrize(
    "path",
    [
        "/stocks/aapl",
        "/stocks/ABCDEFGHIJK",
        "/stocks/..",
        "/stocks/A%2FB",
        "/stocks/",
        "/stocks/AAPL/",
        "/news/gossip",
        "/weather/Atlantis",
        "/forecast/北京",
        "/forecast/北京:2026-02-30",
        "/forecast/北京:20260314",
        "/forecast/Atlantis:2026-03-14",
        "/nothing",
    ],
)
def test_what_is_unknown_or_malformed_is_a_404_in_json(upstream, path):
    with connect(upstream) as connection:
        connection.request("GET", quote(path, safe="/%:"))
        response = connection.getresponse()
        assert response.status == 404
        assert "error" in json.loads(response.read())


def test_a_batch_of_stocks_holds_those_that_exist_each_once(client, upstream):
    answer = get(client, upstream, "/stocks?symbols=AAPL,nope,MSFT,AAPL").json()
    assert [found["symbol"] for found in answer["quotes"]] == ["AAPL", "MSFT"]
    assert answer["quotes"][0] == get(client, upstream, "/stocks/AAPL").json()


def test_a_batch_holds_at_most_a_hundred_names(client, upstream):
    names = [f"{first}{second}" for first in "ABCDEFGHIJK" for second in "ABCDEFGHIJ"]
    assert len(get(client, upstream, "/stocks?symbols=" + ",".join(names[:100])).json()["quotes"]) == 100
    assert get(client, upstream, "/stocks?symbols=" + ",".join(names[:101])).status_code == 400
    assert get(client, upstream, "/stocks").status_code == 400


def test_news_roll_on_every_five_minutes(client, upstream, clock):
    first = get(client, upstream, "/news/technology").json()["articles"]
    clock.now += timedelta(minutes=5)
    second = get(client, upstream, "/news/technology").json()["articles"]
    assert first[0].keys() == {"title", "url", "published_at"}
    assert second[1:] == first[:-1]
    assert second[0] not in first


def test_a_batch_of_news_holds_the_topics_that_exist(client, upstream):
    topics = get(client, upstream, "/news?topics=general,gossip,business").json()["topics"]
    assert list(topics) == ["general", "business"]
    assert topics["general"]["topic"] == "general"


@pytest.mark.parametrize("city", ["北京", "上海", "深圳", "广州", "杭州", "成都", "New York"])
def test_cities_have_weather_and_a_forecast(client, upstream, city):
    weather = get(client, upstream, f"/weather/{quote(city)}").json()
    assert weather.keys() == {"city", "temperature", "humidity", "condition", "observed_at"}
    assert weather["city"] == city
    assert -30 < weather["temperature"] < 45
    assert 0 <= weather["humidity"] <= 100
    forecast = get(client, upstream, f"/forecast/{quote(city)}:2026-03-15").json()
    assert forecast.keys() == {"city", "date", "low", "high", "condition"}
    assert (forecast["city"], forecast["date"]) == (city, "2026-03-15")
    assert forecast["low"] < forecast["high"]


def test_summer_is_warmer_than_winter_and_the_other_way_round_in_the_south(client, upstream):
    def high(city: str, day: str) -> int:
        return get(client, upstream, f"/forecast/{quote(city)}:{day}").json()["high"]

    assert high("北京", "2026-07-20") > high("北京", "2026-01-20") + 15
    assert high("Sydney", "2026-07-20") < high("Sydney", "2026-01-20")


def test_a_city_typed_into_curl_arrives_as_bare_utf8_and_is_understood(upstream):
    with socket.create_connection((upstream.host, upstream.port), PATIENCE_SECONDS) as plain:
        plain.sendall("GET /weather/北京 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = plain.makefile("rb").read().decode()
    assert answer.startswith("HTTP/1.1 200")
    assert '"city":"北京"' in answer


def test_the_index_tells_every_fault(client, upstream):
    assert get(client, upstream, "/").json()["faults"]["names"] == list(PLAYS)


def test_every_path_of_the_index_answers(client, upstream):
    index = get(client, upstream, "/").json()
    paths = [path for kind in ("stocks", "news", "weather", "forecast") for path in index[kind]]
    assert {get(client, upstream, path).status_code for path in paths} == {200}


# HTTP


def test_an_etag_that_still_holds_is_answered_304_and_an_old_one_200(client, upstream, clock):
    first = get(client, upstream, "/weather/London")
    tag = first.headers["ETag"]
    same = get(client, upstream, "/weather/London", headers={"If-None-Match": f'"other", W/{tag}'})
    assert (same.status_code, same.content, same.headers["ETag"]) == (304, b"", tag)
    clock.now += timedelta(minutes=10)
    assert get(client, upstream, "/weather/London", headers={"If-None-Match": tag}).status_code == 200


def test_an_answer_is_cacheable_for_as_long_as_it_stays_the_same(client, upstream, clock):
    clock.now += timedelta(minutes=4)
    answer = get(client, upstream, "/weather/London")
    assert answer.headers["Cache-Control"] == "max-age=360"
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert "Date" in answer.headers


def test_one_connection_carries_many_requests(upstream):
    with connect(upstream) as connection:
        connection.connect()
        local = connection.sock.getsockname()
        for path in ("/stocks/AAPL", "/nothing", "/stocks?fault=nonsense", "/log", "/stocks/AAPL?fault=huge"):
            connection.request("GET", path)
            connection.getresponse().read()
            assert connection.sock.getsockname() == local


@pytest.mark.parametrize(
    ("method", "path", "status"), [("POST", "/stocks", 501), ("PUT", "/stocks", 405), ("DELETE", "/", 405)]
)
def test_a_method_that_makes_no_sense_is_an_error_in_json(client, upstream, method, path, status):
    answer = client.request(method, upstream.url + path, data="{}", timeout=PATIENCE_SECONDS)
    assert answer.status_code == status
    assert "error" in answer.json()


def test_a_head_request_gets_the_head_alone(upstream):
    with connect(upstream) as connection:
        for path, status in (("/stocks/AAPL", 200), ("/nothing", 404), ("/stocks/AAPL?fault=html", 200)):
            connection.request("HEAD", path)
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (status, b"")
            assert int(answer.headers["Content-Length"]) > 0


def test_a_line_that_is_no_http_is_refused(upstream):
    with socket.create_connection((upstream.host, upstream.port), PATIENCE_SECONDS) as plain:
        plain.sendall(b'GET "/" in "quotes" HTTP/1.1\r\n\r\n')
        assert b'{"error":' in plain.makefile("rb").read()


def test_latency_is_the_one_asked_for_give_or_take_half(client):
    with DemoUpstream(latency=timedelta(milliseconds=40)) as upstream:
        for _ in range(5):
            get(client, upstream, "/stocks/AAPL")
        assert all(served.duration >= timedelta(milliseconds=20) for served in upstream.requests)
        assert len({served.duration for served in upstream.requests}) == 5


def test_two_hundred_clients_at_once_are_all_answered(upstream):
    ready = threading.Barrier(200)

    def ask(_: int) -> int:
        with connect(upstream) as connection:
            ready.wait(PATIENCE_SECONDS)
            connection.request("GET", "/stocks/AAPL")
            return connection.getresponse().status

    with ThreadPoolExecutor(200) as pool:
        assert list(pool.map(ask, range(200))) == [200] * 200
    assert len(upstream.requests) == 200


# The log


def test_a_request_is_in_the_log_when_its_answer_arrives(client, upstream):
    get(client, upstream, f"/weather/{quote('北京')}?units=metric")
    (served,) = upstream.requests
    assert (served.path, served.key, served.status, served.at) == ("/weather/北京", "北京", 200, NOON)
    assert served.target == "/weather/%E5%8C%97%E4%BA%AC?units=metric"
    assert timedelta(0) < served.duration < timedelta(seconds=PATIENCE_SECONDS)


def test_a_request_is_in_the_log_before_it_is_answered(upstream):
    with connect(upstream) as connection:
        connection.request("GET", "/stocks/AAPL?fault=hang")
        (served,) = upstream.wait_for(1)
        assert (served.status, served.duration, served.fault) == (None, None, "hang")


def test_waiting_for_requests_that_do_not_come_ends(upstream):
    with pytest.raises(TimeoutError, match="0 of 1"):
        upstream.wait_for(1, timeout=timedelta(milliseconds=1))


def test_the_log_counts_by_path_and_can_be_cleared(client, upstream):
    for path in ("/stocks/AAPL", "/stocks/AAPL", "/stocks?symbols=AAPL,MSFT", "/nothing"):
        get(client, upstream, path)
    log = get(client, upstream, "/log").json()
    assert log["total"] == 4
    assert log["by_path"] == {"/stocks/AAPL": 2, "/stocks": 1, "/nothing": 1}
    assert [served["status"] for served in log["requests"]] == [200, 200, 200, 404]
    assert log["requests"][2]["key"] == "AAPL,MSFT"
    assert client.delete(upstream.url + "/log", timeout=PATIENCE_SECONDS).status_code == 204
    assert get(client, upstream, "/log").json() == {"total": 0, "by_path": {}, "requests": []}
    assert upstream.requests == []


def test_the_log_keeps_the_newest_and_counts_all():
    log = Log()
    for number in range(LOG_LIMIT + 5):
        log.arrive(Served(path="/", key="", target=f"/?{number}", at=NOON))
    assert len(log.requests) == LOG_LIMIT
    assert log.requests[0].target == "/?5"
    assert log.describe()["total"] == LOG_LIMIT + 5


def test_an_answer_to_a_request_that_was_cleared_away_is_not_logged(upstream, client):
    with connect(upstream) as connection:
        connection.request("GET", "/stocks/AAPL?fault=drip")
        upstream.wait_for(1)
        upstream.clear()
        connection.getresponse()
        assert upstream.requests == []


# Faults


@pytest.mark.parametrize("status", [404, 429, 500, 503])
def test_an_error_status_comes_as_asked(client, upstream, status):
    answer = get(client, upstream, f"/stocks/AAPL?fault={status}")
    assert answer.status_code == status
    assert "error" in answer.json()
    assert "Retry-After" not in answer.headers
    assert upstream.requests[0].fault == str(status)


@pytest.mark.parametrize(("status", "told"), [(429, "7"), (503, "7"), (500, None)])
def test_retry_after_is_told_with_429_and_503(client, upstream, status, told):
    answer = get(client, upstream, f"/stocks/AAPL?fault={status}&retry_after=7")
    assert answer.headers.get("Retry-After") == told


def test_a_slow_answer_is_the_right_one_as_of_its_arrival(client, upstream, monkeypatch):
    monkeypatch.setattr("project.demo.faults.SLOW", timedelta(milliseconds=50))
    assert get(client, upstream, "/stocks/AAPL?fault=slow").json()["symbol"] == "AAPL"
    assert upstream.requests[0].duration >= timedelta(milliseconds=50)


def test_a_hanging_request_ends_when_the_upstream_stops(upstream):
    with connect(upstream) as connection:
        connection.request("GET", "/stocks/AAPL?fault=hang")
        upstream.wait_for(1)
        upstream.stop()
        with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
            connection.getresponse()


def test_html_says_success(client, upstream):
    answer = get(client, upstream, "/stocks/AAPL?fault=html")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert answer.text.startswith("<!DOCTYPE html>")


def test_half_breaks_off_before_the_promised_end(upstream):
    with connect(upstream) as connection:
        connection.request("GET", "/stocks/AAPL?fault=half")
        with pytest.raises(http.client.IncompleteRead) as caught:
            connection.getresponse().read()
        assert caught.value.partial.startswith(b'{"symbol":"AAPL"')


def test_huge_is_valid_json_that_announces_no_length(client, upstream):
    answer = get(client, upstream, "/stocks/AAPL?fault=huge")
    assert "Content-Length" not in answer.headers
    assert len(answer.content) == pytest.approx(HUGE_BYTES, rel=0.01)
    assert answer.json().keys() == {"filler"}


def test_a_client_may_leave_amid_a_huge_answer(client, upstream, capfd):
    with get(client, upstream, "/stocks/AAPL?fault=huge", stream=True) as answer:
        answer.raw.read(1000)
    upstream.stop()
    assert capfd.readouterr().err == ""


def test_empty_is_success_without_a_body(client, upstream):
    answer = get(client, upstream, "/stocks/AAPL?fault=empty")
    assert (answer.status_code, answer.content) == (200, b"")


def test_who_follows_a_redirect_is_seen_in_the_log(client, upstream):
    assert get(client, upstream, "/stocks/AAPL?fault=redirect").headers["Location"] == upstream.url + "/"
    upstream.clear()
    get(client, upstream, "/stocks/AAPL?fault=redirect", allow_redirects=True)
    assert [(served.path, served.status) for served in upstream.requests] == [
        ("/stocks/AAPL", 302),
        ("/", 200),
    ]


def test_drip_sends_the_right_answer_byte_by_byte(client, upstream, monkeypatch):
    monkeypatch.setattr("project.demo.faults.DRIP_PAUSE", timedelta(milliseconds=1))
    dripped = get(client, upstream, "/stocks/AAPL?fault=drip")
    assert dripped.json() == get(client, upstream, "/stocks/AAPL").json()


def test_a_reset_is_a_true_reset(upstream):
    with connect(upstream) as connection:
        connection.request("GET", "/stocks/AAPL?fault=reset")
        with pytest.raises(ConnectionResetError):
            connection.getresponse()


def test_a_fault_that_does_not_exist_is_refused_with_the_names_of_those_that_do(client, upstream):
    answer = get(client, upstream, "/stocks/AAPL?fault=gremlin")
    assert answer.status_code == 400
    assert "drip" in answer.json()["error"]


def test_a_rule_hits_what_is_below_its_prefix_as_often_as_it_says(client, upstream):
    rule = {"prefix": "/stocks", "fault": "429", "share": 1.0, "count": 2, "retry_after": 5}
    put = client.put(upstream.url + "/faults", json=rule, timeout=PATIENCE_SECONDS)
    assert put.json() == {"rules": [rule]}
    assert get(client, upstream, "/news/general").status_code == 200
    answers = [get(client, upstream, "/stocks/AAPL") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [429, 429, 200]
    assert answers[0].headers["Retry-After"] == "5"


def test_a_count_is_exact_however_many_ask_at_once(upstream):
    upstream.set_fault("/", "500", count=30)

    def ask(_: int) -> int:
        with connect(upstream) as connection:
            connection.request("GET", "/stocks/AAPL")
            return connection.getresponse().status

    with ThreadPoolExecutor(20) as pool:
        statuses = list(pool.map(ask, range(100)))
    assert statuses.count(500) == 30


def test_the_longest_prefix_wins_and_a_query_wins_over_all(client, upstream):
    upstream.set_fault("/stocks", "500")
    upstream.set_fault("/stocks/MSFT", "404")
    assert get(client, upstream, "/stocks/AAPL").status_code == 500
    assert get(client, upstream, "/stocks/MSFT").status_code == 404
    assert get(client, upstream, "/stocks/MSFT?fault=empty").status_code == 200


def test_a_share_hits_some_and_spares_others(client, upstream):
    upstream.set_fault("/stocks", "500", share=0.5)
    statuses = {get(client, upstream, "/stocks/AAPL").status_code for _ in range(100)}  # one alone: 1 in 2^99
    assert statuses == {200, 500}


def test_faults_can_be_cleared(client, upstream):
    upstream.set_fault("/", "500")
    assert client.delete(upstream.url + "/faults", timeout=PATIENCE_SECONDS).status_code == 204
    assert get(client, upstream, "/stocks/AAPL").status_code == 200


def test_the_log_and_the_faults_can_be_reached_while_all_fails(client, upstream):
    upstream.set_fault("/", "reset")
    assert get(client, upstream, "/log").status_code == 200
    assert len(get(client, upstream, "/faults").json()["rules"]) == 1


@pytest.mark.parametrize(
    "rule",
    [
        {"prefix": "/stocks", "fault": "gremlin"},
        {"prefix": "stocks", "fault": "500"},
        {"prefix": "/stocks", "fault": "500", "share": 2},
        {"prefix": "/stocks", "fault": "500", "count": 0},
        {"prefix": "/stocks", "fault": "429", "retry_after": "soon"},
        {"prefix": "/stocks", "fault": ["500"]},
        {"prefix": "/stocks", "fault": "500", "colour": "red"},
        {"fault": "500"},
        ["/stocks", "500"],
        "x" * 70_000,
    ],
)
def test_a_rule_that_cannot_be_is_refused_and_changes_nothing(client, upstream, rule):
    answer = client.put(upstream.url + "/faults", json=rule, timeout=PATIENCE_SECONDS)
    assert answer.status_code == 400
    assert "error" in answer.json()
    assert get(client, upstream, "/faults").json() == {"rules": []}


def test_a_fault_rate_lets_requests_fail_by_chance():
    with DemoUpstream(fault_rate=1.0) as upstream, connect(upstream) as connection:
        connection.request("GET", "/stocks/AAPL")
        (served,) = upstream.wait_for(1)
        assert served.fault


# Start and stop


def test_stop_and_start_play_an_outage_at_the_same_address(client, upstream):
    before = upstream.url
    get(client, upstream, "/stocks/AAPL")
    upstream.stop()
    with pytest.raises(requests.ConnectionError):
        get(client, upstream, "/stocks/AAPL")
    upstream.start()
    assert upstream.url == before
    assert get(client, upstream, "/stocks/AAPL").status_code == 200
    assert len(upstream.requests) == 2


def test_stopping_leaves_no_connection_and_no_listener(client, upstream):
    get(client, upstream, "/stocks/AAPL")
    upstream.stop()
    upstream.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((upstream.host, upstream.port), PATIENCE_SECONDS)


def test_a_running_upstream_is_not_started_twice(upstream):
    with pytest.raises(RuntimeError):
        upstream.start()


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.1", "example.com", "", "::"])
def test_a_host_that_others_can_reach_is_refused(host):
    with pytest.raises(ValueError, match="loopback only"):
        DemoUpstream(host)


# The command


def start_command(*arguments: str) -> tuple[subprocess.Popen[str], str]:
    """The command as its own process, and the URL that it printed."""
    process = subprocess.Popen(
        [sys.executable, str(MANAGE), "demo_upstream", "--port", "0", *arguments],
        env={
            **os.environ,
            "SECRET_KEY": settings.SECRET_KEY,
            "DATABASE_URL": "postgres://nobody@127.0.0.1:1/none",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    line = process.stdout.readline()
    assert "curl" in line, process.communicate(timeout=PATIENCE_SECONDS)
    return process, line.split()[3]


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_the_command_serves_without_a_database_until_a_signal_and_exits_0(client, stop):
    process, url = start_command()
    try:
        assert client.get(f"{url}/stocks/AAPL?fault=500", timeout=PATIENCE_SECONDS).status_code == 500
    finally:
        process.send_signal(stop)
    output, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, errors) == (0, "")
    assert output.count("\n") == 1
    assert "/stocks/AAPL" in output
    assert output.rstrip().endswith("fault 500")


def test_a_quiet_command_prints_its_address_and_nothing_else(client):
    process, url = start_command("--quiet", "--latency", "0")
    try:
        client.get(f"{url}/stocks/AAPL", timeout=PATIENCE_SECONDS)
    finally:
        process.terminate()
    assert process.communicate(timeout=PATIENCE_SECONDS) == ("", "")


def test_a_port_in_use_is_told(upstream):
    with pytest.raises(CommandError, match=f"Port {upstream.port} of 127.0.0.1 is in use"):
        call_command("demo_upstream", port=upstream.port)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("host", "0.0.0.0", "loopback only"),
        ("port", 70_000, "between 0 and 65535"),
        ("latency", -1.0, "negative"),
        ("latency", float("inf"), "infinity"),
        ("fault_rate", 2.0, "between 0 and 1"),
    ],
)
def test_an_option_that_cannot_be_is_told(option, value, said):
    with pytest.raises(CommandError, match=said):
        call_command("demo_upstream", **{"port": 0, option: value})


def test_a_command_that_fails_leaves_the_signals_of_its_process_alone(upstream):
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    with pytest.raises(CommandError):
        call_command("demo_upstream", port=upstream.port)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before
