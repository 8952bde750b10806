"""What a run's process and its scheduler say to each other: JSON, one message at a time.

No object of a task is ever pickled, and what a message may hold is written here. In the other direction there
is one word only, `CANCEL`.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec

CANCEL = b"cancel"


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """The run as its process is told of it: the task with its parameters, and what `current_run()` gives there."""

    id: int | None
    job: str
    task: str
    params: dict[str, Any]
    time_zone: str
    scheduled_for: datetime | None
    attempt: int
    timeout: timedelta | None
    log_limit: int


class Begun(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The process is there and about to call the task. Its id is its group's, too."""

    pid: int


class Wrote(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A piece of log."""

    text: str


class Progressed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """How far the task says it is."""

    done: int
    total: int | None
    notable: bool


class Ended(msgspec.Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """What came of calling the task: the last message. The fields are those of `Outcome`."""

    state: str
    result: Any = None
    error: str = ""
    traceback: str = ""
    permanent: bool = False
    retry_after: timedelta | None = None


Message = Begun | Wrote | Progressed | Ended

_orders = msgspec.json.Decoder(Order)
_messages: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)


def encode(thing: Order | Message) -> bytes:
    """`thing` as it travels. Its texts must have a UTF-8 form."""
    return msgspec.json.encode(thing)


def decode_order(data: bytes) -> Order:
    """The order in `data`, which `encode` has made."""
    return _orders.decode(data)


def decode_message(data: bytes) -> Message:
    """The message in `data`; raises msgspec.DecodeError for what is none."""
    return _messages.decode(data)
