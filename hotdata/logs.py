"""Logs: what happens is an event with facts, said once, in a line for people or in JSON for programs.

``EventLogger(__name__).warning("run.late", job=…, run=…)`` gives the line ``run.late job=… run=…`` wherever logs go.
The site's console shows it by one of the two formatters here, which take secrets out of all that they are given:
other people's libraries put whole URLs into their errors, and tracebacks repeat errors.
"""

from __future__ import annotations

import contextlib
import logging
import math
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter as BaseFormatter

from hotdata.text import REDACTED, known_secrets

LINE = "{asctime} {levelname} {name}: {message}"
PLAIN = re.compile(r"[^\s\"'=\x00-\x1f\x7f]+")
"""What needs no quotes in a line."""
PLAIN_TYPES = (str, int, float)
SECRETS_KNOWN_FOR = (
    1.0  # seconds; to look through the environment for each line would take longer than the line
)
RECORD = frozenset(RESERVED_ATTRS)

# What is a secret by where it stands, whatever it is.
USERINFO = re.compile(r"(?<=://)[^/\s@\"']*(?=@)")
QUERY = re.compile(
    r"([?&][\w.-]*(?:key|token|secret|passw|pwd|auth|sig|credential|session)[\w.-]*=)[^&\s\"'<>#]+", re.I
)
HEADER = re.compile(
    r"((?:authorization|cookie|\bx-[\w-]*(?:key|token|secret)[\w-]*)['\"]?:\s*['\"]?)[^'\"\n]+", re.I
)


class Event:
    """What happened, by a name that stays the same, and facts about it. As a text it is the line that is logged."""

    __slots__ = ("facts", "name")

    def __init__(self, name: str, facts: Mapping[str, Any]) -> None:
        self.name = name
        self.facts = {fact: _plain(value) for fact, value in facts.items() if value is not None}

    def __str__(self) -> str:
        return " ".join([self.name, *(f"{fact}={_spelt(value)}" for fact, value in self.facts.items())])


class EventLogger:
    """Logs events under the name of a module. Facts that are None are left out."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._logger = logging.getLogger(name)

    def log(self, level: int, event: str, *, exc_info: Any = None, stacklevel: int = 1, **facts: Any) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, Event(event, facts), exc_info=exc_info, stacklevel=stacklevel + 1)

    def info(self, event: str, **facts: Any) -> None:
        self.log(logging.INFO, event, stacklevel=2, **facts)

    def warning(self, event: str, **facts: Any) -> None:
        self.log(logging.WARNING, event, stacklevel=2, **facts)

    def error(self, event: str, **facts: Any) -> None:
        self.log(logging.ERROR, event, stacklevel=2, **facts)

    def exception(self, event: str, **facts: Any) -> None:
        """As `error`, with the traceback of the exception that is being handled."""
        self.log(logging.ERROR, event, exc_info=True, stacklevel=2, **facts)


def _plain(value: Any) -> Any:
    """`value` as JSON has it: seconds for a duration, its text for an error or what else there may be."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, PLAIN_TYPES) else str(value)


def _spelt(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    text = str(value)
    return text if PLAIN.fullmatch(text) else repr(text)


class Censor:
    """Takes out of texts what is a secret of this process, and what is one by where it stands."""

    def __init__(self) -> None:
        self._secrets: list[str] = []
        self._look_at = 0.0  # monotonic

    def __call__(self, text: str) -> str:
        now = time.monotonic()
        if now >= self._look_at:
            # With bad settings there are no secrets to be known, and all the more to be logged.
            with contextlib.suppress(ImproperlyConfigured):
                self._secrets = known_secrets()
            self._look_at = now + SECRETS_KNOWN_FOR
        for secret in self._secrets:
            text = text.replace(secret, REDACTED)
        # Most lines are done with here: the expressions would take as long as all else that makes a line.
        if "://" in text:
            text = USERINFO.sub(REDACTED, text)
        if "?" in text or "&" in text:
            text = QUERY.sub(rf"\1{REDACTED}", text)
        lowered = text.lower()
        if "authorization" in lowered or "cookie" in lowered or "x-" in lowered:
            text = HEADER.sub(rf"\1{REDACTED}", text)
        return text


class LineFormatter(logging.Formatter):
    """One line for each event, and the traceback of an error below it."""

    def __init__(self) -> None:
        super().__init__(LINE, style="{")
        self._censor = Censor()

    def format(self, record: logging.LogRecord) -> str:
        return self._censor(super().format(record))


class JsonFormatter(BaseFormatter):
    """One JSON object for each event, on one line: ``time``, ``level``, ``logger``, and ``event`` with its facts.

    What others log has a ``message`` instead of an event. Both have the ``traceback`` of an error, and, inside a run,
    ``job``, ``run`` and ``attempt``.
    """

    def __init__(self) -> None:
        super().__init__(json_ensure_ascii=False)
        self._censor = Censor()

    def add_fields(
        self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]
    ) -> None:
        moment = datetime.fromtimestamp(record.created, UTC).astimezone()
        log_data["time"] = moment.isoformat(timespec="milliseconds")
        log_data["level"] = record.levelname
        log_data["logger"] = record.name
        if isinstance(record.msg, Event):
            log_data["event"] = record.msg.name
            log_data |= record.msg.facts
        else:
            log_data["message"] = record.getMessage()
        for name, value in record.__dict__.items():
            # Others add whole requests and sockets to what they log.
            if name not in RECORD and isinstance(value, bool | int | float | str):
                log_data.setdefault(name, _plain(value))
        for name, field in (("exc_info", "traceback"), ("stack_info", "stack")):
            if message_dict.get(name):
                log_data[field] = message_dict[name]

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        return {
            name: self._censor(value) if isinstance(value, str) else value for name, value in log_data.items()
        }
