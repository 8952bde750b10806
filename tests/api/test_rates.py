"""How often the API may be asked: by whom, counted together, and what is said to who asks too often."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.test import Client, RequestFactory
from pytest_django import Settings
from redis import Redis

from hotdata.api import clients, rates
from hotdata.exceptions import TooManyRequests
from hotdata.models import Run
from tests.builders import Staff, bearer, make_job, make_source, make_token, store
from tests.freshness.conftest import OwnRedis, own_redis, redis_down
from tests.threads import PATIENCE, eventually, in_thread
from tools.redis_server import RedisServer

__all__ = ["own_redis", "redis_down"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clear_cache")]

READ = "/api/hot/stock/AAPL"
LIST = "/admin/scheduled-jobs"
WRONG = "hd_00000000_" + "0" * 64
FEW = "5/day"  # so long that no window ends during a test

ASK = """
import django, sys, time
django.setup()
from hotdata.api import rates
from hotdata.exceptions import TooManyRequests
taken = 0
print("ready", flush=True)
input()
for _ in range(400):
    try:
        rates.count_address("192.0.2.1")
        taken += 1
    except TooManyRequests:
        pass
print(taken)
"""

FORK = """
import django, os
django.setup()
from hotdata.api import rates
rates._own()
child = os.fork()
if child == 0:
    assert rates._own.cache_info().currsize == 0
    os._exit(0)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.fixture
def few(settings: Settings) -> None:
    """Five requests, of a token or an address."""
    settings.HOTDATA_RATE_LIMIT = settings.HOTDATA_RATE_LIMIT_ADDRESS = FEW


@pytest.fixture(autouse=True)
def _entry(clear_cache: None) -> None:
    make_source(name="stock", pinned=("AAPL",))
    store()


def taken(ask: Any, most: int = 50) -> int:
    """How many calls of `ask` are taken until one is not."""
    for number in range(most):
        try:
            ask()
        except TooManyRequests:
            return number
    return most


def statuses(times: int, path: str = READ, token: Any = None, **options: Any) -> list[int]:
    headers = bearer(token) if token else {}
    return [Client().get(path, headers=headers, **options).status_code for _ in range(times)]


# Who is counted


@pytest.mark.parametrize("path", [READ, "/api/hot/stock?key=AAPL", "/api/hot/", LIST, "/api/freshness/stock"])
def test_an_address_may_ask_so_often_and_is_then_429(few: None, path: str) -> None:
    found = statuses(7, path)
    assert 429 not in found[:5]
    assert found[5:] == [429, 429]


def test_all_that_one_address_asks_is_counted_together(few: None) -> None:
    assert statuses(3) + statuses(3, LIST) == [200] * 3 + [401] * 2 + [429]


def test_addresses_are_counted_apart(few: None) -> None:
    assert statuses(6, REMOTE_ADDR="192.0.2.1")[5:] == [429]
    assert statuses(6, REMOTE_ADDR="192.0.2.2") == [200] * 5 + [429]


def test_a_token_is_counted_by_itself_whatever_address_it_comes_from(few: None) -> None:
    one, other = make_token(name="one"), make_token(name="other")
    found = [statuses(1, token=one, REMOTE_ADDR=f"192.0.2.{number}")[0] for number in range(6)]
    assert found == [200] * 5 + [429]
    assert statuses(1, token=other) == statuses(1) == [200]


def test_a_session_is_counted_by_its_address(few: None, staff: Staff) -> None:
    client = staff("view_job")
    assert [client.get(LIST).status_code for _ in range(6)] == [200] * 5 + [429]


def test_what_is_refused_is_not_done(few: None, staff: Staff) -> None:
    make_job(name="clean", task="cleanup_logs")
    token = make_token("run_job")
    for _ in range(8):
        Client().post("/admin/jobs/clean/trigger", content_type="application/json", headers=bearer(token))
    assert Run.objects.count() == 5


def test_the_pages_of_the_admin_are_not_counted(few: None, staff: Staff) -> None:
    client = staff("view_job")
    assert {client.get("/admin/").status_code for _ in range(8)} == {200}


def test_without_limits_nothing_is_counted(settings: Settings, redis: Redis) -> None:
    settings.HOTDATA_RATE_LIMIT = settings.HOTDATA_RATE_LIMIT_ADDRESS = ""
    assert set(statuses(20) + statuses(20, token=make_token())) == {200}
    assert not list(redis.scan_iter("*rate*"))


# Wrong tokens


def test_wrong_tokens_are_limited_more_strictly_and_always(settings: Settings) -> None:
    settings.HOTDATA_RATE_LIMIT = settings.HOTDATA_RATE_LIMIT_ADDRESS = ""
    assert statuses(12, token=WRONG) == [401] * 10 + [429] * 2
    assert statuses(1, token=WRONG, REMOTE_ADDR="192.0.2.7") == [401]


def test_who_sends_wrong_tokens_uses_up_nobody_elses_limit() -> None:
    assert 429 in statuses(12, token=WRONG)
    assert statuses(1) == statuses(1, token=make_token()) == [200]


def test_tokens_that_were_right_once_are_wrong_ones() -> None:
    token = make_token()
    token.revoke(by="root", now=token.created_at)
    assert statuses(11, token=token) == [401] * 10 + [429]


# What is said


def test_who_asks_too_often_is_told_the_limit_and_when_to_come_back(settings: Settings) -> None:
    settings.HOTDATA_RATE_LIMIT_ADDRESS = "2/minute"
    statuses(2)
    answer = Client().get(READ)
    assert answer.status_code == 429
    assert answer.json() == {
        "error": "Too many requests: 2 a minute may come from one address without a token."
    }
    assert 1 <= int(answer["Retry-After"]) <= 60
    assert answer["RateLimit-Policy"] == '"address";q=2;w=60'
    assert answer["RateLimit"] == f'"address";r=0;t={answer["Retry-After"]}'
    assert answer["Cache-Control"] == "no-store"


def test_no_minute_has_more_requests_than_the_limit_whenever_it_begins(settings: Settings) -> None:
    """As a window that begins anew would: twice the limit, around its end."""
    settings.HOTDATA_RATE_LIMIT_ADDRESS = "4/minute"
    ask = lambda: rates.count_address("192.0.2.1")  # noqa: E731
    now = datetime(2026, 11, 25, 12, 0, 50, tzinfo=UTC)
    with time_machine.travel(now, tick=False) as clock:
        ask()
        clock.shift(timedelta(seconds=15))
        assert taken(ask) == 3
        clock.shift(timedelta(seconds=44))
        assert taken(ask) == 0
        clock.shift(timedelta(seconds=2))
        assert taken(ask) == 1, "the first has left the window, and no other"


def test_after_the_time_that_was_told_one_may_ask_again(settings: Settings) -> None:
    settings.HOTDATA_RATE_LIMIT_ADDRESS = "1/second"
    rates.count_address("192.0.2.1")
    with pytest.raises(TooManyRequests) as refusal:
        rates.count_address("192.0.2.1")
    assert refusal.value.retry_after == timedelta(seconds=1)
    begun = time.monotonic()
    eventually(lambda: taken(lambda: rates.count_address("192.0.2.1"), most=1))
    assert time.monotonic() - begun < 10


# Where a request comes from


@pytest.mark.parametrize(
    ("proxies", "forwarded", "expected"),
    [
        (0, "198.51.100.1", "192.0.2.1"),  # anybody may send this
        (1, "198.51.100.1", "198.51.100.1"),
        (1, "203.0.113.9, 198.51.100.1", "198.51.100.1"),  # what was sent stands left of what the proxy adds
        (2, "203.0.113.9, 198.51.100.1, 10.0.0.1", "198.51.100.1"),
        (2, "198.51.100.1", "192.0.2.1"),  # past a proxy
        (1, "", "192.0.2.1"),
        (1, None, "192.0.2.1"),
        (1, "unknown", "192.0.2.1"),
        (1, "203.0.113.9, <script>", "192.0.2.1"),
        (1, "198.51.100.1:4711", "198.51.100.1"),
        (1, "[2001:db8::1]:4711", "2001:db8::1"),
        (1, "::ffff:198.51.100.1", "198.51.100.1"),
        (1, "a" * 9999, "192.0.2.1"),
    ],
)
def test_an_address_is_taken_from_proxies_that_are_trusted_and_from_nobody_else(
    settings: Settings, rf: RequestFactory, proxies: int, forwarded: str | None, expected: str
) -> None:
    settings.HOTDATA_TRUSTED_PROXIES = proxies
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    request = rf.get("/", headers=headers, REMOTE_ADDR="192.0.2.1")
    assert str(clients.address_of(request)) == expected


def test_no_address_is_made_up_to_get_round_the_limit(few: None, settings: Settings) -> None:
    settings.HOTDATA_TRUSTED_PROXIES = 1
    found = [
        Client().get(READ, headers={"X-Forwarded-For": f"203.0.113.{number}, 198.51.100.1"}).status_code
        for number in range(6)
    ]
    assert found == [200] * 5 + [429]


def test_whoever_has_a_network_of_ipv6_is_one(few: None) -> None:
    found = [statuses(1, REMOTE_ADDR=f"2001:db8:0:1:{number}::1")[0] for number in range(6)]
    assert found == [200] * 5 + [429]
    assert statuses(1, REMOTE_ADDR="2001:db8:0:2::1") == [200]


@pytest.mark.parametrize("address", ["", "unix:", "localhost"])
def test_what_has_no_address_is_counted_together(few: None, address: str) -> None:
    assert statuses(6, REMOTE_ADDR=address) == [200] * 5 + [429]


# Together


@pytest.mark.only_on("sqlite")
def test_a_limit_holds_for_all_threads_together(settings: Settings) -> None:
    settings.HOTDATA_RATE_LIMIT_ADDRESS = "100/day"
    asking = [in_thread(lambda: taken(lambda: rates.count_address("192.0.2.1"))) for _ in range(8)]
    assert sum(done.result(PATIENCE) for done in asking) == 100


@pytest.mark.only_on("sqlite")
def test_a_limit_holds_for_all_processes_together() -> None:
    environment = {**os.environ, "HOTDATA_RATE_LIMIT_ADDRESS": "500/day"}
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", ASK]
    children = [
        subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True) for _ in range(2)
    ]
    assert all(child.stdout.readline() == "ready\n" for child in children)
    for child in children:
        child.stdin.write("\n")
        child.stdin.flush()
    found = [int(child.communicate(timeout=PATIENCE)[0]) for child in children]
    assert sum(found) == 500
    assert all(found), "each had its turn"


@pytest.mark.only_on("sqlite")
def test_a_forked_process_counts_for_itself() -> None:
    assert (
        subprocess.run([sys.executable, "-c", FORK], env=dict(os.environ), timeout=PATIENCE).returncode == 0
    )


@pytest.mark.only_on("sqlite")
def test_a_request_is_counted_in_one_round_trip(own_redis: OwnRedis) -> None:
    rates.count_address("192.0.2.1")
    own_redis.client.config_resetstat()
    rates.count_address("192.0.2.1")
    commands = own_redis.client.info("commandstats")
    assert commands["cmdstat_evalsha"]["calls"] == 1
    of_the_script = {f"cmdstat_{name}" for name in ("lindex", "lpush", "ltrim", "expire")}
    assert {name for name in commands if "config" not in name} - of_the_script == {"cmdstat_evalsha"}


# Without Redis


@pytest.mark.only_on("sqlite")
def test_while_redis_is_away_each_process_counts_by_itself(few: None, redis_down: None) -> None:
    assert taken(lambda: rates.count_address("192.0.2.1")) == 5
    assert taken(lambda: rates.count_token("ci")) == 5
    assert taken(lambda: rates.count_wrong_token("192.0.2.1")) == 10


@pytest.mark.only_on("sqlite")
def test_an_answer_to_who_asks_too_often_is_the_same_without_redis(few: None, redis_down: None) -> None:
    assert statuses(6, LIST) == [401] * 5 + [429]
    assert int(Client().get(LIST)["Retry-After"]) >= 1


@pytest.mark.only_on("sqlite")
def test_a_redis_that_hangs_costs_one_timeout_and_not_one_for_each_request(
    few: None, moody_redis: RedisServer
) -> None:
    rates.count_address("192.0.2.1")
    with frozen(moody_redis):
        begun = time.monotonic()
        for number in range(100):
            rates.count_address(f"192.0.2.{number}")
        assert time.monotonic() - begun < 3 * 0.5, "one timeout, and perhaps one more of the second after"


@pytest.mark.only_on("sqlite")
def test_when_redis_is_back_it_counts_for_all_again(few: None, moody_redis: RedisServer) -> None:
    assert taken(lambda: rates.count_address("192.0.2.1")) == 5
    moody_redis.stop()
    assert taken(lambda: rates.count_address("192.0.2.1")) == 5, "what Redis counted is not known here"
    moody_redis.start()  # and it has forgotten, too
    eventually(lambda: taken(lambda: rates.count_address("192.0.2.1"), most=1))


@pytest.mark.only_on("sqlite")
def test_a_redis_that_refuses_to_write_is_as_good_as_none(few: None, own_redis: OwnRedis) -> None:
    own_redis.client.config_set("min-replicas-to-write", 1)
    assert taken(lambda: rates.count_address("192.0.2.1")) == 5


@contextmanager
def frozen(server: RedisServer) -> Iterator[None]:
    server.freeze()
    try:
        yield
    finally:
        server.thaw()
