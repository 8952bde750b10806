"""Every setting of hotdata: its name, type, default and meaning.

``settings.HOTDATA_<NAME>`` overrides a default. `load` checks them all when Django starts; a bad value stops
the process with a sentence that says which setting and what it should be. Everyone else reads `conf()`.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from ipaddress import ip_network
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

PREFIX = "HOTDATA_"
SECRET_PREFIX = "HOTDATA_SECRET_PREFIX"  # noqa: S105 - the name of a setting, not a secret
"""The environment variable for the setting of this name. It looks like one of the secrets, and is none."""
HIGHEST_PORT = 65_535
MAY_BE_EMPTY = ("rate_limit", "rate_limit_address")
"""Texts that may be empty although their default is not."""
SECRETS = ("alert_urls", "heartbeat_url")
"""Settings whose value is never shown."""
RATE = re.compile(r"[1-9][0-9]{0,8}/(second|minute|hour|day)")
FOREVER = "forever"
HOST_AND_PORT = re.compile(r"([^\s:/@\[\]]+|\[[0-9a-fA-F:.]+\]):[0-9]{1,5}")


@dataclass(frozen=True, kw_only=True)
class Retention:
    """For how many days records of each kind are kept; None: for ever. What isn't here is never deleted by age."""

    runs: int | None = 90
    calls: int | None = 90
    """Of upstreams' APIs."""
    freshness: int | None = 90
    """What readers got, hour by hour."""
    components: int | None = 365
    """How the parts of the system changed their state."""
    alerts: int | None = 365
    """From their end on."""
    deliveries: int | None = 90
    """Mail and other messages that were sent, or given up."""
    usage: int | None = 1096
    """What was asked of upstreams and read with tokens, day by day: three years."""


RETAINED = tuple(field.name for field in fields(Retention))
"""The kinds of records that have an age at which they go."""
LEAST_DAYS = {"usage": 62}
"""Where it is more than a day. A month's statement is made from its usage when the month is over."""
MOST_DAYS = 36_500


def check_days(kind: str, days: int) -> None:
    """Raise ValueError for an age at which no record of the `kind` may be deleted."""
    least = LEAST_DAYS.get(kind, 1)
    if not least <= days <= MOST_DAYS:
        raise ValueError(f"between {least} and {MOST_DAYS:,} days for {kind}, not {days:,}")


@dataclass(frozen=True, kw_only=True)
class Conf:
    """The settings, checked and typed. Durations may be given as ``timedelta`` or as seconds."""

    cache: str = "hotdata"
    """Alias in ``CACHES`` of the django-redis cache that holds the entries."""

    workers: int = 20
    """Runs that one scheduler process works on at a time."""

    grace: timedelta = timedelta(seconds=30)
    """How long running runs may go on after SIGTERM before they are cancelled."""

    poll_interval: timedelta = timedelta(seconds=1)
    """How often the leader looks whether something changed."""

    lease_ttl: timedelta = timedelta(seconds=4)
    """How long a silent leader keeps its lease; a standby takes over after this."""

    node_timeout: timedelta = timedelta(seconds=10)
    """A node that was silent for this long counts as dead, and its running runs as abandoned."""

    log_limit: int = 64 * 1024
    """Characters of a run's captured log that are kept: the first and the last half."""

    result_limit: int = 100 * 1024
    """Bytes of a run's JSON result; a larger one fails the run."""

    upstream_max_bytes: int = 5 * 1024 * 1024
    """Decoded size of an upstream's answer above which it is dropped."""

    allow_private: tuple[str, ...] = ()
    """``host:port`` pairs that sources may use although they are private or plain http, for development."""

    secret_prefix: str = "HOTDATA_SECRET_"  # noqa: S105 - a prefix of names, not a secret
    """Only environment variables that begin with this can be named as a source's secrets."""

    read_patience: timedelta = timedelta(seconds=3)
    """How long a reader waits for a key that nobody has fetched yet."""

    retention: Retention = Retention()
    """Days after which `cleanup_logs` deletes records, by kind: ``{"runs": 30, "usage": "forever"}``."""

    demo_upstream: str = "http://127.0.0.1:8100"
    """Where the demo sources of `setup_hotdata` point to."""

    site_url: str = ""
    """Where people reach this site, as ``https://hot.example.com``: for links in mail and alerts."""

    reads_need_token: bool = False
    """Whether ``/api/hot`` answers only those who send a token of the API, or are logged in."""

    rate_limit: str = "1200/minute"
    """How often one token may ask the API, as ``number/unit``; empty (in the environment: off) as often as it likes."""

    rate_limit_address: str = "600/minute"
    """Likewise, how often one address may that sends no token."""

    trusted_proxies: int = 0
    """How many proxies stand before the site and add to ``X-Forwarded-For``: who asks is found behind them."""

    metrics_networks: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    """Networks from which ``/metrics`` is read without a token."""

    alert_mail: tuple[str, ...] = ()
    """Whom alerts are mailed to."""

    alert_urls: tuple[str, ...] = ()
    """Where else alerts go: URLs of apprise, which hold secrets."""

    alert_repeat: int = 10
    """After the first, each how many-th failure in a row is alerted again."""

    alerts_per_hour: int = 12
    """Messages about alerts that one recipient gets in an hour at most; what is beyond waits for the next one."""

    heartbeat_url: str = ""
    """Called once a minute by a scheduler that works: whoever waits there raises the alarm when no call comes."""

    report_mail: tuple[str, ...] = ()
    """Whom reports and statements are mailed to."""


def _coerce(name: str, value: Any, default: Any) -> Any:
    """Return `value` as the type of `default`, or raise ImproperlyConfigured naming the setting."""
    if isinstance(default, Retention):
        return _retention(name, value)
    if isinstance(default, timedelta):
        duration = value
        if isinstance(value, int | float) and not isinstance(value, bool):
            with contextlib.suppress(ValueError, OverflowError):  # nan and inf
                duration = timedelta(seconds=value)
        if not isinstance(duration, timedelta) or duration <= timedelta(0):
            raise _refusal(name, "a positive number of seconds", value)
        return duration
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise _refusal(name, "True or False", value)
    elif isinstance(default, int):
        least = min(1, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise _refusal(name, f"a whole number of at least {least}", value)
    elif isinstance(default, tuple):
        if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
            raise _refusal(name, "a list of strings", value)
        value = tuple(value)
    elif not isinstance(value, str):
        raise _refusal(name, "a text", value)
    elif not value and default and name not in MAY_BE_EMPTY:
        raise _refusal(name, "a text that is not empty", value)
    return value


def _retention(name: str, value: Any) -> Retention:
    """`value`, a mapping from kinds to days, over the defaults."""
    if not isinstance(value, Mapping):
        raise _refusal(name, f"days by kind such as {{'runs': 30, 'usage': {FOREVER!r}}}", value)
    given: dict[str, int | None] = {}
    for kind, days in value.items():
        if kind not in RETAINED:
            raise _refusal(name, f"days by kind, of which there are {', '.join(RETAINED)}", kind)
        if days == FOREVER:
            given[kind] = None
            continue
        if not isinstance(days, int) or isinstance(days, bool):
            raise _refusal(name, f"a whole number of days or {FOREVER!r} for {kind}", days)
        try:
            check_days(kind, days)
        except ValueError as error:
            raise ImproperlyConfigured(f"{PREFIX}{name.upper()} must be {error}.") from error
        given[kind] = days
    return Retention(**given)


def _refusal(name: str, expected: str, value: Any) -> ImproperlyConfigured:
    shown = f"a value of type {type(value).__name__}" if name in SECRETS else repr(value)
    return ImproperlyConfigured(f"{PREFIX}{name.upper()} must be {expected}, not {shown}.")


def load() -> Conf:
    """Read and check every ``HOTDATA_`` setting.

    Raises ImproperlyConfigured for a bad value and for a name that doesn't exist, since a misspelt setting
    would otherwise be ignored in silence.
    """
    known = {field.name: field.default for field in fields(Conf)}
    given = {name: getattr(settings, name) for name in dir(settings) if name.startswith(PREFIX)}
    unknown = sorted(name for name in given if name.removeprefix(PREFIX).lower() not in known)
    if unknown:
        raise ImproperlyConfigured(
            f"Unknown setting {', '.join(unknown)}. Known are "
            + ", ".join(PREFIX + name.upper() for name in sorted(known))
            + "."
        )
    values = {
        field: _coerce(field, given[PREFIX + field.upper()], default)
        for field, default in known.items()
        if PREFIX + field.upper() in given
    }
    loaded = Conf(**values)
    if loaded.cache not in settings.CACHES:
        raise ImproperlyConfigured(f"{PREFIX}CACHE names {loaded.cache!r}, which is not in CACHES.")
    for name in MAY_BE_EMPTY:
        rate = getattr(loaded, name)
        if rate and not RATE.fullmatch(rate):
            raise _refusal(name, "number/unit, as 600/minute (or second, hour, day), or empty", rate)
    for pair in loaded.allow_private:
        if not HOST_AND_PORT.fullmatch(pair) or int(pair.rpartition(":")[2]) > HIGHEST_PORT:
            raise ImproperlyConfigured(
                f"{PREFIX}ALLOW_PRIVATE holds {pair!r}, which is not of the form host:port."
            )
    for network in loaded.metrics_networks:
        try:
            ip_network(network)
        except ValueError:
            raise ImproperlyConfigured(
                f"{PREFIX}METRICS_NETWORKS holds {network!r}, which is no network such as 10.0.0.0/8."
            ) from None
    if not loaded.demo_upstream.startswith(("http://", "https://")):
        raise ImproperlyConfigured(
            f"{PREFIX}DEMO_UPSTREAM must begin with http:// or https://, not {loaded.demo_upstream!r}."
        )
    if loaded.lease_ttl <= loaded.poll_interval:
        raise ImproperlyConfigured(
            f"{PREFIX}LEASE_TTL must be longer than {PREFIX}POLL_INTERVAL: the leader renews between two polls."
        )
    return loaded


conf = functools.cache(load)


def _forget(*, setting: str, **_: Any) -> None:
    if setting.startswith(PREFIX) or setting == "CACHES":
        conf.cache_clear()


setting_changed.connect(_forget)
