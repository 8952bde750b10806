"""hotdata's settings: each bad value stops the process with a sentence that names the setting."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from hotdata.api import rates
from hotdata.conf import PREFIX, RETAINED, Conf, Retention, conf, load

BAD_FOR_A_NUMBER = [0, -1, 1.5, "20", None, True, [1]]
NO_NUMBERS = [float("nan"), float("inf"), 1e300]
BAD_FOR_A_DURATION = [0, -0.5, "30", None, True, timedelta(0), timedelta(seconds=-1), *NO_NUMBERS]
BAD_FOR_A_TEXT = ["", None, 1, ["a"], b"a"]
BAD_FOR_A_LIST = ["127.0.0.1:80", 80, None, [80], [None], {"127.0.0.1:80": True}]
BAD_FOR_A_CHOICE = [0, 1, "yes", None]
BAD = {
    bool: BAD_FOR_A_CHOICE,
    int: BAD_FOR_A_NUMBER,
    timedelta: BAD_FOR_A_DURATION,
    str: BAD_FOR_A_TEXT,
    tuple: BAD_FOR_A_LIST,
    Retention: [90, "runs=90", None, ["runs"], Retention()],
}
ALLOWED = [(name, "") for name in ("SITE_URL", "HEARTBEAT_URL", "RATE_LIMIT", "RATE_LIMIT_ADDRESS")]
ALLOWED += [("TRUSTED_PROXIES", 0)]

HIDDEN = ("HOTDATA_ALERT_URLS", "HOTDATA_HEARTBEAT_URL")

EACH_BAD_VALUE = [
    (PREFIX + field.name.upper(), value)
    for field in fields(Conf)
    for value in BAD[type(field.default)]
    if (field.name.upper(), value) not in ALLOWED
]


def test_without_settings_the_defaults_hold() -> None:
    given = [name for name in dir(settings) if name.startswith(PREFIX)]
    assert given == []
    assert conf() == Conf()


@pytest.mark.parametrize(("name", "value"), EACH_BAD_VALUE)
def test_a_bad_value_is_refused_by_the_name_of_its_setting(name: str, value: Any) -> None:
    with override_settings(**{name: value}), pytest.raises(ImproperlyConfigured) as refused:
        load()
    assert str(refused.value).startswith(f"{name} must be ")
    shown = f"a value of type {type(value).__name__}" if name in HIDDEN else repr(value)
    assert str(refused.value).endswith(f", not {shown}.")


@pytest.mark.parametrize(("name", "value"), ALLOWED)
def test_what_may_be_empty_or_zero_is(name: str, value: Any) -> None:
    with override_settings(**{PREFIX + name: value}):
        assert getattr(conf(), name.lower()) == value


@pytest.mark.parametrize(
    ("name", "value", "loaded"),
    [
        ("WORKERS", 1, 1),
        ("GRACE", 5, timedelta(seconds=5)),
        ("GRACE", 0.25, timedelta(milliseconds=250)),
        ("GRACE", timedelta(minutes=2), timedelta(minutes=2)),
        ("ALLOW_PRIVATE", [], ()),
        ("ALLOW_PRIVATE", ["127.0.0.1:80", "[::1]:80"], ("127.0.0.1:80", "[::1]:80")),
        ("SECRET_PREFIX", "STOCKS_", "STOCKS_"),
        ("CACHE", "default", "default"),
        ("RETENTION", {}, Retention()),
        ("RETENTION", {"runs": 7, "usage": "forever"}, Retention(runs=7, usage=None)),
        ("METRICS_NETWORKS", ["10.0.0.0/8", "fd00::/8"], ("10.0.0.0/8", "fd00::/8")),
    ],
)
def test_a_good_value_is_returned_in_the_type_of_its_setting(name: str, value: Any, loaded: Any) -> None:
    with override_settings(**{PREFIX + name: value}):
        assert getattr(conf(), name.lower()) == loaded


@pytest.mark.parametrize("name", ["HOTDATA_WORKRES", "HOTDATA_", "HOTDATA_Workers2", "HOTDATA_LEASE"])
def test_a_misspelt_setting_is_refused_and_the_known_ones_are_listed(name: str) -> None:
    with override_settings(**{name: 1}), pytest.raises(ImproperlyConfigured) as refused:
        load()
    assert f"Unknown setting {name}. Known are HOTDATA_ALERT_MAIL, HOTDATA_ALERT_REPEAT" in str(refused.value)


def test_all_misspelt_settings_are_named_at_once() -> None:
    with (
        override_settings(HOTDATA_B=1, HOTDATA_A=1),
        pytest.raises(ImproperlyConfigured, match="Unknown setting HOTDATA_A, HOTDATA_B"),
    ):
        load()


@pytest.mark.parametrize("name", ["HOTDATA_RATE_LIMIT", "HOTDATA_RATE_LIMIT_ADDRESS"])
@pytest.mark.parametrize(
    "rate",
    [
        "1200/minuteX",
        "1200",
        "0/minute",
        "-1/minute",
        "1/0minute",
        "1/week",
        " 1/minute",
        "1/minute\n",
        "x",
        "1/minute;2/day",
    ],
)
def test_a_rate_that_is_none_is_refused(name: str, rate: str) -> None:
    with override_settings(**{name: rate}), pytest.raises(ImproperlyConfigured) as refused:
        load()
    assert str(refused.value) == (
        f"{name} must be number/unit, as 600/minute (or second, hour, day), or empty, not {rate!r}."
    )


@pytest.mark.parametrize("rate", ["1/second", "1200/minute", "100000/hour", "999999999/day"])
def test_a_rate_is_a_number_in_a_unit_of_time(rate: str) -> None:
    with override_settings(HOTDATA_RATE_LIMIT=rate):
        assert conf().rate_limit == rate
        amount, unit = rate.split("/")
        assert str(rates.parse(rate)) == f"{amount} per 1 {unit}"


def test_the_cache_must_be_one_of_the_sites() -> None:
    with (
        override_settings(HOTDATA_CACHE="nowhere"),
        pytest.raises(ImproperlyConfigured, match="HOTDATA_CACHE names 'nowhere', which is not in CACHES"),
    ):
        load()


@pytest.mark.parametrize("network", ["", "10.0.0.1/8", "localhost", "10.0.0.0/33"])
def test_a_network_must_be_one(network: str) -> None:
    with (
        override_settings(HOTDATA_METRICS_NETWORKS=["10.0.0.0/8", network]),
        pytest.raises(
            ImproperlyConfigured, match=f"HOTDATA_METRICS_NETWORKS holds '{network}', which is no network"
        ),
    ):
        load()


@pytest.mark.parametrize("lease_ttl", [0.5, 1])
def test_a_lease_must_outlast_the_polls_that_renew_it(lease_ttl: float) -> None:
    with (
        override_settings(HOTDATA_LEASE_TTL=lease_ttl, HOTDATA_POLL_INTERVAL=1),
        pytest.raises(
            ImproperlyConfigured, match="HOTDATA_LEASE_TTL must be longer than HOTDATA_POLL_INTERVAL"
        ),
    ):
        load()


def test_a_setting_that_changes_is_seen_at_once_and_so_is_its_return() -> None:
    before = conf()
    with override_settings(HOTDATA_WORKERS=3):
        assert conf().workers == 3
        with override_settings(HOTDATA_WORKERS=4):
            assert conf().workers == 4
        assert conf().workers == 3
    assert conf() == before


def test_settings_are_read_once() -> None:
    assert conf() is conf()


def test_nobody_changes_a_setting_in_passing() -> None:
    with pytest.raises(FrozenInstanceError):
        conf().workers = 5  # type: ignore[misc]


@pytest.mark.parametrize("days", [0, -1, 36_501, 10**12])
def test_days_after_which_no_record_may_go_are_refused(days: int) -> None:
    with override_settings(HOTDATA_RETENTION={"runs": days}), pytest.raises(ImproperlyConfigured) as refused:
        load()
    assert str(refused.value) == (
        f"HOTDATA_RETENTION must be between 1 and 36,500 days for runs, not {days:,}."
    )


def test_usage_stays_until_its_months_statement_is_made() -> None:
    with (
        override_settings(HOTDATA_RETENTION={"usage": 61}),
        pytest.raises(ImproperlyConfigured, match="HOTDATA_RETENTION must be between 62 and"),
    ):
        load()


@pytest.mark.parametrize("days", ["7", 1.5, None, True, "for ever"])
def test_days_that_are_no_number_are_refused(days: Any) -> None:
    with override_settings(HOTDATA_RETENTION={"calls": days}), pytest.raises(ImproperlyConfigured) as refused:
        load()
    assert str(refused.value) == (
        f"HOTDATA_RETENTION must be a whole number of days or 'forever' for calls, not {days!r}."
    )


def test_a_kind_of_records_that_does_not_exist_is_refused_and_the_known_ones_are_listed() -> None:
    with override_settings(HOTDATA_RETENTION={"rnus": 7}), pytest.raises(ImproperlyConfigured) as refused:
        load()
    assert f"of which there are {', '.join(RETAINED)}, not 'rnus'." in str(refused.value)
