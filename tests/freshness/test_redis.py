from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ResponseError

from hotdata.freshness.redis import Script
from tests.freshness.conftest import OwnRedis

pytestmark = pytest.mark.usefixtures("clear_cache")

APPEND = Script("return redis.call('RPUSH', KEYS[1], ARGV[1])")


def test_a_script_answers() -> None:
    assert [APPEND.run(["list"], "a"), APPEND.run(["list"], "b")] == [1, 2]


def test_a_script_answers_to_each_of_several_calls() -> None:
    assert APPEND.run_each((["list"], [text]) for text in "abc") == [1, 2, 3]


def test_a_redis_that_has_forgotten_a_script_is_told_it_again(redis: Redis) -> None:
    APPEND.run(["list"], "a")
    redis.script_flush()
    assert APPEND.run(["list"], "b") == 2
    redis.script_flush()
    assert APPEND.run_each([(["list"], ["c"]), (["list"], ["d"])]) == [3, 4]
    assert redis.lrange("list", 0, -1) == [b"a", b"b", b"c", b"d"]


def test_a_script_that_redis_knows_is_not_asked_for(own_redis: OwnRedis) -> None:
    APPEND.run(["list"], "a")
    own_redis.client.config_resetstat()
    APPEND.run(["list"], "b")
    APPEND.run_each((["list"], [text]) for text in "cd")
    stats = own_redis.client.info("commandstats")
    assert stats["cmdstat_evalsha"]["calls"] == 3
    assert {name.split("|")[0] for name in stats} == {"cmdstat_evalsha", "cmdstat_rpush", "cmdstat_config"}


@pytest.mark.parametrize("call", [APPEND.run, lambda *call: APPEND.run_each([(call[0], call[1:])])])
def test_what_redis_says_of_a_call_that_fails_is_raised(redis: Redis, call: Callable[..., Any]) -> None:
    redis.set("list", "no list")
    with pytest.raises(ResponseError):
        call(["list"], "a")
